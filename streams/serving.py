"""Serving: validate ► gate ► route ► infer, over a batch of requests."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from prometheus_client import Counter, Histogram

from schemas.codec import MAX_ID_BYTES, Batch, Codec
from schemas.columns import Column, Columns, constant
from schemas.topics import BY_NAME, INPUT_MAX_BYTES
from streams.dead_letters import DeadLetter, DeadLetters, words
from streams.exploration import explored
from streams.inference import Inferred, infer, unserved
from streams.predicted import fallback, nothing_expected, predicted
from streams.rollout.losses import values_of
from streams.routing import Routing, Served, in_experiment, undrawn
from streams.task import Task
from streams.throttles import NOBODY, Throttles
from streams.transport.batch import Headers, Output, RecordBatch, Result
from streams.validate import Checked, validate
from streams.windowed.table import AS_OF

Rows = npt.NDArray[np.int64]

SERVED = Counter("weir_predictions", "Requests answered", ["status"])
STAGE_SECONDS = Histogram(
    "weir_serving_seconds",
    "Time of a stage of serving, a batch",
    ["stage"],
    buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2),
)
BATCH_RECORDS = Histogram(
    "weir_serving_batch_records",
    "Requests in a batch",
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000),
)
_TRACE = ("traceparent", "tracestate")
_MOST_TRACE_BYTES = 1024  # W3C asks for 512 at least; a longer one is not carried on
_MOST_WAIT_MS = 10 * 365 * 86_400_000
_STAGES = ("decode", "validate", "gate", "infer")


@dataclass(frozen=True, slots=True)
class _Throttled:
    """Requests of throttled clients: letters of those that are refused, and the rows of those that
    are deferred, by the reason."""

    letters: list[DeadLetter]
    deferred: dict[str, Rows]


@dataclass(slots=True)
class _Timer:
    """Microseconds by stage, of one batch; `of` begins the names under which they are exposed."""

    of: str = ""
    micros: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_STAGES, 0))
    _since: int = field(default_factory=time.perf_counter_ns)

    def lap(self, stage: str) -> None:
        now = time.perf_counter_ns()
        self.micros[stage] += (now - self._since) // 1000
        STAGE_SECONDS.labels(self.of + stage).observe((now - self._since) / 1e9)
        self._since = now

    def again(self) -> _Timer:
        """The same so far, from now on by itself: of a part of the batch."""
        return _Timer(self.of, dict(self.micros))


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a version that looks on made of requests, and in which time."""

    served: Served
    inferred: Inferred
    timer: _Timer


