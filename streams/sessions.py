"""Takes signals in: what they say of requests whose predictions are there becomes weak labels.

A session ends when event time in the signals' own topic has passed its end. No other topic moves
that clock, so how topics take turns changes no label; and the label that was told last is the one
that the state gives (`streams.signals`), so it need not be kept to be taken back.
"""

from __future__ import annotations

from collections import Counter as Counts
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from prometheus_client import Counter

from schemas.codec import Batch
from schemas.columns import Column, Columns, constant
from streams.dead_letters import DeadLetter
from streams.join import Value, too_late
from streams.outcomes import Pair
from streams.pending import Pending
from streams.signals import (
    MOST_SIGNALS,
    Exposure,
    Signal,
    Signals,
    Weak,
    exposure,
    in_time,
    session_end,
    taken,
    weak_label,
)
from streams.task import Task
from streams.truths import Asked
from streams.weak_labels import SOURCE, USER, WeakLabels

SIGNALS = Counter("weir_signals", "Signals by what became of them", ["verdict"])


@dataclass(slots=True)
class Read:
    """What signals gave: weak outcomes to be, and what was set aside."""

    pairs: list[Pair] = field(default_factory=list)
    letters: list[DeadLetter] = field(default_factory=list)


class Sessions:
    """The sessions of a task's users, by its rules."""

    def __init__(self, task: Task, rules: WeakLabels) -> None:
        self._rules = rules
        self._horizon_ms = task.horizon_ms
        self._binary = task.kind == "binary"
        self._kinds = frozenset(rules.kinds())

    def concerned(
        self,
        pending: Pending,
        decoded: Batch,
        rows: npt.NDArray[np.int64],
        newest: int | None,
        now_ms: int,
    ) -> tuple[int | None, list[bytes]]:
        """Signals arrive: event time moves on to ``newest``.

        Returns where it stood before, and the request ids whose label that may change.
        """
        before = pending.horizon.signals
        pending.horizon.saw_signals(newest, now_ms)
        ids = [id_.encode() for id_ in decoded.columns["request_id"].values[rows]]
        return before, list(dict.fromkeys([*ids, *pending.ended(before, pending.horizon.signals)]))

    def come(
        self,
        pending: Pending,
        decoded: Batch,
        rows: npt.NDArray[np.int64],
        before: int | None,
        asked: Asked,
    ) -> Read:
        """What signals, some rows of a decoded batch, say of requests (see `concerned`).

        before: how far event time had come without them, if that is known. asked: of the requests
        concerned.
        """
        ids = asked.ids
        answers = asked.columns["answer"]
        asked_at = {
            id_: at
            for id_, at, there in zip(ids, asked.event_times.tolist(), asked.there, strict=True)
            if there
        }
        old = dict(zip(ids, pending.signals(ids), strict=True))
        new, read = dict(old), Read()
        counts: Counts[str] = Counts()
        for row, id_, signal in _signals(decoded, rows):
            if signal.kind not in self._kinds:
                counts["unused"] += 1
                continue
            pending.put_signal_index(id_, signal.at)
            if id_ in asked_at and too_late(asked_at[id_], signal.at, self._horizon_ms):
                counts["late"] += 1
                continue
            kept = taken(new[id_], signal)
            if len(kept) > MOST_SIGNALS:
                message = f"its request has {MOST_SIGNALS} signals already, and no more are taken"
                position = int(decoded.index[row])
                read.letters.append(DeadLetter(position, "invalid", message, id_.decode()))
                continue
            counts["repeated" if kept is new[id_] else "taken"] += 1
            new[id_] = kept
        now = pending.horizon.signals
        for id_, row in zip(ids, asked.rows.tolist(), strict=True):
            if new[id_] is not old[id_]:
                self._keep(pending, id_, old[id_], new[id_])
            if id_ in asked_at:
                told = weak_label(self._rules, old[id_], before)
                label = weak_label(self._rules, new[id_], now)
                if label is not None and _differ(told, label):
                    read.pairs.append(self._pair(row, answers, len(new[id_]), told, label))
        _count(counts)
        return read

    def meet(
        self,
        pending: Pending,
        waiting: Iterable[tuple[bytes, int, int, Signals]],
        answers: Column,
    ) -> list[Pair]:
        """Predictions arrive that signals have waited for.

        waiting: request id, the prediction's row in ``answers``, its event time, its signals.
        """
        pairs = []
        for id_, row, event_time, signals in waiting:
            good = in_time(signals, event_time, self._horizon_ms)
            if len(good) < len(signals):
                self._keep(pending, id_, signals, good)
                SIGNALS.labels("late").inc(len(signals) - len(good))
            label = weak_label(self._rules, good, pending.horizon.signals)
            if label is not None:
                pairs.append(self._pair(row, answers, len(good), None, label))
        return pairs

    def shown(self, signals: Signals) -> Exposure:
        """How an answer was shown, as its signals so far tell."""
        return exposure(self._rules, signals)

    def _keep(self, pending: Pending, id_: bytes, old: Signals, new: Signals) -> None:
        pending.put_signals(id_, new)
        was = session_end(self._rules, old) if old else None
        ends = session_end(self._rules, new) if new else None
        if was != ends:
            pending.move_session(id_, was, ends)

    def _pair(
        self, row: int, answers: Column, signals: int, told: Weak | None, label: Weak
    ) -> Pair:
        answer = answers.values[row]
        truth, weight = self._meaning(label, answer)
        pair = Pair(
            row,
            truth,
            label.known_at,
            SOURCE,
            # Each change comes from more signals.
            revision=signals - 1,
            label="weak",
            weight=weight,
            exposure=label.exposure,
        )
        if told is None:
            return pair
        previous, old_weight = self._meaning(told, answer)
        return pair._replace(previous=previous, previous_source=SOURCE, previous_weight=old_weight)

    def _meaning(self, label: Weak, answer: Value) -> tuple[Value, float]:
        """The truth that a label stands for, and its weight."""
        if self._rules.about == "target":
            return label.positive, label.weight
        if self._binary:
            return bool(answer) is label.positive, label.weight
        # That an answer was wrong does not tell which class is right.
        return answer, label.weight if label.positive else 0.0


