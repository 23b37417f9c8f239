"""The HTTP application: ClickHouse's interface, health and metrics."""

from __future__ import annotations

import contextlib
import functools
import json
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import structlog
from anyio import CancelScope, CapacityLimiter, fail_after, to_thread
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from services.store import encodings
from services.store.access import Credentials
from services.store.calls import Call, read_call
from services.store.engine import Answer
from services.store.errors import UNKNOWN_EXCEPTION, EngineError, StoreError
from services.store.execution import Executor, Running
from services.store.metrics import Metrics
from services.store.rights import Role
from services.store.settings import StoreSettings
from services.store.turns import Turns
from streams.browsers import LocalOnly

log = structlog.get_logger("store")

# A health probe that takes longer than this many seconds counts as an engine that hangs.
_PROBE_S = 5.0
_MIN_COMPRESSED_BYTES = 512  # below it a compressed answer is no shorter


class _Stream(StreamingResponse):
    """An answer in blocks, which ends what is open however it ends, also before its first byte.

    send_wait_s: how long the client may take over one block: a turn is not held for longer.
    """

    def __init__(
        self, content: AsyncIterator[bytes], headers: dict[str, str], send_wait_s: float
    ) -> None:
        super().__init__(content, headers=headers)
        self.open = contextlib.AsyncExitStack()
        self._send_wait_s = send_wait_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""

        async def send_in_time(message: Message) -> None:
            try:
                with fail_after(self._send_wait_s):
                    await send(message)
            except TimeoutError:
                raise OSError("the client takes no more of its answer") from None

        async with self.open:
            with contextlib.suppress(ClientDisconnect):
                await super().__call__(scope, receive, send_in_time)