class Serving:
    """The stage of the serving agent.

    current: the version to use for the next batch, None before there is one; every input is
    then deferred, so that producers get the fallback and labellers the work.
    shadows: versions that are to say what they would have answered; nobody is told but the topic
    ``shadows``. They have their turn once the answers are made; these wait for them, since a batch
    is published whole.
    routing: who answers what while an experiment runs; None: the current version answers all.
    clock: milliseconds since 1970.
    windowed: the windowed features of good requests, and as of what (`streams.windowed`).
    throttles: the clients whose requests are to be refused, or to be deferred unseen. A request is
    judged by who is throttled as its batch is worked on, and answered once either way.
    """

    def __init__(
        self,
        task: Task,
        codecs: dict[str, Codec],
        current: Callable[[], Served | None],
        app_version: str,
        clock: Callable[[], int],
        windowed: Callable[[Columns, int], Columns] | None = None,
        shadows: Callable[[], Sequence[Served]] = tuple,
        throttles: Callable[[], Throttles] = lambda: NOBODY,
        routing: Callable[[], Routing | None] = lambda: None,
    ) -> None:
        self._task = task
        self._requests = codecs["request"]
        self._predictions = codecs["prediction"]
        self._deferred = codecs["deferred"]
        self._dead = DeadLetters(task.name, codecs["dead_letter"], "serving")
        self._current = current
        self._shadows = shadows
        self._throttles = throttles
        self._routing = routing
        self._app_version = app_version
        self._clock = clock
        self._windowed = windowed or _none
        self._prediction_topic = BY_NAME["predictions"].topic(task.name)
        self._shadow_topic = BY_NAME["shadows"].topic(task.name)
        self._deferred_topic = BY_NAME["deferred"].topic(task.name)
        self._paths = [f"features.{feature.name}" for feature in task.inputs]
        self._recent: tuple[Columns, int] | None = None

    def recent(self) -> tuple[Columns, int] | None:
        """The inputs of the newest batch with a good request, and how many; None before there is
        one. Any thread may read them."""
        return self._recent

    def __call__(self, batch: RecordBatch) -> Result:
        """Answer a batch of requests: one prediction each, and what else is to be published."""
        now_ms = self._clock()
        timer = _Timer()
        BATCH_RECORDS.observe(len(batch))
        decoded = self._requests.decode(batch.values, INPUT_MAX_BYTES)
        timer.lap("decode")
        checked = validate(self._task, decoded.columns, now_ms)
        throttled = self._throttled(decoded, checked, now_ms)
        timer.lap("validate")
        rows = np.flatnonzero(checked.good)
        whole = len(rows) == len(checked.good)
        good = checked.columns if whole else _take(checked.columns, rows)
        positions = decoded.index[rows]
        outputs = []
        if len(rows):
            outputs += self._answer(batch, good, positions, timer, now_ms)
        for reason, these in throttled.deferred.items():
            outputs += self._quarantine(batch, checked, decoded.index, these, reason, timer, now_ms)
        letters = self._refused(batch, decoded, checked) + throttled.letters
        if letters:
            outputs.append(self._dead.output(batch, letters, now_ms))
            outputs += self._reject(batch, letters, decoded, checked, timer, now_ms)
        return Result(batch, outputs)

    def _answer(
        self, batch: RecordBatch, good: Columns, positions: Rows, timer: _Timer, now_ms: int
    ) -> list[Output]:
        n = len(positions)
        good = {**good, **self._windowed(good, n)}
        self._recent = good, n
        routing = self._routing()
        if routing is not None:
            return self._routed(routing, batch, good, positions, timer, now_ms)
        outputs = self._given(batch, self._current(), good, positions, timer, now_ms)
        for shadow in self._shadows():
            seen = self._seen(shadow, good, n)
            outputs.append(self._shadow(seen, batch, good, positions, now_ms))
        return outputs

    def _routed(
        self,
        routing: Routing,
        batch: RecordBatch,
        good: Columns,
        positions: Rows,
        timer: _Timer,
        now_ms: int,
    ) -> list[Output]:
        """The answers of a batch while an experiment runs, by version; who looks on comes first,
        since the answers carry what it would have said."""
        outputs: list[Output] = []
        beside = {served.version.id for served in routing.beside}
        seen: dict[str, _Seen] = {}
        for shadow in self._shadows():
            id_ = shadow.version.id
            seen[id_] = self._seen(shadow, good, len(positions))
            experiment = routing.experiment if id_ in beside else ""
            outputs.append(self._shadow(seen[id_], batch, good, positions, now_ms, experiment))
        for part in routing.parts(good):
            rows, n = part.rows, len(part.rows)
            some = good if n == len(positions) else _take(good, rows)
            looked_on = []
            for other in routing.onlookers(part.served):
                known = seen.get(other.version.id)
                if known is None:
                    values = self._values(self._seen(other, some, n).inferred)
                else:
                    values = self._values(known.inferred)[rows]
                looked_on.append((other.version.id, values))
            drawn = in_experiment(routing.experiment, part.propensity, n, looked_on)
            own = timer.again()
            outputs += self._given(batch, part.served, some, positions[rows], own, now_ms, drawn)
        return outputs

    def _given(
        self,
        batch: RecordBatch,
        served: Served | None,
        good: Columns,
        positions: Rows,
        timer: _Timer,
        now_ms: int,
        drawn: Columns | None = None,
    ) -> list[Output]:
        """A version's answers. drawn: what they say of the experiment that chose the version."""
        n, share = len(positions), self._task.exploration
        free = explored(good["request_id"].values, self._task.name, share) if share else None
        inferred = infer(served.version, good, n, timer.lap, free, share) if served else unserved(n)
        defer = inferred.defer
        columns = self._columns(batch, good, positions, timer, now_ms)
        columns |= _predicted(self._task, served, inferred, free)
        if drawn is not None:
            columns |= drawn
        keys = [id_.encode() for id_ in good["request_id"].values]
        headers = _traces(batch, positions)
        SERVED.labels("answered").inc(n - int(defer.sum()))
        outputs = [
            Output(self._prediction_topic, keys, self._predictions.encode(columns, n), headers)
        ]
        if defer.any():
            SERVED.labels("deferred").inc(int(defer.sum()))
            outputs.append(self._defer(columns, keys, headers, np.flatnonzero(defer), now_ms))
        return outputs

    def _values(self, inferred: Inferred) -> npt.NDArray[np.float64]:
        return values_of(self._task.kind, self._task.classes, inferred)

    def _seen(self, served: Served, good: Columns, n: int) -> _Seen:
        """What a version that looks on makes of requests, with its own gate and timings."""
        timer = _Timer("shadow_")
        return _Seen(served, infer(served.version, good, n, timer.lap), timer)

    def _throttled(self, decoded: Batch, checked: Checked, now_ms: int) -> _Throttled:
        """Good requests of throttled clients, which are good no more."""
        found = _Throttled([], {})
        throttles = self._throttles()
        if not throttles.by_client:
            return found
        for client, rows in throttles.rows(checked.columns["entity"], now_ms).items():
            these = rows[checked.good[rows]]
            checked.good[these] = False
            throttle = throttles.by_client[client]
            words = f"client {client} is throttled: {throttle.reason}"
            if throttle.action == "quarantine":
                found.deferred[words] = these
                continue
            ids = checked.columns["request_id"].values
            advice = f"{words}; send again when it is as usual"
            found.letters.extend(
                DeadLetter(int(decoded.index[row]), "throttled", advice, ids[row]) for row in these
            )
        return found

    def _quarantine(
        self,
        batch: RecordBatch,
        checked: Checked,
        index: Rows,
        rows: Rows,
        reason: str,
        timer: _Timer,
        now_ms: int,
    ) -> list[Output]:
        """Good requests that no version looks at: the fallback for the producer, and a record for
        a person."""
        n, positions = len(rows), index[rows]
        if not n:
            return []
        good = _take(checked.columns, rows)
        good = {**good, **self._windowed(good, n)}
        columns = self._columns(batch, good, positions, timer, now_ms)
        columns |= _predicted(self._task, None, unserved(n, reason))
        keys = [id_.encode() for id_ in good["request_id"].values]
        headers = _traces(batch, positions)
        SERVED.labels("deferred").inc(n)
        return [
            Output(self._prediction_topic, keys, self._predictions.encode(columns, n), headers),
            self._defer(columns, keys, headers, np.arange(n), now_ms),
        ]

    def _shadow(
        self,
        seen: _Seen,
        batch: RecordBatch,
        good: Columns,
        positions: Rows,
        now_ms: int,
        experiment: str = "",
    ) -> Output:
        """What a shadow would have answered, as records."""
        n = len(positions)
        columns = self._columns(batch, good, positions, seen.timer, now_ms)
        columns |= _predicted(self._task, seen.served, seen.inferred)
        columns |= undrawn(n, experiment)
        keys = [id_.encode() for id_ in good["request_id"].values]
        return Output(self._shadow_topic, keys, self._predictions.encode(columns, n))

    def _columns(
        self, batch: RecordBatch, good: Columns, positions: Rows, timer: _Timer, now_ms: int
    ) -> Columns:
        """What every prediction has, whatever was decided."""
        n = len(positions)
        # A producer's clock may say anything.
        wait_us = np.clip(now_ms - batch.timestamps[positions], 0, _MOST_WAIT_MS) * 1000
        return {
            "request_id": good["request_id"],
            "event_time": good["event_time"],
            "predicted_at": constant(now_ms, n),
            "entity": good["entity"],
            "app_version": constant(self._app_version, n),
            "timings.wait_us": Column(wait_us),
            **{f"timings.{name}_us": constant(timer.micros[name], n) for name in _STAGES},
            "timings.batch_size": constant(len(batch), n),
            AS_OF: good[AS_OF],
            **{path: good[path] for path in self._paths},
            **undrawn(n),
        }

    def _defer(
        self,
        columns: Columns,
        keys: list[bytes],
        headers: dict[int, Headers],
        rows: Rows,
        now_ms: int,
    ) -> Output:
        n = len(rows)
        taken = _take(columns, rows)
        taken["deferred_at"] = constant(now_ms, n)
        taken["fallback"] = constant(fallback(self._task), n)
        return Output(
            self._deferred_topic,
            [keys[row] for row in rows],
            self._deferred.encode(taken, n),
            {i: headers[int(row)] for i, row in enumerate(rows) if int(row) in headers},
        )

    @staticmethod
    def _refused(batch: RecordBatch, decoded: Batch, checked: Checked) -> list[DeadLetter]:
        letters = [
            DeadLetter(
                f.position, f.reason, f.message, f.request_id or _id_of(batch.keys[f.position])
            )
            for f in decoded.failures
        ]
        ids = decoded.columns["request_id"].values if checked.reasons else ()
        for row, message in checked.reasons.items():
            position = int(decoded.index[row])
            if row in checked.bad_ids:
                letters.append(DeadLetter(position, "invalid-id", message))
            else:
                letters.append(DeadLetter(position, "invalid", message, ids[row]))
        return sorted(letters, key=lambda letter: letter.position)

    def _reject(
        self,
        batch: RecordBatch,
        letters: list[DeadLetter],
        decoded: Batch,
        checked: Checked,
        timer: _Timer,
        now_ms: int,
    ) -> list[Output]:
        """Tell the producers of refused requests, where the request id could be read."""
        told = [letter for letter in letters if letter.request_id]
        if not told:
            return []
        n = len(told)
        positions = np.array([letter.position for letter in told], np.int64)
        times = batch.timestamps[positions].copy()
        rows = {int(position): row for row, position in enumerate(decoded.index)}
        for i, letter in enumerate(told):
            row = rows.get(letter.position)
            if row is not None and row not in checked.bad_times:
                times[i] = decoded.columns["event_time"].values[row]
        # A refused client's requests are counted as its own: by that it is known when they end.
        entities = np.empty(n, object)
        for i, letter in enumerate(told):
            if letter.reason == "throttled":
                row = rows[letter.position]
                entities[i] = decoded.columns["entity"].values[row]
        ids = np.empty(n, object)
        ids[:] = [letter.request_id for letter in told]
        reasons = np.empty(n, object)
        reasons[:] = [words(f"{letter.reason}: {letter.message}") for letter in told]
        good: Columns = {
            "request_id": Column(ids),
            "event_time": Column(times),
            "entity": Column(entities, np.array([entity is not None for entity in entities], bool)),
            **{path: constant(None, n) for path in self._paths},
            AS_OF: constant("", n),
        }
        columns = self._columns(batch, good, positions, timer, now_ms)
        columns |= {
            name: constant(text, n)
            for name, text in {
                "status": "rejected",
                "version": "",
                "dataset_id": "",
                "role": "none",
                "gate_decision": "none",
            }.items()
        }
        columns |= {
            name: constant(None, n)
            for name in ("answer", "probability", "gate_score", "model_propensity")
        }
        columns |= {
            "explored": constant(False, n),
            "reason": Column(reasons),
            "probabilities": Column(np.zeros((n, 0))),
            **nothing_expected(n),
            "features": Column(np.zeros(n, bool)),
        }
        SERVED.labels("rejected").inc(n)
        return [
            Output(
                self._prediction_topic,
                [id_.encode() for id_ in ids],
                self._predictions.encode(columns, n),
                _traces(batch, positions),
            )
        ]


def _predicted(
    task: Task,
    served: Served | None,
    inferred: Inferred,
    free: npt.NDArray[np.bool_] | None = None,
) -> Columns:
    if served is None:
        return predicted(task, None, "none", inferred, free)
    return predicted(task, served.version, served.role, inferred, free)


def _none(_: Columns, n: int) -> Columns:
    """A task without windowed features."""
    return {AS_OF: constant("", n)}


def _id_of(key: bytes | None) -> str | None:
    """The request id that a record's key gives, where its value gives none."""
    if not key or len(key) > MAX_ID_BYTES:
        return None
    try:
        return key.decode()
    except UnicodeDecodeError:
        return None


def _traces(batch: RecordBatch, positions: Rows) -> dict[int, Headers]:
    """The trace context of requests that have one, for what answers them."""
    if not batch.headers:
        return {}
    found = {}
    for i, position in enumerate(positions):
        kept = [
            (name, value)
            for name, value in batch.headers.get(int(position), ())
            if name in _TRACE and value is not None and len(value) <= _MOST_TRACE_BYTES
        ]
        if kept:
            found[i] = kept
    return found


def _take(columns: Columns, rows: Rows) -> Columns:
    return {path: column.take(rows) for path, column in columns.items()}
