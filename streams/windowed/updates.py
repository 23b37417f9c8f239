"""Sums as records of ``<task>.features``: what a source changed, in as many records as it takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from streams.windowed.cells import Cell, Sum
from streams.windowed.definition import Definition

# Of a record, at most: keys may be long, and a topic's limit is 4 MiB.
MOST_CELLS = 10_000
MOST_KEY_BYTES = 1 << 20


class Reached(NamedTuple):
    """How far a source has come: the next offset, and the newest time of what counted."""

    through: int
    newest: int | None


def updates(
    definition: Definition, place: str, source: str, cells: Mapping[Cell, Sum], now: Reached
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give the records, in order, each with its key; the last one says how far they go.

    place: the key, to which all records after the first append their number.
    """
    parts = list(_parts(sorted(cells.items(), key=lambda item: item[0].series)))
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        record = _record(definition, part, source, now if last else None)
        yield (f"{place}.{number}" if number else place), record


def _record(
    definition: Definition, cells: list[tuple[Cell, Sum]], source: str, now: Reached | None
) -> dict[str, Any]:
    numbers = sorted({cell.series for cell, _ in cells})
    place = {number: i for i, number in enumerate(numbers)}
    return {
        "definition": definition.id,
        "source": source,
        "through": None if now is None else now.through,
        "newest": None if now is None else now.newest,
        "series_names": [definition.series[number].name for number in numbers],
        "sum_series": [place[cell.series] for cell, _ in cells],
        "keys": [cell.key for cell, _ in cells],
        "bucket_ends": [cell.end for cell, _ in cells],
        "counts": [sum_.records for _, sum_ in cells],
        "totals": [sum_.total for _, sum_ in cells],
    }


def _parts(cells: list[tuple[Cell, Sum]]) -> Iterator[list[tuple[Cell, Sum]]]:
    """Cells in parts that fit into a record; one part where there are none."""
    part: list[tuple[Cell, Sum]] = []
    size = 0
    for item in cells:
        length = len(item[0].key.encode())
        if part and (len(part) == MOST_CELLS or size + length > MOST_KEY_BYTES):
            yield part
            part, size = [], 0
        part.append(item)
        size += length
    yield part
