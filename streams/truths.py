"""Takes truths in: those whose prediction is there are judged, the others wait for it."""

from __future__ import annotations

from collections import Counter as Counts
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from prometheus_client import Counter

from schemas.codec import Batch, Codec
from schemas.columns import Columns
from streams.dead_letters import DeadLetter
from streams.join import MOST_TRUTHS, Held, Known, Said, Verdict, Waiting, hear, too_late
from streams.outcomes import Firsts, Pair
from streams.pending import Pending
from streams.signals import Exposure
from streams.task import Task
from streams.transport.batch import RecordBatch

TRUTHS = Counter("weir_truths", "Truths by what became of them", ["verdict"])

Shown = Callable[[bytes], Exposure]
"""How the answer to a request id was shown, as far as is known."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Of n request ids: their predictions, as far as they are there.

    columns: those predictions, decoded. rows: int64 (n,), of each id its row there. there: bool
    (n,). event_times: int64 (n,), 0 where there is none. waiting: by position, the truths of ids
    whose prediction is not there.
    """

    ids: list[bytes]
    columns: Columns
    rows: npt.NDArray[np.int64]
    there: npt.NDArray[np.bool_]
    event_times: npt.NDArray[np.int64]
    waiting: Mapping[int, tuple[Waiting, ...]]


@dataclass(frozen=True, slots=True)
class _Came:
    """Truths that arrive: their columns, positions in the batch, predictions, and what is held."""

    columns: Columns
    positions: npt.NDArray[np.int64]
    asked: Asked
    held: list[Held | None]


@dataclass(slots=True)
class Heard:
    """What truths gave: outcomes to be, truths beyond the horizon, and what was set aside.

    firsts: truths that are the first of their requests, all together; pairs: any others.
    """

    firsts: Firsts | None = None
    pairs: list[Pair] = field(default_factory=list)
    late: list[Waiting] = field(default_factory=list)
    letters: list[DeadLetter] = field(default_factory=list)


