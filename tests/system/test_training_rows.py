"""What a training learns from, read out of a real ClickHouse that a real sink filled."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from services.trainer.events import Event
from services.trainer.rows import collect
from streams.task import Task, Training, WeakLabels
from streams.training.data import STANDS_FOR, WEAK, WORTH
from tests.conftest import RunningBroker
from tests.services.running_store import RunningStore
from tests.small_tasks import tumour_task, tumours
from tests.system.sink_world import World
from tests.system.test_trainer import outcome

pytestmark = pytest.mark.system

WHOLE = {STANDS_FOR: 1.0, WORTH: 1.0, WEAK: False}


@pytest.fixture
def world(tmp_path: Path, broker: RunningBroker) -> Iterator[World]:
    store = RunningStore(tmp_path / "store")
    name = f"tumour_{uuid.uuid4().hex[:8]}"
    made = World(broker.bootstrap, store, tmp_path, name, tumour_task().features)
    sink = made.start_sink()
    yield made
    sink.kill()
    sink.wait()
    store.stop()


def rows_of(task: Task, world: World, produced: int) -> dict[str, dict[str, Any]]:
    """By request id what training takes of the rows that an event without bounds sees."""
    ends = [len(range(partition, produced, 3)) for partition in range(3)]
    event = Event("an-event", 0, "manual", "a test", "pytest")
    clickhouse = {"host": "127.0.0.1", "port": world.store.port}
    table = collect(task, event, clickhouse, ends, threading.Event())
    wanted = [name for name in ("benign", *WHOLE) if name in table]
    return {row["request_id"]: {k: row[k] for k in wanted} for row in table.to_dict("records")}


def test_the_policy_says_which_labels_are_learned_from_and_what_they_stand_for(
    world: World,
) -> None:
    a, b, c, d, e, f = tumours().head(6).to_dict("records")
    weak = {"label": "weak", "source": "signals"}
    held_back = {"gate_decision": "defer", "status": "deferred"}
    outcomes = [
        outcome(a, True),
        outcome(b, True) | weak | {"weight": 0.3, "propensity": 0.25},
        outcome(b, False, revision=1),  # its truth, which counts though a weak label came later
        outcome(b, True, revision=2) | weak | {"weight": 0.3, "propensity": 0.25},
        outcome(c, False) | weak | {"weight": 0.3, "propensity": 0.25},
        outcome(d, False) | weak | {"weight": 0.3},
        outcome(d, False, revision=1) | weak | {"weight": 0.0},  # taken back
        outcome(e, True) | held_back | {"explored": True, "model_propensity": 0.05},
        outcome(f, True) | held_back | {"source": "labeller", "selection_probability": 0.5},
    ]
    world.produce("outcomes", world.codec("outcomes").write_many(outcomes))
    world.wait_for_count("outcomes", len(outcomes))

    plain = rows_of(tumour_task(name=world.task, history=None), world, len(outcomes))
    ids = {one["request_id"] for one in (a, b, e, f)}
    assert plain == {
        id_: {"benign": id_ != b["request_id"]} for id_ in ids
    }  # true labels alone, all alike

    task = tumour_task(
        name=world.task,
        history=None,
        signals=["impression", "click"],
        weak_labels=WeakLabels(session=timedelta(hours=1)),
        exploration=0.05,
        training=Training(weak_labels="where_missing", truths_of="answered"),
    )
    weighed = rows_of(task, world, len(outcomes))
    # One row each: both samples of what is held back are worth the same, so each stands for half.
    assert weighed == {
        a["request_id"]: {"benign": True} | WHOLE,
        b["request_id"]: {"benign": False} | WHOLE,
        c["request_id"]: {"benign": False, STANDS_FOR: 4.0, WORTH: 0.3, WEAK: True},
        e["request_id"]: {"benign": True} | WHOLE | {STANDS_FOR: 10.0},
        f["request_id"]: {"benign": True} | WHOLE | {STANDS_FOR: 1.0},
    }
