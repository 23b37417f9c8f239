"""How two model versions differ: plain values in, one value a difference out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from schemas.moments import moment
from services.leaves import leaves
from streams.roles import ModelRecord


@dataclass(frozen=True)
class Side:
    """A version: its record, what it does now, and its manifest ({}: not here)."""

    record: ModelRecord
    role: str
    manifest: Mapping[str, Any]


@dataclass(frozen=True)
class Difference:
    """What the first version has and the second has; None: it has no such thing."""

    section: str
    what: str
    first: Any
    second: Any

    def plain(self) -> dict[str, Any]:
        """As JSON data."""
        return asdict(self)


MEASURED = ("cost",)
"""Parts that differ from one training to the next by the machine's mood."""


def contrast(first: Side, second: Side) -> list[Difference]:
    """All differences, section by section: what was declared, learned from, chosen, measured."""
    return [
        Difference(section, what, told[0], told[1])
        for section, facts in SECTIONS.items()
        for what, told in _pairs(facts(first), facts(second))
    ]


def told_words(difference: Difference) -> str:
    """A difference as a line: ``rows: 50,000 → 62,000 (+24.0 %)``."""
    one, two = difference.first, difference.second
    what = difference.what
    if one is None:
        return f"{what}: only the second has it: {_text(what, two)}"
    if two is None:
        return f"{what}: only the first has it: {_text(what, one)}"
    change = ""
    if _number(one) and _number(two) and not _is_time(what):
        change = f" ({two - one:+.4g}" + (f", {(two - one) / abs(one):+.1%})" if one else ")")
    return f"{what}: {_text(what, one)} → {_text(what, two)}{change}"


def _declaration(side: Side) -> Iterator[tuple[str, Any]]:
    task = side.manifest.get("task", {})
    yield "kind", task.get("kind")
    yield "classes", task.get("classes")
    yield "declaration", task.get("declaration_sha256", "")[:12] or None
    yield "recipe", side.manifest.get("recipe")
    yield from leaves("seeds", side.manifest.get("seeds"))


def _features(side: Side) -> Iterator[tuple[str, Any]]:
    for feature in side.manifest.get("task", {}).get("features", []):
        told = ", ".join(f"{k}={v}" for k, v in feature.items() if k != "name" and v is not None)
        yield feature.get("name", ""), told


def _data(side: Side) -> Iterator[tuple[str, Any]]:
    record = side.record
    yield "id", record.dataset_id
    yield "rows", record.rows
    yield "from", record.data_from
    yield "to", record.data_to
    for name, value in side.manifest.get("dataset", {}).items():
        if name not in ("id", "rows", "from", "to"):
            yield from leaves(name, value)
    yield from leaves("checks", side.manifest.get("checks"))


def _model(side: Side) -> Iterator[tuple[str, Any]]:
    manifest = side.manifest
    yield "candidate", manifest.get("candidate")
    yield "decision threshold", manifest.get("decision_threshold")
    selection = manifest.get("selection", {})
    for name in ("chosen", "setting", "estimator", "search"):
        yield from leaves(name, selection.get(name))
    yield from leaves("calibrated", manifest.get("calibrated"))
    yield from leaves("runtime", manifest.get("runtime"))


def _metrics(side: Side) -> Iterator[tuple[str, Any]]:
    yield from sorted(side.record.metrics.items())


def _segments(side: Side) -> Iterator[tuple[str, Any]]:
    verdict = side.manifest.get("verdict")
    if isinstance(verdict, Mapping):
        yield from leaves("", verdict.get("segments"))


def _verdict(side: Side) -> Iterator[tuple[str, Any]]:
    verdict = side.manifest.get("verdict")
    if isinstance(verdict, Mapping):
        told = {k: v for k, v in verdict.items() if k != "segments"}
        yield from leaves("", told)
    else:
        yield "reason", verdict


def _gate(side: Side) -> Iterator[tuple[str, Any]]:
    gate = side.manifest.get("gate", {})
    yield from leaves("", {k: v for k, v in gate.items() if k not in MEASURED})


def _libraries(side: Side) -> Iterator[tuple[str, Any]]:
    yield from leaves("", side.manifest.get("libraries"))


def _role(side: Side) -> Iterator[tuple[str, Any]]:
    yield "role", side.role
    yield "share", getattr(side.record, "share", None)
    yield "trained for", side.record.event_id


SECTIONS: Mapping[str, Callable[[Side], Iterator[tuple[str, Any]]]] = {
    "role": _role,
    "declaration": _declaration,
    "features": _features,
    "data": _data,
    "model": _model,
    "metrics": _metrics,
    "segments": _segments,
    "gate": _gate,
    "verdict": _verdict,
    "libraries": _libraries,
}


def _pairs(
    first: Iterator[tuple[str, Any]], second: Iterator[tuple[str, Any]]
) -> Iterator[tuple[str, tuple[Any, Any]]]:
    one, two = dict(first), dict(second)
    for what in dict.fromkeys((*one, *two)):
        told = one.get(what), two.get(what)
        if told[0] != told[1]:
            yield what, told


def _text(what: str, value: Any) -> str:
    if _is_time(what) and isinstance(value, int):
        return moment(value).isoformat(timespec="minutes")[:16] + "Z"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(str, value)) or "none"
    return str(value)


def _is_time(what: str) -> bool:
    return what in ("from", "to")


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
