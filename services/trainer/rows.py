"""The rows that an event trains on: the task's history and the outcomes in ClickHouse."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import clickhouse_connect
import numpy as np
import pandas as pd
import stamina
import structlog
from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError

from schemas.moments import bounded
from schemas.topics import BY_NAME
from services.trainer.events import FIRST, Event
from services.trainer.snapshot import Stopped, wait_for_sink
from streams.task import Task
from streams.training.checks import KNOWN_AT
from streams.training.data import EVENT_TIME, REQUEST_ID, STANDS_FOR, WEAK, WORTH
from streams.training.errors import DataError
from streams.training.weights import Told, stands_for
from streams.windowed.history import with_windowed

log = structlog.get_logger("trainer")

MOST_ROWS = 2_000_000
"""Newest outcomes that are read: they and the model's own copies must fit into memory."""


def query(task: Task) -> str:
    """The outcomes that an event may see: each request's latest revision, newest first.

    True ones; by the task's policy also weak ones, of requests without a true one. Beside the
    features there is, under a name with ``_``, how each label came to be known (`told`).

    Parameters: ``from_ms``, ``to_ms`` (event time), ``begins`` and ``ends`` (for each partition of
    the topic the offsets from which and before which outcomes are seen). Rows that the table holds
    twice, because its parts are not merged yet, count once.
    """
    features = ", ".join(
        f"`features.{feature.name}` AS `{feature.name}`" for feature in task.inputs
    )
    labels = "label != 'weak'" if task.training.weak_labels == "never" else "1"
    return f"""
        SELECT request_id, toUnixTimestamp64Milli(event_time) AS {EVENT_TIME}_ms,
               toUnixTimestamp64Milli(known_at) AS {KNOWN_AT}_ms,
               truth AS `{task.target.name}`, {_TOLD}, {features}
        FROM `{task.name}`.`{BY_NAME["outcomes"].table}`
        WHERE event_time >= fromUnixTimestamp64Milli({{from_ms:Int64}})
          AND event_time < fromUnixTimestamp64Milli({{to_ms:Int64}})
          AND {labels}
          AND _offset >= {{begins:Array(Int64)}}[_partition + 1]
          AND _offset < {{ends:Array(Int64)}}[_partition + 1]
        ORDER BY event_time DESC, request_id, {WEAK}, revision DESC
        LIMIT 1 BY request_id
        LIMIT {MOST_ROWS}
    """


_TOLD_OF = {
    WEAK: "label = 'weak'",
    WORTH: "weight",
    "_source": "source",
    "_propensity": "ifNull(propensity, nan)",
    "_held_back": "gate_decision = 'defer'",
    "_explored": "explored",
    "_model_propensity": "ifNull(model_propensity, nan)",
    "_selection": "ifNull(selection_probability, nan)",
}
_TOLD = ", ".join(f"{expression} AS {name}" for name, expression in _TOLD_OF.items())


def told(outcomes: pd.DataFrame) -> Told:
    """How the labels of `query`'s rows came to be known."""
    return Told(
        weak=outcomes[WEAK].to_numpy(bool),
        source=outcomes["_source"].to_numpy(object),
        propensity=outcomes["_propensity"].to_numpy(np.float64),
        held_back=outcomes["_held_back"].to_numpy(bool),
        explored=outcomes["_explored"].to_numpy(bool),
        model_propensity=outcomes["_model_propensity"].to_numpy(np.float64),
        selection=outcomes["_selection"].to_numpy(np.float64),
    )


def weighed(task: Task, outcomes: pd.DataFrame) -> pd.DataFrame:
    """The rows with what training takes of their labels (`streams.training.data`) instead of what
    was told of them, without those whose label was taken back.

    Raises DataError where a probability that was logged is none.
    """
    weak = outcomes[WEAK].to_numpy(bool)
    outcomes = outcomes.assign(**{WORTH: outcomes[WORTH].where(weak, 1.0)})
    outcomes = outcomes[outcomes[WORTH] > 0].astype({WEAK: bool})
    try:
        number = stands_for(task.training, told(outcomes))
    except ValueError as error:
        raise DataError(f"the outcomes cannot be weighed: {error}") from error
    done_with = [name for name in _TOLD_OF if name not in (WEAK, WORTH)]
    return outcomes.drop(columns=done_with).assign(**{STANDS_FOR: number})


