"""The labelling queue: what a person is asked next, and what becomes of the answer.

It keeps nothing that must not be lost: what waits is in ClickHouse, answers are in the truth
topic, and who looks at what is in the home's notebook. `weir label` and the page each have one.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from clickhouse_connect.driver.client import Client

from services.contract import LABELLER, Contract
from services.labelling.candidates import (
    Candidates,
    Facts,
    by_id,
    candidates,
    facts,
    with_truth,
)
from services.labelling.desk import Answered, Desk, DeskError, Place
from services.labelling.onlookers import LOOK
from streams.labelling.answers import Answer
from streams.labelling.policy import Labelling
from streams.labelling.ranking import codes, rank, rate

FRESH_S = 5.0
"""The order is that of now, or of at most so long ago."""
SHEET_LEASE_MS = 24 * 3_600_000
"""Inputs that went into a file are kept from others for a day."""
KEPT = 5_000
"""Inputs whose features are remembered for an undo, or for a look at the model's answer."""


class Publishes(Protocol):
    """Stores truths; see `services.labelling.truths.Truths`."""

    def publish(self, answers: Sequence[Mapping[str, Any]]) -> None:
        """Returns when they are stored."""


@dataclass(frozen=True)
class Item:
    """An input to label. opinion: what the model says of it, which nobody is shown unasked."""

    place: Place
    features: Mapping[str, Any]
    opinion: Mapping[str, Any]

    def record(self) -> dict[str, Any]:
        """As JSON data, without the opinion."""
        return {
            "request_id": self.place.request_id,
            "event_time": self.place.event_time,
            "chosen_by": self.place.lane,
            "selection_probability": self.place.probability,
            "features": dict(self.features),
        }


@dataclass(frozen=True)
class State:
    """The queue in numbers.

    event_time: how far event time has come, milliseconds. done, left: of the budget of the
    period that runs. looked_at: inputs that people have before them.
    """

    event_time: int | None
    waiting: int
    deferred: int
    done: int
    left: int
    budget: int
    looked_at: int
    version: str
    knows_training: bool


