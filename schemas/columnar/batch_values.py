"""Reads the values of one leaf for all records of a cursor at once.

A value that is not good parks its record (see `cursor`); what is returned for it is anything.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from schemas.columnar.cursor import Cursor, Positions
from schemas.columnar.scalar_read import INT_MAX, MalformedError, value_reader
from schemas.columnar.types import Field, Kind


def _double(cursor: Cursor, field: Field) -> np.ndarray:
    values = cursor.batch.windows("V8")[cursor.pos].view("<f8")
    cursor.pos += 8
    return values


def _float(cursor: Cursor, field: Field) -> np.ndarray:
    values = cursor.batch.windows("V4")[cursor.pos].view("<f4").astype(np.float64)
    cursor.pos += 4
    return values


def _long(cursor: Cursor, field: Field) -> np.ndarray:
    return cursor.varint()


def _int(cursor: Cursor, field: Field) -> np.ndarray:
    values = cursor.varint()
    odd = (values > INT_MAX) | (values < -INT_MAX - 1)
    if odd.any():
        cursor.park(odd)
    return values


def _boolean(cursor: Cursor, field: Field) -> np.ndarray:
    values = cursor.byte()
    if values.max() > 1:
        cursor.park(values > 1)
        values = np.minimum(values, 1)
    return values.view(np.bool_)


def _enum(cursor: Cursor, field: Field) -> np.ndarray:
    index = cursor.varint()
    odd = (index < 0) | (index >= len(field.symbols))
    if odd.any():
        cursor.park(odd)
        index[odd] = 0
    return np.array(field.symbols, dtype=object).take(index)


def _string(cursor: Cursor, field: Field) -> np.ndarray:
    sizes, text = cursor.lengths(), cursor.batch.text
    starts = cursor.pos.tolist()
    repeated = _repeated(cursor, sizes)
    cursor.pos += sizes
    ends = cursor.pos.tolist()
    if repeated:
        starts, ends = starts[:1], ends[:1]
    values = [text[a:b] for a, b in zip(starts, ends, strict=True)]
    if not "".join(values).isascii():
        for i, value in enumerate(values):
            if not value.isascii():
                try:
                    values[i] = value.encode("latin-1").decode()
                except UnicodeDecodeError:
                    cursor.pos[slice(None) if repeated else i] = cursor.batch.parking
    if repeated:
        values *= len(cursor)
    return np.fromiter(values, object, len(cursor))


def _repeated(cursor: Cursor, sizes: Positions) -> bool:
    """Whether all records have the same bytes next, as with ids of versions and data sets."""
    size, data, pos = int(sizes[0]), cursor.batch.data, cursor.pos
    first, last = int(pos[0]), int(pos[-1])
    if size == 0 or size != sizes[-1] or (sizes != size).any():
        return False
    if data[first : first + size].tobytes() != data[last : last + size].tobytes():
        return False
    every = cursor.batch.windows(f"V{size}")[pos].view(np.uint8).reshape(len(pos), size)
    return bool((every == every[0]).all())


def _bytes(cursor: Cursor, field: Field) -> np.ndarray:
    n, sizes, raw = len(cursor), cursor.lengths(), cursor.batch.raw
    starts = cursor.pos.tolist()
    cursor.pos += sizes
    values = [raw[a:b] for a, b in zip(starts, cursor.pos.tolist(), strict=True)]
    return np.fromiter(values, object, n)


def _doubles(cursor: Cursor, field: Field) -> np.ndarray:
    """Arrays of doubles: those of the usual length in one block at once, others singly."""
    starts = cursor.pos.copy()
    counts = cursor.varint()
    k = int(np.sort(counts)[len(counts) // 2])
    usual = (counts == k) & (cursor.end - cursor.pos >= 8 * max(k, 0) + (k > 0))
    values = np.empty(len(cursor), object)
    if k < 0 or not usual.any():
        cursor.pos = starts
        return _one_by_one(cursor, field)
    if k > 0:
        after = np.where(usual, cursor.pos + 8 * k, 0)
        usual &= cursor.batch.data.take(after) == 0  # no second block
    rows = np.flatnonzero(usual)
    if k == 0:
        values[rows] = np.fromiter([np.empty(0)] * len(rows), object, len(rows))
    else:
        blocks = cursor.batch.windows(f"V{8 * k}")[cursor.pos[rows]]
        table = blocks.view("<f8").reshape(len(rows), k)
        values[rows] = np.fromiter(table, object, len(rows))
        cursor.pos[rows] += 8 * k + 1
    others = np.flatnonzero(~usual)
    if len(others):
        some = Cursor(cursor.batch, starts[others], cursor.end[others])
        values[others] = _one_by_one(some, field)
        cursor.pos[others] = some.pos
    return values


def _one_by_one(cursor: Cursor, field: Field) -> np.ndarray:
    """The scalar reader, record by record."""
    values = np.empty(len(cursor), object)
    read, raw = value_reader(field), cursor.batch.raw
    for i, (start, end) in enumerate(zip(cursor.pos.tolist(), cursor.end.tolist(), strict=True)):
        try:
            values[i], size = read(raw[start:end], 0)
            cursor.pos[i] += size
        except (MalformedError, IndexError):
            cursor.pos[i] = cursor.batch.parking
    return values


READ: dict[Kind, Callable[[Cursor, Field], Any]] = {
    Kind.DOUBLE: _double,
    Kind.FLOAT: _float,
    Kind.INT: _int,
    Kind.LONG: _long,
    Kind.BOOLEAN: _boolean,
    Kind.STRING: _string,
    Kind.BYTES: _bytes,
    Kind.ENUM: _enum,
    Kind.DOUBLES: _doubles,
    Kind.ARRAY: _one_by_one,
    Kind.MAP: _one_by_one,
}
"""How a leaf's values are read, after its union branch; the cursor has at least one record."""
