"""Takes truths in: those whose prediction is there are judged, the others wait for it."""

from __future__ import annotations

from collections import Counter as Counts
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from prometheus_client import Counter

from schemas.codec import Batch, Codec
from streams.dead_letters import DeadLetter
from streams.join import MOST_TRUTHS, Held, Known, Said, Verdict, Waiting, hear, too_late
from streams.outcomes import Pair
from streams.pending import Pending
from streams.signals import Exposure
from streams.task import Task
from streams.transport.batch import RecordBatch

TRUTHS = Counter("weir_truths", "Truths by what became of them", ["verdict"])

Shown = Callable[[bytes], Exposure]
"""How the answer to a request id was shown, as far as is known."""


@dataclass(slots=True)
class Heard:
    """What truths gave: outcomes to be, truths beyond the horizon, and what was set aside."""

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
        rows: Sequence[int],
        asked: Mapping[bytes, tuple[int, int]],
        shown: Shown,
    ) -> Heard:
        """Truths arrive: some rows of a decoded batch.

        asked: of each request id whose prediction is there its row in the predictions' columns
        and its event time.
        """
        columns, heard = decoded.columns, Heard()
        ids = [id_.encode() for id_ in columns["request_id"].values[rows]]
        known: dict[bytes, Known | None] = dict(zip(ids, pending.truths(ids), strict=True))
        times = columns["known_at"].values[rows].tolist()
        truths = columns["truth"].values[rows].tolist()
        sources = columns["source"].values[rows].tolist()
        positions = decoded.index[rows]
        offsets = batch.offsets[positions].tolist()
        stamps = batch.timestamps[positions].tolist()
        counts: Counts[Verdict] = Counts()
        changed: dict[bytes, Held] = {}
        for i, (id_, position) in enumerate(zip(ids, positions.tolist(), strict=True)):
            value = batch.values[position]
            assert value is not None
            before, prediction = known[id_], asked.get(id_)
            if _records(before) >= MOST_TRUTHS:
                message = f"its request has {MOST_TRUTHS} truths already, and no more are taken"
                heard.letters.append(DeadLetter(position, "invalid", message, id_.decode()))
                continue
            if prediction is None:
                hour = pending.horizon.truth_hour(times[i])
                one = Waiting(times[i], hour, offsets[i], stamps[i], value)
                waiting = (*before, one) if isinstance(before, tuple) else (one,)
                known[id_] = waiting
                pending.put_waiting(id_, waiting)
                counts[Verdict.WAITING] += 1
                continue
            held = before if isinstance(before, Held) else _NOTHING_HELD
            row, event_time = prediction
            if too_late(event_time, times[i], self._horizon_ms):
                heard.late.append(Waiting(times[i], 0, offsets[i], stamps[i], value))
                known[id_] = changed[id_] = held.heard_more()
                counts[Verdict.LATE] += 1
                continue
            now, verdict = hear(held, Said(sources[i], times[i], truths[i]), self._rank_of)
            known[id_] = changed[id_] = now
            counts[verdict] += 1
            if now.changes > held.changes:
                heard.pairs.append(_pair(row, held.holds, now, shown(id_)))
        for id_, held in changed.items():
            pending.put_held(id_, held)
        _count(counts)
        return heard

    def meet(
        self,
        pending: Pending,
        waiting: Sequence[tuple[bytes, int, int, tuple[Waiting, ...]]],
        shown: Shown,
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
        counts: Counts[Verdict] = Counts()
        for id_, row, event_time, truths in waiting:
            held = Held()
            for truth, one in zip(truths, said, strict=False):
                if too_late(event_time, one.known_at, self._horizon_ms):
                    heard.late.append(truth)
                    held, verdict = held.heard_more(), Verdict.LATE
                else:
                    held, verdict = hear(held, one, self._rank_of)
                counts[verdict] += 1
            pending.met(id_, truths)
            pending.put_held(id_, held)
            if held.holds is not None:
                heard.pairs.append(_pair(row, None, held, shown(id_)))
        _count(counts)
        return heard

    def _rank_of(self, source: str) -> int:
        return self._rank.get(source, len(self._rank))


_NOTHING_HELD = Held()


def _records(known: Known | None) -> int:
    if known is None:
        return 0
    return known.heard if isinstance(known, Held) else len(known)


def _pair(row: int, before: Said | None, held: Held, shown: Exposure) -> Pair:
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
    return pair._replace(exposure=shown) if any(part is not None for part in shown) else pair


def _count(counts: Counts[Verdict]) -> None:
    for verdict, number in counts.items():
        TRUTHS.labels(verdict.value).inc(number)
