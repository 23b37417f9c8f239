"""First records of a stage in every order: any topic first, any of them missing, restarts between.

Among them are what a control topic may hold besides: nulls, bytes, records of an unknown schema,
and records that end in the middle.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from hypothesis import strategies as st

from schemas.codec import Codec
from schemas.registry import header
from streams.store import Stores
from streams.transport.batch import Headers, Output, RecordBatch, Result
from tests.streams.tasks import START, batch_of, by_topic

UNREADABLE = ("undecodable", "empty")
"""Why a record is set aside that is not Weir's."""


@dataclass(frozen=True)
class Row:
    """A record as it is stored. good: whether it is Weir's."""

    value: bytes | None
    key: bytes | None = None
    at: int = START
    good: bool = True
    headers: Headers = field(default_factory=list, hash=False)


@dataclass(frozen=True)
class Fed:
    """Records of one topic (without the task's name) and partition that are read together."""

    topic: str
    rows: tuple[Row, ...]
    partition: int = 0


class Restart:
    """The worker ends, and the next one goes on from what was committed."""

    def __repr__(self) -> str:
        return "restart"


RESTART = Restart()
Step = Any
"""`Fed`, `RESTART`, or what a stage's own test does between."""

JUNK = st.builds(
    lambda value, key: Row(value, key, good=False),
    st.sampled_from([None, b"", b"?", b"\x00", header(7), header(7) + b"\x02a"]),
    st.sampled_from([None, b"", b"?", b"\xff", b"\xff|1|2|3||"]),
)


def cut(row: Row) -> Row:
    """A record that ends in the middle."""
    value = row.value and row.value[: len(row.value) // 2]
    return Row(value, row.key, row.at, good=False)


def histories(
    topics: Mapping[str, st.SearchStrategy[Row]],
    others: Sequence[st.SearchStrategy[Step]] = (),
    partitions: int = 1,
    least: int = 5,
    most: int = 20,
    together: int = 3,
) -> st.SearchStrategy[list[Step]]:
    """What a stage meets, step by step; topics: by name, what Weir writes there.
    together: records that are read at once, at most.
    """

    rare = JUNK | st.sampled_from(sorted(topics)).flatmap(lambda topic: topics[topic].map(cut))

    def fed(topic: str) -> st.SearchStrategy[Step]:
        rows = st.integers(0, 7).flatmap(lambda n: rare if n == 0 else topics[topic])
        made = st.lists(rows, min_size=1, max_size=together).map(tuple)
        return st.builds(Fed, st.just(topic), made, st.integers(0, partitions - 1))

    steps = st.one_of(*map(fed, topics), *others, st.just(RESTART))
    return st.lists(steps, min_size=least, max_size=most)


def without_restarts(history: Sequence[Step]) -> list[Step]:
    """The same in one life."""
    return [step for step in history if step is not RESTART]


@dataclass
class Play:
    """A stage that lives through a history.

    task: its name. dead: reads dead letters. take: what the stage makes of a batch, committed.
    restart: see `RESTART`.
    """

    task: str
    dead: Codec
    take: Callable[[RecordBatch], Sequence[Output]]
    restart: Callable[[], None]
    offsets: dict[tuple[str, int], int] = field(default_factory=dict)
    outputs: list[Output] = field(default_factory=list)

    def step(self, step: Step) -> Sequence[Output]:
        """One step of a history; what the stage makes of it."""
        if step is RESTART:
            self.restart()
            return []
        assert isinstance(step, Fed)
        where = step.topic, step.partition
        first = self.offsets.get(where, 0)
        self.offsets[where] = first + len(step.rows)
        batch = batch_of(
            f"{self.task}.{step.topic}",
            [row.value for row in step.rows],
            first=first,
            partition=step.partition,
            keys=[row.key for row in step.rows],
            headers={i: row.headers for i, row in enumerate(step.rows) if row.headers},
            timestamps=[row.at for row in step.rows],
        )
        made = list(self.take(batch))
        letters = [self.dead.read(value) for _, value, _ in by_topic(made).get("dead-letters", [])]
        dead = {one["offset"] - first for one in letters if one["reason"] in UNREADABLE}
        bad = {i for i, row in enumerate(step.rows) if not row.good}
        assert dead <= bad, f"what is Weir's own was set aside: {dead - bad} of {step}"
        self.outputs += made
        return made

    def of(self, topic: str) -> list[bytes]:
        """The values that were written to a topic so far."""
        return [value for _, value, _ in by_topic(self.outputs).get(topic, [])]


class Stage(Protocol):
    """What keeps its state in a store."""

    def __call__(self, batch: RecordBatch) -> Result: ...

    def close(self) -> None: ...


class Kept:
    """A stage and its store; after a restart what the disk does not hold yet is replayed.

    make: the stage on its stores. name: of its store; empty: it is written with every batch.
    """

    def __init__(
        self, task: str, dead: Codec, folder: Path, make: Callable[[Stores], Stage], name: str
    ) -> None:
        self._folder, self._make, self._name = folder, make, name
        self._taken: list[RecordBatch] = []
        self.play = Play(task, dead, self.take, self.restart)
        self._begin()

    def _begin(self) -> None:
        self.stores = Stores(self._folder)
        self.stage = self._make(self.stores)

    def take(self, batch: RecordBatch) -> Sequence[Output]:
        self._taken.append(batch)
        return self._work(batch)

    def _work(self, batch: RecordBatch) -> Sequence[Output]:
        result = self.stage(batch)
        if result.after_commit is not None:
            result.after_commit()
        return result.outputs

    def restart(self) -> None:
        self.close()
        self._begin()
        for batch in self._taken if self._name else ():
            held = self.stores.get(self._name, batch.partition).offsets.get(batch.topic, 0)
            if held < batch.next_offset:
                assert held <= int(batch.offsets[0])
                self._work(batch)  # what it gives is there already

    def close(self) -> None:
        self.stage.close()
        self.stores.close()


def lives(
    history: Sequence[Step],
    task: str,
    dead: Codec,
    make: Callable[[Stores], Stage],
    name: str = "",
) -> tuple[Play, Play]:
    """A history with its restarts, and in one life, each on a store of its own; see `Kept`."""
    plays = []
    for steps in (history, without_restarts(history)):
        with tempfile.TemporaryDirectory() as folder:
            life = Kept(task, dead, Path(folder), make, name)
            try:
                for step in steps:
                    life.play.step(step)
            finally:
                life.close()
        plays.append(life.play)
    return plays[0], plays[1]
