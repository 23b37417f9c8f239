"""Labelling elsewhere: the queue as a CSV file, and answers back from one.

The columns are request_id, event_time, selection_probability, the target's name (empty: here the
answers go), and the features. Only the first, the third and the target's are read back.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TextIO

from schemas.moments import moment
from services.contract import Contract
from services.labelling.queue import Item
from streams.labelling.answers import Answer, parse

ID, TIME, PROBABILITY = "request_id", "event_time", "selection_probability"
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""Text that begins so is a formula to a spreadsheet: it gets an apostrophe, which hides it."""
MOST_TOLD = 20


class SheetError(ValueError):
    """A file that holds no answers of this task; the message tells all that is wrong."""


@dataclass(frozen=True)
class Sheet:
    """Answers of a file by request id, and with which probability each was chosen."""

    answers: Mapping[str, Answer]
    chosen: Mapping[str, float | None]


def write(file: TextIO, contract: Contract, items: Iterable[Item]) -> None:
    """Write items to fill in."""
    names = [one["name"] for one in contract.inputs]
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([ID, TIME, PROBABILITY, contract.target, *names])
    for item in items:
        place = item.place
        at = moment(place.event_time).isoformat()
        values = [_cell(item.features[name]) for name in names]
        writer.writerow([_cell(place.request_id), at, _cell(place.probability), "", *values])


def read(file: TextIO, contract: Contract) -> Sheet:
    """The answers of a file; rows without one are left out. Raises SheetError."""
    rows = csv.reader(file)
    head = [name.strip() for name in next(rows, [])]
    missing = [name for name in (ID, contract.target) if name not in head]
    if missing:
        raise SheetError(
            f"the first line names no column {' and no '.join(missing)}; it has: {', '.join(head)}"
        )
    answers: dict[str, Answer] = {}
    chosen: dict[str, float | None] = {}
    wrong: list[str] = []
    for row in rows:
        cells = dict(zip(head[::-1], _padded(row, len(head))[::-1], strict=True))
        text, id_ = cells[contract.target].strip(), _text(cells[ID])
        if not text:
            continue
        try:
            if not id_:
                raise ValueError(f"an answer without a {ID}")
            if id_ in answers:
                raise ValueError(f"{id_} stands in an earlier line too")
            chosen[id_] = _probability(cells.get(PROBABILITY, ""))
            answers[id_] = parse(text, contract.kind, contract.classes)
        except ValueError as error:
            wrong.append(f"- line {rows.line_num}: {error}")
    if wrong:
        told = wrong[:MOST_TOLD]
        if len(wrong) > len(told):
            told.append(f"- and {len(wrong) - len(told)} more")
        raise SheetError("nothing was sent, these lines are wrong:\n" + "\n".join(told))
    return Sheet(answers, chosen)


def _padded(row: list[str], n: int) -> list[str]:
    return (row + [""] * n)[:n]


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return f"'{value}" if value.startswith(FORMULA) else value
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else value


def _text(cell: str) -> str:
    """A cell's text without the apostrophe that `write` may have put before it."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(FORMULA) else cell


def _probability(cell: str) -> float | None:
    if not cell.strip():
        return None
    try:
        probability = float(cell)
    except ValueError as error:
        raise ValueError(f"{PROBABILITY} {cell[:40]!r} is not a number") from error
    if not 0 < probability <= 1:
        raise ValueError(f"{PROBABILITY} {cell[:40]} is not above 0 and at most 1")
    return probability
