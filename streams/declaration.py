"""What of a task's declaration decides a model version, as plain data and as a hash."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from schemas.features import Feature
from streams.task import Task
from streams.training.policy import Training
from streams.windowed.definition import describe as describe_windowed

RECIPE = 3
"""Raise it with every change to training that gives another model from the same data."""

LIBRARIES = ("numpy", "pandas", "river", "scikit-learn", "scipy", "skops")
"""Libraries whose versions a model depends on."""


def library_versions() -> dict[str, str]:
    """The installed versions of LIBRARIES, and Python's."""
    import platform

    versions = {name: importlib.metadata.version(name) for name in LIBRARIES}
    return {"python": platform.python_version(), **versions}


def describe_features(task: Task) -> list[dict[str, Any]]:
    """The inputs as JSON data, in order."""
    return [_describe_feature(feature) for feature in task.inputs]


def declaration(task: Task) -> dict[str, Any]:
    """The parts of a task that training depends on, as JSON data.

    Left out, since they change no model: docs, segments, horizon, signals, windows, partitions,
    labelling, drift, triggers, alerts, volume.
    """
    target = {name: value for name, value in asdict(task.target).items() if name != "doc"}
    windowed = [describe_windowed(feature) for feature in task.windowed]
    training = task.training.facts()
    return {
        "name": task.name,
        "kind": task.kind,
        "features": describe_features(task),
        **({"windowed": windowed} if windowed else {}),
        **({"training": training} if training != Training().facts() else {}),
        "target": {**target, "classes": task.classes},
        "candidates": {name: describe_value(model) for name, model in task.candidates.items()},
        "baseline": describe_value(task.baseline),
        "fallback": task.fallback,
        "defer_budget": task.defer_budget,
        "seed": task.seed,
    }


def version_id(
    task: Task,
    dataset_id: str,
    libraries: Mapping[str, str],
    more: Mapping[str, Any] | None = None,
) -> str:
    """The id of the version that training this task on this data gives: ``<task>-<12 hex>``.

    It is a hash of all that goes in (declaration with seed, data, library versions, recipe), not
    of the files that come out: whoever repeats a training knows the id before the work is done.
    more: what else decided it, as JSON data: the champion's settings, where they are a candidate
    that the task does not declare; how far a search came that a guard cut short.
    """
    digest = sha256_of(
        {
            "declaration": declaration(task),
            "dataset": dataset_id,
            "libraries": dict(libraries),
            "recipe": RECIPE,
            **({"more": dict(more)} if more else {}),
        }
    )
    return f"{task.name}-{digest[:12]}"


def sha256_of(data: Any) -> str:
    """SHA-256 (hex) of JSON data, whatever the order of its keys."""
    return hashlib.sha256(json_text(data).encode()).hexdigest()


def json_text(data: Any) -> str:
    """JSON with sorted keys; floats in their shortest exact form; ValueError for NaN."""
    return json.dumps(data, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)


def _describe_feature(feature: Feature) -> dict[str, Any]:
    given = {name: value for name, value in vars(feature).items() if name not in ("doc", "unit")}
    if given.get("values") is not None:
        given["values"] = list(given["values"])
    return {"type": type(feature).__name__, **given}


def describe_value(value: Any) -> Any:
    """A value as JSON data; an estimator as its class and parameters, all the way down."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return repr(value)  # also NaN and infinity, which JSON lacks
    if isinstance(value, list | tuple):
        return [describe_value(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): describe_value(item) for key, item in value.items()}
    if hasattr(value, "get_params") and not isinstance(value, type):
        parameters = value.get_params(deep=False)
        return {
            "class": _name(type(value)),
            **{k: describe_value(v) for k, v in parameters.items()},
        }
    if callable(value):
        return _name(value)
    # A repr that names an address would give another hash in each process.
    return {"class": _name(type(value)), "value": re.sub(r" at 0x[0-9a-f]+", "", repr(value))}


def _name(thing: Any) -> str:
    named = thing if hasattr(thing, "__qualname__") else type(thing)
    return f"{named.__module__}.{named.__qualname__}"
