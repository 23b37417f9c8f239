"""``python -m services.sink``: every topic of the task into ClickHouse, until told to stop."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass

import clickhouse_connect
import stamina
import structlog
from clickhouse_connect.driver import options
from clickhouse_connect.driver.exceptions import ClickHouseError

from schemas.arrow_columns import ArrowReader
from services.contract import Contract
from services.deployment import current, current_contract
from services.migrations import MigrationError
from services.sink.database import DatabaseError, prepare, tables_of
from services.sink.ownership import TakenOver, new_sink_id, take_over
from services.sink.reading import Reader, TopicRecreated
from services.sink.settings import SinkSettings
from services.sink.sink import Sink, Stream
from services.sink.tables import UNDECODABLE
from services.sink.writing import Health, Stopped, TableGone, TableWriter, highest, is_away
from services.watching.collector import COLUMNS, TABLE, Collector, Lags, Row, collect
from streams import observe
from streams.settings import Settings
from streams.task import load_task

log = structlog.get_logger("sink")

# Seconds that the store may refuse, or a step may last, before the health page says so.
_UNWELL_S = 15.0


def main() -> int:
    """Run the sink; the exit code is 0 after a stop, 3 if another sink took over, else 1."""
    observe.configure_logging("sink")
    _without_frames()
    stamina.instrumentation.set_on_retry_hooks([])  # each retry is logged where it is decided
    settings, own = current(), SinkSettings()
    stop, health = threading.Event(), Health()
    observe.stop_on_signals(stop)
    running: list[Sink] = []
    port = observe.serve_observability(settings.health_port, lambda: _health(health, running))
    contract = current_contract(settings) or Contract.of(load_task(settings.task), settings.task)
    log.info("sink starts", task=contract.task, health_port=port)
    try:
        owned = _own_tables(settings, contract, stop, health)
        reader = _reader(settings, own, contract, owned, stop)
        _watch(settings, contract, own.group_of(contract.task), stop)
        running.append(Sink(reader, owned.streams, owned.undecodable, own, stop.is_set))
        log.info("sink runs", task=contract.task, topics=len(owned.streams))
        running[0].run()
    except Stopped:
        log.info("sink stopped before it ran")
    except TakenOver as error:
        log.error("taken over", error=str(error))
        return 3
    except (DatabaseError, MigrationError, TopicRecreated, TableGone) as error:
        log.error("sink cannot go on", error=str(error))
        return 1
    log.info("sink stopped")
    return 0


@dataclass(frozen=True)
class _Owned:
    """The tables, taken over, each with its topic."""

    streams: dict[str, Stream]
    undecodable: TableWriter


def _own_tables(
    settings: Settings, contract: Contract, stop: threading.Event, health: Health
) -> _Owned:
    """Make the tables and take them over, as soon as the store lets us. Raises Stopped."""

    def worth_waiting(error: Exception) -> bool:
        if not (isinstance(error, ClickHouseError) and is_away(error)):
            return False
        if stop.is_set():
            raise Stopped from error
        health.failed(error)
        log.warning("store not ready", error=str(error)[:500])
        return True

    for attempt in stamina.retry_context(
        on=worth_waiting, attempts=None, timeout=None, wait_initial=0.1, wait_max=1.0
    ):
        with attempt:
            owned = _take(settings, contract, stop, health)
            health.worked()
    return owned


def _without_frames() -> None:
    """Keep clickhouse-connect from importing pandas and PyArrow at the first insert, to ask
    whether the rows are a data frame: a second of processor time, and 100 MB for ever. None is
    what it sets itself where a library is not installed."""
    options.pd = options.pd_time_test = options.arrow = options.pl = None


def _take(settings: Settings, contract: Contract, stop: threading.Event, health: Health) -> _Owned:
    # 1. The store.
    client = clickhouse_connect.get_client(
        **settings.clickhouse(write=True), autogenerate_session_id=False
    )
    # 2. Tables that can hold the records.
    tables = tables_of(contract.schemas)
    for change in prepare(client, contract.task, tables):
        log.info("database changed", database=contract.task, change=change)
    # 3. Ownership; only after it the offsets that the tables hold are the last word.
    sink, names = new_sink_id(), [*(table.name for table in tables), UNDECODABLE]
    take_over(client, contract.task, names, sink)
    # 4. Where to go on.
    held = highest(client, contract.task, names)
    writers = {
        name: TableWriter(client, contract.task, name, sink, health, stop.is_set, held[name])
        for name in names
    }
    streams = {
        topic: Stream(
            topic,
            table,
            ArrowReader(contract.codec(kind.record, settings.home)),
            writers[table.name],
        )
        for table, (topic, kind) in zip(tables, contract.topics(), strict=True)
    }
    return _Owned(streams, writers[UNDECODABLE])


def _reader(
    settings: Settings, own: SinkSettings, contract: Contract, owned: _Owned, stop: threading.Event
) -> Reader:
    reader = Reader(settings.librdkafka(), list(owned.streams), own.group_of(contract.task))
    reader.start(
        {topic: s.writer.positions(s.table.topic) for topic, s in owned.streams.items()},
        stop.is_set,
    )
    return reader


def _watch(settings: Settings, contract: Contract, group: str, stop: threading.Event) -> None:
    """Write what the processes of this home do into their table, beside the records."""
    client = clickhouse_connect.get_client(
        **settings.clickhouse(write=True), autogenerate_session_id=False
    )
    groups = {"worker": f"{contract.task}-worker", "sink": group}
    collector = Collector(settings.home, Lags(settings.librdkafka(), contract.task, groups))

    def write(rows: Iterable[Row]) -> None:
        client.insert(TABLE, list(rows), column_names=COLUMNS, database=contract.task)

    threading.Thread(
        target=collect, args=(collector, write, stop.wait), name="watching", daemon=True
    ).start()


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
