"""Values from what people and files write: each raises ValueError saying what is wrong."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

TRUE, FALSE = ("true", "yes", "1"), ("false", "no", "0")


def boolean(given: Any) -> bool:
    """True or false, or a text that says so."""
    if isinstance(given, bool):
        return given
    text = str(given).strip().lower()
    if text in TRUE or text in FALSE:
        return text in TRUE
    raise ValueError(f"{given!r} is neither true nor false")


def whole(given: Any) -> int:
    """A whole number of 64 bits; ``3.0`` is one."""
    try:
        number = int(given) if isinstance(given, str | int) else int(str(given).removesuffix(".0"))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{given!r} is not a whole number") from error
    if isinstance(given, bool) or not -(2**63) <= number < 2**63:
        raise ValueError(f"{given!r} is not a whole number of 64 bits")
    return number


def real(given: Any) -> float:
    """A number."""
    if isinstance(given, bool):
        raise ValueError(f"{given!r} is not a number")
    try:
        return float(given)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{given!r} is not a number") from error


def millis(given: Any) -> int:
    """A time as milliseconds since 1970: a number of them, or ISO 8601 (UTC where it says none)."""
    if isinstance(given, int) and not isinstance(given, bool):
        return given
    try:
        if str(given).lstrip("-").isdigit():
            return int(given)
        moment = datetime.fromisoformat(str(given))
    except ValueError as error:
        raise ValueError(f"{given!r} is neither milliseconds since 1970 nor ISO 8601") from error
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return round(moment.timestamp() * 1000)
