"""Reads the bodies of a batch field by field, all records at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from schemas.columnar.cursor import Batch, Cursor, Positions
from schemas.columnar.scalar_read import INT_MAX, MalformedError, value_reader
from schemas.columnar.types import COLUMN_DTYPES, MISSING, Field, Kind
from schemas.columns import Column

# The most bytes that the branch and a value of bounded size take: a varint has ten at most.
_FIELD_SLACK = 16


class BatchReader:
    """Reads bodies into one column a leaf."""

    def __init__(self, top: Field) -> None:
        self._top = top
        self._slack = _FIELD_SLACK * (1 + sum(1 for _ in top.leaves()))

    def read(self, bodies: Sequence[bytes]) -> tuple[list[Column], Positions]:
        """Columns in the order of `Field.leaves`, and the rows that need the scalar reader.

        In those rows the columns hold anything. There must be at least one body.
        """
        batch = Batch(bodies, self._slack)
        cursor = Cursor(batch, batch.starts.copy(), batch.ends)
        columns = list(_record(cursor, self._top))
        return columns, np.flatnonzero(cursor.pos != cursor.end)


def _record(cursor: Cursor, record: Field) -> Iterator[Column]:
    fields = record.fields
    at = 0
    while at < len(fields):
        field = fields[at]
        run = at
        while run < len(fields) and fields[run].kind is Kind.DOUBLE:
            run += 1
        if run > at:
            yield from _doubles_run(cursor, fields[at:run])
            at = run
            continue
        at += 1
        if field.kind is not Kind.RECORD:
            yield _leaf(cursor, field)
        elif field.null_branch is None:
            yield from _record(cursor, field)
        else:
            yield from _nullable_record(cursor, field)


def _leaf(cursor: Cursor, field: Field) -> Column:
    read = _READ[field.kind]
    present = None if field.null_branch is None else cursor.present(field)
    if present is None:
        return Column(read(cursor, field))
    rows = np.flatnonzero(present)
    values = _missing(field, len(cursor))
    if len(rows):
        some = cursor.at(rows)
        values[rows] = read(some, field)
        cursor.pos[rows] = some.pos
    return Column(values, present)


def _nullable_record(cursor: Cursor, record: Field) -> Iterator[Column]:
    present = cursor.present(record)
    if present is None:
        yield Column(np.ones(len(cursor), np.bool_))
        yield from _record(cursor, record)
        return
    yield Column(present)
    rows = np.flatnonzero(present)
    some = cursor.at(rows)
    # An empty cursor has nothing to read, but every leaf still needs its column.
    inner: Iterator[Column | None] = iter(_record(some, record)) if len(rows) else iter(())
    for leaf in list(record.leaves())[1:]:
        values, valid = _missing(leaf, len(cursor)), np.zeros(len(cursor), np.bool_)
        column = next(inner, None)
        if column is not None:
            values[rows] = column.values
            valid[rows] = True if column.valid is None else column.valid
        yield Column(values, None if leaf.presence else valid)
    cursor.pos[rows] = some.pos


def _missing(field: Field, n: int) -> np.ndarray:
    return np.full(n, MISSING[field.kind], COLUMN_DTYPES[field.kind])


def _doubles_run(cursor: Cursor, fields: Sequence[Field]) -> Iterator[Column]:
    """Doubles next to each other, nullable or not: find every position, then gather once."""
    n, data, pos = len(cursor), cursor.batch.data, cursor.pos
    places = np.empty((len(fields), n), np.int64)
    branches = np.empty((len(fields), n), np.uint8)
    for i, field in enumerate(fields):
        if field.null_branch is None:
            branches[i] = 2
            places[i] = pos
            pos += 8
        else:
            branch = branches[i]
            data.take(pos, out=branch)
            np.add(pos, 1, out=places[i])
            pos += _STEP[field.null_branch].take(branch)
            if field.null_branch == 1:
                branch ^= 2  # now 2 means a value in every row of `branches`
    values = cursor.batch.windows("V8")[places].view("<f8")
    present = branches == 2
    if present.all():
        for row in values:
            yield Column(row)
        return
    odd = ~present & (branches != 0)
    if odd.any():
        cursor.park(odd.any(axis=0))
    values[~present] = np.nan
    for row, valid in zip(values, present, strict=True):
        yield Column(row, None if valid.all() else valid)


_STEP = np.ones((2, 256), np.int64)  # [null branch, byte of the branch] → bytes it takes in all
_STEP[0, 2] = _STEP[1, 0] = 9


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


_READ: dict[Kind, Callable[[Cursor, Field], Any]] = {
    Kind.DOUBLE: _double,
    Kind.FLOAT: _float,
    Kind.INT: _int,
    Kind.LONG: _long,
    Kind.BOOLEAN: _boolean,
    Kind.STRING: _string,
    Kind.BYTES: _bytes,
    Kind.ENUM: _enum,
    Kind.DOUBLES: _doubles,
    Kind.STRINGS: _one_by_one,
    Kind.MAP: _one_by_one,
}
