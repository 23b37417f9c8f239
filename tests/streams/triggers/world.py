"""A small task with triggers, and inputs for them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from streams.task import Task, Trigger
from streams.triggers.decided import Refusal, Retrain
from streams.triggers.inputs import Answer, Drift, Inputs, Measured
from streams.triggers.policies import Policies
from tests.streams.tasks import DAY_MS, START, task_of

DAY = timedelta(days=1)
VERSION = "v1"


def task(*triggers: Trigger, kind: str = "binary", **changes: Any) -> Task:
    return task_of(kind, **{"triggers": triggers, **changes})


def champion(version: str = VERSION, event_id: str = "first-x", **metrics: float) -> Inputs:
    return Inputs(answers=[Answer(event_id, version, "champion", metrics)])


def day(
    number: int,
    outcomes: int = 1000,
    version: str = VERSION,
    classes: dict[str, int] | None = None,
    **more: Any,
) -> Measured:
    """The metrics of the day after START with that number, which is over."""
    start = START + number * DAY_MS
    half = outcomes // 2
    given: dict[str, Any] = {
        "id": f"tumbling_1d|{start}|{version}|champion||",
        "window": "tumbling_1d",
        "start": start,
        "end": start + DAY_MS,
        "version": version,
        "role": "champion",
        "predictions": 2 * outcomes,
        "outcomes": outcomes,
        "scored": outcomes,
        "classes": {"true": half, "false": outcomes - half} if classes is None else classes,
    }
    return Measured(**{**given, **more})


def drift(id_: str = "d1", number: int = 0, **more: Any) -> Drift:
    given: dict[str, Any] = {
        "id": id_,
        "kind": "concept",
        "subject": "",
        "version": VERSION,
        "at": START + number * DAY_MS,
        "hurts": True,
    }
    return Drift(**{**given, **more})


def at(days: float) -> int:
    return START + round(days * DAY_MS)


def events(decided: Sequence[Retrain | Refusal]) -> list[Retrain]:
    return [each for each in decided if isinstance(each, Retrain)]


def refusals(decided: Sequence[Retrain | Refusal]) -> list[Refusal]:
    return [each for each in decided if isinstance(each, Refusal)]


def ready(*triggers: Trigger, labels: int = 1000, **changes: Any) -> Policies:
    """Policies with a champion and a day of labels, at the end of that day."""
    policies = Policies(task(*triggers, **changes))
    policies.update(at(1), champion(roc_auc=0.8, log_loss=0.4))
    policies.update(at(1), Inputs(metrics=[day(0, labels)]))
    return policies
