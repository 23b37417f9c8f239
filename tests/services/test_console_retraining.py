"""Asking for a new version over HTTP: who may, and what is said to those who may not."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from services.console.retraining import Retraining
from services.registry import RegistryError
from streams.browsers import LocalOnly

HERE = "http://127.0.0.1:8080"


class Asked:
    """Takes events and keeps them; down: the broker does not answer."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.down = False

    def __call__(self, **event: Any) -> str:
        if self.down:
            raise RegistryError("the broker does not answer")
        self.events.append(event)
        return event["event_id"] or "http-1"


class Client:
    """Calls the endpoint in this process."""

    def __init__(self, asked: Asked, token: str) -> None:
        app = LocalOnly(Starlette(routes=Retraining(asked, token).routes()))
        self._to = httpx.ASGITransport(app=app)

    def call(self, method: str, **request: Any) -> httpx.Response:
        async def answered() -> httpx.Response:
            async with httpx.AsyncClient(transport=self._to, base_url=HERE) as client:
                return await client.request(method, "/api/retrain", **request)

        return asyncio.run(answered())

    def post(self, **request: Any) -> httpx.Response:
        return self.call("POST", **request)


def client(asked: Asked, token: str = "") -> Client:
    return Client(asked, token)


def test_an_event_is_asked_for_and_its_id_answered() -> None:
    asked = Asked()
    answer = client(asked).post(json={"reason": " new prices "})
    assert (answer.status_code, answer.json()) == (202, {"event_id": "http-1"})
    assert asked.events == [
        {
            "reason": "new prices",
            "requested_by": "http",
            "trigger": "http",
            "event_id": None,
            "data_from": None,
            "data_to": None,
        }
    ]


def test_it_may_have_bounds_and_a_name_of_its_own() -> None:
    asked = Asked()
    body = {
        "reason": "again",
        "requested_by": "airflow",
        "event_id": "dag-7",
        "data_from": "2013-01-01T00:00:00Z",
        "data_to": "2013-04-01T00:00:00-04:00",
    }
    assert client(asked).post(json=body).json() == {"event_id": "http-dag-7"}
    (event,) = asked.events
    assert (event["data_from"], event["data_to"]) == (1_356_998_400_000, 1_364_788_800_000)
    assert event["requested_by"] == "airflow"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "reason says why"),
        ({"reason": "  "}, "reason says why"),
        ({"reason": "x" * 1001}, "reason says why"),
        ({"reason": "x", "why": "y"}, "no such field: why"),
        ({"reason": "x", "event_id": "a b"}, "event_id is"),
        ({"reason": "x", "event_id": 7}, "event_id is"),
        ({"reason": "x", "requested_by": ""}, "requested_by is"),
        ({"reason": "x", "data_from": "yesterday"}, "data_from is a time"),
        ({"reason": "x", "data_from": 7}, "data_from is a time"),
        ({"reason": "x", "data_to": "2013-04-01T00:00:00"}, "needs a time zone"),
        (
            {"reason": "x", "data_from": "2013-04-01T00:00:00Z", "data_to": "2013-04-01T00:00:00Z"},
            "not before",
        ),
        ({"reason": "x" * 20_000}, "more than 10000 bytes"),
        ([], "not a JSON object"),
    ],
)
def test_what_is_no_event_is_told(body: Any, said: str) -> None:
    asked = Asked()
    answer = client(asked).post(json=body)
    assert answer.status_code == 400
    assert said in answer.json()["error"]
    assert asked.events == []


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://elsewhere.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Content-Type": "text/plain"},
    ],
)
def test_another_site_may_not_ask(headers: Mapping[str, str]) -> None:
    asked = Asked()
    sent = {"Content-Type": "application/json", **headers}
    answer = client(asked).post(content='{"reason": "x"}', headers=sent)
    assert answer.status_code == 403
    assert client(asked).call("GET").status_code == 405
    assert asked.events == []


@pytest.mark.parametrize("shown", [None, "", "Bearer", "Bearer wrong", "Basic secret", "secret"])
def test_where_a_token_is_set_it_must_be_shown(shown: str | None) -> None:
    asked = Asked()
    headers = {} if shown is None else {"Authorization": shown}
    told = client(asked, "secret").post(json={"reason": "x"}, headers=headers)
    assert told.status_code == 401
    assert "secret" not in told.text
    right = {"Authorization": "Bearer secret"}
    taken = client(asked, "secret").post(json={"reason": "x"}, headers=right)
    assert taken.status_code == 202
    assert len(asked.events) == 1


def test_while_the_broker_is_away_it_says_so() -> None:
    asked = Asked()
    asked.down = True
    answer = client(asked).post(json={"reason": "x"})
    assert (answer.status_code, answer.json()["error"]) == (503, "the broker does not answer")
