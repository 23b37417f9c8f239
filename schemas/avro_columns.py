"""Avro bodies ⇄ columns, a batch at a time.

Decoding never fails a batch: a record whose bytes are not good is left out and reported. Encoding
never sends half a batch: columns that do not fit the schema are a ValueError that names the
field and the first row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.columnar.assemble import columns_of_rows, patch
from schemas.columnar.batch_read import BatchReader
from schemas.columnar.batch_write import BatchWriter
from schemas.columnar.checks import check_columns
from schemas.columnar.record_read import RecordReader
from schemas.columnar.scalar_write import join_pieces
from schemas.columnar.types import plan
from schemas.columns import Column, Columns

# Below these sizes one record at a time is quicker (tests/benchmarks/codec.py).
SMALL_DECODE = 16
SMALL_ENCODE = 40


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a batch of n bodies held.

    columns: the good records only, in order; each of length ok.sum().
    ok: bool (n,), False where a body was malformed.
    errors: (row, reason) of each malformed body; the reason names the field and the byte.
    """

    columns: Columns
    ok: npt.NDArray[np.bool_]
    errors: list[tuple[int, str]] = field(default_factory=list)


class RecordDecoder:
    """Decodes bodies of one schema into columns.

    double and float become float64, int and long int64, boolean bool; string, enum, bytes, arrays
    and maps become objects (str, bytes, float64 ndarray, list, dict). Logical types are ignored.
    Nested records become dotted paths; a nullable record adds a bool column under its own path.
    A nullable column's `valid` is None when every value is present.
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        """`schema`: an Avro record schema. UnsupportedSchemaError names a field out of scope."""
        top = plan(schema)
        self._leaves = list(top.leaves())
        self._scalar = RecordReader(top)
        self._batch = BatchReader(top)

    def decode(self, bodies: Sequence[bytes]) -> Decoded:
        """Decode bodies without framing, one record each. Malformed ones are reported, not raised.

        Good: exactly the bytes of one record, as the specification has it; where
        that is stricter than fastavro is listed in `schemas.columnar.scalar_read`.
        """
        if len(bodies) <= SMALL_DECODE:
            return self._decode_small(bodies)
        columns, odd = self._batch.read(bodies)
        ok = np.ones(len(bodies), np.bool_)
        errors: list[tuple[int, str]] = []
        patches: dict[int, list[Any]] = {}
        for row in odd.tolist():
            try:
                patches[row] = self._scalar.read(bodies[row])
            except ValueError as error:
                ok[row] = False
                errors.append((row, str(error)))
        columns = patch(self._leaves, columns, patches, ok)
        return Decoded(self._named(columns), ok, errors)

    def _decode_small(self, bodies: Sequence[bytes]) -> Decoded:
        rows: list[list[Any]] = []
        ok = np.ones(len(bodies), np.bool_)
        errors: list[tuple[int, str]] = []
        for i, body in enumerate(bodies):
            try:
                rows.append(self._scalar.read(body))
            except ValueError as error:
                ok[i] = False
                errors.append((i, str(error)))
        return Decoded(self._named(columns_of_rows(self._leaves, rows)), ok, errors)

    def _named(self, columns: Sequence[Column]) -> Columns:
        return {leaf.path: column for leaf, column in zip(self._leaves, columns, strict=True)}


class RecordEncoder:
    """Encodes columns into bodies of one schema, each after the same prefix (the framing)."""

    def __init__(self, schema: Mapping[str, Any], prefix: bytes = b"") -> None:
        """`schema`: an Avro record schema. UnsupportedSchemaError names a field out of scope."""
        self._top = plan(schema)
        self._prefix = prefix
        self._batch = BatchWriter(self._top, prefix)

    def encode(self, columns: Mapping[str, Column], n: int) -> list[bytes]:
        """Encode n records: one `bytes` each, byte for byte what fastavro writes.

        Columns of other names are ignored. Repeated values (`schemas.columns.constant`) are
        encoded once. Numbers may be of any dtype that fits the field without loss of kind
        (integers into doubles, not floats into longs); a None among objects is a null.

        ValueError, naming the field and the first row: a missing column, a wrong length or type,
        a null in a field that is not nullable, an int out of range, an unknown enum symbol.
        """
        ready = check_columns(self._top, columns, n)
        if n <= SMALL_ENCODE:
            return join_pieces(self._top, ready, self._prefix, n)
        return self._batch.write(ready, n)
