"""Request records from what people write: JSON lines or CSV, in the shapes they are likely in."""

from __future__ import annotations

import csv
import json
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, TextIO

from schemas.records import Schema
from services.texts import boolean, millis, real, whole

OWN_FIELDS = ("request_id", "event_time", "entity")
"""The request's fields beside its features."""


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
        at = own["event_time"]
        event_time = time.time_ns() // 1_000_000 if at is None else millis(at)
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
            return boolean(given)
        case "long":
            return whole(given)
    return real(given)
