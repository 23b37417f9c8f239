"""``python -m services.alerting``: decide, record and send alerts until SIGTERM."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence

import stamina
import structlog
from kafka.errors import KafkaError

from schemas.topics import BY_NAME
from services.alerting.channels import Channel, ChannelError, open_channels
from services.alerting.places import ReadError
from services.alerting.sending import Sender
from services.alerting.watching import Watch, clock
from services.contract import Contract
from services.deployment import current, current_contract
from services.sink.settings import SinkSettings
from services.watching.collector import Lags
from streams.alerts.policy import Alerts
from streams.observe import Health, configure_logging, serve_observability, stop_on_signals
from streams.settings import Settings

log = structlog.get_logger("alerting")

HANGS_AFTER_S = 60.0
"""Without a poll for so long, the service is not well."""
STOP_WAIT_S = 5.0
"""For the threads at SIGTERM: what they have not finished is done again at the next start."""


class Stopped(Exception):
    """Told to stop while the broker did not answer."""


def main() -> int:
    """Run the service. Returns the process's exit code."""
    configure_logging("alerting")
    stamina.instrumentation.set_on_retry_hooks([])  # each retry is logged where it is decided
    settings = current()
    try:
        channels = open_channels(settings.alert_urls)
    except ChannelError as error:
        log.error("the channels are wrong", error=str(error))
        return 2
    contract = current_contract(settings) or _load(settings)
    stop = threading.Event()
    stop_on_signals(stop)
    groups = {
        "worker": f"{contract.task}-worker",
        "sink": SinkSettings().group_of(contract.task),
    }
    watch = Watch(settings, contract, Lags(settings.librdkafka(), contract.task, groups), stop)
    senders: list[Sender] = []
    port = serve_observability(settings.health_port, lambda: _health(watch, senders))
    log.info(
        "started",
        task=contract.task,
        health_port=port,
        channels=[channel.name for channel in channels],
    )
    try:
        senders += _senders(settings, contract, channels, stop)
    except Stopped:
        return 0
    for sender in senders:
        sender.start()
    failed: list[BaseException] = []
    working = threading.Thread(target=_work, args=(watch, stop, failed), name="watch", daemon=True)
    working.start()
    stop.wait()
    working.join(STOP_WAIT_S)
    for sender in senders:
        sender.join(STOP_WAIT_S)
    if failed:
        return 1
    log.info("ended in order")
    return 0


def _work(watch: Watch, stop: threading.Event, failed: list[BaseException]) -> None:
    """Crash-only: where a transaction fails, the process ends, and its supervisor starts it."""
    try:
        watch.run()
    except Exception as error:
        failed.append(error)
        log.error("cannot go on; started again, it goes on where it was", error=repr(error)[:500])
    finally:
        stop.set()


def _senders(
    settings: Settings, contract: Contract, channels: Sequence[Channel], stop: threading.Event
) -> list[Sender]:
    """A sender a channel, as soon as the broker answers. Raises Stopped."""
    topic = BY_NAME["alerts"]
    codec = contract.codec(topic.record, settings.home)

    def worth_waiting(error: Exception) -> bool:
        if stop.is_set():
            raise Stopped from error
        log.warning("Kafka does not answer; trying again", error=repr(error)[:300])
        return isinstance(error, KafkaError | ReadError | OSError)

    for attempt in stamina.retry_context(
        on=worth_waiting, attempts=None, timeout=None, wait_initial=0.2, wait_max=5.0
    ):
        with attempt:
            senders = [
                Sender(
                    channel,
                    settings,
                    contract.task,
                    topic.topic(contract.task),
                    codec,
                    Alerts.of(contract.alerts),
                    stop,
                    clock,
                )
                for channel in channels
            ]
    return senders


def _health(watch: Watch, senders: Sequence[Sender]) -> Health:
    """Well while the loop polls and every channel's thread lives, whether its receiver does or
    not."""
    states = {sender.channel.name: sender.state() for sender in senders}
    polls = time.monotonic() - watch.state.polled_at < HANGS_AFTER_S
    return Health(
        polls and all(state["alive"] for state in states.values()),
        {"open": watch.state.open, "channels": states},
    )


def _load(settings: Settings) -> Contract:
    """The contract from the task's file, where no start has recorded it yet."""
    from streams.task import load_task  # the file imports scikit-learn: seconds

    return Contract.of(load_task(settings.task), settings.task)


if __name__ == "__main__":
    sys.exit(main())
