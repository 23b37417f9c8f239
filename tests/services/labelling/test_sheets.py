"""Inputs as a CSV file, and answers back from one."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contract import Contract
from services.labelling import sheets
from services.labelling.desk import Place
from services.labelling.queue import Item
from streams.task import MultiClass
from tests.services.labelling.world import NOW_MS, make_task

CONTRACT = Contract.of(make_task(name="sheet"), "nowhere.py:Task")
FEATURES = {"price": 1.5, "visits": None, "member": True, "colour": "red"}


@given(
    st.dictionaries(
        st.text(st.characters(exclude_characters="\0\r", codec="utf-8"), min_size=1, max_size=40),
        st.tuples(st.none() | st.floats(0, 1, exclude_min=True), st.booleans()),
        max_size=5,
    )
)
def test_what_was_written_and_filled_in_is_read_back(answers) -> None:
    answers = {id_.strip() or "x": given_ for id_, given_ in answers.items()}
    file = io.StringIO()
    sheets.write(
        file,
        CONTRACT,
        (Item(Place(id_, NOW_MS, p), FEATURES, {}) for id_, (p, _) in answers.items()),
    )
    head, *rows = csv.reader(io.StringIO(file.getvalue()))
    for row, (_, answer) in zip(rows, answers.values(), strict=True):
        row[head.index("buys")] = "yes" if answer else "no"
    filled = io.StringIO()
    csv.writer(filled).writerows([head, *rows])
    sheet = sheets.read(io.StringIO(filled.getvalue()), CONTRACT)
    assert sheet.answers == {id_: answer for id_, (_, answer) in answers.items()}
    assert sheet.chosen == {id_: p for id_, (p, _) in answers.items()}


def test_no_cell_is_a_formula_to_a_spreadsheet() -> None:
    file = io.StringIO()
    features = FEATURES | {"colour": "=cmd|' /C calc'!A0"}
    sheets.write(file, CONTRACT, [Item(Place("@id", NOW_MS, 1.0), features, {})])
    _, row = csv.reader(io.StringIO(file.getvalue()))
    assert not any(cell.startswith(("=", "@", "+")) for cell in row)


def test_rows_without_an_answer_are_left_out() -> None:
    file = io.StringIO("request_id,buys\na,true\nb,\nc, No \n")
    assert sheets.read(file, CONTRACT).answers == {"a": True, "c": False}


def test_all_that_is_wrong_with_a_file_is_told_at_once() -> None:
    file = io.StringIO(
        "request_id,selection_probability,buys\na,2,true\n,1,true\nb,1,maybe\nb,1,true\nb,1,no\n"
    )
    with pytest.raises(sheets.SheetError) as wrong:
        sheets.read(file, CONTRACT)
    said = str(wrong.value)
    assert "line 2: selection_probability 2 is not above 0 and at most 1" in said
    assert "line 3: an answer without a request_id" in said
    assert "line 4: 'maybe' is neither true nor false" in said
    assert "line 6: b stands in an earlier line too" in said


def test_a_file_without_the_columns_is_refused() -> None:
    with pytest.raises(sheets.SheetError, match="names no column buys; it has: request_id, answer"):
        sheets.read(io.StringIO("request_id,answer\n"), CONTRACT)


def test_a_class_must_be_one_of_the_task() -> None:
    task = make_task(name="sheet", target=MultiClass("kind", classes=["a", "b"]), fallback="a")
    contract = Contract.of(task, "nowhere.py:Task")
    with pytest.raises(sheets.SheetError, match="'c' is not one of a, b"):
        sheets.read(io.StringIO("request_id,kind\nx,c\n"), contract)
