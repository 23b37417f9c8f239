"""Where requests are read from, chunk by chunk: CSV, Parquet, a query to ClickHouse."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

CHUNK_ROWS = 5_000
"""Rows that are answered at once: twice a worker's largest batch; more brings no speed."""
CSV_NULLS = frozenset({"", "\\N"})
"""How CSV says that there is no value: nothing, and ClickHouse's way."""


class SourceError(ValueError):
    """It cannot be read; the message says where and why."""


@dataclass(frozen=True)
class Chunk:
    """Rows in order. refused: rows that are no whole rows, by position, and why; their values are
    null. done: the share of all that has been read with it, 0 to 1; None where nobody knows."""

    table: pa.Table
    refused: Mapping[int, str] = field(default_factory=dict)
    done: float | None = None


class Source(Protocol):
    """Rows with named columns."""

    @property
    def names(self) -> list[str]:
        """Of its columns."""

    def chunks(self) -> Iterator[Chunk]:
        """All rows, once."""


class CsvFile:
    """A file of comma-separated values in UTF-8 whose first line names the columns."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with path.open("rb") as file, _text(file) as lines:
            self.names = next(csv.reader(lines), [])
        if not self.names:
            raise SourceError(f"{path} is empty: its first line must name the columns")
        twice = sorted({name for name in self.names if self.names.count(name) > 1})
        if twice:
            raise SourceError(f"{path} has two columns {', '.join(twice)}: rename one of each")

    def chunks(self) -> Iterator[Chunk]:
        """All rows; one with too few or too many values is refused, and so is one of bad UTF-8."""
        size = max(1, self._path.stat().st_size)
        with self._path.open("rb") as file, _text(file) as lines:
            rows = csv.reader(lines)
            next(rows)
            while taken := self._take(rows):
                yield self._chunk(taken, min(1.0, file.tell() / size))

    def _take(self, rows: Any) -> list[list[str]]:
        try:
            return list(islice(rows, CHUNK_ROWS))
        except csv.Error as error:
            raise SourceError(f"{self._path}, line {rows.line_num}: {error}") from error

    def _chunk(self, rows: list[list[str]], done: float) -> Chunk:
        width = len(self.names)
        refused: dict[int, str] = {}
        for row, values in enumerate(rows):
            if len(values) != width:
                refused[row] = f"it has {len(values)} values for {width} columns"
            elif not "".join(values).isascii() and _is_broken(values):
                refused[row] = "it is not UTF-8"
            else:
                continue
            rows[row] = [""] * width
        columns = [
            pa.array([None if value in CSV_NULLS else value for value in values], pa.string())
            for values in zip(*rows, strict=True)
        ]
        return Chunk(pa.Table.from_arrays(columns, self.names), refused, done)


def _text(file: BinaryIO) -> io.TextIOWrapper:
    """What is not UTF-8 is kept apart, to be told of with its row."""
    return io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")


def _is_broken(values: list[str]) -> bool:
    try:
        "".join(values).encode()
    except UnicodeEncodeError:
        return True
    return False


class ParquetFile:
    """A Parquet file."""

    def __init__(self, path: Path) -> None:
        try:
            self._file = pq.ParquetFile(path)
        except (pa.ArrowInvalid, OSError) as error:
            raise SourceError(f"{path} is no Parquet file: {error}") from error
        self.names: list[str] = list(self._file.schema_arrow.names)

    def chunks(self) -> Iterator[Chunk]:
        """All rows."""
        total, read = max(1, self._file.metadata.num_rows), 0
        for batch in self._file.iter_batches(CHUNK_ROWS):
            read += batch.num_rows
            yield Chunk(pa.Table.from_batches([batch]), done=read / total)


class Query:
    """The rows of a query, as ClickHouse streams them.

    stream: gives the answer to the query in a format, in pieces (`services.command.clickhouse`).
    """

    def __init__(self, text: str, stream: Callable[[str, str], Iterator[bytes]]) -> None:
        pieces = stream(text, "ArrowStream")
        try:
            self._reader = pa.ipc.open_stream(io.BufferedReader(_Pieces(pieces), 1 << 20))
        except pa.ArrowInvalid as error:
            raise SourceError(f"the query gives nothing that can be read: {error}") from error
        self.names: list[str] = list(self._reader.schema.names)

    def chunks(self) -> Iterator[Chunk]:
        """All rows."""
        for batch in self._reader:
            table = pa.Table.from_batches([batch])
            for first in range(0, table.num_rows, CHUNK_ROWS):
                yield Chunk(table.slice(first, CHUNK_ROWS))


class _Pieces(io.RawIOBase):
    """Pieces of bytes as a file."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = memoryview(piece)
        taken = self._rest[: len(buffer)]
        buffer[: len(taken)] = taken
        self._rest = self._rest[len(taken) :]
        return len(taken)


def is_query(text: str) -> bool:
    """Whether it is a statement and no file's name."""
    first = text.lstrip(" \n\t(").split(maxsplit=1)
    return len(first) == 2 and first[0].upper() in ("SELECT", "WITH", "FROM")


def open_file(path: Path) -> CsvFile | ParquetFile:
    """A file by its ending. Raises SourceError."""
    if not path.is_file():
        raise SourceError(f"there is no file {path}; a query begins with SELECT, WITH or FROM")
    kinds: dict[str, type[CsvFile] | type[ParquetFile]] = {".csv": CsvFile, ".parquet": ParquetFile}
    kind = kinds.get(path.suffix.lower())
    if kind is None:
        raise SourceError(f"{path}: a file must end in {' or '.join(kinds)}")
    return kind(path)
