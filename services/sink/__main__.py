"""``python -m services.sink``: every topic of the task into ClickHouse, until told to stop."""

from __future__ import annotations

import sys
import threading
import time

import clickhouse_connect
import stamina
import structlog
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from services.contract import Contract
from services.deployment import current, current_contract
from services.migrations import MigrationError
from services.sink.database import DatabaseError, prepare, tables_of
from services.sink.ownership import TakenOver, new_sink_id, take_over
from services.sink.reading import Reader, TopicRecreated
from services.sink.settings import SinkSettings
from services.sink.sink import Sink, Stream
from services.sink.writing import Health, TableGone, TableWriter
from streams import observe
from streams.settings import Settings
from streams.task import load_task

log = structlog.get_logger("sink")

# Seconds that the store may refuse, or a step may last, before the health page says so.
_UNWELL_S = 15.0
UNDECODABLE = "undecodable"


def main() -> int:
    """Run the sink; the exit code is 0 after a stop, 3 if another sink took over, else 1."""
    observe.configure_logging("sink")
    settings, own = current(), SinkSettings()
    stop, health = threading.Event(), Health()
    observe.stop_on_signals(stop)
    running: list[Sink] = []
    port = observe.serve_observability(settings.health_port, lambda: _health(health, running))
    contract = current_contract(settings) or Contract.of(load_task(settings.task), settings.task)
    log.info("sink starts", task=contract.task, health_port=port)
    try:
        sink = _ready(settings, own, contract, stop, health)
        if sink is not None:
            running.append(sink)
            sink.run()
    except TakenOver as error:
        log.error("taken over", error=str(error))
        return 3
    except (DatabaseError, MigrationError, TopicRecreated, TableGone) as error:
        log.error("sink cannot go on", error=str(error))
        return 1
    log.info("sink stopped")
    return 0


def _ready(
    settings: Settings, own: SinkSettings, contract: Contract, stop: threading.Event, health: Health
) -> Sink | None:
    """A sink that owns the tables and stands where they end; None if told to stop before."""
    # 1. The store, which may still be starting.
    client = _client(settings, stop, health)
    if client is None:
        return None
    # 2. Tables that can hold the records.
    tables = tables_of(contract.schemas)
    for change in prepare(client, contract.task, tables):
        log.info("database changed", database=contract.task, change=change)
    # 3. Ownership; only after it the offsets that the tables hold are the last word.
    sink = new_sink_id()
    names = [table.name for table in tables]
    take_over(client, contract.task, [*names, UNDECODABLE], sink)

    def writer(name: str) -> TableWriter:
        made = TableWriter(
            client, contract.task, name, sink, health, stop.is_set, name == UNDECODABLE
        )
        made.load_positions()
        return made

    streams = {}
    for table, (topic, kind) in zip(tables, contract.topics(), strict=True):
        codec = contract.codec(kind.record, settings.home)
        streams[topic] = Stream(topic, table, codec, writer(table.name))
    # 4. The topics, from there.
    group = own.group or f"weir-sink-{contract.task}"
    reader = Reader(settings.kafka_python(), list(streams), group)
    positions = {topic: s.writer.positions(s.table.topic) for topic, s in streams.items()}
    reader.start(positions, stop.is_set)
    log.info("sink runs", task=contract.task, sink=sink, topics=len(streams))
    return Sink(reader, streams, writer(UNDECODABLE), own, stop.is_set)


def _client(settings: Settings, stop: threading.Event, health: Health) -> Client | None:
    for attempt in stamina.retry_context(
        on=lambda error: isinstance(error, ClickHouseError) and not stop.is_set(),
        attempts=None,
        timeout=None,
        wait_initial=0.1,
        wait_max=1.0,
    ):
        try:
            with attempt:
                try:
                    client = clickhouse_connect.get_client(
                        **settings.clickhouse(write=True), autogenerate_session_id=False
                    )
                    health.worked()
                    return client
                except ClickHouseError as error:
                    health.failed(error)
                    raise
        except ClickHouseError:
            if stop.is_set():
                return None
            raise
    return None


def _health(health: Health, running: list[Sink]) -> observe.Health:
    detail: dict[str, object] = {"state": "running" if running else "starting"}
    ok = True
    if health.failing_since is not None:
        seconds = time.monotonic() - health.failing_since
        detail |= {"store_refuses_for_s": round(seconds, 1), "error": health.error}
        ok = seconds < _UNWELL_S
    if running:
        idle = time.monotonic() - running[0].last_step
        detail |= {"lag": running[0].lag, "since_last_step_s": round(idle, 1)}
        ok = ok and idle < _UNWELL_S
    return observe.Health(ok=ok, detail=detail)


if __name__ == "__main__":
    sys.exit(main())
