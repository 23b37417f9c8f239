"""Records as a person reads them: decoded with whatever schema wrote them, times as text."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from schemas.codec import Codec
from schemas.records import Schema
from schemas.topics import Topic
from services.command.context import Context
from services.command.output import time_text
from services.command.reading import Stored


class Decoder:
    """Decodes the values of one topic, including those of older versions of its schema."""

    def __init__(self, context: Context, topic: Topic) -> None:
        self.topic = topic
        self._context = context

    @cached_property
    def codec(self) -> Codec:
        """Reads every version that this home has recorded."""
        return self._context.contract.codec(self.topic.record, self._context.settings.home)

    def read(self, stored: Stored) -> dict[str, Any]:
        """The record as a dict with times as text; one that cannot be read says why."""
        try:
            return times_as_text(self.codec.read(stored.value), self.codec.schema)
        except ValueError as error:
            value = stored.value or b""
            start = value[:64].hex(" ") + (" …" if len(value) > 64 else "")
            return {"undecodable": str(error), "bytes": len(value), "start": start}

    def is_about(self, stored: Stored, request_id: str) -> bool:
        """Whether a record is about this request, whatever its producer keyed it by."""
        wanted = request_id.encode()
        if self.topic.key == "request id" and stored.key == wanted:
            return True
        # Cheap first: most values do not even hold the bytes of the id.
        return wanted in (stored.value or b"") and self.read(stored).get("request_id") == request_id

    def full(self, stored: Stored) -> dict[str, Any]:
        """The record with its origin: what ``--json`` prints."""
        return {
            "topic": stored.topic,
            "partition": stored.partition,
            "offset": stored.offset,
            "time": time_text(stored.time),
            "key": readable(stored.key),
            "value": self.read(stored),
        }


def times_as_text(record: Mapping[str, Any], schema: Schema) -> dict[str, Any]:
    """A record with each timestamp in milliseconds as ISO text."""
    times = time_fields(schema)
    return {
        name: time_text(value) if name in times and value is not None else value
        for name, value in record.items()
    }


def time_fields(schema: Schema) -> set[str]:
    """Names of the fields that hold a time."""
    return {field["name"] for field in schema["fields"] if _is_time(field["type"])}


def bytes_fields(schema: Schema) -> set[str]:
    """Names of the fields that hold bytes."""
    return {
        field["name"]
        for field in schema["fields"]
        if field["type"] == "bytes"
        or (isinstance(field["type"], list) and "bytes" in field["type"])
    }


def readable(key: bytes | None) -> str | None:
    """A key as text; bytes that are none as hexadecimal digits."""
    if key is None:
        return None
    try:
        return key.decode()
    except UnicodeDecodeError:
        return key.hex(" ")


def one_line(record: Mapping[str, Any], width: int = 32) -> str:
    """``name=value`` for each field, nested records in brackets, nulls and empty values left out.

    Numbers are rounded to six digits and long text to ``width`` characters.
    """
    return " ".join(
        f"{name}={_short(value, width)}"
        for name, value in record.items()
        if value is not None and value not in ("", [], {})
    )


def _short(value: Any, width: int) -> str:
    match value:
        case Mapping():
            return f"({one_line(value, width)})"
        case bool():
            return str(value).lower()
        case float():
            return f"{value:.6g}"
        case list():
            return "[" + ", ".join(_short(item, width) for item in value) + "]"
        case bytes():
            return f"<{len(value)} bytes>"
        case str() if len(value) > width and not value[:4].isdigit():
            return repr(value) if len(value) <= 4 * width else repr(value[: 4 * width] + "…")
        case str():
            return value if " " not in value else repr(value)
    return str(value)


def _is_time(node: Any) -> bool:
    if isinstance(node, list):
        return any(_is_time(branch) for branch in node)
    return isinstance(node, dict) and node.get("logicalType") == "timestamp-millis"
