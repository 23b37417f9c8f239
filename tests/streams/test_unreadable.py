"""What internal topics may hold besides Weir's records, whoever reads them, in any order."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.console.live import Live
from services.console.tail import Tail
from services.contract import Contract
from services.projection.follower import Projection
from streams.alerts.decide import Decider
from streams.alerts.policy import Alerts
from streams.codecs import codecs
from streams.roles import ModelRecord, Roles
from streams.settings import Settings
from streams.unreadable import Unreadable
from tests.streams.orders import JUNK, Row, cut
from tests.streams.tasks import task_of
from tests.streams.test_roles import record

TASK = task_of()
CODECS = codecs(TASK)
VERSIONS = st.sampled_from(["v1", "v2", "v3"])
rows = st.builds(
    lambda version, role: Row(
        CODECS["model"].write(record(version, role).record()), version.encode()
    ),
    VERSIONS,
    st.sampled_from(["champion", "champion", "shadow", "archived", "rejected"]),
)
deleted = VERSIONS.map(lambda version: Row(None, version.encode()))
TOPIC = st.lists(st.one_of(rows, rows, deleted, rows.map(cut), JUNK), max_size=20)


class Message:
    """As either client gives it."""

    def __init__(self, topic: str, offset: int, row: Row) -> None:
        self._all: dict[str, Any] = {
            **{"topic": topic, "partition": 0, "offset": offset},
            **{"key": row.key, "value": row.value, "timestamp": (1, row.at)},
        }

    def __getattr__(self, name: str) -> Any:
        return lambda: self._all[name]

    @property
    def fields(self) -> Any:
        return SimpleNamespace(**self._all)


def expected(topic: Sequence[Row]) -> tuple[Roles, list[int]]:
    """The roles, and the offsets of what cannot be read."""
    roles, bad = Roles(), []
    for offset, row in enumerate(topic):
        try:
            roles = roles.told(row.key, row.value, CODECS["model"])
        except ValueError:
            bad.append(offset)
    return roles, bad


@given(TOPIC)
def test_whoever_follows_the_roles_has_the_same_champion(topic: list[Row]) -> None:
    roles, bad = expected(topic)
    messages = [Message("t.models", offset, row) for offset, row in enumerate(topic)]
    told: list[str] = []

    tail = Tail({}, Contract.of(TASK, "nowhere.py:Task"), Path("nowhere"), Live(0))
    tail._unreadable = Unreadable(told.append)
    tail._take_models(messages)
    projection = Projection(TASK, Settings(task="nowhere.py:Task"), threading.Event())
    projection._unreadable = Unreadable(told.append)
    for one in messages:
        projection._take([one.fields])
    alerts = Decider(TASK.name, Alerts(), [], 0, 0)
    for row in topic:
        if row.value is None:
            alerts.deleted((row.key or b"").decode(errors="replace"), 1)
        elif read := Unreadable(lambda _: None).read(CODECS["model"], row.value, ("", 0, 0)):
            alerts.see("models", read, 1, "")
    for found in (tail.roles, projection._roles, alerts._roles.roles):
        assert list(found.records.items()) == list(roles.records.items())
        assert found.champion == roles.champion
    where = [f"t.models[0]@{bad[0]} "] * 2 if bad else []
    assert [text[: len(start)] for text, start in zip(told, where, strict=True)] == where


@given(st.lists(st.one_of(JUNK, rows), max_size=20))
def test_the_console_outlives_whatever_its_other_topics_hold(topic: list[Row]) -> None:
    tail = Tail({}, Contract.of(TASK, "nowhere.py:Task"), Path("nowhere"), Live(0))
    told: list[str] = []
    tail._unreadable = Unreadable(told.append)
    names = {"retrain", "dead-letters", "alerts"}
    for name in sorted(names):
        messages = [Message(f"{TASK.name}.{name}", at, row) for at, row in enumerate(topic)]
        for one in messages:
            tail._take([one])
    assert tail.letters == ()
    unread = any(row.value is not None for row in topic)
    assert len(told) == len(names) * unread


def test_a_record_is_its_fields() -> None:
    unreadable = Unreadable(lambda _: None)
    one = record("v1")
    read = unreadable.read(CODECS["model"], CODECS["model"].write(one.record()), ("t", 0, 0))
    assert read is not None
    assert ModelRecord.of(read) == one
