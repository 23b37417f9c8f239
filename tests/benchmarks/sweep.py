"""`weir bench --sweep`: what a request costs as the work grows, and when gate and cache pay.

    python -m tests.benchmarks.sweep [--json] [--report docs/performance.md]

By features, batch size and model, with and without gate and cache: the serving stage alone, from
the bytes of requests to the bytes of predictions, in this process and on one thread (decode,
validate, gate, infer, encode). Each figure is the least of several runs, in µs a request.

By partitions and by versions in service: the whole system on a broker (`sweep_system`).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from streams import Binary, Number, Task, Window
from streams.app import clock
from streams.cache import CachedVersion
from streams.codecs import codecs
from streams.frame import columns_of
from streams.routing import Served
from streams.serving import Serving
from streams.training.fitting import bare_version
from streams.transport.batch import RecordBatch
from streams.version import Version
from tests.benchmarks import report, sweep_system

FEATURES, BATCH, DEFERRED = 20, 500, 0.1
ROUNDS, SECONDS = 5, 0.2
MODELS: dict[str, Callable[[], Any]] = {
    "logistic regression": lambda: make_pipeline(StandardScaler(), LogisticRegression()),
    "boosted trees, 100": lambda: HistGradientBoostingClassifier(max_iter=100),
    "forest of 300": lambda: RandomForestClassifier(300, min_samples_leaf=5, random_state=0),
}
GATE = MODELS["logistic regression"]


@dataclass(frozen=True)
class Gate:
    """When a gate pays: it costs f a request and saves i for the share b that it defers."""

    model: str
    f_us: float
    i_us: float
    b: float
    without_us: float
    with_us: float

    @property
    def predicted_us(self) -> float:
        """What a request should cost less by the gate: b·i − f."""
        return self.b * self.i_us - self.f_us

    @property
    def measured_us(self) -> float:
        """What it does cost less."""
        return self.without_us - self.with_us


@lru_cache
def task_of(features: int) -> Task:
    """A binary task of so many doubles."""
    return Task(
        name=f"sweep_{features}",
        features=[Number(f"x{i}", low=-100, high=100) for i in range(features)],
        target=Binary("label"),
        candidates={"logistic": GATE()},
        baseline=DummyClassifier(strategy="prior"),
        fallback=False,
        horizon=timedelta(hours=1),
        windows=[Window(timedelta(minutes=1))],
        partitions=1,
    )


@lru_cache
def rows_of(features: int, n: int, seed: int) -> pd.DataFrame:
    """Rows that models are fitted and asked on."""
    values = np.random.default_rng(seed).normal(size=(n, features))
    return pd.DataFrame(values, columns=[f"x{i}" for i in range(features)])


@lru_cache
def fitted(model: str, features: int) -> Any:
    """A model of the sweep, fitted on 4,000 rows."""
    task, table = task_of(features), rows_of(features, 4000, 1)
    odds = table.to_numpy() @ np.linspace(-1, 1, features)
    label = np.random.default_rng(2).random(len(table)) < 1 / (1 + np.exp(-odds))
    frame = bare_version(task, anything()).frame(columns_of(task.features, table))
    return MODELS[model]().fit(frame, label)


def anything() -> Any:
    """Some classifier: a version is asked for its frame only."""
    return DummyClassifier().fit([[0], [1]], [False, True])


def version_of(model: str, features: int, *, gated: bool) -> Version:
    """A version as serving has it; its gate defers the share `DEFERRED`."""
    task = task_of(features)
    table = rows_of(features, 4000, 1)
    frame = bare_version(task, anything()).frame(columns_of(task.features, table))
    gate = fitted("logistic regression", features) if gated else None
    version = bare_version(task, fitted(model, features), gate, frame.head(50))
    scores = version.gate_scores(frame)
    if scores is not None:
        version.threshold = float(np.quantile(scores, 1 - DEFERRED))
    return version


def batch_of(features: int, n: int, repeats: float = 0.0, seed: int = 3) -> RecordBatch:
    """n requests, of which the share `repeats` has the features of one of ten others."""
    codec = codecs(task_of(features))["request"]
    table = rows_of(features, n, seed).to_dict("records")
    often = rows_of(features, 10, 99).to_dict("records")
    draw = np.random.default_rng(4)
    now = clock()
    values: list[bytes | None] = [
        codec.write(
            {
                "request_id": f"r{i}",
                "event_time": now,
                "features": often[i % 10] if draw.random() < repeats else row,
            }
        )
        for i, row in enumerate(table)
    ]
    keys: list[bytes | None] = [f"r{i}".encode() for i in range(n)]
    return RecordBatch("sweep", 0, np.arange(n), np.full(n, now), keys, values)


def cost_us(work: Callable[[], object], n: int) -> float:
    """µs for one of n, the least of several rounds."""
    work()
    best = float("inf")
    for _ in range(ROUNDS):
        calls, started = 0, time.perf_counter()
        while (spent := time.perf_counter() - started) < SECONDS / ROUNDS or not calls:
            work()
            calls += 1
        best = min(best, spent / calls)
    return best / n * 1e6


def stage_us(version: Version, batches: list[RecordBatch]) -> float:
    """µs a request of the serving stage, over several batches in turn."""
    task = version.task
    serving = Serving(task, codecs(task), lambda: Served(version, "champion"), "sweep", clock)
    turn = iter_forever(batches)
    return cost_us(lambda: serving(next(turn)), len(batches[0]))


def iter_forever(batches: list[RecordBatch]) -> Iterator[RecordBatch]:
    """Batches again and again."""
    while True:
        yield from batches


def gates() -> list[Gate]:
    """Each model with and without a gate."""
    found = []
    for model in MODELS:
        say(f"gate: {model}")
        plain, gated = (version_of(model, FEATURES, gated=gated) for gated in (False, True))
        task, batch = plain.task, batch_of(FEATURES, BATCH)
        frame = plain.frame(columns_of(task.features, rows_of(FEATURES, BATCH, 3)))
        scores = gated.gate_scores(frame)
        assert scores is not None
        assert gated.threshold is not None
        found.append(
            Gate(
                model,
                cost_us(lambda: gated.gate_scores(frame), BATCH),  # noqa: B023
                cost_us(lambda: plain.predict(frame), BATCH),  # noqa: B023
                float((scores >= gated.threshold).mean()),
                stage_us(plain, [batch]),
                stage_us(gated, [batch]),
            )
        )
    return found


def caches() -> list[dict[str, Any]]:
    """Each model with and without a cache, by the share of inputs that repeat."""
    found = []
    for model in MODELS:
        for repeats in (0.0, 0.5, 0.9, 1.0):
            say(f"cache: {model}, {repeats:.0%} repeat")
            version = version_of(model, FEATURES, gated=False)
            # More distinct inputs than the cache holds: only those that repeat are known.
            batches = [batch_of(FEATURES, BATCH, repeats, seed) for seed in range(8)]
            cached = CachedVersion(version, 1000)
            without, with_ = stage_us(version, batches), stage_us(cached, batches)
            found.append(
                {"model": model, "repeats": repeats, "without_us": without, "with_us": with_}
            )
    return found


def sweep() -> dict[str, Any]:
    """All of it; µs a request."""
    logistic = "logistic regression"
    by_features = {}
    for features in (5, 20, 100, 500):
        say(f"features: {features}")
        version = version_of(logistic, features, gated=True)
        by_features[features] = stage_us(version, [batch_of(features, BATCH)])
    by_batch = {}
    for n in (1, 10, 100, 500, 2000):
        say(f"batch: {n}")
        by_batch[n] = {
            model: stage_us(version_of(model, FEATURES, gated=True), [batch_of(FEATURES, n)])
            for model in MODELS
        }
    return {
        "features": by_features,
        "batch": by_batch,
        "gate": [
            {**asdict(g), "predicted_us": g.predicted_us, "measured_us": g.measured_us}
            for g in gates()
        ],
        "cache": caches(),
        **sweep_system.sweep(say),
    }


def show(found: dict[str, Any]) -> None:
    """The tables, on stdout."""
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console = Console(width=120, highlight=False, markup=False, emoji=False)
    for titles, rows in tables(found):
        table = Table(box=None, pad_edge=False, header_style="bold")
        for i, title in enumerate(titles):
            table.add_column(title, justify="right" if i else "left")
        for row in rows:
            table.add_row(*row)
        console.print(table, "")


def tables(found: dict[str, Any]) -> list[tuple[list[str], list[list[str]]]]:
    """Titles and rows of each table."""
    return [
        (
            [f"features (batches of {BATCH}, gate)", "µs/request"],
            [[f"{n:,}", f"{us:.1f}"] for n, us in found["features"].items()],
        ),
        (
            ["µs/request by batch (gate)", *MODELS],
            [
                [f"{n:,}", *(f"{by[model]:.1f}" for model in MODELS)]
                for n, by in found["batch"].items()
            ],
        ),
        (
            ["gate", "f", "i", "f/i", "b", "pays by b·i − f", "measured", "f/i < b"],
            [
                [
                    g["model"],
                    f"{g['f_us']:.2f}",
                    f"{g['i_us']:.2f}",
                    f"{g['f_us'] / g['i_us']:.3f}",
                    f"{g['b']:.2f}",
                    f"{g['predicted_us']:+.2f}",
                    f"{g['measured_us']:+.2f}",
                    "yes" if g["f_us"] / g["i_us"] < g["b"] else "no",
                ]
                for g in found["gate"]
            ],
        ),
        *sweep_system.tables(found),
        (
            ["cache", "repeat", "without", "with", "pays"],
            [
                [
                    c["model"],
                    f"{c['repeats']:.0%}",
                    f"{c['without_us']:.1f}",
                    f"{c['with_us']:.1f}",
                    "yes" if c["with_us"] < c["without_us"] else "no",
                ]
                for c in found["cache"]
            ],
        ),
    ]


@contextmanager
def one_thread() -> Iterator[None]:
    """As in a worker."""
    with threadpool_limits(limits=1):
        yield


def say(line: str) -> None:
    """Progress."""
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    """Measure and print; the last line is one JSON object."""
    parser = argparse.ArgumentParser(prog="weir bench --sweep", description=__doc__.split("\n")[0])
    parser.add_argument("--json", action="store_true", help="print the JSON object only")
    parser.add_argument("--report", type=Path, metavar="FILE", help="renew this page's figures")
    chosen = parser.parse_args()
    began = datetime.now(UTC)
    with one_thread():
        found = sweep()
    if not chosen.json:
        show(found)
    if chosen.report:
        lines = [f"Measured on {began:%Y-%m-%d %H:%M} UTC."]
        for titles, rows in tables(found):
            lines += ["", *report.markdown(titles, rows, left=1)]
        report.put(chosen.report, "sweep", "\n".join(lines))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
