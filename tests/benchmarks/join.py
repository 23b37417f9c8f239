"""The join's stage with many predictions pending: its rate and its memory.

    python -m tests.benchmarks.join [--pending 10000000] [--joined 500000] [--json]

In this process and without a broker: requests go through the serving stage, its predictions through
the feedback stage and into its stores on disk, four partitions, each batch written as after its
commit. With so many pending, new requests go on coming, and for each one a truth of a request
chosen at random among the pending ones, the hardest order for a store on disk. Rates are records a
second of a stage's own time, one thread: of serving, requests; of the join, predictions while the
stores fill, then predictions and truths. Resident memory is the whole process's, its largest value.
`weir bench` measures the same of agents on a broker (`tests.benchmarks.join_agent`).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil
from threadpoolctl import threadpool_limits

from schemas.codec import Codec
from schemas.columns import Column, constant
from schemas.topics import BY_NAME
from streams.app import clock
from streams.codecs import codecs
from streams.feedback import Feedback
from streams.partitioner import partitions_of
from streams.routing import Served
from streams.serving import Serving
from streams.store import Stores
from streams.task import Task
from streams.training.fitting import bare_version
from streams.training.train import train
from streams.transport.batch import RecordBatch
from tests.benchmarks.task import NAMES, Bench, history, inputs

PENDING = 10_000_000
JOINED = 500_000
BATCH = 8000
"""Requests in a batch: what gathers in about 100 ms at the serving agent's rate."""
SPAN_MS = 1_800_000
"""Of event time, over which the pending requests are spread: less than the label horizon."""


