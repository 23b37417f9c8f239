"""Request records from what people write: JSON lines or CSV, in the shapes they are likely in."""

from __future__ import annotations

import csv
import json
import time
import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, TextIO

from schemas.records import Schema

OWN_FIELDS = ("request_id", "event_time", "entity")
"""The request's fields beside its features."""

TRUE, FALSE = ("true", "yes", "1"), ("false", "no", "0")


class InputError(ValueError):
    """A line that is no request of this task; lists all that is wrong with it."""


def json_lines(lines: TextIO) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Line number and object of each non-empty line."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError as error:
            raise InputError(f"line {number} is not JSON: {error}") from error
        if not isinstance(value, dict):
            raise InputError(f"line {number} is not a JSON object: {line.strip()[:60]}")
        yield number, value


def csv_rows(lines: TextIO) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Line number and values of each row; the first line names the columns, empty is null."""
    rows = csv.DictReader(lines)
    for row in rows:
        if None in row or None in row.values():
            raise InputError(f"line {rows.line_num} has not as many values as the first has names")
        yield rows.line_num, {name: None if text == "" else text for name, text in row.items()}


def request(given: Mapping[str, Any], features: Schema) -> dict[str, Any]:
    """A request record from an object whose features are in ``features``, or beside the rest.

    A missing request id is made up, a missing event time is now; text is read as the feature's
    type. Raises InputError with everything that does not fit.
    """
    values = dict(given)
    own = {name: values.pop(name, None) for name in OWN_FIELDS}
    nested = values.pop("features", None)
    problems: list[str] = []
    if isinstance(nested, Mapping):
        problems += [f"{name}: no field of a request" for name in values]
        values = dict(nested)
    made: dict[str, Any] = {}
    for field in features["fields"]:
        name = field["name"]
        try:
            made[name] = _value(values.pop(name, None), field["type"])
        except ValueError as error:
            problems.append(f"{name}: {error}")
    problems += [f"{name}: the task has no such feature" for name in values]
    try:
        event_time = _millis(own["event_time"])
    except ValueError as error:
        problems.append(f"event_time: {error}")
    if problems:
        raise InputError("; ".join(problems))
    return {
        "request_id": str(uuid.uuid4()) if own["request_id"] is None else str(own["request_id"]),
        "event_time": event_time,
        "entity": None if own["entity"] is None else str(own["entity"]),
        "features": made,
    }


def _value(given: Any, of_type: Any) -> Any:
    nullable = isinstance(of_type, list)
    if given is None:
        if nullable:
            return None
        raise ValueError("is missing")
    wanted = next(t for t in of_type if t != "null") if nullable else of_type
    match wanted:
        case "string":
            return given if isinstance(given, str) else json.dumps(given)
        case "boolean":
            return _boolean(given)
        case "long":
            return _whole(given)
    if isinstance(given, bool):
        raise ValueError(f"{given!r} is not a number")
    try:
        return float(given)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{given!r} is not a number") from error


def _boolean(given: Any) -> bool:
    if isinstance(given, bool):
        return given
    text = str(given).strip().lower()
    if text in TRUE or text in FALSE:
        return text in TRUE
    raise ValueError(f"{given!r} is neither true nor false")


def _whole(given: Any) -> int:
    try:
        number = int(given) if isinstance(given, str | int) else int(str(given).removesuffix(".0"))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{given!r} is not a whole number") from error
    if isinstance(given, bool) or not -(2**63) <= number < 2**63:
        raise ValueError(f"{given!r} is not a whole number of 64 bits")
    return number


def _millis(given: Any) -> int:
    """A time as milliseconds since 1970: a number of them, or ISO 8601 (UTC where it says none)."""
    if given is None:
        return time.time_ns() // 1_000_000
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
