"""The dashboard for Grafana: every question that it asks is one that ClickHouse answers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.contract import Contract
from services.sink.database import prepare, tables_of
from tests.services.running_console import small_task
from tests.services.running_store import RunningStore

pytestmark = pytest.mark.system

DASHBOARD: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "infra/grafana/weir.json").read_text("utf-8")
)
VARIABLES = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStore]:
    running = RunningStore(tmp_path_factory.mktemp("store"))
    contract = Contract.of(small_task("parcels"), "parcels.py:Parcels")
    prepare(running.writer(), contract.task, tables_of(contract.schemas))
    yield running
    running.stop()


def filled(sql: str, metric: str) -> str:
    """The statement as Grafana sends it."""
    chosen = {"task": "parcels", "metric": metric, "window": "tumbling_1d"}
    sql = re.sub(r"\$\{(\w+)\}", lambda found: chosen[found[1]], sql)
    return re.sub(r"\$__timeFilter\((\w+)\)", r"\1 >= toDateTime(0) AND \1 <= now()", sql)


@pytest.mark.parametrize("panel", DASHBOARD["panels"], ids=lambda panel: panel["title"])
def test_every_panel_asks_what_the_views_answer(store: RunningStore, panel: Any) -> None:
    for metric in (option["value"] for option in VARIABLES["metric"]["options"]):
        for target in panel["targets"]:
            answer = store.reader().query(filled(target["rawSql"], metric))
            assert answer.column_names
            if panel["type"] == "timeseries":
                assert answer.column_names[0] == "time"
        if "${metric}" not in panel["targets"][0]["rawSql"]:
            break
