"""First records of a stage in every order: any topic first, any of them missing, restarts between.

Among them are what a control topic may hold besides: nulls, bytes, records of an unknown schema,
and records that end in the middle.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from schemas.registry import header
from streams.transport.batch import Output, RecordBatch
from tests.streams.tasks import START, batch_of, by_topic


@dataclass(frozen=True)
class Row:
    """A record as it is stored. good: whether it is Weir's."""

    value: bytes | None
    key: bytes | None = None
    at: int = START
    good: bool = True


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
    assert row.value is not None
    return Row(row.value[: len(row.value) // 2], row.key, row.at, good=False)


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

    take: what the stage makes of a batch, committed. restart: see `RESTART`.
    """

    task: str
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
            timestamps=[row.at for row in step.rows],
        )
        made = list(self.take(batch))
        dead = {int(key.rpartition(b"/")[2]) - first for key in keys(made, "dead-letters")}
        bad = {i for i, row in enumerate(step.rows) if not row.good}
        assert dead <= bad, f"what is Weir's own was set aside: {dead - bad} of {step}"
        self.outputs += made
        return made

    def of(self, topic: str) -> list[bytes]:
        """The values that were written to a topic so far."""
        return [value for _, value, _ in by_topic(self.outputs).get(topic, [])]


def keys(outputs: Sequence[Output], topic: str) -> list[bytes]:
    """The keys of what was written to a topic."""
    return [key or b"" for key, _, _ in by_topic(outputs).get(topic, [])]
