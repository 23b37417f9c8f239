"""Giving roles over HTTP: who may, and what is said to those who may not."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from services.console.moving import CannotServe, Moving
from services.moves import Asked, MoveError
from services.registry import RegistryError
from streams.browsers import LocalOnly

HERE = "http://127.0.0.1:8080"
BACK = {"act": "rollback", "by": "ada", "why": "too many complaints"}


class Mover:
    """Keeps what was asked; ``error`` is raised instead where there is one."""

    def __init__(self, error: Exception | None = None) -> None:
        self.asked: list[tuple[Asked, str, str]] = []
        self._error = error

    def __call__(self, asked: Asked, by: str, why: str) -> Sequence[Mapping[str, Any]]:
        if self._error is not None:
            raise self._error
        self.asked.append((asked, by, why))
        return [{"version": "a", "role": "champion", "rows": 7}]


def post(mover: Mover, token: str = "", **request: Any) -> httpx.Response:
    to = httpx.ASGITransport(app=LocalOnly(Starlette(routes=Moving(mover, token).routes())))

    async def answered() -> httpx.Response:
        async with httpx.AsyncClient(transport=to, base_url=HERE) as client:
            return await client.post("/api/models", **request)

    return asyncio.run(answered())


def test_what_is_asked_is_done_and_told() -> None:
    mover = Mover()
    answer = post(mover, json=BACK)
    assert (answer.status_code, answer.json()) == (
        200,
        {"given": [{"version": "a", "role": "champion"}]},
    )
    body = {**BACK, "act": "promote", "version": "a", "role": "canary", "share": 0.1}
    assert post(mover, json=body).status_code == 200
    assert mover.asked == [
        (Asked("rollback"), "ada", BACK["why"]),
        (Asked("promote", "a", "canary", 0.1), "ada", BACK["why"]),
    ]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"act": "forget"}, "act is promote, rollback, archive"),
        ({"act": "archive"}, "version is"),
        ({"role": "king"}, "role is champion"),
        ({"share": "all"}, "share is a number"),
        ({"why": " "}, "say why"),
        ({"by": "trainer"}, "trainer is no person"),
        ({"by": 7}, "by and why are texts"),
        ({"force": True}, "no such field: force"),
    ],
)
def test_what_cannot_be_meant_is_refused(changes: Mapping[str, Any], said: str) -> None:
    mover = Mover()
    answer = post(mover, json={**BACK, **changes})
    assert answer.status_code == 400
    assert said in answer.json()["error"]
    assert mover.asked == []


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (MoveError("a is the only champion there has been"), 409),
        (CannotServe("a cannot serve: it is missing"), 409),
        (RegistryError("the broker does not answer"), 503),
    ],
)
def test_what_cannot_be_done_says_why(error: Exception, status: int) -> None:
    answer = post(Mover(error), json=BACK)
    assert (answer.status_code, answer.json()["error"]) == (status, str(error))


def test_strangers_may_not() -> None:
    mover = Mover()
    assert post(mover, json=BACK, headers={"Origin": "http://evil.example"}).status_code == 403
    assert post(mover, content=b"act=rollback").status_code == 403
    assert post(mover, "secret", json=BACK).status_code == 401
    wrong = {"Authorization": "Bearer other"}
    assert post(mover, "secret", json=BACK, headers=wrong).status_code == 401
    assert mover.asked == []
    right = {"Authorization": "Bearer secret"}
    assert post(mover, "secret", json=BACK, headers=right).status_code == 200
