"""JSON data as paths and scalars: what two manifests are compared by, and MLflow is told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

NAMES = ("name", "segment", "value", "feature", "step")
"""Keys by which records in a list are told apart; without one, by their place."""


def leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The scalars within JSON data by their path, null left out.

    Records in a list are named by what names them, and so are steps of a pipeline, which are
    lists that begin with their name; other lists are one value.
    """
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from leaves(_joined(name, str(key)), inner)
    elif _all(value, Mapping):
        for place, inner in enumerate(value):
            called = " ".join(str(inner[key]) for key in NAMES if key in inner) or str(place)
            rest = {key: each for key, each in inner.items() if key not in NAMES}
            yield from leaves(_joined(name, called), rest)
    elif _all(value, list) and all(len(each) > 1 and isinstance(each[0], str) for each in value):
        for called, *rest in value:
            yield from leaves(_joined(name, called), rest[0])
            if rest[1:]:
                yield _joined(name, f"{called}.of"), rest[1]
    elif value is not None:
        yield name, value


def _all(value: Any, kind: type) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, kind) for one in value)


def _joined(name: str, key: str) -> str:
    return f"{name}.{key}" if name else key
