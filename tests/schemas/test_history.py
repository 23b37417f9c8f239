"""The committed history: nothing changes without a version, and every version reads its past."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path

import pytest
from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityType
from avro.schema import make_avsc_object

from schemas import history as history_module
from schemas.history import COMMITTED, STAND_IN, History, all_kinds
from schemas.records import RECORDS, Schema, template
from schemas.registry import canonical, schema_id


def judged_by_avro(reader: Schema, writer: Schema) -> str:
    parsed = [make_avsc_object(schema) for schema in (reader, writer)]
    result = ReaderWriterCompatibilityChecker().get_compatibility(*parsed)
    if result.compatibility is SchemaCompatibilityType.compatible:
        return ""
    return f"{sorted(result.locations)}: {sorted(result.messages)}"


@pytest.mark.parametrize("record", RECORDS)
def test_a_changed_schema_has_a_new_version(record: str) -> None:
    newest = COMMITTED.newest(record)
    assert newest is not None, f"{record} has no version: run python -m schemas.history"
    assert canonical(newest) == canonical(json.loads(template(record))), (
        f"schemas/avro/{record}.avsc differs from its newest version: "
        "run python -m schemas.history, which judges the change and adds a version"
    )


def test_every_record_of_the_history_still_exists() -> None:
    assert set(COMMITTED.records()) <= set(RECORDS)


@pytest.mark.parametrize("record", RECORDS)
def test_every_version_reads_all_others_older_and_newer(record: str) -> None:
    versions = COMMITTED.versions(record)
    for (i, one), (j, other) in itertools.permutations(enumerate(versions, 1), 2):
        for (kind, reader), (_, writer) in zip(all_kinds(one), all_kinds(other), strict=True):
            assert not judged_by_avro(reader, writer), f"{record}, {kind}{i} reading {j}"


def test_every_version_stands_alone_for_every_kind_of_target() -> None:
    for record in RECORDS:
        for version in COMMITTED.versions(record):
            for _, schema in all_kinds(version):
                make_avsc_object(schema)


@pytest.fixture
def committed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> History:
    """A copy of the committed history, and `main` working on it."""
    shutil.copytree(COMMITTED.folder, tmp_path / "history")
    copy = History(tmp_path / "history")
    monkeypatch.setattr(history_module, "COMMITTED", copy)
    return copy


def change_truth(
    monkeypatch: pytest.MonkeyPatch, change: dict[str, object] | None, without: str = ""
) -> None:
    """The template of truth with another field (None: with none), and without one of its own."""
    changed = json.loads(template("truth"))
    changed["fields"] = [field for field in changed["fields"] if field["name"] != without]
    if change is not None:
        added = {"name": "certainty", "type": "double", "doc": "How sure."} | change
        changed["fields"].append(added)
    monkeypatch.setattr(
        history_module,
        "template",
        lambda record: json.dumps(changed) if record == "truth" else template(record),
    )


def test_a_compatible_change_becomes_the_next_version(
    committed: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {record: len(committed.versions(record)) for record in RECORDS}
    change_truth(monkeypatch, {"default": 1.0})
    assert history_module.main() == 0
    after = {record: len(committed.versions(record)) for record in RECORDS}
    assert after == before | {"truth": before["truth"] + 1}
    assert committed.versions("truth")[-1]["fields"][-1]["name"] == "certainty"


def test_an_incompatible_change_is_refused_and_says_where(
    committed: History, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = committed.versions("truth")
    change_truth(monkeypatch, {})
    assert history_module.main() == 1
    assert committed.versions("truth") == before
    assert "binary, version 1: certainty: is new and has no default" in capsys.readouterr().err


def test_a_removed_field_that_old_readers_need_is_refused(
    committed: History, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = committed.versions("truth")
    change_truth(monkeypatch, None, without="known_at")
    assert history_module.main() == 1
    assert committed.versions("truth") == before
    said = capsys.readouterr().err
    assert "truth: not added, older readers would not read it:" in said
    assert "binary, version 1: known_at: is gone and had no default" in said
    assert "older records" not in said


def test_a_removed_field_that_has_a_default_is_no_loss_to_old_readers(
    committed: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_truth(monkeypatch, None, without="source")
    assert history_module.main() == 0


def test_a_field_that_takes_more_than_before_is_refused(
    committed: History, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """New readers read old records, and old readers do not expect a null."""
    time = {"type": "long", "logicalType": "timestamp-millis"}
    nullable = {"name": "known_at", "type": ["null", time], "default": None}
    change_truth(monkeypatch, nullable, without="known_at")
    assert history_module.main() == 1
    said = capsys.readouterr().err
    assert "version 1: known_at: was long, may now be null" in said
    assert "older records" not in said


def test_an_added_field_with_a_default_is_read_both_ways() -> None:
    more = STAND_IN | {
        "fields": [*STAND_IN["fields"], {"name": "more", "type": "long", "default": 0}]
    }
    assert not judged_by_avro(more, STAND_IN)
    assert not judged_by_avro(STAND_IN, more)


def test_a_new_text_of_the_documentation_is_no_new_version(tmp_path: Path) -> None:
    history = History(tmp_path)
    assert history.add("x", STAND_IN) is not None
    assert history.add("x", STAND_IN | {"doc": "Better said."}) is None


def test_the_tenth_version_comes_after_the_ninth(tmp_path: Path) -> None:
    history = History(tmp_path)
    for n in range(10):
        field = {"name": f"f{n}", "type": "long", "default": n}
        history.add("x", STAND_IN | {"fields": [field]})
    newest = history.newest("x")
    assert newest is not None
    assert newest["fields"][0]["name"] == "f9"
    assert [v["fields"][0]["default"] for v in history.versions("x")] == list(range(10))


def test_all_versions_are_readable_by_their_id(tmp_path: Path) -> None:
    history = History(tmp_path)
    older = STAND_IN | {"fields": STAND_IN["fields"][:1]}
    for schema in (older, STAND_IN):
        history.add("x", schema)
    assert dict(history.registry()) == {schema_id(older): older, schema_id(STAND_IN): STAND_IN}
