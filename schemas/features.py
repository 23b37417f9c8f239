"""What a task's inputs are: typed features, and the Avro record that carries them."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

NAME = re.compile(r"[a-z][a-z0-9_]*\Z")


class Feature:
    """One named input of the model; use a subclass for its type.

    Every feature has ``name``, ``doc`` (what it means) and ``nullable``: whether a record
    may leave the value out (null). A null where it is False rejects the request.
    """

    name: str
    doc: str
    nullable: bool

    avro: ClassVar[str]

    def problems(self) -> list[str]:
        """What is wrong with the declaration, in words; empty where nothing is."""
        if not isinstance(self.name, str) or not NAME.match(self.name):
            return [
                f"feature {self.name!r}: a name is lower-case letters, digits and "
                "underscores, and starts with a letter"
            ]
        return []

    def field(self) -> dict[str, Any]:
        """The Avro field that carries the feature."""
        field: dict[str, Any] = {"name": self.name, "type": self.avro, "doc": self.doc}
        if self.nullable:
            field |= {"type": ["null", self.avro], "default": None}
        return field


@dataclass(frozen=True)
class Notes:
    """What a feature's field tells a person: its meaning, unit and range, empty where unsaid."""

    doc: str
    unit: str = ""
    range: str = ""


_NOTES = re.compile(
    r"(?P<doc>.*?)(?:(?:\A|; )unit (?P<unit>[^;]+))?(?:(?:\A|; )range (?P<range>\S*\.\.\S*))?",
    re.DOTALL,
)


def notes(doc: str) -> Notes:
    """The parts of a field's documentation, as `Feature.field` wrote it."""
    found = _NOTES.fullmatch(doc)
    return Notes(**{k: v or "" for k, v in found.groupdict().items()}) if found else Notes(doc)


def _finite(value: object) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value)  # type: ignore[arg-type]


@dataclass(frozen=True)
class _Ranged(Feature):
    name: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    nullable: bool = False
    doc: str = ""

    def problems(self) -> list[str]:
        """What is wrong with the declaration, in words; empty where nothing is."""
        wrong = [
            f"feature {self.name!r}: {which} {bound!r} is not a finite number"
            for which, bound in (("low", self.low), ("high", self.high))
            if bound is not None and not _finite(bound)
        ]
        found = super().problems() + wrong
        if not wrong and self.low is not None and self.high is not None and self.low > self.high:
            found.append(f"feature {self.name!r}: low {self.low} is above high {self.high}")
        return found

    def field(self) -> dict[str, Any]:
        """The Avro field; its doc tells unit and range."""
        field = super().field()
        low, high = ("" if bound is None else str(bound) for bound in (self.low, self.high))
        notes = [self.doc]
        notes += [f"unit {self.unit}"] if self.unit else []
        notes += [f"range {low}..{high}"] if low or high else []
        field["doc"] = "; ".join(note for note in notes if note)
        return field


@dataclass(frozen=True)
class Number(_Ranged):
    """A real number in ``unit``, finite, from ``low`` to ``high`` (both inclusive)."""

    avro: ClassVar[str] = "double"


@dataclass(frozen=True)
class Integer(_Ranged):
    """A whole number in ``unit``, from ``low`` to ``high`` (both inclusive)."""

    avro: ClassVar[str] = "long"


@dataclass(frozen=True)
class Boolean(Feature):
    """Yes or no."""

    name: str
    nullable: bool = False
    doc: str = ""

    avro: ClassVar[str] = "boolean"


@dataclass(frozen=True)
class Category(Feature):
    """One of a set of names.

    ``values`` lists the names that are allowed; None leaves the set open, and the model
    knows those it met in training. ``unknown`` says what becomes of a name outside
    ``values``: ``"reject"`` the request, or take it as ``"missing"`` (needs ``nullable``).
    """

    name: str
    values: Sequence[str] | None = None
    unknown: Literal["reject", "missing"] = "reject"
    nullable: bool = False
    doc: str = ""

    avro: ClassVar[str] = "string"

    def problems(self) -> list[str]:
        """What is wrong with the declaration, in words; empty where nothing is."""
        found = super().problems()
        if self.values is not None:
            found += self._problems_of_values(self.values)
        if self.unknown not in ("reject", "missing"):
            found.append(
                f"feature {self.name!r}: unknown is 'reject' or 'missing', not {self.unknown!r}"
            )
        if self.unknown == "missing" and not self.nullable:
            found.append(f"feature {self.name!r}: unknown='missing' needs nullable=True")
        return found

    def _problems_of_values(self, values: Sequence[str]) -> list[str]:
        where = f"feature {self.name!r}: values"
        if isinstance(values, str) or not all(isinstance(value, str) for value in values):
            return [f"{where} is not a list of names"]
        if not values:
            return [f"{where} is empty; leave it out for an open set"]
        if len(set(values)) != len(values):
            return [f"{where} holds a name twice"]
        return []


def record_schema(name: str, features: Sequence[Feature]) -> dict[str, Any]:
    """The Avro record of a task's features; ``name`` is the task's, as a type name."""
    return {
        "type": "record",
        "name": name,
        "doc": "The inputs of the model, as the task declares them.",
        "fields": [feature.field() for feature in features],
    }
