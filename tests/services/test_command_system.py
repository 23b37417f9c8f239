"""A whole deployment through the command: up, use it, down."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow.parquet as pq
import pytest

from services.ports import free_port
from services.supervisor import read_run_state
from tests.conftest import PATIENCE_S
from tests.services.command_line import command, inherited_environment, weir
from tests.system.worker import wait_for

pytestmark = pytest.mark.system

START_S = 400
"""Seven processes, four of which import scikit-learn, on a machine that others use too."""


NOT_THE_BROKER = ("store", "worker", "sink", "trainer", "alerting", "console")


class Running:
    """A started deployment of the task that ``weir init`` writes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {"WEIR_HOME": str(folder / "home")}
        self._http = httpx.Client(timeout=PATIENCE_S, trust_env=False, verify=False)

    def weir(
        self, *arguments: str, timeout: float = PATIENCE_S
    ) -> subprocess.CompletedProcess[str]:
        return weir(*arguments, env=self.env, cwd=self.folder, timeout=timeout)

    def ok(self, *arguments: str, timeout: float = PATIENCE_S) -> str:
        done = self.weir(*arguments, timeout=timeout)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def health(self, name: str) -> dict[str, Any]:
        """A process's health page."""
        process = read_run_state(Path(self.env["WEIR_HOME"])).processes[name]
        found: dict[str, Any] = self._http.get(process.addresses["health"]).json()
        return found

    def wait_for_version(self) -> str:
        """Wait until the worker serves a version, which is trained at first; its id."""
        version: str = wait_for(lambda: self.health("worker").get("version"), "a version")
        return version

    def wait_for_rows(self, query: str, holds: Callable[[list[Any]], object]) -> None:
        """Wait until ClickHouse gives rows of which something holds.

        Asked without a process: one of `weir` for each look costs more than all it looks at.
        """
        store = read_run_state(Path(self.env["WEIR_HOME"])).processes["store"]
        where = {"database": "tumours", "default_format": "JSONEachRow"}

        def found() -> object:
            answer = self._http.post(store.addresses["clickhouse"], params=where, content=query)
            assert answer.status_code == 200, answer.text
            return holds([json.loads(line) for line in answer.text.splitlines()])

        wait_for(found, query)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, mlflow_home: Path) -> Iterator[Running]:
    deployment = Running(tmp_path_factory.mktemp("deployment"))
    shutil.copytree(mlflow_home / "mlflow", deployment.folder / "home" / "mlflow")
    deployment.ok("init", "tumours")
    deployment.ok("up", "--task", "tumours.py:Tumours", timeout=START_S)
    yield deployment
    deployment.weir("down")


PATIENTLY = ("--timeout", str(PATIENCE_S))
FEATURES = {"radius": 14.1, "texture": 19.3, "smoothness": 0.1, "concavity": 0.09}


def test_everything_runs_and_is_well(running: Running) -> None:
    found = json.loads(running.ok("status", "--json"))
    assert found["running"]
    assert {process["name"]: process["well"] for process in found["processes"]} == dict.fromkeys(
        ("broker", "store", "worker", "sink", "trainer", "alerting", "console"), True
    )
    assert "tumours-worker" in found["groups"]
    assert "tumours" in running.ok("status")


def test_no_secret_is_seen_from_outside_a_process(running: Running) -> None:
    home = Path(running.env["WEIR_HOME"])
    secrets = [(home / "keys" / n).read_bytes() for n in ("signing.key", "clickhouse.password")]
    state = read_run_state(home)
    seen = b"".join(
        Path(f"/proc/{process.pid}/{what}").read_bytes()
        for process in state.processes.values()
        for what in ("environ", "cmdline")
    )
    seen += b"".join(log.read_bytes() for log in (home / "logs").iterdir())
    assert b"WEIR_CLICKHOUSE_PASSWORD_FILE" in seen
    assert not [secret for secret in secrets if secret in seen]


