"""Writes Avro values one at a time: the pieces that make up a few records."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from struct import Struct
from typing import Any

import numpy as np

from schemas.columnar.checks import Ready
from schemas.columnar.types import Field, Kind

_DOUBLE = Struct("<d")
_FLOAT = Struct("<f")
_BOOLEAN = (b"\x00", b"\x01")


def long_bytes(value: int) -> bytes:
    """A zigzag varint."""
    value = (value << 1) ^ (value >> 63)
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


_SHORT_LONGS = [long_bytes(value) for value in range(8192)]


def _length(value: int) -> bytes:
    return _SHORT_LONGS[value] if value < 8192 else long_bytes(value)


def _bytes(value: bytes) -> bytes:
    return _length(len(value)) + value


def _string(value: str) -> bytes:
    return _bytes(value.encode())


def _doubles(values: np.ndarray) -> bytes:
    if not len(values):
        return b"\x00"
    return _length(len(values)) + values.astype("<f8", copy=False).tobytes() + b"\x00"


def _array_writer(item: Kind) -> Callable[[Any], bytes]:
    write = _WRITERS[item]

    def write_array(values: Sequence[Any]) -> bytes:
        if not values:
            return b"\x00"
        return b"".join([_length(len(values)), *map(write, values), b"\x00"])

    return write_array


def _map_writer(item: Kind) -> Callable[[Any], bytes]:
    write = _WRITERS[item]

    def write_map(items: Mapping[str, Any]) -> bytes:
        if not items:
            return b"\x00"
        pairs = [_string(key) + write(value) for key, value in items.items()]
        return b"".join([_length(len(items)), *pairs, b"\x00"])

    return write_map


_WRITERS: dict[Kind, Callable[[Any], bytes]] = {
    Kind.DOUBLE: _DOUBLE.pack,
    Kind.FLOAT: _FLOAT.pack,
    Kind.INT: long_bytes,
    Kind.LONG: long_bytes,
    Kind.ENUM: _length,
    Kind.BOOLEAN: _BOOLEAN.__getitem__,
    Kind.STRING: _string,
    Kind.BYTES: _bytes,
    Kind.DOUBLES: _doubles,
}


def value_pieces(field: Field, ready: Ready) -> list[bytes]:
    """The bytes of every value of a leaf, without its union branch."""
    values = ready.values
    if isinstance(values, np.ndarray) and values.ndim == 1:
        values = values.tolist()
    return list(map(_writer(field), values))


def _writer(field: Field) -> Callable[[Any], bytes]:
    if field.kind is Kind.ARRAY and field.item is not None:
        return _array_writer(field.item)
    if field.kind is Kind.MAP and field.item is not None:
        return _map_writer(field.item)
    return _WRITERS[field.kind]


def join_pieces(top: Field, ready: Sequence[Ready], prefix: bytes, n: int) -> list[bytes]:
    """n records, each after `prefix`. For a handful of records quicker than the batch writer."""
    pieces: list[list[bytes]] = [[prefix] * n]
    _record(top, iter(ready), None, n, pieces)
    return list(map(b"".join, zip(*pieces, strict=True)))


def _record(
    record: Field,
    ready: Iterator[Ready],
    active: list[bool] | None,
    n: int,
    pieces: list[list[bytes]],
) -> None:
    for field in record.fields:
        if field.kind is not Kind.RECORD:
            column = _leaf(field, next(ready), n)
            pieces.append(column if active is None else _only(column, active))
        elif field.null_branch is None:
            _record(field, ready, active, n, pieces)
        else:
            presence = next(ready).values
            here: list[bool] = presence.tolist() if isinstance(presence, np.ndarray) else presence
            value, null = bytes([field.value_byte]), bytes([field.null_byte])
            branches = [value if present else null for present in here]
            pieces.append(branches if active is None else _only(branches, active))
            _record(field, ready, None if all(here) else here, n, pieces)


def _only(column: list[bytes], active: list[bool]) -> list[bytes]:
    return [piece if use else b"" for piece, use in zip(column, active, strict=True)]


def _leaf(field: Field, ready: Ready, n: int) -> list[bytes]:
    if ready.constant and ready.valid is not None:
        return [bytes([field.null_byte])] * n
    column = value_pieces(field, ready)
    if ready.constant:
        column = column * n
    if field.null_branch is None:
        return column
    value, null = bytes([field.value_byte]), bytes([field.null_byte])
    if ready.valid is None:
        return [value + piece for piece in column]
    valid = ready.valid.tolist()
    return [
        value + piece if present else null for piece, present in zip(column, valid, strict=True)
    ]
