"""Multi-class and regression tasks through the real broker, with no change outside their files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.verify.metrics import Findings, verify
from services.verify.recount import KEY
from tests.conftest import RunningBroker
from tests.system.worker import ROOT, Bench, wait_for

pytestmark = pytest.mark.system

TASKS = {"wine": "tests/tasks/wine.py:Wine", "diabetes": "tests/tasks/diabetes.py:Diabetes"}
HOUR_MS = 3_600_000


@pytest.fixture(params=sorted(TASKS))
def bench(request: pytest.FixtureRequest, broker: RunningBroker, tmp_path: Path) -> Iterator[Bench]:
    path, _, name = TASKS[request.param].partition(":")
    bench = Bench(f"{ROOT / path}:{name}", broker.bootstrap, tmp_path)
    yield bench
    bench.close()


def metric_key(metric: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(metric[name] for name in KEY)


def pass_(done: int, of: int) -> None:
    assert done <= of


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def test_every_kind_of_task_is_answered_joined_and_measured(bench: Bench) -> None:
    version = bench.train()
    worker = bench.worker()
    worker.wait_until_ready()
    assert bench.task.history is not None
    rows = bench.task.history()
    truths = {}
    for i, row in rows.iterrows():
        features = {f.name: _plain(row[f.name]) for f in bench.task.features}
        features = {
            n: float(v) if isinstance(v, int) and not isinstance(v, bool) else v
            for n, v in features.items()
        }
        at = int(row["event_time"].timestamp() * 1000)
        id_ = f"{bench.task.name}-{i}"
        truths[id_] = _plain(row[bench.task.target.name])
        bench.send("requests", {"request_id": id_, "event_time": at, "features": features})
        bench.send("truth", {"request_id": id_, "known_at": at + HOUR_MS, "truth": truths[id_]})
    bench.flush()
    outcomes = wait_for(
        lambda: len(found := bench.records("outcomes")) >= len(truths) and found, "all outcomes"
    )
    predictions = bench.records("predictions")

    assert sorted(p["request_id"] for p in predictions) == sorted(truths)
    assert {p["version"] for p in predictions} == {version}
    # Whether a gate pays is for training to find: on a task without errors there is none.
    assert {p["status"] for p in predictions} <= {"answered", "deferred"}
    assert {o["request_id"]: o["truth"] for o in outcomes} == truths
    for prediction in predictions:
        assert bench.task.target.fits(prediction["answer"])
        if prediction["status"] == "deferred":
            assert prediction["answer"] == bench.task.fallback
        if bench.task.kind == "multiclass" and prediction["status"] == "answered":
            assert sum(prediction["probabilities"]) == pytest.approx(1)
            assert prediction["probability"] == max(prediction["probabilities"])

    scored = [o for o in outcomes if o["status"] == "answered"]

    def all_told() -> list[dict[str, Any]] | None:
        latest: dict[Any, dict[str, Any]] = {}
        for metric in bench.records("metrics"):
            if metric["segment"] == "" and metric["window"] == "tumbling_1d":
                latest[metric["window_start"], metric["version"]] = metric
        found = list(latest.values())
        return found if sum(m["scored"] for m in found) == len(scored) else None

    def all_as_recounted() -> Findings | None:
        found = verify(bench.task, bench.home, {"bootstrap.servers": bench.bootstrap}, print, pass_)
        return None if found.wrong else found

    # Groups besides all traffic may be told of a second later than it is.
    found = wait_for(all_as_recounted, "every window is what a recount gives")
    assert found.windows == len({metric_key(m) for m in bench.records("metrics")})
    metrics = all_told()
    assert metrics is not None
    assert sum(m["predictions"] for m in metrics) == len(truths)
    if bench.task.kind == "regression":
        error = sum(abs(o["answer"] - o["truth"]) for o in scored)
        assert sum(m["mae"] * m["scored"] for m in metrics if m["scored"]) == pytest.approx(error)
        values = {m["value"] for m in bench.records("metrics") if m["segment"] == "female"}
        assert values == {"true", "false"}
    else:
        right = sum(o["answer"] == o["truth"] for o in scored)
        total = sum(m["accuracy"] * m["scored"] for m in metrics if m["scored"])
        assert total == pytest.approx(right)
    assert worker.stop() == 0
