"""Feedback: predictions, truths and signals of one partition in, outcomes out."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from prometheus_client import Counter

from schemas.codec import MAX_ID_BYTES, Codec
from schemas.columns import Column, Columns, constant
from schemas.topics import BY_NAME
from streams.dead_letters import DeadLetter, DeadLetters
from streams.join import KnownTruth, Verdict, judge, too_late
from streams.partitioner import partitions_of
from streams.store import Store, Stores
from streams.task import Task
from streams.transport.batch import Output, RecordBatch, Result

STAGE = "feedback"
HOUR_MS = 3_600_000
REROUTED = "weir-rerouted"

TRUTHS = Counter("weir_truths", "Truths by what became of them", ["verdict"])
EXPIRED = Counter("weir_expired", "Entries that left the join at the label horizon", ["kind"])

# Keys of the store: a prediction, a truth, the index by which they leave, the watermark.
_PREDICTION, _TRUTH, _INDEX, _WATERMARK = b"p", b"t", b"x", b"w"
_FIRST_HOUR = -(1 << 62)
_REJECTED = b""  # stands for a rejected request's prediction: its truth makes no outcome


@dataclass(slots=True)
class _Joined:
    """Pairs that meet in one batch, as rows of outcomes to be."""

    predictions: list[bytes]
    truths: list[KnownTruth]
    previous: list[bytes | None]

    def add(self, prediction: bytes, truth: KnownTruth, previous: bytes | None = None) -> None:
        self.predictions.append(prediction)
        self.truths.append(truth)
        self.previous.append(previous)


class Feedback:
    """The stage of the feedback agent; it keeps one store a partition."""

    def __init__(
        self, task: Task, codecs: dict[str, Codec], stores: Stores, clock: Callable[[], int]
    ) -> None:
        self._task = task
        self._stores = stores
        self._clock = clock
        self._predictions = codecs["prediction"]
        self._truths = codecs["truth"]
        self._signals = codecs["signal"]
        self._outcomes = codecs["outcome"]
        self._dead = DeadLetters(task.name, codecs["dead_letter"], STAGE)
        self._topic = {name: BY_NAME[name].topic(task.name) for name in BY_NAME}
        self._handlers = {
            self._topic["predictions"]: self._on_predictions,
            self._topic["truth"]: self._on_truths,
            self._topic["signals"]: self._on_signals,
        }
        self._watermarks: dict[int, int] = {}

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics that the agent reads."""
        return tuple(self._handlers)

    def close(self) -> None:
        """Forget what was read of stores that are closed."""
        self._watermarks.clear()

    def __call__(self, batch: RecordBatch) -> Result:
        """Join one batch; the state changes with it."""
        store = self._stores.get(STAGE, batch.partition)
        outputs = self._handlers[batch.topic](batch, store)
        return Result(batch, outputs, store.seal({batch.topic: batch.next_offset}))

    def _on_predictions(self, batch: RecordBatch, store: Store) -> list[Output]:
        decoded = self._predictions.decode(batch.values)
        letters = [DeadLetter(f.position, f.reason, f.message) for f in decoded.failures]
        ids = [id_.encode() for id_ in decoded.columns["request_id"].values]
        known = store.get_many([_PREDICTION + id_ for id_ in ids])
        truths = store.get_many([_TRUTH + id_ for id_ in ids])
        times = decoded.columns["event_time"].values
        rejected = decoded.columns["status"].values == "rejected"
        joined = _Joined([], [], [])
        seen: set[bytes] = set()
        before = watermark = self._watermark(store, batch.partition)
        answered = times[~rejected]
        if len(answered) and (before is None or answered.max() > before):
            watermark = self._watermarks[batch.partition] = int(answered.max())
            store.put(_WATERMARK, struct.pack(">q", watermark))
        for row, id_ in enumerate(ids):
            # Of two predictions for one id (a producer that sent a request twice) the first
            # counts.
            if known[row] is not None or id_ in seen:
                continue
            seen.add(id_)
            value = batch.values[int(decoded.index[row])]
            assert value is not None
            store.put(_PREDICTION + id_, _REJECTED if rejected[row] else value)
            store.put(self._index(watermark, int(times[row]), _PREDICTION, id_), b"")
            raw = truths[row]
            if raw is not None and not rejected[row]:
                joined.add(value, KnownTruth.unpack(raw))
        outputs = self._outputs(batch, joined, letters)
        if watermark is not None and watermark != before:
            outputs += self._expire(store, batch.partition, before, watermark)
        return outputs

    def _on_truths(self, batch: RecordBatch, store: Store) -> list[Output]:
        decoded = self._truths.decode(batch.values)
        letters = [
            DeadLetter(f.position, f.reason, f.message, f.request_id) for f in decoded.failures
        ]
        letters += self._bad_truths(decoded.columns, decoded.index)
        bad = {letter.position for letter in letters}
        ids = [id_.encode() for id_ in decoded.columns["request_id"].values]
        away = partitions_of(ids, self._task.partitions) != batch.partition
        predictions = store.get_many([_PREDICTION + id_ for id_ in ids])
        known = dict(zip(ids, store.get_many([_TRUTH + id_ for id_ in ids]), strict=True))
        truth, known_at = decoded.columns["truth"].values, decoded.columns["known_at"].values
        joined = _Joined([], [], [])
        watermark = self._watermark(store, batch.partition)
        rerouted: list[int] = []
        for row, id_ in enumerate(ids):
            position = int(decoded.index[row])
            if position in bad:
                continue
            if away[row] and not any(k == REROUTED for k, _ in batch.headers.get(position, ())):
                rerouted.append(position)
                continue
            raw = known[id_]
            old = None if raw is None else KnownTruth.unpack(raw)
            same = old is not None and self._truths.read(old.value)["truth"] == truth[row]
            verdict = judge(old, same, int(known_at[row]))
            TRUTHS.labels(verdict.value).inc()
            if verdict in (Verdict.REPEATED, Verdict.STALE):
                continue
            value = batch.values[position]
            assert value is not None
            new = KnownTruth(
                int(known_at[row]),
                0 if old is None else old.revision + 1,
                int(batch.offsets[position]),
                int(batch.timestamps[position]),
                value,
            )
            known[id_] = new.pack()
            store.put(_TRUTH + id_, known[id_] or b"")
            store.put(self._index(watermark, new.known_at, _TRUTH, id_), b"")
            prediction = predictions[row]
            if prediction:
                joined.add(prediction, new, None if old is None else old.value)
        outputs = self._outputs(batch, joined, letters)
        if rerouted:
            outputs.append(
                _reroute(batch, rerouted, [batch.values[i] for i in rerouted], ids, decoded.index)
            )
        return outputs

    def _bad_truths(self, columns: Columns, index: np.ndarray) -> list[DeadLetter]:
        letters = []
        high = self._clock() + 24 * HOUR_MS
        rows = zip(
            columns["request_id"].values,
            columns["known_at"].values,
            columns["truth"].values,
            strict=True,
        )
        for row, (id_, known_at, truth) in enumerate(rows):
            position = int(index[row])
            size = len(id_.encode())
            if not 0 < size <= MAX_ID_BYTES:
                message = f"request_id has {size} bytes; it must have 1 to {MAX_ID_BYTES}"
                letters.append(DeadLetter(position, "invalid-id", message))
            elif not 0 <= known_at <= high:
                message = f"known_at {known_at} is not between 1970 and a day from now"
                letters.append(DeadLetter(position, "invalid", message, id_))
            elif not self._task.target.fits(
                truth.item() if isinstance(truth, np.generic) else truth
            ):
                message = f"truth {truth!r} is not a value of the {self._task.kind} target"
                letters.append(DeadLetter(position, "invalid", message, id_))
            elif self._task.kind == "regression" and not np.isfinite(truth):
                message = f"truth {truth!r} must be finite"
                letters.append(DeadLetter(position, "invalid", message, id_))
        return letters

    def _on_signals(self, batch: RecordBatch, store: Store) -> list[Output]:
        decoded = self._signals.decode(batch.values)
        letters = [
            DeadLetter(f.position, f.reason, f.message, f.request_id) for f in decoded.failures
        ]
        ids = decoded.columns["request_id"].values
        kinds = decoded.columns["kind"].values
        for row, position in enumerate(decoded.index):
            size = len(ids[row].encode())
            if not 0 < size <= MAX_ID_BYTES:
                message = f"request_id has {size} bytes; it must have 1 to {MAX_ID_BYTES}"
                letters.append(DeadLetter(int(position), "invalid-id", message))
            elif kinds[row] not in self._task.signals:
                declared = ", ".join(self._task.signals) or "none"
                message = (
                    f"kind {kinds[row][:64]!r} is not declared; the task's signals are: {declared}"
                )
                letters.append(DeadLetter(int(position), "unknown-signal", message, ids[row]))
        return self._outputs(batch, _Joined([], [], []), letters)

    def _outputs(
        self, batch: RecordBatch, joined: _Joined, letters: list[DeadLetter]
    ) -> list[Output]:
        outputs = []
        now_ms = self._clock()
        if joined.predictions:
            columns, keys, late = self._outcome_columns(joined, now_ms)
            if len(keys):
                values = self._outcomes.encode(columns, len(keys))
                outputs.append(Output(self._topic["outcomes"], keys, values))
            if late:
                outputs.append(self._dead_truths(batch.partition, late, "late-truth", now_ms))
        if letters:
            outputs.append(self._dead.output(batch, letters, now_ms))
        return outputs

    def _outcome_columns(
        self, joined: _Joined, now_ms: int
    ) -> tuple[Columns, list[bytes], list[KnownTruth]]:
        """Outcomes of the pairs, and the truths that came after the horizon."""
        decoded = self._predictions.decode(joined.predictions)
        if decoded.failures:
            raise ValueError(f"a pending prediction does not decode: {decoded.failures[0].message}")
        times = decoded.columns["event_time"].values
        late_rows = [
            row
            for row, truth in enumerate(joined.truths)
            if too_late(int(times[row]), truth.known_at, self._task.horizon_ms)
        ]
        late = [joined.truths[row] for row in late_rows]
        rows = np.setdiff1d(np.arange(len(times)), late_rows)
        truths = self._truths.decode([joined.truths[row].value for row in rows]).columns
        old = [joined.previous[row] for row in rows]
        columns = {path: column.take(rows) for path, column in decoded.columns.items()}
        n = len(rows)
        columns |= {
            "known_at": truths["known_at"],
            "joined_at": constant(now_ms, n),
            "revision": Column(np.array([joined.truths[row].revision for row in rows], np.int64)),
            "truth": truths["truth"],
            "previous_truth": self._previous(old),
            "source": truths["source"],
        }
        return columns, [id_.encode() for id_ in columns["request_id"].values], late

    def _previous(self, old: list[bytes | None]) -> Column:
        n = len(old)
        valid = np.array([value is not None for value in old], bool)
        if not valid.any():
            return constant(None, n)
        truths = self._truths.decode([v for v in old if v is not None]).columns["truth"].values
        values = np.zeros(n, truths.dtype)
        values[valid] = truths
        return Column(values, valid)

    def _dead_truths(
        self, partition: int, truths: list[KnownTruth], reason: str, now_ms: int
    ) -> Output:
        """Dead letters of truths that were held for a while: they name their own records."""
        ids = [self._truths.read(truth.value)["request_id"] for truth in truths]
        origin = RecordBatch(
            self._topic["truth"],
            partition,
            np.array([truth.offset for truth in truths], np.int64),
            np.array([truth.record_time for truth in truths], np.int64),
            [id_.encode() for id_ in ids],
            [truth.value for truth in truths],
        )
        words = {
            "late-truth": "known more than the label horizon ({h}) after its request",
            "unknown-request": "no prediction for this request id came within the horizon ({h})",
        }
        message = words[reason].format(h=self._task.horizon)
        letters = [DeadLetter(i, reason, message, id_) for i, id_ in enumerate(ids)]
        return self._dead.output(origin, letters, now_ms)

    def _watermark(self, store: Store, partition: int) -> int | None:
        """The newest event time of the partition's predictions; None before there is one."""
        if partition not in self._watermarks:
            raw = store.get_many([_WATERMARK])[0]
            if raw is None:
                return None
            self._watermarks[partition] = struct.unpack(">q", raw)[0]
        return self._watermarks[partition]

    def _index(self, watermark: int | None, time_ms: int, kind: bytes, id_: bytes) -> bytes:
        """The key by which an entry leaves: in the hour that its time passes the horizon.

        One that is past it when it arrives leaves with the next hour that does.
        """
        hour = time_ms // HOUR_MS
        if watermark is not None:
            hour = max(hour, (watermark - self._task.horizon_ms) // HOUR_MS)
        return _bucket(hour) + kind + id_

    def _expire(self, store: Store, partition: int, before: int | None, now: int) -> list[Output]:
        """Let go of what is past the horizon, each time event time enters a new hour."""
        last = (now - self._task.horizon_ms) // HOUR_MS
        first = _FIRST_HOUR if before is None else (before - self._task.horizon_ms) // HOUR_MS
        if last <= first:
            return []
        orphans = []
        for key, _ in store.scan(_bucket(first), _bucket(last)):
            kind, id_ = key[9:10], key[10:]
            store.delete(key)
            EXPIRED.labels("prediction" if kind == _PREDICTION else "truth").inc()
            if kind == _PREDICTION:
                store.delete(_PREDICTION + id_)
                store.delete(_TRUTH + id_)
                continue
            prediction, truth = store.get_many([_PREDICTION + id_, _TRUTH + id_])
            if prediction is None and truth is not None:
                store.delete(_TRUTH + id_)
                orphans.append(KnownTruth.unpack(truth))
        if not orphans:
            return []
        return [self._dead_truths(partition, orphans, "unknown-request", self._clock())]


def _bucket(hour: int) -> bytes:
    # Shifted so that hours before 1970 sort before later ones.
    return _INDEX + struct.pack(">Q", hour - _FIRST_HOUR)


def _reroute(
    batch: RecordBatch,
    positions: list[int],
    values: list[bytes | None],
    ids: list[bytes],
    index: np.ndarray,
) -> Output:
    """Truths that a client put elsewhere, on their way to the partition of their prediction."""
    id_at = {int(position): id_ for position, id_ in zip(index, ids, strict=True)}
    return Output(
        batch.topic,
        [id_at[position] for position in positions],
        [value for value in values if value is not None],
        {
            i: [*batch.headers.get(position, ()), (REROUTED, str(batch.partition).encode())]
            for i, position in enumerate(positions)
        },
    )