@dataclass
class Stage:
    """Seconds that a stage has worked, and on how many records."""

    records: int = 0
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Records a second."""
        return self.records / self.seconds if self.seconds else 0.0


class Traffic:
    """Predictions as the serving stage makes them of requests, and truths of them."""

    def __init__(self, task: Task, pending: int) -> None:
        self.task = task
        self.codecs = codecs(task)
        trained = train(task, history(), "bench").contents
        version = bare_version(task, trained.model, trained.gate, trained.samples)
        version.threshold = trained.threshold
        served = Served(version, "champion")
        self._serving = Serving(task, self.codecs, lambda: served, "bench", clock)
        self._features = inputs(64 * BATCH, seed=5)
        self._start = clock() - SPAN_MS
        self._step = SPAN_MS / (2 * pending)
        self.asked = 0
        self.serving = Stage()

    def predictions(self) -> tuple[list[bytes], Sequence[bytes]]:
        """Keys and values of the predictions of the next `BATCH` requests."""
        values = self._requests()
        batch = RecordBatch(
            BY_NAME["requests"].topic(self.task.name),
            0,
            np.arange(len(values), dtype=np.int64),
            np.full(len(values), clock(), np.int64),
            [None] * len(values),
            values,
        )
        began = time.perf_counter()
        outputs = self._serving(batch).outputs
        self.serving.seconds += time.perf_counter() - began
        self.serving.records += len(values)
        return [key or b"" for key in outputs[0].keys], outputs[0].values

    def truths(self, numbers: npt.NDArray[np.int64]) -> tuple[list[bytes], Sequence[bytes]]:
        """Keys and values of truths of the requests of these numbers."""
        ids = self._ids(numbers)
        values = truth_values(self.codecs["truth"], ids, numbers % 3 == 0)
        return [id_.encode() for id_ in ids], values

    def _requests(self) -> list[bytes | None]:
        numbers = np.arange(self.asked, self.asked + BATCH)
        self.asked += BATCH
        x = self._features[(numbers[0] % (63 * BATCH)) :][:BATCH]
        columns = {
            "request_id": Column(self._ids(numbers)),
            "event_time": Column((self._start + numbers * self._step).astype(np.int64)),
            "entity": constant(None, BATCH),
            "features": constant(True, BATCH),
            **{f"features.{name}": Column(x[:, i]) for i, name in enumerate(NAMES)},
        }
        return list(self.codecs["request"].encode(columns, BATCH))

    @staticmethod
    def _ids(numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.object_]:
        ids = np.empty(len(numbers), object)
        ids[:] = [f"request-{number:012d}" for number in numbers.tolist()]
        return ids


def truth_values(
    codec: Codec, ids: npt.NDArray[np.object_], labels: npt.NDArray[np.bool_]
) -> list[bytes]:
    """Truths of requests, as a system of record would publish them now."""
    columns = {
        "request_id": Column(ids),
        "known_at": constant(clock(), len(ids)),
        "truth": Column(labels),
        "source": constant("system", len(ids)),
        "selection_probability": constant(None, len(ids)),
    }
    return codec.encode(columns, len(ids))


class Join:
    """The feedback stage on stores of its own."""

    def __init__(self, traffic: Traffic, folder: Path) -> None:
        self._task = traffic.task
        self._stores = Stores(folder)
        self._feedback = Feedback(traffic.task, traffic.codecs, self._stores, clock)
        self._offsets: dict[tuple[str, int], int] = {}
        self.resident = 0

    def take(self, name: str, keys: list[bytes], values: Sequence[bytes], into: Stage) -> None:
        """Records of a topic; the time that they take goes into a stage."""
        for batch in self._parted(name, keys, values):
            began = time.perf_counter()
            result = self._feedback(batch)
            assert result.after_commit is not None
            result.after_commit()
            into.seconds += time.perf_counter() - began
            into.records += len(batch)
        self.resident = max(self.resident, psutil.Process().memory_info().rss)

    def close(self) -> None:
        """Close the stores."""
        self._feedback.close()
        self._stores.close()

    def _parted(
        self, name: str, keys: list[bytes], values: Sequence[bytes]
    ) -> Iterator[RecordBatch]:
        """Records as the partitions of their topic have them."""
        topic = BY_NAME[name].topic(self._task.name)
        where = partitions_of(keys, self._task.partitions)
        for partition in range(self._task.partitions):
            rows = np.flatnonzero(where == partition).tolist()
            first = self._offsets.get((name, partition), 0)
            self._offsets[name, partition] = first + len(rows)
            yield RecordBatch(
                topic,
                partition,
                np.arange(first, first + len(rows), dtype=np.int64),
                np.full(len(rows), clock(), np.int64),
                [keys[row] for row in rows],
                [values[row] for row in rows],
            )


def measure(pending: int, joined: int, folder: Path) -> dict[str, Any]:
    """Fill the stores, then join; the figures."""
    traffic = Traffic(Bench, pending)
    join = Join(traffic, folder / "state")
    filling, joining = Stage(), Stage()
    before = psutil.Process().memory_info().rss
    began = time.monotonic()
    while traffic.asked < pending:
        join.take("predictions", *traffic.predictions(), filling)
        if traffic.asked % (125 * BATCH) == 0:
            say(
                f"  {traffic.asked:,} pending after {time.monotonic() - began:.0f} s: "
                f"{filling.rate:,.0f} predictions/s into the stores, "
                f"serving {traffic.serving.rate:,.0f}/s, {join.resident / 1e6:,.0f} MB resident"
            )
    filled = join.resident
    # Each request once: a truth of another that was joined before would only correct it.
    chosen = np.random.default_rng(6).permutation(pending)[:joined]
    for first in range(0, len(chosen), BATCH):
        join.take("predictions", *traffic.predictions(), joining)
        join.take("truth", *traffic.truths(chosen[first : first + BATCH]), joining)
    join.close()
    disk = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return {
        "pending": pending,
        "resident_mb": round(join.resident / 1e6),
        "resident_mb_before": round(before / 1e6),
        "resident_mb_filled": round(filled / 1e6),
        "disk_mb": round(disk / 1e6),
        "fill_records_per_s": round(filling.rate),
        "records_per_s": round(joining.rate),
        "serving_records_per_s": round(traffic.serving.rate),
    }


def run(pending: int, joined: int, where: Path | None = None) -> dict[str, Any]:
    """`measure` in a temporary folder, with the threads of a worker."""
    folder = Path(tempfile.mkdtemp(prefix="weir-join-", dir=where))
    try:
        with threadpool_limits(limits=1):
            return measure(pending, min(joined, pending), folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def say(line: str) -> None:
    """Progress."""
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pending", type=int, default=PENDING, metavar="N")
    parser.add_argument("--joined", type=int, default=JOINED, metavar="N")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="where the stores are kept")
    parser.add_argument("--json", action="store_true", help="print the JSON object only")
    chosen = parser.parse_args()
    os.environ.setdefault("WEIR_BENCH_TASK", "bench")
    figures = run(chosen.pending, chosen.joined, chosen.folder)
    if not chosen.json:
        ratio = figures["records_per_s"] / figures["serving_records_per_s"]
        print(f"{figures['pending']:,} pending, {figures['resident_mb']:,} MB resident")
        print(f"join {figures['records_per_s']:,} records/s, {ratio:.2f} of the serving stage's")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
