"""Values of one topic to columns and back: framing, schema ids, older writers, failures."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import fastavro
import numpy as np

from schemas.avro_columns import RecordDecoder, RecordEncoder
from schemas.columns import Column, Columns
from schemas.records import Schema
from schemas.registry import HEADER_BYTES, MAGIC, Registry, header, schema_id

MAX_ID_BYTES = 128
_ID_WITHIN = HEADER_BYTES + 2 + MAX_ID_BYTES  # the header, the id's length, the id


@dataclass(frozen=True, slots=True)
class Failure:
    """A value that could not be decoded.

    ``position`` counts from 0 in the batch; ``reason`` is a dead letter's reason code
    (``empty``, ``too-large``, ``undecodable``, ``unknown-schema``); ``request_id`` is there
    where the bytes still gave one.
    """

    position: int
    reason: str
    message: str
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Decoded values: ``columns`` hold the good records only, in order.

    ``index`` (int64) gives each good record's position in the batch that was decoded;
    ``failures`` are in order of their positions.
    """

    columns: Columns
    index: np.ndarray
    failures: list[Failure]

    def __len__(self) -> int:
        return len(self.index)

    def part(self, begin: int, end: int) -> Batch:
        """What was decoded of the values from position ``begin`` to ``end``, as of them alone."""
        first, last = np.searchsorted(self.index, (begin, end)).tolist()
        rows = slice(first, last)
        return Batch(
            {path: column.take(rows) for path, column in self.columns.items()},
            self.index[rows] - begin,
            [
                replace(failure, position=failure.position - begin)
                for failure in self.failures
                if begin <= failure.position < end
            ],
        )


class Codec:
    """Reads and writes the values of one topic.

    ``schema`` is what we write and read as; ``registry`` holds every schema that a writer may
    have used (older versions of ours are translated by Avro's rules of schema resolution).
    ``header`` is what our own values begin with.
    """

    def __init__(self, schema: Schema, registry: Registry | None = None) -> None:
        self.schema = schema
        self.id = schema_id(schema)
        self.registry = registry or Registry()
        self.registry.add(schema)
        self.header = header(self.id)
        plain = _plain(schema)
        self._decoder = RecordDecoder(schema)
        self._encoder = RecordEncoder(schema, self.header)
        self._writers = {self.id: _Writer(schema, plain)}

    def encode(self, columns: Mapping[str, Column], n: int) -> list[bytes]:
        """``n`` records' columns to framed values. ValueError names a field that cannot be."""
        return self._encoder.encode(columns, n)

    def decode(self, values: Sequence[bytes | None], most_bytes: int | None = None) -> Batch:
        """Framed values to columns; what cannot be read becomes a failure, nothing raises.

        A value of more than ``most_bytes`` is not read: a topic's limit is on what travels, and
        what travels compressed may be of any size.
        """
        bodies: list[bytes] = []
        index: list[int] = []
        failures: list[Failure] = []
        own = self.header
        for position, value in enumerate(values):
            if value is not None and most_bytes is not None and len(value) > most_bytes:
                failures.append(self._too_large(position, value, most_bytes))
                continue
            if value is not None and value.startswith(own):
                bodies.append(value[HEADER_BYTES:])
                index.append(position)
                continue
            body, failure = self.translate(position, value)
            if failure is not None:
                failures.append(failure)
            else:
                bodies.append(body)
                index.append(position)
        decoded = self._decoder.decode(bodies)
        for row, message in decoded.errors:
            id_ = self._writers[self.id].partial_id(bodies[row])
            failures.append(Failure(index[row], "undecodable", message, id_))
        failures.sort(key=lambda failure: failure.position)
        return Batch(decoded.columns, np.asarray(index, np.int64)[decoded.ok], failures)

    def read(self, value: bytes | None) -> dict[str, Any]:
        """One value as a dict, times as integers. ValueError says what is wrong with it."""
        if value is not None and value.startswith(self.header):
            body = value[HEADER_BYTES:]
        else:
            body, failure = self.translate(0, value)
            if failure is not None:
                raise ValueError(failure.message)
        try:
            return _read(self._writers[self.id].parsed, body)
        except Exception as error:
            raise ValueError(f"not a {self.schema['name']} record: {error}") from error

    def write(self, record: Mapping[str, Any]) -> bytes:
        """One dict as a framed value. ValueError names the field that does not fit."""
        out = io.BytesIO()
        out.write(self.header)
        try:
            fastavro.schemaless_writer(
                out, self._writers[self.id].parsed, dict(record), strict_allow_default=True
            )
        except Exception as error:
            raise ValueError(f"not a {self.schema['name']} record: {error}") from error
        return out.getvalue()

    def write_many(self, records: Iterable[Mapping[str, Any]]) -> list[bytes]:
        """Dicts as framed values: for the few records of a control topic."""
        return [self.write(record) for record in records]

    def partial_id(self, value: bytes) -> str | None:
        """The request id of a value of our own schema whose rest is bad, where it reads as one."""
        return self._writers[self.id].partial_id(value[HEADER_BYTES:])

    def translate(self, position: int, value: bytes | None) -> tuple[bytes, Failure | None]:
        """The body as our own schema would have written it, or why there is none."""

        def fail(reason: str, message: str, id_: str | None = None) -> tuple[bytes, Failure]:
            return b"", Failure(position, reason, message, id_)

        if value is None:
            return fail("empty", "the record has no value; send an Avro body in Confluent framing")
        if len(value) < HEADER_BYTES or value[0] != MAGIC:
            start = value[:8].hex(" ") or "nothing"
            return fail(
                "undecodable",
                f"the value starts with {start}, not with Confluent framing (a zero byte and a "
                "four-byte schema id)",
            )
        (id_,) = struct.unpack_from(">I", value, 1)
        schema = self.registry.get(id_)
        if schema is None:
            return fail(
                "unknown-schema",
                f"schema id {id_} is not known here; this topic's is {self.id} "
                f"({self.schema['name']})",
            )
        if schema["name"] != self.schema["name"]:
            return fail(
                "unknown-schema",
                f"schema id {id_} is a {schema['name']}, and this topic carries "
                f"{self.schema['name']} (schema id {self.id})",
            )
        body, writer = value[HEADER_BYTES:], self._writer(id_, schema)
        try:
            writer.check(body)
            record = _read(writer.parsed, body, self._writers[self.id].parsed)
            return self.write(record)[HEADER_BYTES:], None
        except Exception as error:
            message = f"not a {schema['name']} of schema {id_}: {error}"
            return fail("undecodable", message, writer.partial_id(body))

    def _writer(self, id_: int, schema: Schema) -> _Writer:
        writer = self._writers.get(id_)
        if writer is None:
            writer = self._writers[id_] = _Writer(schema, _plain(schema))
        return writer

    def _too_large(self, position: int, value: bytes, most_bytes: int) -> Failure:
        message = f"the value has {len(value)} bytes; at most {most_bytes} are taken"
        id_ = None
        if value[0] == MAGIC:
            number = int.from_bytes(value[1:HEADER_BYTES], "big")
            schema = self.registry.get(number)
            if schema is not None and schema["name"] == self.schema["name"]:
                id_ = self._writer(number, schema).partial_id(value[HEADER_BYTES:_ID_WITHIN])
        return Failure(position, "too-large", message, id_)


