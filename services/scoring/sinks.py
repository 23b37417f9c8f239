"""Where answers are written: CSV or Parquet, whole or not at all."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

ENDINGS = (".csv", ".parquet")


class SinkError(ValueError):
    """It cannot be written; the message says where and why."""


class Sink:
    """A file of answers; it has its name when all are in it, and is not there before.

    On leaving with an error what was written is removed, and a file that was there before stays.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        if path.suffix.lower() not in ENDINGS:
            raise SinkError(f"{path}: it must end in {' or '.join(ENDINGS)}")
        self._path, self._schema = path, schema
        self._draft = path.with_name(f".{path.name}.partial")
        self._parquet: pq.ParquetWriter | None = None
        self._text: TextIO | None = None

    def __enter__(self) -> Self:
        try:
            if self._path.suffix.lower() == ".parquet":
                self._parquet = pq.ParquetWriter(self._draft, self._schema)
            else:
                self._text = self._draft.open("w", encoding="utf-8", newline="")
                self._rows = csv.writer(self._text)
                self._rows.writerow(self._schema.names)
        except OSError as error:
            raise SinkError(f"{self._path} cannot be written: {error.strerror}") from error
        return self

    def write(self, table: pa.Table) -> None:
        """More rows, of the schema."""
        if self._parquet is not None:
            self._parquet.write_table(table)
            return
        columns = [_texts(table[name]) for name in self._schema.names]
        self._rows.writerows(zip(*columns, strict=True))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for file in (self._parquet, self._text):
            if file is not None:
                file.close()
        if error is None:
            self._draft.replace(self._path)
        else:
            self._draft.unlink(missing_ok=True)


def _texts(column: pa.ChunkedArray) -> list[Any]:
    """As CSV has them: null is nothing, a list is JSON, a time is ISO 8601 in UTC.

    Python writes a float so that reading it gives the same float.
    """
    if pa.types.is_timestamp(column.type):
        return [
            None if t is None else f"{t.isoformat(timespec='milliseconds')[:23]}Z"
            for t in column.to_pylist()
        ]
    if pa.types.is_list(column.type):
        return [None if value is None else json.dumps(value) for value in column.to_pylist()]
    if pa.types.is_boolean(column.type):
        return [None if v is None else "true" if v else "false" for v in column.to_pylist()]
    found: list[Any] = column.to_pylist()
    return found
