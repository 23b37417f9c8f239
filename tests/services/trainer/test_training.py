"""Which role a trained version gets where the roles say something of it already."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest
from sklearn.dummy import DummyClassifier

from services.trainer.events import Event
from services.trainer.training import Workshop, _record
from streams.bundle import BundleInfo
from streams.roles import ModelRecord, Roles, fold
from streams.task import Task
from streams.training.train import Trained, train
from tests.small_tasks import tumour_task, tumours

TASK: Task = tumour_task(candidates={"dummy": DummyClassifier()})
EVENT = Event("e2", 0, "manual", "again", "ada")


class Nobody:
    """Publishes nothing: a record is only made here."""

    def publish(self, topic: str, key: str, record: object) -> None:
        raise AssertionError("nothing is published here")


@pytest.fixture(scope="module")
def trained() -> Trained:
    return train(TASK, tumours().head(300), "e1")


def recorded(trained: Trained, folder: Path, *known: ModelRecord) -> ModelRecord:
    shop = Workshop(
        task=TASK,
        home=folder,
        artifacts=folder,
        key=b"k",
        clickhouse={},
        ends=lambda at: [],
        roles=Roles,
        publisher=Nobody(),
        progress=lambda phase, done: None,
        stop=threading.Event(),
    )
    info = BundleInfo(trained.contents.id, folder / trained.contents.id, "0" * 64, {})
    return _record(shop, fold(known), EVENT, replace(trained, accepted=True), info)


def test_what_somebody_archived_is_not_put_back_by_the_same_rows(
    trained: Trained, tmp_path: Path
) -> None:
    first = recorded(trained, tmp_path)
    assert (first.role, first.changed_by) == ("champion", "trainer")
    other = replace(first, version="other")
    by_hand = replace(first, role="archived", changed_by="ada", reason="it cheats")
    again = recorded(trained, tmp_path, by_hand, other)
    assert (again.role, again.changed_by, again.reason) == ("archived", "ada", "it cheats")
    assert again.event_id == EVENT.event_id  # the event is answered all the same
    by_rule = replace(by_hand, changed_by="rollout")
    assert recorded(trained, tmp_path, by_rule, other).role == "champion"
    # Without any champion something must answer.
    assert recorded(trained, tmp_path, by_hand).role == "champion"
