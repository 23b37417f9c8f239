"""``POST /api/retrain``: a program asks for a new version, as ``weir retrain`` does for people.

    curl -X POST http://127.0.0.1:8080/api/retrain -H 'Content-Type: application/json' \\
         -H "Authorization: Bearer $WEIR_RETRAIN_TOKEN" -d '{"reason": "new prices from Monday on"}'

It is answered with 202 and the event's id, by which `weir models` names the version. Guarded as all
writes of the page are; where WEIR_RETRAIN_TOKEN is set, by that token too.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from services.console.guard import BadRequest, Body, body_of, not_json, problem, shows

log = structlog.get_logger("console.retraining")

TRIGGER = "http"
REASON_MAX = 1000
FIELDS = ("reason", "requested_by", "event_id", "data_from", "data_to")
_ID = re.compile(r"[A-Za-z0-9._-]{1,100}")

Ask = Callable[..., str]
"""`services.registry.request_retrain` for this deployment; OSError or RuntimeError where the broker
does not take it."""


class Retraining:
    """The endpoint. token: what callers must show; empty: nothing."""

    def __init__(self, ask: Ask, token: str) -> None:
        self._ask = ask
        self._token = token

    def routes(self) -> list[BaseRoute]:
        """What it answers."""
        return [Route("/api/retrain", self._retrain, methods=["POST"])]

    async def _retrain(self, request: Request) -> Response:
        if (refused := not_json(request)) is not None:
            return problem(403, refused)
        if not shows(request, self._token):
            return problem(401, "show the token of WEIR_RETRAIN_TOKEN: Authorization: Bearer …")
        try:
            wanted = _wanted(await body_of(request))
        except BadRequest as error:
            return problem(400, str(error))
        try:
            event_id = await asyncio.to_thread(self._ask, **wanted)
        except (OSError, RuntimeError) as error:
            log.error("a retrain event was not stored", error=str(error)[:300])
            return problem(503, str(error))
        log.info("retrain event", event_id=event_id, requested_by=wanted["requested_by"])
        return JSONResponse({"event_id": event_id}, 202)


def _wanted(body: Body) -> dict[str, Any]:
    """The arguments of an event. Raises BadRequest."""
    unknown = sorted(set(body) - set(FIELDS))
    if unknown:
        raise BadRequest(f"no such field: {', '.join(unknown)}; there are {', '.join(FIELDS)}")
    reason = body.get("reason")
    if not isinstance(reason, str) or not 0 < len(reason.strip()) <= REASON_MAX:
        raise BadRequest(f"reason says why, in 1 to {REASON_MAX} characters")
    by = body.get("requested_by", TRIGGER)
    if not isinstance(by, str) or not 0 < len(by) <= 100:
        raise BadRequest("requested_by is a name of 1 to 100 characters")
    event_id = body.get("event_id")
    if event_id is not None and not (isinstance(event_id, str) and _ID.fullmatch(event_id)):
        raise BadRequest("event_id is 1 to 100 letters, digits, dots, _ and -")
    since, until = _time(body, "data_from"), _time(body, "data_to")
    if since is not None and until is not None and since >= until:
        raise BadRequest("data_from is not before data_to")
    return {
        "reason": reason.strip(),
        "requested_by": by,
        "trigger": TRIGGER,
        # Its own prefix: an id of a trigger's must not be taken by somebody else.
        "event_id": None if event_id is None else f"{TRIGGER}-{event_id}",
        "data_from": since,
        "data_to": until,
    }


def _time(body: Body, name: str) -> int | None:
    """An event time in milliseconds from ISO 8601 with its zone."""
    text = body.get(name)
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except (TypeError, ValueError) as error:
        raise BadRequest(f"{name} is a time such as 2013-04-01T00:00:00Z") from error
    if time.tzinfo is None:
        raise BadRequest(f"{name} needs a time zone, as in 2013-04-01T00:00:00Z")
    return int(time.timestamp() * 1000)
