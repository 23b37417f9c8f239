"""``python -m services.console``: serve the page until told to stop."""

from __future__ import annotations

import signal
import socket
import sys
import time
from typing import Any

import structlog
import uvicorn

from services.console.app import application
from services.console.feed import Feed
from services.console.history import History
from services.console.labelling import Labels
from services.console.live import Live
from services.console.moving import CannotServe, Move, Moving
from services.console.retraining import Ask, Retraining
from services.console.schema_api import SchemaApi
from services.console.tail import Tail
from services.console.training import TrainingProgress
from services.contract import Contract
from services.deployment import current, current_contract
from services.labelling.opening import open_queue
from services.moves import Act, Asked
from streams.observe import Health, configure_logging, serve_observability
from streams.settings import Settings

log = structlog.get_logger("console")

STOP_WAIT_S = 3
"""Longest wait for answers under way at the end; streams are told to end at once."""


def main() -> int:
    """Run the console until SIGTERM or SIGINT. Returns the process's exit code."""
    configure_logging("console")
    settings = current()
    listener = _listen(settings.console_port)
    if listener is None:
        return 1
    contract = current_contract(settings) or _load(settings)
    live = Live(int(time.time()))
    tail = Tail(settings.librdkafka(), contract, settings.home, live)
    history = History(settings.clickhouse(), contract)
    feed = Feed(contract, settings.home, live, tail, history)
    token = settings.retrain_token.get_secret_value()
    server = _Server(
        uvicorn.Config(
            application(
                feed,
                history,
                SchemaApi(settings.home),
                Labels(open_queue(settings, contract)),
                Retraining(_asking(settings, contract), token),
                TrainingProgress(settings.home),
                Moving(_moving(settings, contract), token),
            ),
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=STOP_WAIT_S,
        ),
        feed,
    )
    health_port = serve_observability(settings.health_port, lambda: _health(tail, history))
    listener.listen()  # from now on a connection waits, and is not refused
    port = listener.getsockname()[1]
    log.info("console listens", url=f"http://127.0.0.1:{port}/", health_port=health_port)
    for number in (signal.SIGTERM, signal.SIGINT):
        # Uvicorn raises the signal again after it has stopped: there is still a thread to end.
        signal.signal(number, lambda *_: None)
    tail.start()
    server.run(sockets=[listener])
    tail.stop()
    history.close()
    log.info("console stopped")
    return 0


def _asking(settings: Settings, contract: Contract) -> Ask:
    def ask(**event: Any) -> str:
        from services.registry import request_retrain  # imports the task's parts: seconds, once

        return request_retrain(settings, contract, **event)

    return ask


def _moving(settings: Settings, contract: Contract) -> Move:
    def move(asked: Asked, by: str, why: str) -> list[dict[str, Any]]:
        from services.moving import Refused, act_once  # imports the task's parts: seconds, once
        from services.registry import now_ms
        from streams.task import TaskError, load_task

        try:
            task = load_task(contract.reference)
            records = act_once(settings, task, asked, Act(by, why, now_ms()))
        except Refused as error:
            raise CannotServe(str(error)) from error
        except TaskError as error:
            what = asked.version or "the champion before"
            raise CannotServe(f"{what} cannot be put in service: {error}") from error
        return [record.record() for record in records]

    return move


def _health(tail: Tail, history: History) -> Health:
    """Kafka and ClickHouse may be away for a while; the page says so and goes on."""
    return Health(
        ok=tail.alive,
        detail={
            "kafka": tail.state.message or "ok",
            "clickhouse": history.state()["message"] or "ok",
        },
    )


def _load(settings: Settings) -> Contract:
    """The contract from the task's file, where no start has recorded it yet."""
    from streams.task import load_task  # the file imports scikit-learn: seconds

    return Contract.of(load_task(settings.task), settings.task)


def _listen(port: int) -> socket.socket | None:
    # The protocol is named, or asyncio does not see TCP and leaves Nagle's 40 ms on.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    # A restarted console takes its port over from connections that are still winding down.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError as error:
        log.error("port not free: set WEIR_CONSOLE_PORT", port=port, error=str(error))
        return None
    return listener


class _Server(uvicorn.Server):
    """Uvicorn, which first ends the streams: an open page would be waited for."""

    def __init__(self, config: uvicorn.Config, feed: Feed) -> None:
        super().__init__(config)
        self._feed = feed

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams, then finish what runs and stop."""
        await self._feed.close()
        await super().shutdown(sockets)


if __name__ == "__main__":
    sys.exit(main())
