"""docs/bad-input.md says what the code does: no reason is missing, its tests are there."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

from schemas.records import template

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "bad-input.md").read_text("utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in PAGE.splitlines()
    if line.startswith("| ") and not line.startswith("| sent")
]
CODE = re.compile(r"[a-z]+(-[a-z]+)*\Z")


def reasons_of_the_schema() -> set[str]:
    fields = {field["name"]: field for field in json.loads(template("dead_letter"))["fields"]}
    return set(fields["reason"]["doc"].removeprefix("Reason as a code: ").rstrip(".").split(", "))


def reasons_of_the_code() -> Iterator[str]:
    """Texts given to what makes a failure or a dead letter, and those kept by reason."""
    for path in (ROOT / "schemas" / "codec.py", *(ROOT / "streams").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            given: list[ast.expr | None] = []
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                place = {"DeadLetter": 1, "Failure": 1, "fail": 0}.get(node.func.id)
                given = [] if place is None else list(node.args[place : place + 1])
            elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
                names = [ast.unparse(target) for target in node.targets]
                given = list(node.value.keys) if "_WORDS" in names else []
            for one in given:
                if isinstance(one, ast.Constant):
                    yield str(one.value)


def test_every_reason_of_code_and_schema_is_on_the_page_and_no_other() -> None:
    told = {text for row in ROWS for text in re.findall(r"`([^`]+)`", row[1])}
    assert told == reasons_of_the_schema()
    assert set(reasons_of_the_code()) == reasons_of_the_schema()
    assert all(CODE.match(reason) for reason in told)


def test_every_row_names_a_test_that_is_there() -> None:
    for row in ROWS:
        assert len(row) == 4, row
        named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", row[3])
        assert named, f"no test proves: {row[0]}"
        for file, test in named:
            assert f"def {test}(" in (ROOT / file).read_text("utf-8"), f"{file} has no {test}"


def test_the_readme_leads_to_the_page() -> None:
    assert "(docs/bad-input.md)" in (ROOT / "README.md").read_text("utf-8")
