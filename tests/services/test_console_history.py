"""What the page asks of ClickHouse: once for all, and politely while it is away."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from services.console.history import History, HistoryError
from services.console.metrics import QUERIES
from services.contract import Contract
from services.sink.database import prepare, tables_of
from tests.services.running_console import small_task
from tests.services.running_store import RunningStore

DAY_MS = 86_400_000

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStore]:
    running = RunningStore(tmp_path_factory.mktemp("store"))
    yield running
    running.stop()


@pytest.fixture
def contract() -> Contract:
    return Contract.of(small_task(), "nowhere.py:Small")


@pytest.fixture
def history(store: RunningStore, contract: Contract) -> Iterator[History]:
    made = History({"host": "127.0.0.1", "port": store.port}, contract)
    yield made
    made.close()


def asked(view: str, result: str) -> float:
    value: float = QUERIES.labels(view, result)._value.get()
    return value


async def together(history: History, n: int) -> list[Any]:
    window = history.windows("tumbling_1d", "", "")
    return await asyncio.gather(
        window,
        *(history.windows("tumbling_1d", "", "") for _ in range(n - 1)),
        return_exceptions=True,
    )


def test_many_pages_that_ask_at_once_are_one_question(
    store: RunningStore, contract: Contract, history: History
) -> None:
    prepare(store.writer(), contract.task, tables_of(contract.schemas))
    before = asked("windows", "ok")
    answers = asyncio.run(together(history, 20))
    assert len(set(answers)) == 1
    assert asked("windows", "ok") == before + 1
    assert history.state() == {"ok": True, "message": ""}


def test_tables_that_are_not_made_yet_are_no_failure(history: History) -> None:
    answers = asyncio.run(together(history, 1))
    assert b'"rows":[]' in answers[0]
    assert history.state()["ok"]


def test_nan_and_infinity_become_nothing(
    store: RunningStore, contract: Contract, history: History
) -> None:
    writer = store.writer()
    prepare(writer, contract.task, tables_of(contract.schemas))
    writer.command(
        f"INSERT INTO {contract.task}.metrics (_partition, _offset, window, version, role, "
        "segment, value, window_start, window_end, share_deferred, roc_auc) VALUES "
        "(0, 0, 'tumbling_1d', 'v1', 'champion', '', '', 0, 86400, nan, inf)"
    )
    (answer,) = asyncio.run(together(history, 1))
    assert b'"share_deferred":null' in answer
    assert b'"roc_auc":null' in answer


def test_a_store_that_is_away_is_asked_once_and_told_of(contract: Contract, tmp_path: Path) -> None:
    history = History({"host": "127.0.0.1", "port": 1}, contract)
    before = asked("windows", "failed")
    answers = asyncio.run(together(history, 20))
    assert all(isinstance(answer, HistoryError) for answer in answers)
    assert "127.0.0.1:1" in str(answers[0])
    assert asked("windows", "failed") <= before + 1
    assert not history.state()["ok"]
    assert asyncio.run(history.past(1_000, 600))["t"] == []


def test_a_window_that_the_task_does_not_have_is_refused_without_asking(history: History) -> None:
    before = asked("windows", "ok") + asked("windows", "failed")
    for window, segment in (("hourly'; DROP TABLE metrics", ""), ("tumbling_1d", "x" * 200)):
        with pytest.raises(HistoryError):
            asyncio.run(history.windows(window, segment, ""))
    assert asked("windows", "ok") + asked("windows", "failed") == before


def test_a_shadow_is_measured_on_the_requests_that_both_answered(
    store: RunningStore, contract: Contract, history: History
) -> None:
    writer = store.writer()
    prepare(writer, contract.task, tables_of(contract.schemas))
    draw = np.random.default_rng(7)
    n = 400
    truth = draw.random(n) < 0.4
    given, shadow = (np.clip(truth * 0.3 + draw.random(n) * w, 0, 1) for w in (0.6, 0.9))
    days = draw.integers(0, 3, n)
    statuses = np.where(draw.random(n) < 0.1, "deferred", "answered")
    names = ["_partition", "_offset", "request_id", "event_time", "status", "version"]
    names += ["answer", "probability"]
    outcomes, shadows = [], []
    for i in range(n):
        at = datetime.fromtimestamp((int(days[i]) * DAY_MS + i) / 1000, UTC)
        row = [0, i, f"r{i}", at]
        answered = [bool(given[i] >= 0.5), float(given[i]), bool(truth[i]), "true"]
        outcomes.append([*row, str(statuses[i]), "v2", *answered])
        shadows.append([*row, "answered", "v1", bool(shadow[i] >= 0.5), float(shadow[i])])
    database = contract.task
    writer.insert("outcomes", outcomes, column_names=[*names, "truth", "label"], database=database)
    writer.insert("shadows", shadows, column_names=names, database=database)
    rows = json.loads(asyncio.run(history.beside("tumbling_1d")))["rows"]
    assert [row["window_start"] // DAY_MS for row in rows] == [2, 1, 0]
    for row in rows:
        these = (days == row["window_start"] // DAY_MS) & (statuses == "answered")
        assert (row["version"], row["role"], row["scored"]) == ("v1", "shadow", these.sum())
        for prefix, p in (("", shadow), ("answering_", given)):
            expected = {
                "roc_auc": roc_auc_score(truth[these], p[these]),
                "accuracy": ((p[these] >= 0.5) == truth[these]).mean(),
                "log_loss": log_loss(truth[these], p[these]),
                "brier": brier_score_loss(truth[these], p[these]),
            }
            for name, value in expected.items():
                assert row[prefix + name] == pytest.approx(value, abs=1e-9), name
