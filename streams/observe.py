"""What every process of Weir shows of itself: log lines, metrics, health, and an orderly end.

configure_logging("sink")
stop = threading.Event()
stop_on_signals(stop)
port = serve_observability(0, lambda: Health(ok=consumer_is_alive()))
"""

from __future__ import annotations

import _thread
import contextlib
import json
import logging
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import FrameType, TracebackType
from typing import Any

import structlog
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.exposition import choose_encoder
from structlog.typing import EventDict, Processor, WrappedLogger

from streams.browsers import SAFE_HEADERS, why_foreign

NOISY_AT_INFO = ("httpx", "httpcore", "kafka", "urllib3")
"""Libraries that log each request or poll at INFO: shown from WARNING on, unless at DEBUG."""


def configure_logging(process: str, level: str | int = "INFO") -> None:
    """Make every log line of this process one JSON object on stderr.

    Each has `timestamp` (ISO 8601, UTC), `level`, `process`, `event`, and `logger` where it has a
    name; exceptions are rendered into `exception`. Lines of the standard library's `logging`,
    warnings and uncaught exceptions take the same form. May be called again, e.g. by a test.
    """
    level = level.upper() if isinstance(level, str) else level

    def name_process(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        event["process"] = process
        return event

    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        name_process,
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(sort_keys=False),
            ],
        )
    )
    handler.addFilter(_passing)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    quiet = logging.NOTSET if root.level <= logging.DEBUG else max(root.level, logging.WARNING)
    for name in NOISY_AT_INFO:
        logging.getLogger(name).setLevel(quiet)
    logging.captureWarnings(True)
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_in_thread


def _passing(record: logging.LogRecord) -> bool:
    """Have kafka-python's errors logged as warnings, and every record logged.

    It calls each lost connection an error and connects again. What does not pass by itself it
    raises, and whoever called it logs that.
    """
    if record.name.partition(".")[0] == "kafka" and record.levelno >= logging.ERROR:
        record.levelno, record.levelname = logging.WARNING, "WARNING"
    return True


@dataclass(frozen=True)
class Health:
    """Whether a process does its work, and what a person should know about it (JSON values)."""

    ok: bool
    detail: Mapping[str, Any] = field(default_factory=dict)


def serve_observability(
    port: int, health: Callable[[], Health], registry: CollectorRegistry = REGISTRY
) -> int:
    """Serve `/metrics` (Prometheus) and `/health` on 127.0.0.1 and return the port.

    `health` is called in a thread of the server for each request: 200 when ok, else 503; one that
    raises is a 503 that names the error. Port 0 takes a free one. The server ends with the process.
    Raises OSError when the port is taken.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            said = {name.lower(): value for name, value in self.headers.items()}
            if (why := why_foreign(said)) is not None:
                self._answer(403, "text/plain", f"{why}\n".encode())
            elif path == "/metrics":
                encode, content_type = choose_encoder(self.headers.get("Accept", ""))
                self._answer(200, content_type, encode(registry))
            elif path == "/health":
                state = _ask(health)
                body = json.dumps({"ok": state.ok, **state.detail}, default=str).encode()
                self._answer(200 if state.ok else 503, "application/json", body)
            else:
                self._answer(404, "text/plain", b"here are /metrics and /health\n")

        def _answer(self, status: int, content_type: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            for name, value in SAFE_HEADERS.items():
                self.send_header(name, value)
            self.end_headers()
            with contextlib.suppress(ConnectionError):  # whoever asked has gone
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing: a line for each scrape would bury the log."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="observability", daemon=True).start()
    return server.server_port


def stop_on_signals(stop: threading.Event) -> None:
    """Set `stop` on SIGTERM and SIGINT, so that the process ends in order.

    It is set in a thread of its own: a signal may come while the main thread, which handles it,
    is in `stop.wait` and holds the event's lock.

    A second SIGINT (an impatient Ctrl-C) does what it did before this call. To be called from the
    main thread.
    """
    impatient = signal.getsignal(signal.SIGINT)

    def handle(number: int, _: FrameType | None) -> None:
        _thread.start_new_thread(stop.set, ())  # unlike Thread.start it takes no lock either
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, impatient)

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)


def _ask(health: Callable[[], Health]) -> Health:
    try:
        return health()
    except Exception as error:
        return Health(ok=False, detail={"error": f"{type(error).__name__}: {error}"})


def _log_uncaught(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    logging.getLogger().critical("uncaught exception", exc_info=(kind, error, trace))


def _log_uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is None or issubclass(args.exc_type, SystemExit):
        return
    thread = args.thread.name if args.thread else "unknown"
    logging.getLogger().critical(
        "uncaught exception in thread %s",
        thread,
        exc_info=(args.exc_type, args.exc_value, args.exc_traceback),
    )
