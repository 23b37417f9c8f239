"""What happens to records. A task's file imports its words from here.

The names load when they are asked for, so that a process which needs none of them does not pay.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from schemas.features import Boolean, Category, Integer, Number
    from streams.alerts.policy import Alerts, Bound
    from streams.drift.policy import Drift
    from streams.task import Binary, LastN, MultiClass, Regression, Task, Training, Window, Windowed
    from streams.training.behaviour import Behaviour, Directional, Functionality, Invariance
    from streams.training.comparison import Comparison
    from streams.triggers.declare import (
        AllOf,
        AnyOf,
        Budget,
        Checks,
        Drifted,
        MetricAbove,
        MetricBelow,
        NewLabels,
        PerformanceDrop,
        Schedule,
        Trigger,
    )
    from streams.volume.policy import Volume
    from streams.weak_labels import Dwell, WeakLabels

__all__ = [
    "Alerts",
    "AllOf",
    "AnyOf",
    "Behaviour",
    "Binary",
    "Boolean",
    "Bound",
    "Budget",
    "Category",
    "Checks",
    "Comparison",
    "Directional",
    "Drift",
    "Drifted",
    "Dwell",
    "Functionality",
    "Integer",
    "Invariance",
    "LastN",
    "MetricAbove",
    "MetricBelow",
    "MultiClass",
    "NewLabels",
    "Number",
    "PerformanceDrop",
    "Regression",
    "Schedule",
    "Task",
    "Training",
    "Trigger",
    "Volume",
    "WeakLabels",
    "Window",
    "Windowed",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'streams' has no attribute {name!r}")
    import streams.task

    return getattr(streams.task, name)
