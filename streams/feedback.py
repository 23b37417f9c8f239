"""Feedback: predictions, truths and signals of one partition in, outcomes out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from prometheus_client import Counter

from schemas.codec import Batch, Codec
from schemas.topics import BY_NAME, INPUT_MAX_BYTES, REROUTED
from streams.dead_letters import DeadLetter, DeadLetters
from streams.horizon import NEVER
from streams.join import MOST_TRUTHS, Chain, KnownTruth, Verdict, in_time, judge
from streams.labels import bad_signals, bad_truths, newest_truth
from streams.outcomes import Joined, Outcomes
from streams.partitioner import partitions_of
from streams.pending import Pending
from streams.store import Stores
from streams.task import Task
from streams.transport.batch import Output, RecordBatch, Result

STAGE = "feedback"
# A truth that is moved to its partition gets a header and another key, and must still fit.
MOST_MOVED_BYTES = INPUT_MAX_BYTES - 1024

TRUTHS = Counter("weir_truths", "Truths by what became of them", ["verdict"])


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
        self._outcome = codecs["outcome"]
        self._outcomes = Outcomes(codecs["prediction"], codecs["truth"], task.horizon_ms)
        self._dead = DeadLetters(task.name, codecs["dead_letter"], STAGE)
        self._topic = {name: BY_NAME[name].topic(task.name) for name in BY_NAME}
        self._handlers = {
            self._topic["predictions"]: self._on_predictions,
            self._topic["truth"]: self._on_truths,
            self._topic["signals"]: self._on_signals,
        }
        self._pending: dict[int, Pending] = {}

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics that the agent reads."""
        return tuple(self._handlers)

    def close(self) -> None:
        """Forget what was read of stores that are closed."""
        self._pending.clear()

    def __call__(self, batch: RecordBatch) -> Result:
        """Join one batch; the state changes with it."""
        store = self._stores.get(STAGE, batch.partition)
        pending = self._pending.get(batch.partition)
        if pending is None:
            pending = Pending(store, self._task.horizon_ms, self._clock())
            self._pending[batch.partition] = pending
        outputs = self._handlers[batch.topic](batch, pending)
        return Result(batch, outputs, store.seal({batch.topic: batch.next_offset}))

    def _on_predictions(self, batch: RecordBatch, pending: Pending) -> list[Output]:
        decoded = self._predictions.decode(batch.values)
        columns = decoded.columns
        ids = [id_.encode() for id_ in columns["request_id"].values]
        known, chains = pending.predictions(ids), pending.chains(ids)
        # Without features there is nothing that an outcome could say.
        usable = (columns["status"].values != "rejected") & columns["features"].values
        times = columns["event_time"].values
        newest = _newest(pending.horizon.predictions, times, usable)
        joined = Joined()
        seen: set[bytes] = set()
        for row, id_ in enumerate(ids):
            # Of two answers to one id (a producer that sent a request twice) the first counts.
            if known[row] is not None or id_ in seen:
                continue
            if not usable[row]:
                # Its own time may be anything: it stays as long as those that came with it.
                if newest[row] > NEVER:
                    pending.put_rejected(id_, int(newest[row]))
                continue
            seen.add(id_)
            value = batch.values[int(decoded.index[row])]
            assert value is not None
            pending.put_prediction(id_, value, int(times[row]))
            if chains[row]:
                on_time = in_time(chains[row], int(times[row]), self._task.horizon_ms)
                joined.late += chains[row][on_time:]
                if on_time:
                    joined.add(value, chains[row][:on_time], None)
        now_ms = self._clock()
        if len(ids):
            pending.horizon.saw_predictions(int(newest[-1]), now_ms)
        return self._outputs(batch, pending, joined, _failures(decoded), now_ms)

    def _on_truths(self, batch: RecordBatch, pending: Pending) -> list[Output]:
        decoded = self._truths.decode(batch.values, INPUT_MAX_BYTES)
        columns, now_ms = decoded.columns, self._clock()
        letters = _failures(decoded) + bad_truths(self._task, columns, decoded.index, now_ms)
        bad = {letter.position for letter in letters}
        rows = [row for row, position in enumerate(decoded.index.tolist()) if position not in bad]
        ids = [id_.encode() for id_ in columns["request_id"].values]
        moves, misplaced = self._misplaced(batch, decoded.index, ids, rows)
        letters += misplaced
        gone = moves.keys() | {letter.position for letter in misplaced}
        rows = [row for row in rows if int(decoded.index[row]) not in gone]
        joined = self._join(batch, pending, decoded, ids, rows, letters)
        newest = newest_truth(self._task, columns["known_at"].values[rows])
        pending.horizon.saw_truths(newest, now_ms)
        outputs = self._outputs(batch, pending, joined, letters, now_ms)
        return [*outputs, _reroute(batch, moves)] if moves else outputs

    def _join(
        self,
        batch: RecordBatch,
        pending: Pending,
        decoded: Batch,
        ids: list[bytes],
        rows: list[int],
        letters: list[DeadLetter],
    ) -> Joined:
        """Take in the truths of some rows; refused ones become letters."""
        wanted = [ids[row] for row in rows]
        predictions = pending.predictions(wanted)
        chains = dict(zip(wanted, pending.chains(wanted), strict=True))
        truths = decoded.columns["truth"].values.tolist()
        times = decoded.columns["known_at"].values.tolist()
        joined = Joined()
        for row, prediction in zip(rows, predictions, strict=True):
            id_, position, before = ids[row], int(decoded.index[row]), chains[ids[row]]
            value = batch.values[position]
            assert value is not None
            offset, record_time = int(batch.offsets[position]), int(batch.timestamps[position])
            new = KnownTruth(times[row], times[row], offset, record_time, value)
            chain, verdict = self._judged(before, new, truths[row])
            TRUTHS.labels(verdict.value).inc()
            if len(chain) > MOST_TRUTHS:
                message = f"its request has {MOST_TRUTHS} truths already, and no more are taken"
                letters.append(DeadLetter(position, "invalid", message, id_.decode()))
            elif chain is not before:
                chains[id_] = chain
                pending.put_chain(id_, chain)
                if prediction and len(chain) > len(before):
                    joined.add(prediction, chain, before[-1] if before else None)
        return joined

    def _judged(self, chain: Chain, new: KnownTruth, truth: Any) -> tuple[Chain, Verdict]:
        """The truths of a request after another one; the same object where nothing changes."""
        last = chain[-1] if chain else None
        same = last is not None and self._truths.read(last.value)["truth"] == truth
        verdict = judge(last, same, new.known_at)
        if verdict in (Verdict.FIRST, Verdict.CORRECTION):
            return (*chain, new), verdict
        if last is not None and verdict is Verdict.REPEATED and new.known_at > last.until:
            return (*chain[:-1], last.again(new.known_at)), verdict
        return chain, verdict

    def _misplaced(
        self,
        batch: RecordBatch,
        index: npt.NDArray[np.int64],
        ids: list[bytes],
        rows: list[int],
    ) -> tuple[dict[int, bytes], list[DeadLetter]]:
        """Truths that a client put elsewhere, by position; and those too large to be moved."""
        right = partitions_of([ids[row] for row in rows], self._task.partitions)
        moves: dict[int, bytes] = {}
        letters = []
        for at in np.flatnonzero(right != batch.partition).tolist():
            row = rows[at]
            position = int(index[row])
            headers = batch.headers.get(position, ())
            if any(name == REROUTED for name, _ in headers):
                continue  # the topic has other partitions than the task says: it stays
            size = len(batch.values[position] or b"") + len(ids[row])
            size += sum(len(name) + len(value or b"") for name, value in headers)
            if size <= MOST_MOVED_BYTES:
                moves[position] = ids[row]
                continue
            message = (
                f"it lies in partition {batch.partition}, its request in {right[at]}, and with "
                f"{size} bytes it is too large to be moved; send it keyed by its request id"
            )
            letters.append(DeadLetter(position, "too-large", message, ids[row].decode()))
        return moves, letters

    def _on_signals(self, batch: RecordBatch, pending: Pending) -> list[Output]:
        decoded = self._signals.decode(batch.values, INPUT_MAX_BYTES)
        letters = _failures(decoded) + bad_signals(self._task, decoded.columns, decoded.index)
        return [self._dead.output(batch, letters, self._clock())] if letters else []

    def _outputs(
        self,
        batch: RecordBatch,
        pending: Pending,
        joined: Joined,
        letters: list[DeadLetter],
        now_ms: int,
    ) -> list[Output]:
        outputs = []
        late = joined.late
        if len(joined):
            columns, too_late = self._outcomes.columns(joined, now_ms)
            late = late + too_late
            keys = [id_.encode() for id_ in columns["request_id"].values]
            if keys:
                values = self._outcome.encode(columns, len(keys))
                outputs.append(Output(self._topic["outcomes"], keys, values))
        if letters:
            outputs.append(self._dead.output(batch, letters, now_ms))
        gone = {"late-truth": late, "unknown-request": pending.expire(now_ms)}
        outputs += [
            self._dead_truths(batch.partition, truths, reason, now_ms)
            for reason, truths in gone.items()
            if truths
        ]
        return outputs

    def _dead_truths(
        self, partition: int, truths: list[KnownTruth], reason: str, now_ms: int
    ) -> Output:
        """Dead letters of truths that were held for a while: they name their own records."""
        truths = sorted(truths, key=lambda truth: truth.offset)
        ids = [self._truths.read(truth.value)["request_id"] for truth in truths]
        origin = RecordBatch(
            self._topic["truth"],
            partition,
            np.array([truth.offset for truth in truths], np.int64),
            np.array([truth.record_time for truth in truths], np.int64),
            [id_.encode() for id_ in ids],
            [truth.value for truth in truths],
        )
        message = _WORDS[reason].format(h=self._task.horizon)
        letters = [DeadLetter(i, reason, message, id_) for i, id_ in enumerate(ids)]
        return self._dead.output(origin, letters, now_ms)


_WORDS = {
    "late-truth": "known more than the label horizon ({h}) after its request",
    "unknown-request": "no prediction for this request id came within the horizon ({h})",
}


def _failures(decoded: Batch) -> list[DeadLetter]:
    return [DeadLetter(f.position, f.reason, f.message, f.request_id) for f in decoded.failures]


def _newest(
    before: int, times: npt.NDArray[np.int64], usable: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int64]:
    """The newest event time of the partition as of each row."""
    newest: npt.NDArray[np.int64] = np.maximum.accumulate(
        np.append(np.int64(before), np.where(usable, times, NEVER))
    )[1:]
    return newest


def _reroute(batch: RecordBatch, moves: Mapping[int, bytes]) -> Output:
    """Misplaced truths on their way to the partition of their prediction."""
    mark = (REROUTED, str(batch.partition).encode())
    return Output(
        batch.topic,
        list(moves.values()),
        [batch.values[position] or b"" for position in moves],
        {i: [*batch.headers.get(position, ()), mark] for i, position in enumerate(moves)},
    )
