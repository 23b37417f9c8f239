"""Reads text, bytes and arrays of doubles as spans: where they lie in the batch, not what they are.

A span is one int64, the start in the upper 32 bits and the size in the lower: bytes of a text,
items of an array. Nothing is copied and no Python object is made until all columns are known.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from schemas.columnar.batch_read import Form
from schemas.columnar.batch_values import READ
from schemas.columnar.cursor import Cursor, Positions
from schemas.columnar.types import COLUMN_DTYPES, MISSING, Field, Kind

Spans = npt.NDArray[np.int64]

MOST_BYTES = 2**31 - 1
"""Of a batch: starts and sizes are Arrow's int32 later."""

_SIZE = np.int64(0xFFFFFFFF)


def starts(spans: Spans) -> Positions:
    """Where each begins."""
    return spans >> 32


def sizes(spans: Spans) -> Positions:
    """How long each is."""
    return spans & _SIZE


def _text(cursor: Cursor, field: Field) -> Spans:
    lengths = cursor.lengths()
    found = (cursor.pos << 32) | lengths
    cursor.pos += lengths
    return found


def _doubles(cursor: Cursor, field: Field) -> Spans:
    """Arrays in one block, as every writer here makes them; the scalar reader takes the others."""
    counts = cursor.varint()
    some = counts != 0
    ends = cursor.pos + 8 * counts
    odd = (counts < 0) | (counts > cursor.end - cursor.pos) | (some & (ends >= cursor.end))
    ends[odd] = cursor.batch.parking
    odd |= some & (cursor.batch.data.take(ends) != 0)  # a second block follows
    if odd.any():
        cursor.park(odd)
        counts[odd] = 0
        some &= ~odd
    found = (cursor.pos << 32) | counts
    cursor.pos += 8 * counts + some
    return found


def _enum(cursor: Cursor, field: Field) -> Positions:
    index = cursor.varint()
    odd = (index < 0) | (index >= len(field.symbols))
    if odd.any():
        cursor.park(odd)
        index[odd] = 0
    return index


_INT64 = np.dtype(np.int64)
_AS_SPANS = {Kind.STRING: _text, Kind.BYTES: _text, Kind.DOUBLES: _doubles, Kind.ENUM: _enum}

SPANS = Form(
    {**READ, **_AS_SPANS},
    COLUMN_DTYPES | dict.fromkeys(_AS_SPANS, _INT64),
    MISSING | dict.fromkeys(_AS_SPANS, 0),
)
"""Text, bytes and arrays of doubles as spans, enums as the index of their symbol."""