class StoreApp:
    """The handlers over one engine. ``writer`` and ``password`` name who may write."""

    def __init__(
        self, executor: Executor, writer: str, password: str, settings: StoreSettings
    ) -> None:
        self._executor = executor
        self._writer = writer
        self._password = password
        self._settings = settings
        with executor.engine.session() as session:
            self.version = session.run("SELECT version()").body.decode().strip()
        self._turns = {
            Role.READER: Turns(settings.readers, settings.max_waiting),
            Role.WRITER: Turns(settings.writers, settings.max_waiting),
        }
        self._threads = CapacityLimiter(settings.readers + settings.writers)
        self._probe = CapacityLimiter(1)
        self._metrics = Metrics(self._turns)

    def asgi(self) -> LocalOnly:
        """The ASGI application."""
        return LocalOnly(
            Starlette(
                routes=[
                    Route("/ping", self.ping),
                    Route("/health", self.health),
                    Route("/metrics", self.metrics),
                    Route("/", self.query, methods=["GET", "POST"]),
                ],
            )
        )

    async def ping(self, request: Request) -> Response:
        """As ClickHouse: the process answers."""
        return PlainTextResponse("Ok.\n")

    async def health(self, request: Request) -> Response:
        """The engine answers, whatever else is running."""

        def select() -> None:
            with self._executor.engine.session() as session:
                session.run("SELECT 1")

        try:
            with fail_after(_PROBE_S):
                await to_thread.run_sync(select, limiter=self._probe, abandon_on_cancel=True)
        except (TimeoutError, StoreError) as error:
            reason = str(error) or f"the engine did not answer within {_PROBE_S} s"
            return JSONResponse({"ok": False, "error": reason}, status_code=503)
        running = {role: turns.running for role, turns in self._turns.items()}
        return JSONResponse({"ok": True, "engine": self.version, "running": running})

    async def metrics(self, request: Request) -> Response:
        """Prometheus's text format."""
        body, kind = self._metrics.exposition()
        return Response(body, media_type=kind)

    async def query(self, request: Request) -> Response:
        """One statement of ClickHouse's HTTP interface."""
        if request.method == "GET" and not request.query_params:
            return PlainTextResponse("Ok.\n")
        began = time.perf_counter()
        role = Role.READER
        try:
            url = dict(request.query_params)
            role = Credentials.of(request.headers, url).role(self._writer, self._password)
            if request.method == "GET":
                role = Role.READER  # as ClickHouse: a link must not be able to change anything
            limit = self._settings.max_body_bytes
            if role is Role.READER:
                limit = min(limit, self._settings.max_reader_body_bytes)
            body = await self._body(request, limit)
            call = await to_thread.run_sync(
                functools.partial(read_call, url, request.headers, body, limit)
            )
            response = await self._answer(call, role)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it, and nothing was begun
        except StoreError as error:
            self._metrics.done(role, error.code, time.perf_counter() - began)
            log.info("call refused", role=role, code=error.code, error=str(error)[:500])
            return self._failure(error)
        self._metrics.done(role, 0, time.perf_counter() - began)
        return response

    async def _body(self, request: Request, limit: int) -> bytes:
        chunks, size = [], 0
        async for chunk in request.stream():
            chunks.append(chunk)
            size += len(chunk)
            if size > limit:
                raise encodings.too_large(limit)
        return b"".join(chunks)

    async def _answer(self, call: Call, role: Role) -> Response:
        stack = contextlib.AsyncExitStack()
        async with stack:
            # 1. A turn: readers and writers wait in line, first come, first served, apart.
            await stack.enter_async_context(self._turns[role].turn())
            # 2. A session. It is entered and left in threads: both call the engine.
            preparing = self._executor.prepare(call, role)
            running = await self._thread(preparing.__enter__)
            stack.push_async_callback(self._end, preparing.__exit__, None, None, None)
            # 3. The whole answer, or its first block: so that what fails early has its status.
            if not running.streamed:
                answer = await self._thread(running.run)
                self._metrics.rows(answer)
                return await self._whole(running, answer)
            blocks = running.stream()
            stack.push_async_callback(self._end, blocks.close)
            first = await self._thread(next, blocks, None)
            if first is None:
                return await self._whole(running, await self._thread(running.run))
            # 4. A stream keeps turn and session until its last block is sent: nothing that can
            #    fail comes between the end of this block and the response that ends the stack.
            stream = self._stream(running, first, blocks)
            stream.open = stack.pop_all()
            return stream
        raise AssertionError("unreachable")

    async def _thread(self, work: Any, *args: Any) -> Any:
        return await to_thread.run_sync(work, *args, limiter=self._threads)

    async def _end(self, work: Any, *args: Any) -> None:
        """What must be done also where the caller is gone and its task cancelled."""
        with CancelScope(shield=True):
            await self._thread(work, *args)

    async def _whole(self, running: Running, answer: Answer) -> Response:
        headers = self._headers(running, answer)
        body, encoding = answer.body, running.call.encoding
        if encoding and len(body) >= _MIN_COMPRESSED_BYTES:
            body = await to_thread.run_sync(encodings.compress, body, encoding)
            headers["Content-Encoding"] = encoding
        return Response(body, headers=headers)

    def _stream(self, running: Running, first: bytes, blocks: Iterator[bytes]) -> _Stream:
        tag = running.call.query_id.replace("-", "")[:16].ljust(16, "0")
        encoding = running.call.encoding
        headers = self._headers(running, None) | {"X-ClickHouse-Exception-Tag": tag}
        if encoding:
            headers["Content-Encoding"] = encoding

        async def chunks() -> AsyncIterator[bytes]:
            # The status is out: what fails from here on is told in the body, marked by the tag.
            compressor = encodings.compressor(encoding) if encoding else None
            block: bytes | None = first
            while block is not None:
                yield compressor.compress(block) if compressor else block
                try:
                    block = await self._thread(next, blocks, None)
                except EngineError as error:
                    log.info("stream failed", code=error.code, error=str(error)[:500])
                    failure = self._in_band(error, tag)
                    yield compressor.compress(failure) if compressor else failure
                    break
            if compressor:
                yield compressor.flush()

        return _Stream(chunks(), headers, self._settings.send_wait_s)

    def _headers(self, running: Running, answer: Answer | None) -> dict[str, str]:
        headers = {
            "X-ClickHouse-Query-Id": running.call.query_id,
            "X-ClickHouse-Server-Display-Name": "weir-store",
            "X-ClickHouse-Timezone": "UTC",
            "Content-Type": "text/plain; charset=utf-8",
        }
        if running.has_result:
            headers["X-ClickHouse-Format"] = running.output
        if answer is not None:
            summary = {k: str(v) for k, v in vars(answer).items() if k != "body"}
            headers["X-ClickHouse-Summary"] = json.dumps(summary)
        return headers

    def _failure(self, error: StoreError) -> Response:
        headers = {"X-ClickHouse-Exception-Code": str(error.code)}
        if error.code == UNKNOWN_EXCEPTION:
            log.warning("engine failed", error=str(error))
        text = f"{error} (version {self.version})\n"
        return PlainTextResponse(text, status_code=error.status, headers=headers)

    def _in_band(self, error: StoreError, tag: str) -> bytes:
        """ClickHouse's form of an error after the first bytes of an answer."""
        text = f"{error} (version {self.version})\n".encode()
        size = f"{len(text)} {tag}".encode()
        marker = b"\r\n__exception__\r\n"
        return marker + tag.encode() + b"\r\n" + text + size + marker
