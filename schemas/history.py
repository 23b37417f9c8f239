"""The versions that a schema has had: a folder a record, a file a version.

    schemas/avro/history/<record>/1.avsc, 2.avsc, …      the committed templates
    <home>/schemas/<task>/<record>/1.avsc, 2.avsc, …     a deployment's, fitted to its task

The newest version is the one in use. Of the templates every version reads all others, the older
ones and the newer ones (FULL_TRANSITIVE): a change breaks neither old writers nor old readers.
Of a deployment's task the newest version reads all before it (BACKWARD_TRANSITIVE), and a start
tells which changes older readers do not understand: see docs/design.md, Contracts.

After a change of a template, ``python -m schemas.history`` judges it and adds its version.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from schemas.compatibility import conflicts
from schemas.records import DIRECTORY, RECORDS, Kind, Schema, fit, template
from schemas.registry import Registry, canonical

STAND_IN: Schema = {
    "type": "record",
    "name": "StandInFeatures",
    "fields": [
        {"name": "number", "type": "double"},
        {"name": "name", "type": ["null", "string"], "default": None},
    ],
}
"""A task's features, for judging templates without a task."""


class History:
    """The versions of records' schemas in ``folder``, oldest first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def records(self) -> list[str]:
        """Names of the records that have a version here."""
        return sorted(path.name for path in self.folder.glob("*") if path.is_dir())

    def versions(self, record: str) -> list[Schema]:
        """All versions of a record, oldest first; empty where there is none."""
        return [json.loads(path.read_text("utf-8")) for path in self._files(record)]

    def newest(self, record: str) -> Schema | None:
        """The version in use, or None."""
        files = self._files(record)
        schema: Schema | None = json.loads(files[-1].read_text("utf-8")) if files else None
        return schema

    def add(self, record: str, schema: Schema) -> Path | None:
        """Write ``schema`` as the record's next version; None where the newest one is the same.

        Documentation is no difference. Compatibility is for the caller to judge first.
        """
        files = self._files(record)
        newest = self.newest(record)
        if newest is not None and canonical(newest) == canonical(schema):
            return None
        path = self.folder / record / f"{int(files[-1].stem) + 1 if files else 1}.avsc"
        path.parent.mkdir(parents=True, exist_ok=True)
        # A version is whole or not there: whoever reads meanwhile, or a crash, sees no half.
        draft = path.with_suffix(".draft")
        draft.write_text(json.dumps(schema, indent=2) + "\n", "utf-8")
        draft.replace(path)
        return path

    def registry(self) -> Registry:
        """Every version here, readable by id: what a codec needs to read older writers."""
        return Registry(schema for record in self.records() for schema in self.versions(record))

    def _files(self, record: str) -> list[Path]:
        return sorted((self.folder / record).glob("*.avsc"), key=lambda path: int(path.stem))


COMMITTED = History(DIRECTORY / "history")


Shapes = Callable[[Schema], Iterator[tuple[str, Schema]]]
"""The schemas that a template stands for, each with a label."""


def itself(schema: Schema) -> Iterator[tuple[str, Schema]]:
    """A schema that stands for itself alone."""
    yield "", schema


def backward_conflicts(
    record: str, new: Schema, history: History, shapes: Shapes = itself
) -> list[str]:
    """Why ``new`` does not read some version of ``history``, with that version's number."""
    return [
        f"{label}version {number}: {conflict}"
        for number, label, changed, old in _pairs(record, new, history, shapes)
        for conflict in conflicts(changed, old)
    ]


def forward_conflicts(
    record: str, new: Schema, history: History, shapes: Shapes = itself
) -> list[str]:
    """Why some version of ``history`` does not read ``new``, with that version's number."""
    return [
        f"{label}version {number}: {conflict}"
        for number, label, changed, old in _pairs(record, new, history, shapes)
        for conflict in conflicts(old, changed, newer="writer")
    ]


def _pairs(
    record: str, new: Schema, history: History, shapes: Shapes
) -> Iterator[tuple[int, str, Schema, Schema]]:
    """Number of each older version, label, the new schema and the old one, shape by shape."""
    for number, old in enumerate(history.versions(record), 1):
        for (label, changed), (_, before) in zip(shapes(new), shapes(old), strict=True):
            yield number, label, changed, before


def all_kinds(schema: Schema) -> Iterator[tuple[str, Schema]]:
    """A template fitted to a stand-in task of each kind of target."""
    kinds: list[Kind] = ["binary", "multiclass", "regression"]
    text = json.dumps(schema)
    for kind in kinds:
        yield f"{kind}, ", fit(text, kind, STAND_IN)


def main() -> int:
    """Add the templates that changed to the committed history, if they are compatible."""
    refused = False
    for record in RECORDS:
        new: Schema = json.loads(template(record))
        backward = backward_conflicts(record, new, COMMITTED, all_kinds)
        forward = forward_conflicts(record, new, COMMITTED, all_kinds)
        for found, why in (
            (backward, "it would not read older records"),
            (forward, "older readers would not read it"),
        ):
            if found:
                print(f"{record}: not added, {why}:", file=sys.stderr)
                print(*(f"- {conflict}" for conflict in found), sep="\n", file=sys.stderr)
        if backward or forward:
            refused = True
        elif path := COMMITTED.add(record, new):
            print(f"{record}: {path.name} added")
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
