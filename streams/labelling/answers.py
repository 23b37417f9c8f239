"""What a person types or presses, as a value of the task's target."""

from __future__ import annotations

import math
from collections.abc import Sequence

from schemas.records import Kind

Answer = bool | str | float

YES, NO = ("true", "yes", "y", "1"), ("false", "no", "n", "0")
CLASS_KEYS = "123456789abcdefghijklm"
"""Keys of the classes, in their order; more classes than keys are typed."""


def keys(kind: Kind, classes: Sequence[str]) -> dict[str, Answer]:
    """The answers that one key gives; empty where an answer has to be typed."""
    if kind == "binary":
        return {"y": True, "n": False}
    if kind == "multiclass" and len(classes) <= len(CLASS_KEYS):
        return dict(zip(CLASS_KEYS, classes, strict=False))
    return {}


def parse(text: str, kind: Kind, classes: Sequence[str]) -> Answer:
    """An answer from text. ValueError says what it must be."""
    text = text.strip()
    if kind == "binary":
        if text.lower() in YES or text.lower() in NO:
            return text.lower() in YES
        raise ValueError(f"{text[:40]!r} is neither true nor false")
    if kind == "multiclass":
        if text in classes:
            return text
        known = ", ".join(classes[:20]) + (", …" if len(classes) > 20 else "")
        raise ValueError(f"{text[:40]!r} is not one of {known}")
    try:
        number = float(text)
    except ValueError as error:
        raise ValueError(f"{text[:40]!r} is not a number") from error
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]!r} is not a finite number")
    return number


def fits(answer: object, kind: Kind, classes: Sequence[str]) -> bool:
    """Whether a value, such as one from JSON, is an answer."""
    if kind == "binary":
        return isinstance(answer, bool)
    if kind == "multiclass":
        return isinstance(answer, str) and answer in classes
    number = isinstance(answer, int | float) and not isinstance(answer, bool)
    return number and math.isfinite(answer)  # type: ignore[arg-type]
