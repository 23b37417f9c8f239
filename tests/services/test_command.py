"""The command before any process runs: help, errors, init, schemas, ports."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.partitioner.default import murmur2 as kafka_pythons

from schemas.registry import schema_id
from services.command.reading import murmur2, partition_of
from services.command.requests import InputError, csv_rows, json_lines, request
from services.contract import Contract, record
from services.deployment import DeploymentError, Ports, current, remember
from services.ports import free_port
from streams.settings import Settings
from streams.task import load_task
from tests.services.command_line import weir, write_task


@pytest.fixture
def contract(tmp_path: Path) -> Contract:
    reference = f"{write_task(tmp_path, 'small')}:Small"
    return Contract.of(load_task(reference), reference)


@pytest.fixture
def home(tmp_path: Path, contract: Contract) -> dict[str, str]:
    """The environment of a home in which the task has run."""
    folder = tmp_path / "home"
    record(contract, folder)
    remember(
        Settings(home=folder, task=contract.reference, bootstrap="127.0.0.1:1", clickhouse_port=1),
        contract,
    )
    return {"WEIR_HOME": str(folder)}


def test_topics_are_listed_without_a_broker(home: dict[str, str]) -> None:
    done = weir("topics", "--json", env=home)
    assert done.returncode == 0, done.stderr
    rows = {row["topic"]: row for row in json.loads(done.stdout)}
    assert rows["small.requests"] | {"doc": ""} == {
        "topic": "small.requests",
        "partitions": 3,
        "retention_ms": 7 * 86_400_000,
        "cleanup": "delete",
        "key": "request id",
        "record": "request",
        "offsets": None,
        "next_offsets": None,
        "doc": "",
    }
    assert rows["small.models"]["retention_ms"] is None
    assert "for ever" in weir("topics", env=home).stdout


def test_topics_need_neither_scikit_learn_nor_faust(home: dict[str, str]) -> None:
    done = weir("topics", env={**home, "PYTHONPROFILEIMPORTTIME": "1"})
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "typer" in imported
    assert not imported & {"sklearn", "faust", "pandas", "numpy"}


def test_a_schema_is_printed_with_its_id(home: dict[str, str], contract: Contract) -> None:
    done = weir("schemas", "small.requests", env=home)
    assert json.loads(done.stdout) == contract.schemas["request"]
    assert str(schema_id(contract.schemas["request"])) in done.stderr
    (row,) = [
        json.loads(line)
        for line in weir("schemas", "truth", "--json", env=home).stdout.splitlines()
    ]
    assert row == {
        "schema_id": schema_id(contract.schemas["truth"]),
        "schema": contract.schemas["truth"],
    }
    assert weir("schemas", "--json", env=home).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["schemas", "nonsense"], 2, "there is no record nonsense"),
        (["tail", "nonsense"], 2, "the task small has no topic nonsense"),
        (["topics", "--task", "unknown"], 2, "no task called unknown has run"),
        (["topics", "--task", "missing.py:Name"], 2, "there is no file missing.py"),
        (["tail", "truth"], 1, "no Kafka broker answers"),
        (["send", "{}"], 1, "no Kafka broker answers"),
        (["trace", "a"], 1, "no Kafka broker answers"),
        (["sql", "SELECT 1"], 1, "no ClickHouse answers on 127.0.0.1:1"),
        (["label", "--json"], 1, "ClickHouse does not answer"),
        (["label"], 2, "--json lists the queue"),
        (["send", "{}", "--file", "x"], 2, "not both"),
        (["nonsense"], 2, "No such command"),
    ],
)
def test_errors_are_for_people_and_have_their_exit_code(
    home: dict[str, str], arguments: list[str], code: int, said: str
) -> None:
    done = weir(*arguments, env=home)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_all_wrong_settings_are_told_at_once() -> None:
    done = weir("topics", env={"WEIR_CLICKHOUSE_PORT": "70000", "WEIR_DELIVERY": "maybe"})
    assert done.returncode == 2
    assert "WEIR_CLICKHOUSE_PORT" in done.stderr
    assert "WEIR_DELIVERY" in done.stderr


def test_a_started_task_file_is_right_as_it_is(tmp_path: Path) -> None:
    done = weir("init", "churn_risk", env={}, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "weir up --task churn_risk.py:ChurnRisk" in done.stdout
    task = load_task(f"{tmp_path / 'churn_risk.py'}:ChurnRisk")
    assert task.history is not None
    rows = task.history()
    assert set(rows.columns) == {f.name for f in task.features} | {"malignant", "event_time"}
    for estimator in task.candidates.values():
        estimator.fit(rows[[f.name for f in task.features]], rows["malignant"])
    again = weir("init", "churn_risk", env={}, cwd=tmp_path)
    assert (again.returncode, "is there already" in again.stderr) == (1, True)
    assert weir("init", "Churn-Risk", env={}, cwd=tmp_path).returncode == 2


def test_a_task_file_written_again_within_a_second_is_read_as_it_is_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.dont_write_bytecode", False)
    for partitions in (3, 5):
        path = write_task(tmp_path, "small", {"partitions=3": f"partitions={partitions}"})
        os.utime(path, (1_000_000_000, 1_000_000_000))
        assert load_task(f"{path}:Small").partitions == partitions


@given(st.binary(max_size=40))
def test_a_key_goes_to_the_partition_of_javas_partitioner(key: bytes) -> None:
    assert murmur2(key) == kafka_pythons(key) & 0xFFFF_FFFF
    assert 0 <= partition_of(key, 4) < 4


def test_features_may_be_in_an_object_or_beside_the_rest(contract: Contract) -> None:
    values = {"price": 2, "visits": 3, "colour": "red"}
    made = request({"request_id": "a", "event_time": 1000, **values}, contract.features)
    assert made == {
        "request_id": "a",
        "event_time": 1000,
        "entity": None,
        "features": {"price": 2.0, "visits": 3, "member": None, "colour": "red"},
    }
    nested = {"request_id": "a", "event_time": "1970-01-01T00:00:01Z", "features": values}
    assert request(nested, contract.features) == made


def test_what_is_missing_is_made_up_or_named(contract: Contract) -> None:
    with pytest.raises(InputError, match="price: is missing; visits: 'x' is not a whole number"):
        request({"visits": "x"}, contract.features)
    one, two = (request({"price": 1, "visits": 1}, contract.features) for _ in range(2))
    assert one["request_id"] != two["request_id"]
    assert one["event_time"] > 1_700_000_000_000


def test_an_unknown_feature_is_named(contract: Contract) -> None:
    with pytest.raises(InputError, match="prize: the task has no such feature"):
        request({"price": 1, "visits": 1, "prize": 1}, contract.features)


def test_csv_is_read_by_the_features_types(contract: Contract, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("request_id,price,visits,member,colour\n007,1.5,2,yes,\n")
    with path.open(newline="") as lines:
        ((number, row),) = csv_rows(lines)
    made = request(row, contract.features)
    assert (number, made["request_id"]) == (2, "007")
    assert made["features"] == {"price": 1.5, "visits": 2, "member": True, "colour": None}


def test_a_line_that_is_no_json_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n\nnonsense\n')
    with path.open() as lines, pytest.raises(InputError, match="line 3 is not JSON"):
        list(json_lines(lines))


def test_a_busy_port_gives_the_next_one_unless_it_was_asked_for() -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        assert Ports().take(port, False, "the page") > port
        with pytest.raises(DeploymentError, match=rf"the page: port {port} .* is taken by py"):
            Ports().take(port, True, "the page")


def test_two_starts_never_take_the_same_port_even_before_anybody_listens() -> None:
    one, other = Ports(), Ports()
    port = one.take(free_port(), False, "the page")
    assert other.take(port, False, "the page") != port
    assert one.take(port, False, "another page") != port
    del one
    assert Ports().take(port, True, "the page") == port


def test_addresses_of_the_last_start_are_used_unless_the_environment_says_otherwise(
    home: dict[str, str], contract: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEIR_HOME", home["WEIR_HOME"])
    monkeypatch.setenv("WEIR_CLICKHOUSE_PORT", "9999")
    settings = current()
    assert (settings.bootstrap, settings.task) == ("127.0.0.1:1", contract.reference)
    assert settings.clickhouse_port == 9999