def corrections(decoded: Batch, rows: npt.NDArray[np.int64]) -> Columns:
    """Truth records of signals of correction: the user's own answer, known when it was given."""
    columns = decoded.columns
    return {
        "request_id": columns["request_id"].take(rows),
        "known_at": columns["event_time"].take(rows),
        "truth": Column(columns["truth"].values[rows]),
        "source": constant(USER, len(rows)),
        "selection_probability": constant(None, len(rows)),
    }


def _signals(decoded: Batch, rows: npt.NDArray[np.int64]) -> Iterable[tuple[int, bytes, Signal]]:
    columns = decoded.columns
    fields = [_objects(columns[name], rows) for name in ("value", "position", "propensity", "role")]
    ids = columns["request_id"].values[rows]
    times = columns["event_time"].values[rows].tolist()
    kinds = columns["kind"].values[rows]
    for row, id_, *signal in zip(rows.tolist(), ids, times, kinds, *fields, strict=True):
        yield row, id_.encode(), Signal(*signal)


def _objects(column: Column, rows: npt.NDArray[np.int64]) -> list[object]:
    values: list[object] = column.values[rows].tolist()
    if column.valid is None:
        return values
    return [v if ok else None for v, ok in zip(values, column.valid[rows].tolist(), strict=True)]


def _differ(told: Weak | None, label: Weak) -> bool:
    if told is None:
        return True
    return (told.positive, told.weight, told.exposure) != (
        label.positive,
        label.weight,
        label.exposure,
    )


def _count(counts: Counts[str]) -> None:
    for verdict, number in counts.items():
        SIGNALS.labels(verdict).inc(number)
