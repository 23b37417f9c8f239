"""Whether a schema reads what another one wrote (Avro's schema resolution, judged beforehand).

``conflicts`` names each place where it does not. Asked with the newer schema as the reader, it
judges whether old records and old writers are still understood (backward); with the newer one as
the writer, whether old readers understand the new records (forward).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from schemas.records import Schema

PROMOTIONS: dict[str, frozenset[str]] = {
    "int": frozenset({"long", "float", "double"}),
    "long": frozenset({"float", "double"}),
    "float": frozenset({"double"}),
    "string": frozenset({"bytes"}),
    "bytes": frozenset({"string"}),
}
"""What a reader may take a writer's type for; every type also reads itself."""


def conflicts(
    reader: Schema, writer: Schema, *, newer: Literal["reader", "writer"] = "reader"
) -> list[str]:
    """Why ``reader`` cannot read all that ``writer`` wrote, a sentence a place; empty if it can.

    ``newer`` says which of the two came later: it changes the words and not the verdict.

    >>> old = {"type": "record", "name": "R", "fields": [{"name": "a", "type": "int"}]}
    >>> new = {"type": "record", "name": "R", "fields": [{"name": "a", "type": "string"}]}
    >>> conflicts(new, old)
    ['a: was int, is now string']
    >>> conflicts(old, new, newer="writer")
    ['a: was int, may now be string']
    """
    return _Comparison(reader, writer, newer == "writer").compare(reader, writer, "")


class _Comparison:
    """One pair of schemas: their named types, and the pairs of records under way."""

    def __init__(self, reader: Schema, writer: Schema, forward: bool) -> None:
        self._forward = forward
        self._named = tuple(dict(_definitions(schema)) for schema in (reader, writer))
        self._under_way: set[tuple[str, str]] = set()

    def compare(self, reader: Any, writer: Any, path: str) -> list[str]:
        reader, writer = self._resolve(reader, 0), self._resolve(writer, 1)
        if isinstance(writer, list):
            return [c for branch in writer for c in self.compare(reader, branch, path)]
        if isinstance(reader, list):
            if any(not self.compare(branch, writer, path) for branch in reader):
                return []
            allowed = " or ".join(_type(self._resolve(branch, 0)) for branch in reader)
            return [self._changed(path, _type(writer), allowed)]
        if _type(reader) != _type(writer):
            if _type(reader) in PROMOTIONS.get(_type(writer), ()):
                return self._same_meaning(reader, writer, path)
            return [self._changed(path, _type(writer), _type(reader))]
        match _type(reader):
            case "record":
                return self._records(reader, writer, path)
            case "enum":
                return self._enums(reader, writer, path)
            case "array":
                return self.compare(reader["items"], writer["items"], f"{path}[]")
            case "map":
                return self.compare(reader["values"], writer["values"], f"{path}{{}}")
        return self._same_meaning(reader, writer, path)

    def _records(self, reader: Schema, writer: Schema, path: str) -> list[str]:
        pair = (reader["name"], writer["name"])
        if pair in self._under_way:
            return []
        self._under_way.add(pair)
        found = self._names(reader, writer, path)
        theirs = {field["name"]: field for field in writer["fields"]}
        for field in reader["fields"]:
            known = [name for name in (field["name"], *field.get("aliases", ())) if name in theirs]
            inner = f"{path}.{field['name']}" if path else field["name"]
            if known:
                found += self.compare(field["type"], theirs[known[0]]["type"], inner)
            elif "default" not in field:
                found.append(
                    f"{inner}: is gone and had no default, so old readers miss it"
                    if self._forward
                    else f"{inner}: is new and has no default, so old records lack it"
                )
        self._under_way.discard(pair)
        return found

    def _same_meaning(self, reader: Any, writer: Any, path: str) -> list[str]:
        """Avro reads a time as any long; we do not."""
        was, now = (_logical(side) for side in (writer, reader))
        return [] if was == now else [self._changed(path, was or "plain", now or "plain")]

    def _changed(self, path: str, written: str, read: str) -> str:
        """In order of time. Of a union that is written, one branch may be the trouble."""
        if self._forward:
            return f"{_at(path)}was {read}, may now be {written}"
        return f"{_at(path)}was {written}, is now {read}"

    def _enums(self, reader: Schema, writer: Schema, path: str) -> list[str]:
        found = self._names(reader, writer, path)
        unknown = [symbol for symbol in writer["symbols"] if symbol not in reader["symbols"]]
        if unknown and reader.get("default") not in reader["symbols"]:
            what = "new and the enum had" if self._forward else "gone and the enum has"
            found.append(f"{_at(path)}{', '.join(unknown)} is {what} no default")
        return found

    def _names(self, reader: Schema, writer: Schema, path: str) -> list[str]:
        written, read = writer["name"], reader["name"]
        if written == read or written in reader.get("aliases", ()):
            return []
        if self._forward:
            return [f"{_at(path)}the type was called {read}, is now {written}"]
        return [f"{_at(path)}the type was called {written}, is now {read} without an alias"]

    def _resolve(self, node: Any, side: int) -> Any:
        """A name's definition, wherever in its schema it stands."""
        return self._named[side].get(node, node) if isinstance(node, str) else node


def _definitions(node: Any) -> Iterator[tuple[str, Any]]:
    """Every named type in a schema, by its name."""
    if isinstance(node, list):
        for branch in node:
            yield from _definitions(branch)
    elif isinstance(node, dict):
        if "name" in node and node["type"] in ("record", "enum"):
            yield node["name"], node
        for inner in ("type", "items", "values", "fields"):
            yield from _definitions(node.get(inner))


def _type(node: Any) -> str:
    kind = node["type"] if isinstance(node, dict) else node
    return kind if isinstance(kind, str) else _type(kind)


def _logical(node: Any) -> str:
    return str(node.get("logicalType", "")) if isinstance(node, dict) else ""


def _at(path: str) -> str:
    return f"{path}: " if path else ""
