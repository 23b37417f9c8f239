"""What looking for drift costs beside serving, by the stages' own CPU time.

    python -m tests.benchmarks.drift_stages [--requests 40000]

In this process, without a broker, one thread: the same requests through the serving stage, then its
predictions and their outcomes through the profile stage and the profiles through the drift stage,
in turns, so that whatever else the machine does slows all of them alike. Serving gets batches as
large as those of its answers are, which favours nobody: both cost less a record the larger they
are. What the profile stage reads, the metrics' stages read as well, so decoding is no part of it.
The last line is one JSON object: {batch size: {"serving_us", "profile_us", "drift_us": CPU time a
request, "drift_of_serving": share}}.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from schemas.columns import Column, constant
from schemas.topics import BY_NAME
from streams.app import clock
from streams.bundle import load_bundle, save_bundle
from streams.codecs import codecs
from streams.drifts import Drifts
from streams.feedback import Feedback
from streams.profiles import Profiles
from streams.references import References
from streams.routing import Served
from streams.serving import Serving
from streams.store import Stores
from streams.training.train import train
from streams.transport.batch import RecordBatch, Result
from tests.benchmarks.systems import KEY
from tests.benchmarks.task import NAMES, Bench, history, inputs

SIZES = (50, 125, 500)
"""Records of a batch: what comes of one of four partitions in 100 ms at 2,000, 5,000 and 20,000
requests a second."""


class Worker:
    """The stages of a worker that drift has to do with."""

    def __init__(self, folder: Path) -> None:
        self._task = Bench
        self._codecs = known = codecs(Bench)
        contents = train(Bench, history(), "bench").contents
        bundle = save_bundle(folder / "artifacts", Bench, contents, KEY)
        served = Served(load_bundle(bundle.folder, Bench, KEY), "champion")
        stores = Stores(folder / "state")
        references = References(Bench, folder / "artifacts", KEY, clock)
        self._serving = Serving(Bench, known, lambda: served, "bench", clock)
        self._feedback = Feedback(Bench, known, stores, clock)
        self._profiles = Profiles(Bench, known, references, clock)
        self._drifts = Drifts(Bench, known, references, stores, clock)
        self._features = inputs(20_000, seed=5)
        self._asked = 0
        self._offsets: dict[str, int] = {}
        self.spent = {"serving": 0.0, "profile": 0.0, "drift": 0.0}

    def take(self, size: int) -> None:
        """Requests of one batch, and all that drift has to do with them and their truths."""
        known = self._codecs
        requests = self._batch("requests", self._requests(size))
        predictions = self._made("predictions", self._timed("serving", self._serving, requests))
        self._feedback(predictions)
        columns = predictions.decoded(known["prediction"]).columns
        truths = known["truth"].encode(
            {
                "request_id": columns["request_id"],
                "known_at": constant(clock(), size),
                "truth": Column(np.arange(size) % 3 == 0),
                "source": constant("system", size),
                "selection_probability": constant(None, size),
            },
            size,
        )
        joined = self._feedback(self._batch("truth", list(truths), predictions.keys))
        outcomes = self._made("outcomes", joined)
        outcomes.decoded(known["outcome"])
        for batch in (predictions, outcomes):
            profiles = self._made("profiles", self._timed("profile", self._profiles, batch))
            result = self._timed("drift", self._drifts, profiles)
            if result.after_commit is not None:
                began = time.thread_time()
                result.after_commit()
                self.spent["drift"] += time.thread_time() - began

    def _timed(
        self, stage: str, work: Callable[[RecordBatch], Result], batch: RecordBatch
    ) -> Result:
        began = time.thread_time()
        result = work(batch)
        self.spent[stage] += time.thread_time() - began
        return result

    def _requests(self, size: int) -> list[bytes | None]:
        first = self._asked
        self._asked += size
        x = self._features[first % (len(self._features) - size) :][:size]
        ids = np.empty(size, object)
        ids[:] = [f"request-{number}" for number in range(first, first + size)]
        columns = {
            "request_id": Column(ids),
            "event_time": constant(clock(), size),
            "entity": constant(None, size),
            "features": constant(True, size),
            **{f"features.{name}": Column(x[:, i]) for i, name in enumerate(NAMES)},
        }
        return list(self._codecs["request"].encode(columns, size))

    def _made(self, name: str, result: Result) -> RecordBatch:
        """What a stage published on a topic, as a batch of one partition."""
        topic = BY_NAME[name].topic(self._task.name)
        (output,) = [one for one in result.outputs if one.topic == topic]
        return self._batch(name, list(output.values), output.keys)

    def _batch(
        self, name: str, values: list[bytes | None], keys: Sequence[bytes | None] | None = None
    ) -> RecordBatch:
        n, first = len(values), self._offsets.get(name, 0)
        self._offsets[name] = first + n
        return RecordBatch(
            BY_NAME[name].topic(self._task.name),
            0,
            np.arange(first, first + n, dtype=np.int64),
            np.full(n, clock(), np.int64),
            list(keys) if keys is not None else [None] * n,
            values,
        )


def measure(requests: int, folder: Path) -> dict[int, dict[str, float]]:
    """By batch size: µs a request of each stage, and drift's share of serving."""
    found = {}
    for size in SIZES:
        worker = Worker(folder / str(size))
        for warm in (True, False):
            worker.spent = dict.fromkeys(worker.spent, 0.0)
            for _ in range(max(requests // size // (5 if warm else 1), 1)):
                worker.take(size)
        count = max(requests // size, 1) * size
        each = {f"{name}_us": spent / count * 1e6 for name, spent in worker.spent.items()}
        share = (each["profile_us"] + each["drift_us"]) / each["serving_us"]
        found[size] = {**each, "drift_of_serving": share}
    return {
        size: {name: round(value, 3) for name, value in one.items()} for size, one in found.items()
    }


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--requests", type=int, default=40_000)
    chosen = parser.parse_args()
    threadpool_limits(limits=1)
    with tempfile.TemporaryDirectory(prefix="weir-drift-stages-") as folder:
        print(json.dumps(measure(chosen.requests, Path(folder))))


if __name__ == "__main__":
    main()
