"""Flat Avro records ⇄ columns by way of fastavro, a record at a time.

For records that hold maps and arrays of numbers (tallies, model versions): there are few of
them, and what they hold is not columns. Records with nested records are not for here.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import fastavro
import numpy as np

from schemas.avro_columns import Decoded
from schemas.columns import Column

_DTYPES: dict[str, Any] = {
    "double": np.float64,
    "float": np.float64,
    "long": np.int64,
    "int": np.int64,
    "boolean": np.bool_,
}
_EMPTY: dict[Any, Any] = {np.float64: np.nan, np.int64: 0, np.bool_: False}


def _primitive(type_: Any) -> Any:
    """The dtype of a field's column; objects for all that is not a number or a boolean."""
    if isinstance(type_, list):
        type_ = next(branch for branch in type_ if branch != "null")
    if isinstance(type_, Mapping):
        type_ = type_["type"]
    return _DTYPES.get(type_, object) if isinstance(type_, str) else object


class _Flat:
    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._parsed = fastavro.parse_schema(dict(schema))
        self._fields = {field["name"]: _primitive(field["type"]) for field in schema["fields"]}


class RowDecoder(_Flat):
    """Decodes bodies of one flat record; the same contract as `RecordDecoder`."""

    def decode(self, bodies: Sequence[bytes]) -> Decoded:
        """Bodies to columns; a malformed body is left out and reported."""
        ok = np.ones(len(bodies), bool)
        errors = []
        rows: list[dict[str, Any]] = []
        for i, body in enumerate(bodies):
            stream = io.BytesIO(body)
            try:
                row: Any = fastavro.schemaless_reader(stream, self._parsed, None)
                if stream.tell() != len(body):
                    raise ValueError(f"{len(body) - stream.tell()} bytes follow the record's end")
                rows.append(row)
            except Exception as error:
                ok[i] = False
                errors.append((i, f"{type(error).__name__}: {error}"))
        columns = {name: _column([r[name] for r in rows], t) for name, t in self._fields.items()}
        return Decoded(columns, ok, errors)


def _column(values: list[Any], dtype: Any) -> Column:
    valid = np.array([value is not None for value in values], bool)
    if dtype is object:
        column = np.empty(len(values), object)
        column[:] = values
    else:
        empty = _EMPTY[dtype]
        column = np.array([empty if value is None else value for value in values], dtype)
    return Column(column, None if valid.all() else valid)


class RowEncoder(_Flat):
    """Encodes columns of one flat record; the same contract as `RecordEncoder`."""

    def __init__(self, schema: Mapping[str, Any], prefix: bytes = b"") -> None:
        super().__init__(schema)
        self._prefix = prefix

    def encode(self, columns: Mapping[str, Column], n: int) -> list[bytes]:
        """Columns to values; ValueError names the field that does not fit."""
        missing = [name for name in self._fields if name not in columns]
        if missing:
            raise ValueError(f"columns are missing: {', '.join(missing)}")
        lists = {}
        for name in self._fields:
            column = columns[name]
            values = column.values[:n].tolist()
            valid = column.valid
            lists[name] = (
                values
                if valid is None
                else [v if there else None for v, there in zip(values, valid, strict=False)]
            )
        out = []
        for row in zip(*lists.values(), strict=True):
            stream = io.BytesIO()
            stream.write(self._prefix)
            try:
                record = dict(zip(lists, row, strict=True))
                fastavro.schemaless_writer(stream, self._parsed, record)
            except Exception as error:
                raise ValueError(f"row {len(out)} does not fit the schema: {error}") from error
            out.append(stream.getvalue())
        return out
