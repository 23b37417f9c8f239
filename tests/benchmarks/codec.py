"""The columnar codec against fastavro, in one run: microseconds a record, best of several rounds.

    python -m tests.benchmarks.codec

Requests have 20 doubles; predictions are the project's own record with 20 nullable doubles, once
without a null and once with one value in ten null. fastavro's side starts and ends at dicts, as
any code around it would; ours at columns.
"""

from __future__ import annotations

import io
import json
import timeit
from collections.abc import Callable
from functools import partial
from typing import Any

import fastavro
import numpy as np

from schemas.avro_columns import RecordDecoder, RecordEncoder
from schemas.columns import Column, Columns, constant
from schemas.features import Number
from schemas.records import record_schemas

BATCHES = (1, 10, 100, 500, 2000)
ROUNDS = 5
ROUND_S = 0.05

DOUBLES = {
    "type": "record",
    "name": "Doubles",
    "fields": [{"name": f"x{i}", "type": "double"} for i in range(20)],
}


def plain(schema: Any) -> Any:
    """The schema without logical types, so that fastavro too leaves times as integers."""
    if isinstance(schema, dict):
        return {key: plain(value) for key, value in schema.items() if key != "logicalType"}
    if isinstance(schema, list):
        return [plain(part) for part in schema]
    return schema


def us_a_record(work: Callable[[], Any], n: int) -> float:
    """Best time of a few rounds, each long enough for the clock."""
    once = max(timeit.timeit(work, number=1), 1e-7)
    number = max(1, int(ROUND_S / once))
    return min(timeit.repeat(work, number=number, repeat=ROUNDS)) / number / n * 1e6


def prediction_columns(n: int, nulls: float, rng: np.random.Generator) -> Columns:
    """What serving hands over: mostly constants, a few computed columns, the features."""
    at = 1_700_000_000_000 + rng.integers(0, 10**6, n)
    ids = np.array([f"{i:08x}-{i * 7919 % 65536:04x}-4f6e-9d1b-{i:012x}" for i in range(n)], object)
    columns = {
        "request_id": Column(ids),
        "event_time": Column(at),
        "predicted_at": Column(at + 7),
        "entity": constant(None, n),
        "status": Column(np.where(rng.random(n) < 0.2, "deferred", "answered").astype(object)),
        "reason": constant(None, n),
        "answer": Column(rng.random(n) < 0.5),
        "probability": Column(rng.random(n)),
        "probabilities": Column(np.empty((n, 0))),
        "gate_decision": Column(np.where(rng.random(n) < 0.2, "defer", "admit").astype(object)),
        "gate_score": Column(rng.random(n)),
        "version": constant("flight_delay-20261121-3f9a0c1d", n),
        "role": constant("champion", n),
        "dataset_id": constant("sha256:0f343b0931126a20f133d67c2b018a3b", n),
        "app_version": constant("0.1.0+7d8d583", n),
        "timings": constant(True, n),
        "features": constant(True, n),
    }
    for i in range(20):
        valid = rng.random(n) >= nulls
        columns[f"features.x{i}"] = Column(rng.normal(size=n), None if valid.all() else valid)
    return columns


def dicts(schema: Any, columns: Columns, n: int) -> list[dict[str, Any]]:
    """The same records as fastavro wants them."""
    bodies = RecordEncoder(schema).encode(columns, n)
    return [fastavro.schemaless_reader(io.BytesIO(body), schema, None) for body in bodies]


def fastavro_read(schema: Any, bodies: list[bytes]) -> Callable[[], Any]:
    """Read each body to a dict."""
    read, stream = fastavro.schemaless_reader, io.BytesIO
    return lambda: [read(stream(body), schema, None) for body in bodies]


def fastavro_write(schema: Any, records: list[dict[str, Any]]) -> Callable[[], Any]:
    """Write each dict to bytes."""

    def work() -> list[bytes]:
        out = []
        for record in records:
            stream = io.BytesIO()
            fastavro.schemaless_writer(stream, schema, record)
            out.append(stream.getvalue())
        return out

    return work


def measure() -> dict[str, dict[int, dict[str, float]]]:
    """Task → batch size → library → µs a record."""
    rng = np.random.default_rng(7)
    features = [Number(f"x{i}", nullable=True) for i in range(20)]
    prediction: Any = record_schemas("bench", "binary", features)["prediction"]
    prediction = fastavro.parse_schema(plain(prediction))
    doubles: Any = fastavro.parse_schema(DOUBLES)
    results: dict[str, dict[int, dict[str, float]]] = {}

    ours: Callable[..., Any]

    def note(task: str, n: int, ours: Callable[..., Any], theirs: Callable[[], Any]) -> None:
        results.setdefault(task, {})[n] = {
            "weir": us_a_record(ours, n),
            "fastavro": us_a_record(theirs, n),
        }

    for n in BATCHES:
        columns = {f"x{i}": Column(rng.normal(size=n)) for i in range(20)}
        bodies = RecordEncoder(doubles).encode(columns, n)
        ours = partial(RecordDecoder(doubles).decode, bodies)
        note("decode 20 doubles", n, ours, fastavro_read(doubles, bodies))
        for nulls in (0.0, 0.1):
            some = with_timings(prediction, prediction_columns(n, nulls, rng), n, rng)
            records, kind = dicts(prediction, some, n), f"prediction, {nulls:.0%} null"
            bodies = RecordEncoder(prediction).encode(some, n)
            assert bodies == fastavro_write(prediction, records)()
            ours = partial(RecordEncoder(prediction, b"\0" * 5).encode, some, n)
            note(f"encode {kind}", n, ours, fastavro_write(prediction, records))
            ours = partial(RecordDecoder(prediction).decode, bodies)
            note(f"decode {kind}", n, ours, fastavro_read(prediction, bodies))
    return results


def with_timings(schema: Any, columns: Columns, n: int, rng: np.random.Generator) -> Columns:
    """Add the timings: whole batches share them."""
    timings = next(field["type"] for field in schema["fields"] if field["name"] == "timings")
    for i, field in enumerate(timings["fields"]):
        columns[f"timings.{field['name']}"] = constant(90 * (i + 1) + int(rng.integers(50)), n)
    return columns


if __name__ == "__main__":
    measured = measure()
    for task, sizes in measured.items():
        for n, by_library in sizes.items():
            ours, theirs = by_library["weir"], by_library["fastavro"]
            print(f"{task:28} batch {n:5}: weir {ours:7.2f} fastavro {theirs:7.2f} µs/record")
    print(json.dumps(measured))
