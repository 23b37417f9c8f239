"""The page's labelling view: hands inputs to people and takes their answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import structlog
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Route

from schemas.features import notes
from services.console.guard import BadRequest, Body, body_of, not_json, problem
from services.contract import Contract
from services.labelling.desk import DeskError
from services.labelling.opening import FAILURES, why
from services.labelling.queue import Item, Queue
from services.labelling.truths import TruthError
from streams.labelling.answers import fits, keys

log = structlog.get_logger("console.labelling")

PAGE = Path(__file__).parent / "static" / "label.html"
NAME_MAX = 60


class Labels:
    """The labelling view over a queue."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._task = _described(queue.contract)

    def routes(self) -> list[BaseRoute]:
        """The page, what it reads, and what it writes."""
        writing = {
            "next": self._next,
            "answer": self._answer,
            "skip": self._skip,
            "undo": self._undo,
            "opinion": self._opinion,
            "release": self._release,
        }
        return [
            Route("/label", self._page),
            Route("/api/label", self._state),
            *(
                Route(f"/api/label/{name}", _posted(what), methods=["POST"])
                for name, what in writing.items()
            ),
        ]

    async def _page(self, request: Request) -> Response:
        return FileResponse(PAGE)

    async def _state(self, request: Request) -> Response:
        async def told() -> Any:
            return {**self._task, **asdict(await asyncio.to_thread(self._queue.state))}

        return await _told(told)

    async def _next(self, body: Body) -> Any:
        items = await asyncio.to_thread(self._queue.next, _person(body), 1)
        return {"item": items[0].record() if items else None}

    async def _answer(self, body: Body) -> Any:
        contract, answer = self._queue.contract, body.get("answer")
        if answer is None or not fits(answer, contract.kind, contract.classes):
            raise BadRequest(f"answer is not a value of the {contract.kind} target")
        await asyncio.to_thread(self._queue.answer, _person(body), _id(body), answer)
        return {}

    async def _skip(self, body: Body) -> Any:
        await asyncio.to_thread(self._queue.skip, _person(body), _id(body))
        return {}

    async def _undo(self, body: Body) -> Any:
        item: Item | None = await asyncio.to_thread(self._queue.undo, _person(body))
        return {"item": item.record() if item else None}

    async def _opinion(self, body: Body) -> Any:
        return {"opinion": await asyncio.to_thread(self._queue.opinion, _id(body))}

    async def _release(self, body: Body) -> Any:
        await asyncio.to_thread(self._queue.release, _person(body))
        return {}


def _described(contract: Contract) -> dict[str, Any]:
    """What the page must know of the task: the question, the answers, the features."""
    return {
        "task": contract.task,
        "doc": contract.doc,
        "kind": contract.kind,
        "target": contract.target,
        "question": contract.labelling.get("doc", ""),
        "unit": contract.labelling.get("unit", ""),
        "classes": contract.classes,
        "keys": {key: answer for key, answer in keys(contract.kind, contract.classes).items()},
        "features": [
            {"name": one["name"], **asdict(notes(one.get("doc", "")))} for one in contract.inputs
        ],
    }


def _posted(what: Callable[[Body], Awaitable[Any]]) -> Callable[[Request], Awaitable[Response]]:
    """A handler that takes JSON from this very page, or from what is no browser."""

    async def handle(request: Request) -> Response:
        if (refused := not_json(request)) is not None:
            return problem(403, refused)

        async def told() -> Any:
            return await what(await body_of(request))

        return await _told(told)

    return handle


async def _told(what: Callable[[], Awaitable[Any]]) -> Response:
    try:
        return JSONResponse(await what())
    except BadRequest as error:
        return problem(400, str(error))
    except DeskError as error:
        return problem(409, str(error))
    except TruthError as error:
        return problem(503, str(error))
    except FAILURES as error:
        log.info("ClickHouse did not answer", error=str(error)[:200])
        return problem(503, why(error))


def _person(body: Body) -> str:
    name = body.get("person")
    if not isinstance(name, str) or not 0 < len(name.strip()) <= NAME_MAX:
        raise BadRequest(f"person is a name of 1 to {NAME_MAX} characters")
    return name.strip()


def _id(body: Body) -> str:
    id_ = body.get("request_id")
    if not isinstance(id_, str) or not id_:
        raise BadRequest("request_id is missing")
    return id_
