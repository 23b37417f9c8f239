"""What keeps web pages from using the servers of this machine: one rule for all of ours.

A page from anywhere, open in the user's browser, can send requests to 127.0.0.1: as a script, a
picture, a form, a fetch that it may not read, or under a name of its own that it made resolve to
127.0.0.1. A browser says so (``Origin``, ``Sec-Fetch-Site``, ``Host``), and what is no browser
says nothing. `LocalOnly` refuses such requests before anything else sees them, and forbids browsers
to show, embed or guess what the answers are.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

SAFE_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
"""Of every answer, also of errors; for answers that are no pages."""

HOSTS = frozenset({"127.0.0.1", "localhost"})

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


def why_foreign(headers: Mapping[str, str], navigable: bool = False) -> str | None:
    """Why a request is some web page's, or None.

    headers: by their names in lower case.
    navigable: a link on another site may lead here (a page that changes nothing by being opened).

    >>> why_foreign({"host": "localhost:8123", "sec-fetch-site": "cross-site"})
    'the request comes from another site'
    """
    host = headers.get("host", "")
    name, _, port = host.partition(":")
    if name.lower() not in HOSTS or not ((port.isascii() and port.isdigit()) or not port):
        return "the request is for another host; use 127.0.0.1"
    origin = headers.get("origin")
    if origin is not None and origin.lower() != f"http://{host}".lower():
        return "the request comes from another site"
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        opened = ("navigate", "document")
        if not navigable or opened != tuple(
            headers.get(f"sec-fetch-{what}") for what in ("mode", "dest")
        ):
            return "the request comes from another site"
    return None


class LocalOnly:
    """ASGI middleware around a whole application.

    headers: of every answer.
    navigable: a link elsewhere may open it (GET only).
    """

    def __init__(
        self, app: App, headers: Mapping[str, str] = SAFE_HEADERS, navigable: bool = False
    ) -> None:
        self.app = app
        self._navigable = navigable
        self._headers = [(n.lower().encode(), v.encode()) for n, v in headers.items()]

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] != "http":
            # The lifespan is the server's own; nothing of ours speaks WebSocket.
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = list(message.get("headers", []))
                names = {name.lower() for name, _ in given}
                message["headers"] = given + [h for h in self._headers if h[0] not in names]
            await send(message)

        pairs = [(n.decode("latin-1").lower(), v.decode("latin-1")) for n, v in scope["headers"]]
        headers = dict(pairs)
        said = [name for name, _ in pairs if name in ("host", "origin", "sec-fetch-site")]
        why = why_foreign(headers, self._navigable and scope["method"] == "GET")
        if why is None and len(said) > len(set(said)):
            why = "a header that says where the request comes from is there twice"
        if why is None:
            await self.app(scope, receive, send_safely)
            return
        body = json.dumps({"error": why}).encode()
        head = [(b"content-type", b"application/json")]
        head.append((b"content-length", str(len(body)).encode()))
        head.append((b"connection", b"close"))  # its body is not read
        await send_safely({"type": "http.response.start", "status": 403, "headers": head})
        await send_safely({"type": "http.response.body", "body": body})
