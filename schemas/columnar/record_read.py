"""Reads one record at a time into its leaf values; the last word on what is wrong with a body."""

from __future__ import annotations

from typing import Any

from schemas.columnar.scalar_read import MalformedError, Reader, read_long, value_reader
from schemas.columnar.types import Field, Kind


class RecordReader:
    """Reads one body into the list of its leaf values, in the order of `Field.leaves`."""

    def __init__(self, top: Field) -> None:
        self._steps = _steps(top)

    def read(self, body: bytes) -> list[Any]:
        """Leaf values, None for null; ValueError naming the field and the byte if malformed."""
        out: list[Any] = []
        pos = self._walk(self._steps, body, 0, out)
        if pos != len(body):
            raise ValueError(f"byte {pos}: {len(body) - pos} bytes after the end of the record")
        return out

    def _walk(self, steps: list[_Step], body: bytes, pos: int, out: list[Any]) -> int:
        for field, null_byte, read, children, absent in steps:
            start = pos
            try:
                if null_byte is not None:
                    branch = body[pos]
                    if branch > 2 or branch == 1:
                        branch = _odd_branch(body, pos)
                        pos = read_long(body, pos)[1]
                    else:
                        pos += 1
                    if branch == null_byte:
                        out += absent
                        continue
                if read is not None:
                    value, pos = read(body, pos)
                    out.append(value)
                    continue
            except MalformedError as error:
                message = f"{field.path}: byte {error.position}: {error.reason}"
                raise ValueError(message) from None
            except IndexError:
                raise ValueError(
                    f"{field.path}: byte {start}: the body ends inside this field"
                ) from None
            out.append(True)
            pos = self._walk(children, body, pos, out)
        return pos


_Step = tuple[Field, int | None, Reader | None, "list[_Step]", list[Any]]
# The second: the byte of a null, None where there is no union. The last: what a null appends.


def _steps(record: Field) -> list[_Step]:
    """One step a leaf or nullable record; plain nested records dissolve into their fields."""
    steps: list[_Step] = []
    for field in record.fields:
        if field.kind is not Kind.RECORD:
            null_byte = None if field.null_branch is None else field.null_byte
            steps.append((field, null_byte, value_reader(field), [], [None]))
        elif field.null_branch is None:
            steps += _steps(field)
        else:
            absent = [False if leaf.presence else None for leaf in field.leaves()]
            steps.append((field, field.null_byte, None, _steps(field), absent))
    return steps


def _odd_branch(body: bytes, pos: int) -> int:
    """The branch as its plain one-byte form, for an index that was written with needless bytes."""
    index, _ = read_long(body, pos)
    if index not in (0, 1):
        raise MalformedError(pos, f"union branch {index} is neither 0 nor 1")
    return 2 * index