def test_a_request_is_answered_traced_and_kept(running: Running) -> None:
    request = json.dumps({"request_id": "one", **FEATURES})
    answers = running.ok("send", request, *PATIENTLY, "--json").splitlines()
    (answer,) = [json.loads(line) for line in answers]
    assert (answer["request_id"], answer["features"]) == ("one", FEATURES)
    assert answer["status"] in ("answered", "deferred")

    query = "SELECT request_id, status FROM predictions WHERE request_id = 'one'"
    running.wait_for_rows(query, bool)  # the sink follows
    assert json.loads(running.ok("sql", query, "--json")) == {
        "request_id": "one",
        "status": answer["status"],
    }

    while (found := json.loads(running.ok("trace", "one", "--json")))["clickhouse"] == "0 records":
        pass
    assert [event["record"] for event in found["events"]][:2] == ["request", "prediction"]
    assert all(event["kept_in"] in ("both", "topic") for event in found["events"])


def test_what_was_served_is_scored_and_replayed_the_same(running: Running) -> None:
    requests = [
        {"request_id": f"off-{i}", **FEATURES, "radius": 6 + i / 2, "texture": 10 + i % 7 * 4}
        for i in range(40)
    ]
    file = running.folder / "requests.jsonl"
    file.write_text("".join(json.dumps(request) + "\n" for request in requests))
    version = running.wait_for_version()
    sent = running.ok("send", "--file", str(file), *PATIENTLY, "--json").splitlines()
    answers = {answer["request_id"]: answer for answer in map(json.loads, sent)}
    which = f"FROM predictions WHERE startsWith(request_id, 'off-') AND version = '{version}'"
    served = len(requests)
    count = f"SELECT uniqExact(_partition, _offset) AS n {which}"
    running.wait_for_rows(count, lambda rows: int(rows[0]["n"]) >= served)  # the sink follows

    out = running.folder / "scored.parquet"
    query = f"SELECT * {which} LIMIT 1 BY _partition, _offset"
    summary = json.loads(running.ok("score", query, "--out", str(out), "--json"))
    assert (summary["rows"], summary["rejected"], summary["version"]) == (served, 0, version)
    for row in pq.read_table(out).to_pylist():
        was = answers[row["request_id"]]
        for name in ("status", "reason", "answer", "gate_decision", "version", "dataset_id"):
            assert row[name] == was[name]
        for name in ("probability", "gate_score", "model_propensity", "expected"):
            wanted = np.array(was[name], float)  # None is NaN
            assert np.allclose(np.array(row[name], float), wanted, 1e-12, 0, True), name

    # A replay of what the topics hold: the version that answered changes nothing.
    arguments = ("replay", "--from", "2020-01-01", "--version", version, "--json", "--records")
    told = json.loads(running.ok(*arguments, "kafka"))
    assert told["answered_by"][version] >= served
    # What was asked before there was a version got the fallback, and gets an answer now.
    assert told["changed"]["count"] <= told["requests"] - told["answered_by"][version]
    assert told["moves"]["answered ► deferred"] == 0
    count = "SELECT uniqExact(_partition, _offset) AS n FROM predictions WHERE status != 'rejected'"
    running.wait_for_rows(count, lambda rows: int(rows[0]["n"]) >= told["requests"])
    assert json.loads(running.ok(*arguments, "clickhouse")) == told


def test_the_metrics_are_what_a_recount_gives(running: Running) -> None:
    found = json.loads(
        running.ok("verify", "metrics", "--wait", str(PATIENCE_S), "--json").splitlines()[-1]
    )
    assert found["windows"] > 0
    assert found["differences"] == 0


