"""What guards the page's writes: labels, asking for a new version, giving a version a role.

Requests of other sites are refused before they come here (`streams.browsers`); a body that is not
declared as JSON, which no form of another site can send, is refused here.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

BODY_MAX = 10_000
"""Bytes of a request: a name, an id of at most 128 bytes, an answer, a reason."""

Body = Mapping[str, Any]


class BadRequest(ValueError):
    """The browser, or whoever calls, sent what is no request of this kind."""


def not_json(request: Request) -> str | None:
    """Why this request may be a form's, or None."""
    if request.headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
        return "the body must be declared as application/json"
    return None


def shows(request: Request, token: str) -> bool:
    """Whether the request shows the token that is asked for; an empty one is asked of nobody."""
    kind, _, shown = request.headers.get("authorization", "").partition(" ")
    same = hmac.compare_digest(shown.strip().encode(), token.encode())
    return not token or (kind.lower() == "bearer" and same)


async def body_of(request: Request) -> Body:
    """The JSON object that is sent. Raises BadRequest."""
    read = b""
    async for part in request.stream():
        read += part
        if len(read) > BODY_MAX:
            raise BadRequest(f"the body has more than {BODY_MAX} bytes")
    try:
        body = json.loads(read)
    except ValueError as error:
        raise BadRequest(f"the body is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise BadRequest("the body is not a JSON object")
    return body


def problem(status: int, message: str) -> Response:
    """An answer that says what is wrong."""
    return JSONResponse({"error": message}, status)