class Truths:
    """The truths of a task, by its horizon and its sources' priority."""

    def __init__(self, task: Task, codec: Codec) -> None:
        self._codec = codec
        self._horizon_ms = task.horizon_ms
        self._rank = {source: rank for rank, source in enumerate(task.truth_sources)}

    def come(
        self,
        pending: Pending,
        batch: RecordBatch,
        decoded: Batch,
        rows: npt.NDArray[np.int64],
        asked: Asked,
        shown: Shown | None,
    ) -> Heard:
        """Truths arrive: some rows of a decoded batch; asked: of these rows."""
        columns = {path: column.take(rows) for path, column in decoded.columns.items()}
        held = pending.held(asked.ids)
        came = _Came(columns, decoded.index[rows], asked, held)
        first = self._firsts(came) if shown is None else np.zeros(len(rows), bool)
        heard = self._one_by_one(pending, batch, came, np.flatnonzero(~first).tolist(), shown)
        if first.any():
            some = np.flatnonzero(first)
            taken = {path: column.take(some) for path, column in columns.items()}
            pending.put_firsts(
                [asked.ids[i] for i in some.tolist()],
                taken["source"].values.tolist(),
                taken["known_at"].values.tolist(),
                taken["truth"].values.tolist(),
            )
            heard.firsts = Firsts(asked.rows[some], taken)
            TRUTHS.labels(Verdict.FIRST.value).inc(len(some))
        return heard

    def _firsts(self, came: _Came) -> npt.NDArray[np.bool_]:
        """Of which rows the truth is the only one of its request so far, and in time."""
        asked = came.asked
        known_at = came.columns["known_at"].values
        first: npt.NDArray[np.bool_] = asked.there & (
            known_at - asked.event_times <= self._horizon_ms
        )
        n = len(first)
        first &= np.fromiter((one is None for one in came.held), bool, n)
        if len(set(asked.ids)) < n:
            often = Counts(asked.ids)
            first &= np.fromiter((often[id_] == 1 for id_ in asked.ids), bool, n)
        return first

    def _one_by_one(
        self,
        pending: Pending,
        batch: RecordBatch,
        came: _Came,
        some: Sequence[int],
        shown: Shown | None,
    ) -> Heard:
        heard = Heard()
        if not some:
            return heard
        asked, columns = came.asked, came.columns
        times, truths, sources = (
            columns[name].values.tolist() for name in ("known_at", "truth", "source")
        )
        selections = _selections(columns)
        offsets = batch.offsets[came.positions].tolist()
        stamps = batch.timestamps[came.positions].tolist()
        known: dict[bytes, Known | None] = {}
        for i in some:
            known.setdefault(asked.ids[i], came.held[i] or asked.waiting.get(i))
        counts: Counts[Verdict] = Counts()
        changed: dict[bytes, Held] = {}
        for i in some:
            id_, position = asked.ids[i], int(came.positions[i])
            value = batch.values[position]
            assert value is not None
            before = known[id_]
            if _records(before) >= MOST_TRUTHS:
                message = f"its request has {MOST_TRUTHS} truths already, and no more are taken"
                heard.letters.append(DeadLetter(position, "invalid", message, id_.decode()))
                continue
            if not asked.there[i]:
                hour = pending.horizon.truth_hour(times[i])
                one = Waiting(times[i], hour, offsets[i], stamps[i], value)
                waiting = (*before, one) if isinstance(before, tuple) else (one,)
                known[id_] = waiting
                pending.put_waiting(id_, waiting)
                counts[Verdict.WAITING] += 1
                continue
            held = before if isinstance(before, Held) else _NOTHING_HELD
            if too_late(int(asked.event_times[i]), times[i], self._horizon_ms):
                heard.late.append(Waiting(times[i], 0, offsets[i], stamps[i], value))
                known[id_] = changed[id_] = held.heard_more()
                counts[Verdict.LATE] += 1
                continue
            now, verdict = hear(held, Said(sources[i], times[i], truths[i]), self._rank_of)
            known[id_] = changed[id_] = now
            counts[verdict] += 1
            if now.changes > held.changes:
                exposure = Exposure() if shown is None else shown(id_)
                # What holds now is this record's truth, so this is how its request was chosen.
                pair = _pair(int(asked.rows[i]), held.holds, now, exposure, selections[i])
                heard.pairs.append(pair)
        for id_, held in changed.items():
            pending.put_held(id_, held)
        _count(counts)
        return heard

    def meet(
        self,
        pending: Pending,
        waiting: Sequence[tuple[bytes, int, int, tuple[Waiting, ...]]],
        shown: Shown | None,
    ) -> Heard:
        """Predictions arrive that truths have waited for.

        waiting: request id, the prediction's row, its event time, and its truths as they came.
        """
        heard = Heard()
        if not waiting:
            return heard
        values = [truth.value for _, _, _, truths in waiting for truth in truths]
        decoded = self._codec.decode(values)
        if decoded.failures:
            raise ValueError(f"a waiting truth does not decode: {decoded.failures[0].message}")
        said = map(
            Said,
            decoded.columns["source"].values.tolist(),
            decoded.columns["known_at"].values.tolist(),
            decoded.columns["truth"].values.tolist(),
        )
        selections = iter(_selections(decoded.columns))
        counts: Counts[Verdict] = Counts()
        for id_, row, event_time, truths in waiting:
            held = Held()
            selection: float | None = None
            for truth, one, chosen in zip(truths, said, selections, strict=False):
                if too_late(event_time, one.known_at, self._horizon_ms):
                    heard.late.append(truth)
                    held, verdict = held.heard_more(), Verdict.LATE
                else:
                    changes = held.changes
                    held, verdict = hear(held, one, self._rank_of)
                    selection = chosen if held.changes > changes else selection
                counts[verdict] += 1
            pending.met(id_, truths)
            pending.put_held(id_, held)
            if held.holds is not None:
                exposure = Exposure() if shown is None else shown(id_)
                heard.pairs.append(_pair(row, None, held, exposure, selection))
        _count(counts)
        return heard

    def _rank_of(self, source: str) -> int:
        return self._rank.get(source, len(self._rank))


_NOTHING_HELD = Held()


def _records(known: Known | None) -> int:
    if known is None:
        return 0
    return known.heard if isinstance(known, Held) else len(known)


def _selections(columns: Columns) -> list[float | None]:
    """Of each truth the probability with which the labelling queue chose its request."""
    column = columns["selection_probability"]
    known = column.present
    return [
        value if there else None
        for value, there in zip(column.values.tolist(), known.tolist(), strict=True)
    ]


def _pair(
    row: int, before: Said | None, held: Held, shown: Exposure, selection: float | None
) -> Pair:
    now = held.holds
    assert now is not None
    if before is None:
        pair = Pair(row, now.truth, now.known_at, now.source, held.changes)
    else:
        pair = Pair(
            row,
            now.truth,
            now.known_at,
            now.source,
            held.changes,
            before.truth,
            before.source,
            previous_weight=1.0,
        )
    exposure = shown if any(part is not None for part in shown) else pair.exposure
    return pair._replace(exposure=exposure, selection=selection)


def _count(counts: Counts[Verdict]) -> None:
    for verdict, number in counts.items():
        TRUTHS.labels(verdict.value).inc(number)
