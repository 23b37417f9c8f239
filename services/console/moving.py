"""``POST /api/models``: the page's buttons that give a version a role, as ``weir models`` does.

    curl -X POST http://127.0.0.1:8080/api/models -H 'Content-Type: application/json' \\
         -H "Authorization: Bearer $WEIR_RETRAIN_TOKEN" \\
         -d '{"act": "rollback", "by": "ada", "why": "too many complaints"}'

Answered with the records that were written. What makes no sense, and a version whose bundle would
be refused, is answered with 409 and changes nothing. Guarded as all writes of the page are; where
WEIR_RETRAIN_TOKEN is set, by that token too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from services.console.guard import BadRequest, Body, body_of, not_json, problem, shows
from services.moves import GIVEN, Act, Asked, MoveError

log = structlog.get_logger("console.moving")

FIELDS = ("act", "version", "role", "share", "why", "by")
ACTS = ("promote", "rollback", "archive")
Move = Callable[[Asked, str, str], Sequence[Mapping[str, Any]]]
"""Does what is asked, given who asks and why; returns the records. MoveError, and OSError or
RuntimeError where it cannot be done."""


class CannotServe(RuntimeError):
    """A version whose bundle is missing or refused."""


class Moving:
    """The endpoint. token: what callers must show; empty: nothing."""

    def __init__(self, move: Move, token: str) -> None:
        self._move = move
        self._token = token

    def routes(self) -> list[BaseRoute]:
        """What it answers."""
        return [Route("/api/models", self._moved, methods=["POST"])]

    async def _moved(self, request: Request) -> Response:
        if (refused := not_json(request)) is not None:
            return problem(403, refused)
        if not shows(request, self._token):
            return problem(401, "show the token of WEIR_RETRAIN_TOKEN: Authorization: Bearer …")
        try:
            asked, by, why = _wanted(await body_of(request))
        except BadRequest as error:
            return problem(400, str(error))
        try:
            records = await asyncio.to_thread(self._move, asked, by, why)
        except (MoveError, CannotServe) as error:
            return problem(409, str(error))
        except (OSError, RuntimeError) as error:
            log.error("a role was not given", error=str(error)[:300])
            return problem(503, str(error))
        given = [{"version": r["version"], "role": r["role"]} for r in records]
        log.info("roles were given by hand", given=given, by=by)
        return JSONResponse({"given": given})


def _wanted(body: Body) -> tuple[Asked, str, str]:
    """What is asked, by whom and why. Raises BadRequest."""
    unknown = sorted(set(body) - set(FIELDS))
    if unknown:
        raise BadRequest(f"no such field: {', '.join(unknown)}; there are {', '.join(FIELDS)}")
    act, role = body.get("act"), body.get("role", "champion")
    version, share = body.get("version", ""), body.get("share", 0.0)
    by, why = body.get("by", ""), body.get("why", "")
    if act not in ACTS:
        raise BadRequest(f"act is {', '.join(ACTS)}")
    if role not in GIVEN:
        raise BadRequest(f"role is {', '.join(GIVEN)}")
    if not isinstance(version, str) or (not version and act != "rollback"):
        raise BadRequest("version is a version's id, or the beginning of one")
    if isinstance(share, bool) or not isinstance(share, int | float):
        raise BadRequest("share is a number between 0 and 1")
    if not isinstance(by, str) or not isinstance(why, str):
        raise BadRequest("by and why are texts")
    try:
        Act(by, why, 0)
    except MoveError as error:
        raise BadRequest(str(error)) from error
    return Asked(act, version, role, float(share)), by, why
