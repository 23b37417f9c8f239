"""The HTTP application: the page, its stream, its history, and the schemas."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from services.console.feed import Feed
from services.console.history import History, HistoryError
from services.console.labelling import Labels
from services.console.moving import Moving
from services.console.retraining import Retraining
from services.console.schema_api import SchemaApi
from services.console.training import TrainingProgress
from streams.browsers import SAFE_HEADERS, LocalOnly

STATIC = Path(__file__).parent / "static"

STREAMS_MAX = 64
"""Pages open at the same time; more are refused, so that a runaway script costs no more."""

HEADERS = {
    **SAFE_HEADERS,
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    # Files change with an upgrade only; their ETag makes asking again cheap.
    "Cache-Control": "no-cache",
}


def application(
    feed: Feed,
    history: History,
    schemas: SchemaApi,
    labels: Labels,
    retraining: Retraining,
    training: TrainingProgress,
    moving: Moving,
) -> LocalOnly:
    """The application; makes the feed's frames as long as it lives."""
    streams = 0

    async def page(request: Request) -> Response:
        return FileResponse(STATIC / "index.html")

    async def icon(request: Request) -> Response:
        return FileResponse(STATIC / "icon.svg")

    async def live(request: Request) -> Response:
        nonlocal streams
        if streams >= STREAMS_MAX:
            return _problem(503, f"{STREAMS_MAX} pages are open already; close one")

        async def events() -> AsyncIterator[bytes]:
            nonlocal streams
            streams += 1
            try:
                async for event in feed.events():
                    yield event
            finally:
                streams -= 1

        return StreamingResponse(events(), media_type="text/event-stream")

    async def windows(request: Request) -> Response:
        window, segment, value = (
            request.query_params.get(name, "") for name in ("window", "segment", "value")
        )
        return await _answer(history.windows(window, segment, value))

    async def beside(request: Request) -> Response:
        return await _answer(history.beside(request.query_params.get("window", "")))

    async def took_over(request: Request) -> Response:
        return await _answer(history.took_over())

    async def segments(request: Request) -> Response:
        return await _answer(history.segments())

    async def system(_: Request) -> Response:
        return await _answer(history.system())

    async def decisions(_: Request) -> Response:
        return await _answer(history.decisions())

    async def drifts(_: Request) -> Response:
        return await _answer(history.drifts())

    async def drift(request: Request) -> Response:
        return await _answer(history.drift(request.query_params.get("id", "")))

    @asynccontextmanager
    async def life(_: Starlette) -> AsyncIterator[None]:
        async with feed.running():
            yield

    app = Starlette(
        routes=[
            Route("/", page),
            Route("/favicon.ico", icon),
            Route("/live", live),
            Route("/api/windows", windows),
            Route("/api/beside", beside),
            Route("/api/took-over", took_over),
            Route("/api/segments", segments),
            Route("/api/system", system),
            Route("/api/drifts", drifts),
            Route("/api/drift", drift),
            Route("/api/decisions", decisions),
            *labels.routes(),
            *retraining.routes(),
            *training.routes(),
            *moving.routes(),
            *schemas.routes(),
            Mount("/static", StaticFiles(directory=STATIC)),
        ],
        lifespan=life,
    )
    return LocalOnly(app, HEADERS, navigable=True)


async def _answer(asked: Any) -> Response:
    try:
        return Response(await asked, media_type="application/json")
    except HistoryError as error:
        return _problem(503, str(error))


def _problem(status: int, message: str) -> Response:
    return JSONResponse({"error": message}, status)
