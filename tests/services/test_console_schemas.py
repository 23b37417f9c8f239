"""The schemas in Confluent's API form: as a plain client, and as Confluent's own asks for them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from schemas.registry import schema_id
from services.console.schema_api import SchemaApi
from services.contract import Contract, record
from streams.task import Task
from tests.services.running_console import RunningConsole, request, small_task


@pytest.fixture
def task() -> Task:
    return small_task("parcels")


@pytest.fixture
def contract(task: Task) -> Contract:
    return Contract.of(task, "parcels.py:Parcels")


@pytest.fixture
def client(contract: Contract, tmp_path: Path) -> TestClient:
    record(contract, tmp_path)
    return TestClient(Starlette(routes=SchemaApi(tmp_path).routes()))


def changed(contract: Contract, name: str, add: dict[str, Any]) -> Contract:
    schema = json.loads(json.dumps(contract.schemas[name]))
    schema["fields"].append(add)
    return Contract(**{**vars(contract), "schemas": {**contract.schemas, name: schema}})


def test_every_topic_has_a_subject_and_every_subject_its_schema(
    client: TestClient, contract: Contract
) -> None:
    subjects = client.get("/subjects").json()
    assert subjects == sorted(f"{topic}-value" for topic, _ in contract.topics())
    for topic, kind in contract.topics():
        latest = client.get(f"/subjects/{topic}-value/versions/latest").json()
        assert latest["id"] == schema_id(contract.schemas[kind.record])
        assert json.loads(latest["schema"]) == contract.schemas[kind.record]
        assert client.get(f"/schemas/ids/{latest['id']}").json()["schema"] == latest["schema"]


def test_a_schema_that_grew_keeps_its_older_version(
    client: TestClient, contract: Contract, tmp_path: Path
) -> None:
    note = {"name": "note", "type": ["null", "string"], "default": None}
    newer = changed(contract, "truth", note)
    record(newer, tmp_path)
    path = "/subjects/parcels.truth-value/versions"
    assert client.get(path).json() == [1, 2]
    first, latest = client.get(f"{path}/1").json(), client.get(f"{path}/latest").json()
    assert latest["version"] == 2
    assert latest["id"] == schema_id(newer.schemas["truth"]) != first["id"]
    assert client.get(f"{path}/-1").json() == latest
    uses = client.get(f"/schemas/ids/{first['id']}/versions").json()
    assert uses == [{"subject": "parcels.truth-value", "version": 1}]


def test_a_known_schema_is_found_whether_looked_up_or_registered(
    client: TestClient, contract: Contract
) -> None:
    schema = contract.schemas["request"]
    without_docs = json.loads(json.dumps(schema))
    for field in without_docs["fields"]:
        field.pop("doc", None)
    for known in (schema, without_docs):
        body = {"schema": json.dumps(known)}
        found = client.post("/subjects/parcels.requests-value", json=body)
        assert found.json()["id"] == schema_id(schema)
        registered = client.post("/subjects/parcels.requests-value/versions", json=body)
        assert registered.json() == {"id": schema_id(schema)}


def test_a_new_schema_is_refused_with_confluents_codes(
    client: TestClient, contract: Contract
) -> None:
    path = "/subjects/parcels.requests-value/versions"
    note = {"name": "note", "type": ["null", "string"], "default": None}
    fits = changed(contract, "request", note).schemas["request"]
    answer = client.post(path, json={"schema": json.dumps(fits)})
    assert (answer.status_code, answer.json()["error_code"]) == (422, 42205)
    assert "read-only" in answer.json()["message"]

    breaks = changed(contract, "request", {"name": "note", "type": "string"}).schemas["request"]
    answer = client.post(path, json={"schema": json.dumps(breaks)})
    assert (answer.status_code, answer.json()["error_code"]) == (409, 409)
    assert "note" in answer.json()["message"]

    for nonsense in ('{"type": "recor"}', "not json", '"string"', "[]", "{}"):
        answer = client.post(path, json={"schema": nonsense})
        assert (answer.status_code, answer.json()["error_code"]) == (422, 42201), nonsense
    for body in (b"", b"{", b"[1]", b"null"):
        assert client.post(path, content=body).status_code == 422, body
    assert client.post(path, content=b"x" * (2 << 20)).status_code == 413


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/subjects/nobody-value/versions", 404, 40401),
        ("/subjects/parcels.requests-value/versions/9", 404, 40402),
        ("/subjects/parcels.requests-value/versions/first", 422, 42202),
        ("/subjects/parcels.requests-value/versions/0", 404, 40402),
        ("/schemas/ids/1", 404, 40403),
    ],
)
def test_what_is_not_there_has_its_code(
    client: TestClient, path: str, status: int, code: int
) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.json()["error_code"]) == (status, code)


def test_nothing_can_be_changed(client: TestClient) -> None:
    assert client.get("/mode").json() == {"mode": "READONLY"}
    assert client.get("/config").json() == {"compatibilityLevel": "BACKWARD_TRANSITIVE"}
    assert client.put("/config", json={"compatibility": "NONE"}).status_code == 422
    assert client.delete("/subjects/parcels.requests-value").status_code == 422
    assert len(client.get("/subjects").json()) > 0


@pytest.fixture
def console(tmp_path: Path) -> Iterator[RunningConsole]:
    """Without any broker: schemas are served all the same."""
    running = RunningConsole(tmp_path / "home", "127.0.0.1:1")  # nobody listens there
    yield running
    running.stop()


@pytest.mark.system
def test_confluents_own_client_serialises_what_weir_reads_and_the_other_way(
    console: RunningConsole,
) -> None:
    pytest.importorskip("authlib", reason="confluent-kafka's registry client needs authlib")
    pytest.importorskip("cachetools", reason="confluent-kafka's registry client needs cachetools")
    from confluent_kafka.schema_registry import SchemaRegistryClient
    from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
    from confluent_kafka.serialization import MessageField, SerializationContext

    registry = SchemaRegistryClient({"url": console.url})
    topic = f"{console.contract.task}.requests"
    where = SerializationContext(topic, MessageField.VALUE)
    codec = console.contract.codec("request")

    use_latest = {"auto.register.schemas": False, "use.latest.version": True}
    write = AvroSerializer(registry, conf=use_latest)
    value = write(request(1), where)
    assert value is not None
    assert codec.read(value) == codec.read(codec.write(request(1)))

    # A client that registers what it writes with gets the id of the same schema.
    text = registry.get_latest_version(f"{topic}-value").schema.schema_str
    assert AvroSerializer(registry, text)(request(1), where) == value

    read = AvroDeserializer(registry)
    assert read(codec.write(request(2)), where)["request_id"] == "r2"
