"""What all peers share: where to read and write, the model, Avro in and out by fastavro.

The environment says where: BENCH_BOOTSTRAP, BENCH_REQUESTS and BENCH_PREDICTIONS (topics), and
BENCH_FOLDER with request.avsc, prediction.avsc and model.joblib (scaler and logistic regression).
"""

from __future__ import annotations

import io
import json
import os
import time
from collections.abc import Iterable
from operator import itemgetter
from pathlib import Path
from typing import Any

import fastavro
import joblib
import numpy as np

BOOTSTRAP = os.environ["BENCH_BOOTSTRAP"]
REQUESTS = os.environ["BENCH_REQUESTS"]
PREDICTIONS = os.environ["BENCH_PREDICTIONS"]
FOLDER = Path(os.environ["BENCH_FOLDER"])
GROUP = f"{REQUESTS}-peer"

_request: Any = fastavro.parse_schema(json.loads((FOLDER / "request.avsc").read_text()))
_prediction: Any = fastavro.parse_schema(json.loads((FOLDER / "prediction.avsc").read_text()))
_features = next(f["type"] for f in _request["fields"] if f["name"] == "features")
_values = itemgetter(*(f["name"] for f in _features["fields"]))
_HEADER = b"\0\0\0\0\1"  # Confluent framing: a zero, the schema's id

MODEL = joblib.load(FOLDER / "model.joblib")
"""A fitted pipeline: ``predict_proba`` of an (n, 20) float64 array."""


def decode(value: bytes) -> dict[str, Any]:
    """One request."""
    stream = io.BytesIO(value)
    stream.seek(len(_HEADER))
    request: dict[str, Any] = fastavro.schemaless_reader(stream, _request, None)
    return request


def encode(request: dict[str, Any], probability: float) -> bytes:
    """One prediction."""
    out = io.BytesIO()
    out.write(_HEADER)
    record = {
        "request_id": request["request_id"],
        "event_time": request["event_time"],
        "predicted_at": time.time_ns() // 1_000_000,
        "answer": probability >= 0.5,
        "probability": probability,
        "version": "logistic-1",
    }
    fastavro.schemaless_writer(out, _prediction, record)
    return out.getvalue()


def predict(requests: Iterable[dict[str, Any]]) -> list[float]:
    """The probability of true for each request, in one call of the model."""
    x = np.array([_values(request["features"]) for request in requests])
    probabilities: list[float] = MODEL.predict_proba(x)[:, 1].tolist()
    return probabilities
