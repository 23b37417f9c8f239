"""Which requests are a web page's, and what is on every answer."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.browsers import SAFE_HEADERS, LocalOnly, why_foreign

HOST = "127.0.0.1:8080"


def test_what_is_no_browser_and_what_is_the_page_itself_pass() -> None:
    assert why_foreign({"host": HOST}) is None
    assert why_foreign({"host": "localhost"}) is None
    own = {"host": HOST, "origin": f"http://{HOST}", "sec-fetch-site": "same-origin"}
    assert why_foreign(own) is None
    assert why_foreign({"host": HOST, "sec-fetch-site": "none"}) is None


def test_a_link_may_open_a_page_and_nothing_else() -> None:
    opened = {
        "host": HOST,
        "sec-fetch-site": "cross-site",
        "sec-fetch-mode": "navigate",
        "sec-fetch-dest": "document",
    }
    assert why_foreign(opened, navigable=True) is None
    assert why_foreign(opened) is not None
    assert why_foreign({**opened, "sec-fetch-dest": "iframe"}, navigable=True) is not None
    assert why_foreign({**opened, "origin": "http://evil.example"}, navigable=True) is not None


@given(st.text(max_size=20), st.text(max_size=30), st.text(max_size=12))
def test_every_other_host_origin_or_site_is_foreign(host: str, origin: str, site: str) -> None:
    if host.partition(":")[0].lower() not in ("127.0.0.1", "localhost"):
        assert why_foreign({"host": host}) is not None
    if origin.lower() != f"http://{HOST}":
        assert why_foreign({"host": HOST, "origin": origin}) is not None
    if site not in ("none", "same-origin"):
        assert why_foreign({"host": HOST, "sec-fetch-site": site}) is not None


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([(b"host", HOST.encode())], 200),
        ([(b"host", b"evil.example")], 403),
        ([(b"host", b"evil.example"), (b"host", HOST.encode())], 403),
        ([(b"host", HOST.encode()), (b"origin", b"http://a"), (b"origin", b"http://b")], 403),
        ([], 403),
    ],
)
def test_every_answer_has_the_headers(headers: list[tuple[bytes, bytes]], status: int) -> None:
    async def inner(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request"}

    scope = {"type": "http", "method": "GET", "headers": headers}
    asyncio.run(LocalOnly(inner)(scope, receive, send))
    assert sent[0]["status"] == status
    names = {name.decode() for name, _ in sent[0]["headers"]}
    assert {name.lower() for name in SAFE_HEADERS} <= names
