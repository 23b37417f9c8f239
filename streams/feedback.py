"""Feedback: predictions, truths and signals of one partition in, outcomes out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from schemas.codec import Batch, Codec
from schemas.columns import Columns
from schemas.topics import BY_NAME, INPUT_MAX_BYTES, REROUTED
from streams.dead_letters import DeadLetter, DeadLetters
from streams.join import Waiting
from streams.labels import bad_signals, bad_truths, newest_label
from streams.outcomes import first_outcomes, outcomes, together
from streams.partitioner import partitions_of
from streams.pending import Pending
from streams.sessions import Sessions, corrections
from streams.signals import Exposure, Signals
from streams.store import Stores
from streams.task import Task
from streams.transport.batch import Output, RecordBatch, Result, all_of
from streams.truths import Asked, Heard, Truths

STAGE = "feedback"
# A record that is moved to its partition gets a header and another key, and must still fit.
MOST_MOVED_BYTES = INPUT_MAX_BYTES - 1024


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
        self._hearing = Truths(task, codecs["truth"])
        rules = task.weak_labels
        self._sessions = None if rules is None else Sessions(task, rules)
        self._correction = None if rules is None else rules.correction
        self._dead = DeadLetters(task.name, codecs["dead_letter"], STAGE)
        self._topic = {name: BY_NAME[name].topic(task.name) for name in BY_NAME}
        self._handlers = {
            self._topic["predictions"]: self._on_predictions,
            self._topic["signals"]: self._on_signals,
        }
        self._pending: dict[int, Pending] = {}

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics that the agent reads."""
        return tuple(self._topic[name] for name in ("predictions", "truth", "signals"))

    def close(self) -> None:
        """Forget what was read of stores that are closed."""
        self._pending.clear()

    def __call__(self, batch: RecordBatch) -> Result:
        """Join one batch; the state changes with it."""
        parts = batch.parts()
        pending = [self._pending_of(part.partition) for part in parts]
        outputs: list[Output] = []
        if batch.topic == self._topic["truth"]:
            outputs += self._on_truths(parts, pending)
        else:
            handle = self._handlers[batch.topic]
            for part, state in zip(parts, pending, strict=True):
                outputs += handle(part, state)
        writes = [
            self._stores.get(STAGE, part.partition).seal({batch.topic: part.next_offset})
            for part in parts
        ]
        return Result(batch, outputs, all_of(writes))

    def _pending_of(self, partition: int) -> Pending:
        pending = self._pending.get(partition)
        if pending is None:
            store = self._stores.get(STAGE, partition)
            follows = self._sessions is not None
            pending = Pending(store, self._task.horizon_ms, self._clock(), follows)
            self._pending[partition] = pending
        return pending

    def _on_predictions(self, batch: RecordBatch, pending: Pending) -> list[Output]:
        decoded = batch.decoded(self._predictions)
        columns = decoded.columns
        ids = [id_.encode() for id_ in columns["request_id"].values]
        known, waiting = pending.asked(ids)
        # Without features there is nothing that an outcome could say.
        usable = (columns["status"].values != "rejected") & columns["features"].values
        times = columns["event_time"].values
        newest, told = _newest(pending.horizon.predictions, times, usable)
        rows = _first_answers(ids, known, usable)
        for row in np.flatnonzero(~usable).tolist():
            # Its own time may be anything: it stays as long as those that came with it.
            if known[row] is None and told[row]:
                pending.put_rejected(ids[row], int(newest[row]))
        kept, values = ids, batch.values
        if len(rows) < len(batch):
            kept = [ids[row] for row in rows.tolist()]
            values = [batch.values[position] for position in decoded.index[rows].tolist()]
        if kept:
            pending.put_predictions(kept, values, times[rows])
        signals = self._signals_of(pending, kept)
        mine = set(rows.tolist()) if waiting else set()
        heard = self._hearing.meet(
            pending,
            [(ids[i], i, int(times[i]), truths) for i, truths in waiting.items() if i in mine],
            self._shown(signals),
        )
        if self._sessions is not None:
            row_of = dict(zip(kept, rows.tolist(), strict=True))
            found = [(i, row_of[i], int(times[row_of[i]]), s) for i, s in signals.items() if s]
            heard.pairs += self._sessions.meet(pending, found, columns["answer"])
        now_ms = self._clock()
        if len(ids):
            pending.horizon.saw_predictions(int(newest[-1]) if told[-1] else None, now_ms)
        outputs = self._outcomes(columns, [heard], now_ms)
        outputs += self._set_aside(batch, _failures(decoded), now_ms)
        return outputs + self._gone(batch.partition, pending, heard.late, now_ms)

    def _on_truths(self, parts: list[RecordBatch], pending: list[Pending]) -> list[Output]:
        """Truths of several partitions: their predictions are decoded, and their outcomes encoded,
        all together."""
        now_ms = self._clock()
        outputs: list[Output] = []
        arrived = []
        for batch in parts:
            decoded = batch.decoded(self._truths, INPUT_MAX_BYTES)
            letters = _failures(decoded)
            letters += bad_truths(self._task, decoded.columns, decoded.index, now_ms)
            rows, moves = self._at_home(batch, decoded, letters)
            if moves:
                outputs.append(_reroute(batch, moves))
            arrived.append((decoded, rows, letters))
        asked = self._asked(
            [
                (state, [id_.encode() for id_ in decoded.columns["request_id"].values[rows]])
                for state, (decoded, rows, _) in zip(pending, arrived, strict=True)
            ]
        )
        heard = []
        for batch, state, mine, (decoded, rows, letters) in zip(
            parts, pending, asked, arrived, strict=True
        ):
            shown = self._shown(self._signals_of(state, mine.ids))
            found = self._hearing.come(state, batch, decoded, rows, mine, shown)
            newest = newest_label(self._task, decoded.columns["known_at"].values[rows])
            state.horizon.saw_truths(newest, now_ms)
            outputs += self._set_aside(batch, letters + found.letters, now_ms)
            outputs += self._gone(batch.partition, state, found.late, now_ms)
            heard.append(found)
        return self._outcomes(asked[0].columns, heard, now_ms) + outputs

    def _on_signals(self, batch: RecordBatch, pending: Pending) -> list[Output]:
        decoded = batch.decoded(self._signals, INPUT_MAX_BYTES)
        columns, now_ms = decoded.columns, self._clock()
        letters = _failures(decoded)
        letters += bad_signals(self._task, columns, decoded.index, now_ms)
        if self._sessions is None:
            return self._set_aside(batch, letters, now_ms)
        rows, moves = self._at_home(batch, decoded, letters)
        newest = newest_label(self._task, columns["event_time"].values[rows])
        corrected = columns["kind"].values[rows] == self._correction
        others = rows[~corrected]
        before, ids = self._sessions.concerned(pending, decoded, others, newest, now_ms)
        (asked,) = self._asked([(pending, ids)])
        read = self._sessions.come(pending, decoded, others, before, asked)
        letters += read.letters
        outputs = self._outcomes(asked.columns, [Heard(pairs=read.pairs)], now_ms)
        outputs += self._set_aside(batch, letters, now_ms)
        outputs += self._gone(batch.partition, pending, [], now_ms)
        if corrected.any():
            outputs.append(self._corrected(batch, decoded, rows[corrected]))
        return [*outputs, _reroute(batch, moves)] if moves else outputs

    def _signals_of(self, pending: Pending, ids: Sequence[bytes]) -> dict[bytes, Signals]:
        if self._sessions is None:
            return {}
        return dict(zip(ids, pending.signals(ids), strict=True))

    def _shown(self, signals: Mapping[bytes, Signals]) -> Callable[[bytes], Exposure] | None:
        sessions = self._sessions
        if sessions is None:
            return None
        return lambda id_: sessions.shown(signals[id_])

    def _asked(self, wanted: Sequence[tuple[Pending, list[bytes]]]) -> list[Asked]:
        """The predictions of request ids, partition by partition; all have the same columns."""
        looked_up = [pending.asked(ids) for pending, ids in wanted]
        values = [value for found, _ in looked_up for value in found if value is not None]
        decoded = self._predictions.decode(values)
        if decoded.failures:
            raise ValueError(f"a pending prediction does not decode: {decoded.failures[0].message}")
        event_times = decoded.columns["event_time"].values
        asked = []
        begin = 0
        for (_, ids), (found, waiting) in zip(wanted, looked_up, strict=True):
            there = np.fromiter((value is not None for value in found), bool, len(ids))
            rows = begin + np.cumsum(there) - 1
            times = np.zeros(len(ids), np.int64)
            times[there] = event_times[rows[there]]
            begin += int(there.sum())
            asked.append(Asked(ids, decoded.columns, rows, there, times, waiting))
        return asked

    def _at_home(
        self, batch: RecordBatch, decoded: Batch, letters: list[DeadLetter]
    ) -> tuple[npt.NDArray[np.int64], dict[int, bytes]]:
        """The rows of a batch that are good and lie in the partition of their request.

        Also those that a client put elsewhere, by position; letters: of what is not good, to
        which those are added that are too large to be moved.
        """
        rows = np.arange(len(decoded))
        if letters:
            rows = rows[~np.isin(decoded.index, [letter.position for letter in letters])]
        ids = [id_.encode() for id_ in decoded.columns["request_id"].values[rows]]
        right = partitions_of(ids, self._task.partitions)
        moves: dict[int, bytes] = {}
        gone: set[int] = set()
        for at in np.flatnonzero(right != batch.partition).tolist():
            position = int(decoded.index[rows[at]])
            headers = batch.headers.get(position, ())
            if any(name == REROUTED for name, _ in headers):
                continue  # the topic has other partitions than the task says: it stays
            gone.add(at)
            size = len(batch.values[position] or b"") + len(ids[at])
            size += sum(len(name) + len(value or b"") for name, value in headers)
            if size <= MOST_MOVED_BYTES:
                moves[position] = ids[at]
                continue
            message = (
                f"it lies in partition {batch.partition}, its request in {right[at]}, and with "
                f"{size} bytes it is too large to be moved; send it keyed by its request id"
            )
            letters.append(DeadLetter(position, "too-large", message, ids[at].decode()))
        return np.delete(rows, list(gone)) if gone else rows, moves

    def _corrected(self, batch: RecordBatch, decoded: Batch, rows: npt.NDArray[np.int64]) -> Output:
        """Users' own answers, as truths."""
        columns = corrections(decoded, rows)
        values = self._truths.encode(columns, len(rows))
        positions = decoded.index[rows].tolist()
        headers = {i: batch.headers[p] for i, p in enumerate(positions) if p in batch.headers}
        ids = [id_.encode() for id_ in columns["request_id"].values]
        return Output(self._topic["truth"], ids, values, headers)

    def _outcomes(self, predictions: Columns, heard: Sequence[Heard], now_ms: int) -> list[Output]:
        """The outcomes of what was heard of requests whose predictions are these."""
        keys: list[bytes] = []
        values: list[bytes] = []
        parts: list[Columns] = []
        firsts = [one.firsts for one in heard if one.firsts is not None]
        pairs = [pair for one in heard for pair in one.pairs]
        if firsts:
            parts.append(first_outcomes(predictions, together(firsts), now_ms))
        if pairs:
            parts.append(outcomes(self._task.kind, predictions, pairs, now_ms))
        for columns in parts:
            ids = [id_.encode() for id_ in columns["request_id"].values]
            keys += ids
            values += self._outcome.encode(columns, len(ids))
        return [Output(self._topic["outcomes"], keys, values)] if keys else []

    def _set_aside(
        self, batch: RecordBatch, letters: Sequence[DeadLetter], now_ms: int
    ) -> list[Output]:
        return [self._dead.output(batch, letters, now_ms)] if letters else []

    def _gone(
        self, partition: int, pending: Pending, late: list[Waiting], now_ms: int
    ) -> list[Output]:
        """Dead letters of truths beyond the horizon, and of those whose prediction never came."""
        gone = {"late-truth": late, "unknown-request": pending.expire(now_ms)}
        return [
            self._dead_truths(partition, truths, reason, now_ms)
            for reason, truths in gone.items()
            if truths
        ]

    def _dead_truths(
        self, partition: int, truths: list[Waiting], reason: str, now_ms: int
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


def _first_answers(
    ids: Sequence[bytes], known: Sequence[bytes | None], usable: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int64]:
    """The rows of usable predictions of requests that have none yet.

    Of two answers to one id (a producer that sent a request twice) the first counts.
    """
    new = usable & np.fromiter((one is None for one in known), bool, len(ids))
    rows = np.flatnonzero(new)
    if len({ids[row] for row in rows.tolist()}) == len(rows):
        return rows
    first = {ids[row]: row for row in reversed(rows.tolist())}
    return np.array(sorted(first.values()), np.int64)


def _newest(
    before: int | None, times: npt.NDArray[np.int64], usable: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """The newest event time of the partition as of each row, and where it is known."""
    least = np.iinfo(np.int64).min
    newest = np.maximum.accumulate(np.where(usable, times, least))
    if before is None:
        return newest, np.logical_or.accumulate(usable)
    return np.maximum(newest, before), np.ones(len(times), bool)


def _reroute(batch: RecordBatch, moves: Mapping[int, bytes]) -> Output:
    """Misplaced records on their way to the partition of their prediction."""
    mark = (REROUTED, str(batch.partition).encode())
    return Output(
        batch.topic,
        list(moves.values()),
        [batch.values[position] or b"" for position in moves],
        {i: [*batch.headers.get(position, ()), mark] for i, position in enumerate(moves)},
    )