class Queue:
    """The queue of one task; may be used by several threads.

    client: a reader of ClickHouse, asked for when it is needed. clock: milliseconds since 1970.
    """

    def __init__(
        self,
        contract: Contract,
        client: Callable[[], Client],
        desk: Desk,
        truths: Publishes,
        artifacts: Path,
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self.contract = contract
        self.policy = Labelling.of(contract.labelling)
        self._client = client
        self._desk = desk
        self._truths = truths
        self._artifacts = artifacts
        self._clock = clock
        self._lock = threading.Lock()
        self._read_at = -1e9
        self._facts = Facts()
        self._done: dict[str, float | None] = {}
        self._places: list[Place] = []
        self._items: OrderedDict[str, Item] = OrderedDict()

    def state(self) -> State:
        """The queue in numbers, of the last seconds."""
        with self._lock:
            self._refresh()
            known = self._facts
            done = len(self._done)
            return State(
                event_time=known.newest,
                waiting=known.waiting,
                deferred=known.deferred,
                done=done,
                left=max(self.policy.budget - done, 0),
                budget=self.policy.budget,
                looked_at=self._desk.looked_at(self._clock()),
                version=known.version,
                knows_training=bool(known.profile),
            )

    def next(self, person: str, n: int, lease_ms: int | None = None) -> list[Item]:
        """The next n inputs for this person, who has them for the lease; fewer where fewer are."""
        with self._lock:
            self._refresh()
            now = self._clock()
            until = now + (self.policy.lease_ms if lease_ms is None else lease_ms)
            given = self._desk.lease(self._places, person, n, now, until, self.policy.skips)
            return [self._items[place.request_id] for place in given]

    def peek(self, n: int) -> list[Item]:
        """The first n inputs of the queue, whoever looks at them."""
        with self._lock:
            self._refresh()
            return [self._items[place.request_id] for place in self._places[:n]]

    def answer(self, person: str, request_id: str, answer: Answer) -> None:
        """Take a person's answer. DeskError where it cannot count, TruthError where not stored.

        1. The input is this person's, and still within the label horizon. 2. The truth is stored
        in the topic. 3. The desk notes it. A crash after 2 leaves the input to this person until
        the lease ends; by then the truth is in ClickHouse, and it leaves the queue.
        """
        with self._lock:
            self._refresh()
            place, before = self._desk.claim(request_id, person, self._clock())
            place = place or (Place(request_id, before.event_time) if before else None)
            place = place or self._looked_up(request_id)
            known_at = self._known_at(place)
            if before:
                known_at = max(known_at, before.known_at + 1)
            self._send(person, [(place, known_at, answer)])

    def answer_all(
        self, person: str, answers: Mapping[str, Answer], chosen: Mapping[str, float | None]
    ) -> Mapping[str, str]:
        """Take many answers, such as those of a file; returns why some were left out, by id.

        chosen: with which probability the queue chose each.
        """
        with self._lock:
            self._refresh()
            ids = list(answers)
            known = with_truth(self._client(), ids)
            found = by_id(self._client(), self.contract, ids)
            times = dict(zip(found.ids, map(int, found.rows["event_ms"]), strict=True))
            out: dict[str, str] = {}
            taken: list[tuple[Place, int, Answer]] = []
            for id_, answer in answers.items():
                if id_ not in times:
                    out[id_] = "no prediction is known for it"
                    continue
                if id_ in known:
                    out[id_] = "its truth is known already"
                    continue
                try:
                    self._desk.claim(id_, person, self._clock())
                    place = Place(id_, times[id_], chosen.get(id_), _lane(chosen.get(id_)))
                    taken.append((place, self._known_at(place), answer))
                except DeskError as error:
                    out[id_] = str(error)
            self._send(person, taken)
            return out

    def skip(self, person: str, request_id: str) -> None:
        """This person cannot tell."""
        with self._lock:
            place, _ = self._desk.claim(request_id, person, self._clock())
            if place is None:
                raise DeskError(f"{request_id} is not before you any more")
            self._desk.skip(place, person, self._clock())

    def undo(self, person: str) -> Item | None:
        """What this person answered or skipped last, before them again; None: nothing."""
        with self._lock:
            place = self._desk.undo(person, self._clock() + self.policy.lease_ms)
            if place is None:
                return None
            self._done.pop(place.request_id, None)
            item = self._items.get(place.request_id)
            if item is None:
                found = by_id(self._client(), self.contract, [place.request_id])
                if not len(found):
                    raise DeskError(f"{place.request_id} is not in the table of predictions")
                item = _item(found, 0, place)
            self._keep(item)
            return item

    def opinion(self, request_id: str) -> Mapping[str, Any]:
        """What the model says of an input that somebody was given."""
        with self._lock:
            item = self._items.get(request_id)
        if item is None:
            raise DeskError(f"{request_id} was given to nobody lately")
        return item.opinion

    def release(self, person: str) -> None:
        """This person stops."""
        self._desk.release(person)

    def _send(self, person: str, answers: Sequence[tuple[Place, int, Answer]]) -> None:
        self._truths.publish(
            [
                {
                    "request_id": place.request_id,
                    "known_at": known_at,
                    "truth": float(answer) if self.contract.kind == "regression" else answer,
                    "selection_probability": place.probability,
                }
                for place, known_at, answer in answers
            ]
        )
        at = self._clock()
        self._desk.answered(
            Answered(
                place.request_id,
                person,
                at,
                place.event_time,
                known_at,
                answer,
                place.probability,
                place.lane,
            )
            for place, known_at, answer in answers
        )
        self._done |= {place.request_id: place.probability for place, _, _ in answers}

    def _known_at(self, place: Place) -> int:
        """When an answer of now became known, in the task's time: how far event time has come.

        The clock would be wrong where event time is replayed, or simply behind: an answer would
        count as later than the label horizon. DeskError where it really is.
        """
        newest = max(self._facts.newest or 0, place.event_time)
        if newest - place.event_time > self.contract.horizon_ms:
            raise DeskError(f"{place.request_id} is past the label horizon: no answer counts now")
        return newest

    def _looked_up(self, request_id: str) -> Place:
        found = by_id(self._client(), self.contract, [request_id])
        if not len(found):
            raise DeskError(f"no prediction is known for {request_id}")
        if with_truth(self._client(), [request_id]):
            raise DeskError(f"the truth of {request_id} is known already")
        return Place(request_id, int(found.rows["event_ms"][0]))

    def _refresh(self) -> None:
        """Rank anew where the order is old or at its end. What answers take is left out."""
        if not self.contract.labelling.get("accepted", True):
            raise DeskError(
                f"the task's truth_sources name no {LABELLER!r}: answers of people would be refused"
            )
        if time.monotonic() - self._read_at < FRESH_S:
            return
        client = self._client()
        known = facts(client, self.contract, self.policy, self._artifacts)
        self._facts, self._done = known, {}
        self._places = []
        if known.newest is not None:
            begins = known.newest // self.policy.per_ms * self.policy.per_ms
            recent = self._desk.answers(begins, begins + self.policy.per_ms)
            self._done = {**known.labelled, **{a.request_id: a.probability for a in recent}}
            self._rank(client, known)
            self._desk.forget(known.newest - 2 * self.contract.horizon_ms)
        self._read_at = time.monotonic()

    def _rank(self, client: Client, known: Facts) -> None:
        found = candidates(
            client, self.contract, self.policy, known, rate(self.policy, known.inputs)
        )
        found = found.without(self._desk.settled(found.ids, self.policy.skips))
        if not len(found):
            return
        by_chance = sum(_lane(probability) == "chance" for probability in self._done.values())
        picks = rank(
            self.policy,
            found.value(self.policy, known.profile),
            found.draws,
            codes(found.columns, found.names),
            known.inputs,
            len(self._done),
            by_chance,
        )
        for pick in picks:
            id_, at = found.ids[pick.row], int(found.rows["event_ms"][pick.row])
            place = Place(id_, at, pick.probability, pick.lane)
            self._places.append(place)
            self._keep(_item(found, pick.row, place))

    def _keep(self, item: Item) -> None:
        self._items[item.place.request_id] = item
        self._items.move_to_end(item.place.request_id)
        while len(self._items) > max(KEPT, 2 * self.policy.budget):
            self._items.popitem(last=False)


def _item(found: Candidates, row: int, place: Place) -> Item:
    opinion = {name: found.rows[name][row] for name in (*LOOK, "gate_score", "version")}
    return Item(place, found.features(row), opinion)


def _lane(probability: float | None) -> Any:
    """Which part of the budget an answer came from, by the probability of its choice."""
    return None if probability is None else "value" if probability >= 1 else "chance"