class _Writer:
    """A schema that values were written with, our own or an older one."""

    def __init__(self, schema: Schema, plain: Schema) -> None:
        self.parsed: Any = fastavro.parse_schema(plain)
        first = schema["fields"][0]
        self._id_first = (first["name"], first["type"]) == ("request_id", "string")
        self._strict = RecordDecoder(schema)

    def check(self, body: bytes) -> None:
        """ValueError where the bytes are not what the schema says.

        fastavro takes some that are not, such as a string of negative length.
        """
        errors = self._strict.decode([body]).errors
        if errors:
            raise ValueError(errors[0][1])

    def partial_id(self, body: bytes) -> str | None:
        """The request id at the start of a body whose rest is bad, where it reads as one."""
        if not self._id_first or not body:
            return None
        # A length of up to 128 bytes takes one or two bytes in Avro.
        length, at = body[0] & 0x7F, 1
        if body[0] >= 0x80:
            if len(body) < 2 or body[1] >= 0x80:
                return None
            length, at = length | body[1] << 7, 2
        size = (length >> 1) ^ -(length & 1)
        raw = body[at : at + size]
        if not 0 < size <= MAX_ID_BYTES or len(raw) < size:
            return None
        try:
            return raw.decode()
        except UnicodeDecodeError:
            return None


def _read(writer: Any, body: bytes, reader: Any = None) -> dict[str, Any]:
    stream = io.BytesIO(body)
    record: dict[str, Any] = fastavro.schemaless_reader(stream, writer, reader)
    if stream.tell() != len(body):
        raise ValueError(f"{len(body) - stream.tell()} bytes follow the record's end")
    return record


def _plain(node: Any) -> Any:
    """The schema without logical types: times stay integers for fastavro too."""
    if isinstance(node, dict):
        return {k: _plain(v) for k, v in node.items() if k != "logicalType"}
    if isinstance(node, list):
        return [_plain(v) for v in node]
    return node