def collect(
    task: Task,
    event: Event,
    clickhouse: Mapping[str, Any],
    ends: Sequence[int],
    stop: threading.Event,
    passed: Callable[[], Sequence[int]] = tuple,
) -> pd.DataFrame:
    """The event's rows: history and outcomes between its bounds, a request once.

    A first version learns from the history alone. Where both have a request id, the outcome
    counts, since it may hold a corrected truth; a weak one does not, as the history is true.
    Where rows count differently, columns say how (`streams.training.data`). Outcomes are taken from
    the event's offsets up to ``ends`` (its own, or those of `snapshot.ends_at`), so that whoever
    asks again gets the same rows; ``passed`` says how far the sink is with them. While ClickHouse
    does not answer, this waits; it raises Stopped where ``stop`` is set, and DataError where there
    are no rows.
    """
    parts = []
    if task.history is not None:
        parts.append(_within(event, _history(task)))
    if event.trigger != FIRST:
        outcomes = _outcomes(task, event, clickhouse, ends, stop, passed)
        if len(outcomes):
            outcomes = weighed(task, outcomes)
            # Of one request the last part counts.
            parts = [outcomes[outcomes[WEAK]], *parts, outcomes[~outcomes[WEAK]]]
    parts = [part for part in parts if len(part)]
    if not parts:
        raise DataError(
            f"there are no rows for event {event.event_id}: no outcomes between its bounds, and no "
            "history; wait for truths, or widen data_from and data_to"
        )
    wanted = [REQUEST_ID, EVENT_TIME, KNOWN_AT, task.target.name, *(f.name for f in task.inputs)]
    wanted += _CERTAIN
    table = pd.concat(
        [part.reindex(columns=[c for c in wanted if c in part]) for part in parts],
        ignore_index=True,
    )
    for name, certain in _CERTAIN.items():
        if name in table:  # what the history says is known for certain
            values = table[name].astype(object).where(table[name].notna(), certain)
            table[name] = values.astype(type(certain))
            if (table[name] == certain).all():
                table = table.drop(columns=name)
    if REQUEST_ID in table:
        named = table[REQUEST_ID].notna()
        table = table[~(named & table[REQUEST_ID].duplicated(keep="last"))]
    return table.reset_index(drop=True)


_CERTAIN = {STANDS_FOR: 1.0, WORTH: 1.0, WEAK: False}


def _history(task: Task) -> pd.DataFrame:
    """The task's history with its windowed features, which all of it goes into."""
    history = task.history() if task.history is not None else pd.DataFrame()
    try:
        return with_windowed(task, history)
    except ValueError as error:
        raise DataError(str(error)) from error


def _within(event: Event, history: pd.DataFrame) -> pd.DataFrame:
    """The history's rows between the event's bounds."""
    if EVENT_TIME not in history:
        raise DataError(f"the task's history has no column {EVENT_TIME!r}")
    times = pd.to_datetime(history[EVENT_TIME], utc=True)
    kept = pd.Series(True, index=history.index)
    if event.data_from is not None:
        kept &= times >= pd.Timestamp(bounded(event.data_from), unit="ms", tz="UTC")
    if event.data_to is not None:
        kept &= times < pd.Timestamp(bounded(event.data_to), unit="ms", tz="UTC")
    return history[kept].assign(**{EVENT_TIME: times[kept]})


def _outcomes(
    task: Task,
    event: Event,
    clickhouse: Mapping[str, Any],
    ends: Sequence[int],
    stop: threading.Event,
    passed: Callable[[], Sequence[int]],
) -> pd.DataFrame:
    bounds = {
        # Far ends of what a ClickHouse time of milliseconds holds: 1900 and 2299.
        "from_ms": event.data_from if event.data_from is not None else -2_208_988_800_000,
        "to_ms": event.data_to if event.data_to is not None else 10_413_791_999_000,
        "begins": list(event.outcomes_from) or [0] * len(ends),
        "ends": list(ends),
    }

    def worth_waiting(error: Exception) -> bool:
        if stop.is_set() or isinstance(error, Stopped):
            raise Stopped from error
        if not _is_down(error):
            return False
        log.warning("ClickHouse does not answer; trying again", error=str(error)[:300])
        return True

    for attempt in stamina.retry_context(
        on=worth_waiting, attempts=None, timeout=None, wait_initial=0.5, wait_max=10.0
    ):
        with attempt:
            client = clickhouse_connect.get_client(**clickhouse)
            try:
                wait_for_sink(client, task, ends, stop, passed)
                table: pd.DataFrame = client.query_df(query(task), parameters=bounds)
            finally:
                client.close()
    if table.empty:
        return pd.DataFrame({EVENT_TIME: []})
    for name in (EVENT_TIME, KNOWN_AT):
        table[name] = pd.to_datetime(table.pop(f"{name}_ms"), unit="ms", utc=True)
    return table


def _is_down(error: Exception) -> bool:
    """Whether waiting helps: no answer, or tables that the sink has not made yet."""
    not_yet = ("UNKNOWN_TABLE", "UNKNOWN_DATABASE")
    return isinstance(error, OperationalError | OSError) or (
        isinstance(error, DatabaseError) and any(code in str(error) for code in not_yet)
    )