def test_what_the_processes_do_and_cost_is_in_clickhouse(running: Running) -> None:
    query = (
        "SELECT DISTINCT process FROM system_metrics WHERE cpu >= 0 AND memory_mb > 1 "
        "AND at > now() - INTERVAL 10 MINUTE ORDER BY process"
    )
    wanted = {"alerting", "broker", "console", "sink", "store", "supervisor", "trainer", "worker"}
    # A look every ten seconds, and two make a row.
    running.wait_for_rows(query, lambda rows: {row["process"] for row in rows} == wanted)
    query = "SELECT count() AS n FROM system_metrics WHERE process = 'worker' AND lag IS NOT NULL"
    running.wait_for_rows(query, lambda rows: int(rows[0]["n"]))  # the next look may tell it


def test_a_request_outside_its_ranges_is_rejected_with_the_reason(running: Running) -> None:
    request = json.dumps({"request_id": "far", **FEATURES, "radius": 99})
    assert "rejected: " in running.ok("send", request, *PATIENTLY)
    dead: list[Any] = []
    while not dead:  # one transaction's records become visible in one partition after another
        found = json.loads(running.ok("trace", "far", "--json"))
        dead = [event for event in found["events"] if event["record"] == "dead_letter"]
    assert [event["value"]["reason"] for event in dead] == ["invalid"]


def test_sql_prints_tables_and_csv_and_cannot_write(running: Running) -> None:
    assert running.ok("sql", "SELECT 1 AS a, NULL AS b").split() == ["a", "b", "1", "NULL"]
    assert running.ok("sql", "SELECT 1 AS a", "--format", "csv") == '"a"\n1\n'
    refused = running.weir("sql", "DROP TABLE predictions")
    assert (refused.returncode, "readonly" in refused.stderr) == (1, True)
    wrong = running.weir("sql", "SELECT nonsense")
    assert wrong.returncode == 1
    assert "nonsense" in wrong.stderr
    assert "Traceback" not in wrong.stderr


def test_a_version_is_listed_and_a_new_one_can_be_asked_for(running: Running) -> None:
    running.wait_for_version()
    versions = json.loads(running.ok("models", "--json"))
    assert versions[0]["role"] == "champion"
    asked = json.loads(running.ok("retrain", "--reason", "to see", "--json"))
    rows = running.ok("tail", "retrain", "--from-beginning", "-n", "2", "--json").splitlines()
    assert [json.loads(row)["value"]["reason"] for row in rows][-1] == "to see"
    assert json.loads(rows[-1])["value"]["event_id"] == asked["event_id"]
    listed = json.loads(running.ok("retrain", "--list", "--json"))
    (event,) = (e for e in listed if (e["event_id"], e["status"]) == (asked["event_id"], "asked"))
    assert event["trigger"] == "manual"
    assert len(event["outcomes_to"]) == len(event["outcomes_from"]) > 0
    assert asked["event_id"] in running.ok("retrain", "--list")
    neither = running.weir("retrain")
    assert (neither.returncode, "--reason" in neither.stderr) == (2, True)


def test_mlflow_says_what_the_models_topic_says(running: Running) -> None:
    verified = running.ok("verify", "registry", "--wait", str(PATIENCE_S), "--json")
    found = json.loads(verified.splitlines()[-1])
    assert found["versions"] > 0
    assert found["differences"] == 0
    assert found["told_as_of"] is not None


def test_the_triggers_are_listed_with_where_they_stand(running: Running) -> None:
    standing = json.loads(running.ok("triggers", "--json"))
    assert standing["default"]
    (hurts,) = standing["triggers"]
    assert (hurts["name"], hurts["when"], hurts["budget_left"]) == (
        *("hurts", "drift that hurts"),
        2,
    )
    assert "drift that hurts" in running.ok("triggers")


def test_a_second_start_in_the_same_home_is_refused(running: Running) -> None:
    again = running.weir("up", "--task", "tumours.py:Tumours")
    assert again.returncode == 1
    assert "runs in" in again.stderr


