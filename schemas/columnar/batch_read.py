"""Reads the bodies of a batch field by field, all records at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from schemas.columnar.batch_values import READ
from schemas.columnar.cursor import Batch, Cursor, Positions
from schemas.columnar.types import COLUMN_DTYPES, MISSING, Field, Kind
from schemas.columns import Column

# The most bytes that the branch and a value of bounded size take: a varint has ten at most.
_FIELD_SLACK = 16


@dataclass(frozen=True)
class Form:
    """What the values of each kind become: how they are read, their dtype, what a null holds."""

    read: Mapping[Kind, Callable[[Cursor, Field], Any]]
    dtypes: Mapping[Kind, np.dtype[Any]]
    missing: Mapping[Kind, Any]

    def nulls(self, field: Field, n: int) -> np.ndarray:
        """n times what a null of the field holds."""
        return np.full(n, self.missing[field.kind], self.dtypes[field.kind])


OBJECTS = Form(READ, COLUMN_DTYPES, MISSING)
"""Numbers as NumPy's, all else as Python objects."""


class BatchReader:
    """Reads bodies into one column a leaf."""

    def __init__(self, top: Field, form: Form = OBJECTS) -> None:
        self._top = top
        self._form = form
        self._slack = _FIELD_SLACK * (1 + sum(1 for _ in top.leaves()))

    def read(self, bodies: Sequence[bytes]) -> tuple[list[Column], Positions]:
        """Columns in the order of `Field.leaves`, and the rows that need the scalar reader.

        In those rows the columns hold anything. There must be at least one body.
        """
        return self.read_batch(self.batch(bodies))

    def batch(self, values: Sequence[bytes], skip: int = 0) -> Batch:
        """Values joined for `read_batch`; the record begins `skip` bytes into each."""
        return Batch(values, self._slack, skip)

    def read_batch(self, batch: Batch) -> tuple[list[Column], Positions]:
        """As `read`, of bodies that are joined already."""
        cursor = Cursor(batch, batch.starts.copy(), batch.ends)
        columns = list(_record(cursor, self._top, self._form))
        return columns, np.flatnonzero(cursor.pos != cursor.end)


def _record(cursor: Cursor, record: Field, form: Form) -> Iterator[Column]:
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
            yield _leaf(cursor, field, form)
        elif field.null_branch is None:
            yield from _record(cursor, field, form)
        else:
            yield from _nullable_record(cursor, field, form)


def _leaf(cursor: Cursor, field: Field, form: Form) -> Column:
    read = form.read[field.kind]
    present = None if field.null_branch is None else cursor.present(field)
    if present is None:
        return Column(read(cursor, field))
    rows = np.flatnonzero(present)
    values = form.nulls(field, len(cursor))
    if len(rows):
        some = cursor.at(rows)
        values[rows] = read(some, field)
        cursor.pos[rows] = some.pos
    return Column(values, present)


def _nullable_record(cursor: Cursor, record: Field, form: Form) -> Iterator[Column]:
    present = cursor.present(record)
    if present is None:
        yield Column(np.ones(len(cursor), np.bool_))
        yield from _record(cursor, record, form)
        return
    yield Column(present)
    rows = np.flatnonzero(present)
    some = cursor.at(rows)
    # An empty cursor has nothing to read, but every leaf still needs its column. Read to the end:
    # a record within this one moves the position after its last column.
    inner: Iterator[Column] = iter(list(_record(some, record, form)) if len(rows) else ())
    for leaf in list(record.leaves())[1:]:
        values, valid = form.nulls(leaf, len(cursor)), np.zeros(len(cursor), np.bool_)
        column = next(inner, None)
        if column is not None:
            values[rows] = column.values
            valid[rows] = True if column.valid is None else column.valid
        yield Column(values, None if leaf.presence else valid)
    cursor.pos[rows] = some.pos


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
