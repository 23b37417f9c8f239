"""``python -m services.store``: open the folder, serve it, end in order."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
from pathlib import Path

import structlog
import uvicorn

from services.store.app import StoreApp
from services.store.engine import Engine
from services.store.errors import StoreLocked
from services.store.execution import Executor
from services.store.folder import Folder
from services.store.guard import Guard
from services.store.parts import CONFIGURATION
from services.store.settings import StoreSettings
from streams.observe import configure_logging
from streams.settings import Settings

log = structlog.get_logger("store")

DAMAGED = 4
"""Exit code: a full disk has damaged a part; the next start has its rows from other parts."""


def main(arguments: list[str] | None = None) -> int:
    """Run the store until SIGTERM, SIGINT or damage. Returns the process's exit code.

    At the end running writes are finished, readers' queries are cancelled, the engine is closed.
    """
    shared = Settings()
    options = _parser(shared).parse_args(arguments)
    settings = StoreSettings()
    password = shared.clickhouse_password.get_secret_value()
    configure_logging("store")
    if not password:
        log.error("WEIR_CLICKHOUSE_PASSWORD is not set: nobody could write; set it or its _FILE")
        return 2
    listener = _listen(options.host, options.port)
    if listener is None:
        return 1
    try:
        folder = Folder(options.path)
        folder.make_ready(settings.least_free_bytes)
        engine = Engine(options.path, CONFIGURATION)
    except StoreLocked as error:
        log.error("store not opened", error=str(error))
        return 1
    guard = Guard(engine, settings.least_free_bytes, lambda: setattr(server, "should_exit", True))
    app = StoreApp(
        Executor.over(engine, settings.limits(), guard), shared.clickhouse_user, password, settings
    )
    server = _Server(
        uvicorn.Config(
            app.asgi(),
            log_config=None,
            access_log=False,
            limit_concurrency=settings.max_connections,
            timeout_graceful_shutdown=int(settings.stop_wait_s),
            # Longer than clients keep idle connections, so that they end them, not we.
            timeout_keep_alive=75,
        ),
        engine,
    )
    host, port = listener.getsockname()[:2]
    log.info("store listens", host=host, port=port, path=str(options.path), engine=app.version)
    for number in (signal.SIGTERM, signal.SIGINT):
        # Uvicorn raises the signal again after it has stopped: there is still an engine to close.
        signal.signal(number, lambda *_: None)
    guard.start()
    server.run(sockets=[listener])
    guard.stop()
    # A damaged engine is not closed but left: closing writes, and tidies up.
    closed = not guard.damaged and engine.close(settings.stop_wait_s)
    log.info("store stopped", closed=closed, damaged=guard.damaged)
    if not closed:
        # A statement that cannot be stopped holds the engine; what was acknowledged is on disk.
        sys.stderr.flush()
        os._exit(DAMAGED if guard.damaged else 0)
    return 0


def _parser(shared: Settings) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m services.store", description=__doc__)
    parser.add_argument("--path", type=Path, default=shared.home / "store", help="its folder")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=shared.clickhouse_port, help="0: a free one")
    return parser


def _listen(host: str, port: int) -> socket.socket | None:
    # The protocol is named, or asyncio does not see TCP and leaves Nagle's 40 ms on.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    # A restarted store takes its port over from connections that are still winding down.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        log.error("port not free", host=host, port=port, error=str(error))
        return None
    return listener


class _Server(uvicorn.Server):
    """Uvicorn, which first cancels the queries that nobody will wait for."""

    def __init__(self, config: uvicorn.Config, engine: Engine) -> None:
        super().__init__(config)
        self._engine = engine

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Cancel readers, then finish what runs and stop."""
        self._engine.cancel_readers()
        await super().shutdown(sockets)


if __name__ == "__main__":
    sys.exit(main())