def test_all_configuration_problems_are_told_at_once_and_nothing_starts(tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "bad.py").write_text(
        "from streams.task import Binary, Number, Task\n"
        "Bad = Task(name='Bad Name', features=[Number('x', low=2, high=1)],"
        " target=Binary('y'), candidates={}, fallback=1)\n"
    )
    env = {"WEIR_HOME": str(tmp_path / "home"), "WEIR_CONSOLE_PORT": str(port)}
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", port))
        busy.listen()
        done = weir("up", "--task", "bad.py:Bad", env=env, cwd=tmp_path)
    assert done.returncode == 2
    for problem in ("'Bad Name'", "low 2 is above high 1", "candidates", "fallback 1"):
        assert problem in done.stderr
    assert f"port {port} of 127.0.0.1 is taken by" in done.stderr
    assert not read_run_state(tmp_path / "home").running


def test_a_task_whose_models_cannot_be_saved_is_refused_before_anything_starts(
    tmp_path: Path,
) -> None:
    (tmp_path / "own.py").write_text(
        "from sklearn.base import BaseEstimator, TransformerMixin\n"
        "from sklearn.linear_model import LogisticRegression\n"
        "from sklearn.pipeline import make_pipeline\n"
        "from sklearn.preprocessing import FunctionTransformer\n"
        "from streams.task import Binary, Number, Task\n"
        "class LogOfAge(TransformerMixin, BaseEstimator):\n"
        "    def fit(self, rows, target=None): return self\n"
        "    def transform(self, rows): return rows\n"
        "def half(rows): return rows / 2\n"
        "Own = Task(name='own', features=[Number('age', low=1)], target=Binary('y'),\n"
        "    fallback=False, candidates={\n"
        "    'one': make_pipeline(LogOfAge(), LogisticRegression()),\n"
        "    'fine': LogisticRegression(),\n"
        "    'two': make_pipeline(FunctionTransformer(half), LogisticRegression())})\n"
    )
    home = tmp_path / "home"
    done = weir("up", "--task", "own.py:Own", env={"WEIR_HOME": str(home)}, cwd=tmp_path)
    assert done.returncode == 2
    assert "candidate 'one': no version of it could be saved" in done.stderr
    assert "LogOfAge" in done.stderr
    assert "candidate 'two': no version of it could be saved" in done.stderr
    assert "'fine'" not in done.stderr
    assert not read_run_state(home).running
    assert not (home / "logs" / "broker.log").exists()


@pytest.mark.expect_end("store ended, exit code 1", why="its folder is a file")
@pytest.mark.expect_error("FileExistsError|store ended at its first start", why="likewise")
@pytest.mark.expect_error("Fatal error during broker startup", why="it is stopped as it starts")
def test_a_child_that_fails_at_start_is_told_with_its_log(tmp_path: Path) -> None:
    weir("init", "tumours", env={}, cwd=tmp_path)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "store").write_text("this is no folder")
    env = {"WEIR_HOME": str(tmp_path / "home")}
    done = weir("up", "--task", "tumours.py:Tumours", env=env, cwd=tmp_path, timeout=START_S)
    if done.returncode == 0:
        weir("down", env=env)
    assert done.returncode == 1
    assert "store" in done.stderr
    assert "store.log" in done.stderr
    assert not read_run_state(tmp_path / "home").running


def test_ctrl_c_stops_a_foreground_start_in_order(tmp_path: Path) -> None:
    weir("init", "tumours", env={}, cwd=tmp_path)
    home = tmp_path / "home"
    absent = [word for name in NOT_THE_BROKER for word in ("--without", name)]
    with subprocess.Popen(
        command("up", "--foreground", "--task", "tumours.py:Tumours", *absent),
        env={**inherited_environment(), "WEIR_HOME": str(home)},
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(line)
            if "Ctrl-C stops everything" in line:
                pids = [p.pid for p in read_run_state(home).processes.values()]
                process.send_signal(signal.SIGINT)
        assert process.wait() == 0, "".join(lines)
    assert len(pids) == 1
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert lines[-1] == "stopped\n"
