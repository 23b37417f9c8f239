"""The queue of a deployment, wired: its notebook, its ClickHouse, its broker."""

from __future__ import annotations

import threading
from collections.abc import Callable

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from services.contract import Contract
from services.labelling.desk import Desk
from services.labelling.queue import Queue
from services.labelling.truths import Truths
from streams.settings import Settings

FAILURES = (ClickHouseError, OSError)
"""What a question to ClickHouse may raise."""


def open_queue(settings: Settings, contract: Contract) -> Queue:
    """The queue of a task; it connects when it is first asked."""
    return Queue(
        contract,
        _client(settings, contract),
        Desk(settings.home / "labelling" / f"{contract.task}.sqlite"),
        Truths(contract, settings.librdkafka()),
        settings.artifacts,
    )


def why(error: Exception) -> str:
    """What a failed question means, for the person who wants to label."""
    text = str(error).strip()
    if any(code in text for code in ("UNKNOWN_TABLE", "UNKNOWN_DATABASE")):
        return "ClickHouse has no tables yet: the sink makes them when it starts"
    first = text.splitlines()[0] if text else repr(error)
    return f"ClickHouse does not answer: {first}"


def _client(settings: Settings, contract: Contract) -> Callable[[], Client]:
    """Makes the connection at the first question: it reads as anybody may."""
    lock = threading.Lock()
    made: list[Client] = []

    def connected() -> Client:
        with lock:
            if not made:
                client = clickhouse_connect.get_client(
                    **settings.clickhouse(),
                    # Without sessions, several threads may ask at the same time.
                    autogenerate_session_id=False,
                    connect_timeout=3,
                    query_retries=0,
                )
                client.database = contract.task
                made.append(client)
            return made[0]

    return connected
