"""Checks that columns fit a schema, and brings them into the few forms the writers know."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.columnar.checks_values import LISTED, listed, numbers, numbers_of_objects
from schemas.columnar.types import MISSING, Field, Kind
from schemas.columns import Column

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Ready:
    """A leaf's values, known to fit its field.

    values: for numbers an ndarray of the wire's width (float64, float32, int64, bool), for arrays
        of doubles maybe (n, k) float64, else a list of Python objects. Length n, or 1 if constant.
        Rows that are not `valid`, or lie in an absent record, hold a harmless value.
    valid: where the value is not null; None where there is no null.
    constant: the one value stands for every row; if `valid` is not None, every row is null.
    """

    values: npt.NDArray[Any] | list[Any]
    valid: Mask | None = None
    constant: bool = False

    def take(self, rows: npt.NDArray[np.int64]) -> Ready:
        """The same for some rows."""
        valid = None if self.valid is None else self.valid[rows]
        if self.constant:
            return Ready(self.values, valid, True)
        if isinstance(self.values, list):
            return Ready([self.values[i] for i in rows.tolist()], valid)
        return Ready(self.values[rows], valid)


def check_columns(top: Field, columns: Mapping[str, Column], n: int) -> list[Ready]:
    """One Ready a leaf, in the order of `Field.leaves`; ValueError names field and first row."""
    return list(_record(top, columns, n, None))


def _record(
    record: Field, columns: Mapping[str, Column], n: int, active: Mask | None
) -> Iterator[Ready]:
    for field in record.fields:
        if field.kind is not Kind.RECORD:
            yield _leaf(field, columns, n, active)
        elif field.null_branch is None:
            yield from _record(field, columns, n, active)
        else:
            presence = _leaf(Field(field.path, Kind.BOOLEAN), columns, n, active)
            here = np.broadcast_to(np.asarray(presence.values, np.bool_), (n,))
            if active is not None:
                here = here & active
            yield Ready(here)
            yield from _record(field, columns, n, None if here.all() else here)


def _leaf(field: Field, columns: Mapping[str, Column], n: int, active: Mask | None) -> Ready:
    column = columns.get(field.path)
    if column is None:
        raise ValueError(f"{field.path}: row 0: the column is missing")
    values, valid = column.values, column.valid
    if len(values) != n or (values.ndim != 1 and field.kind is not Kind.DOUBLES):
        raise ValueError(f"{field.path}: row 0: shape {values.shape} where ({n},) was expected")
    constant = n > 1 and values.ndim == 1 and values.strides[0] == 0
    if valid is None and values.dtype is _WIRE.get(field.kind):  # nothing left to check
        return Ready(values[:1] if constant else values, None, constant)
    needed = active
    if valid is not None:
        valid = _check_valid(field, valid, n, active)
    if valid is not None:
        if constant and valid.strides[0] == 0:
            return Ready([], valid, True)
        constant = False
        needed = valid if active is None else active & valid
    if constant:
        values = values[:1]
        needed = None if needed is None or needed.any() else np.zeros(1, np.bool_)
    if field.kind not in LISTED and values.dtype != object:
        return Ready(numbers(field, values, needed), valid, constant)
    if values.ndim == 2 and values.dtype == np.float64:
        return Ready(values, valid)
    return _of_objects(field, Column(values, valid), needed, constant, n)


# dtypes that a leaf can be written from as they are; int also has a range.
_WIRE: dict[Kind, np.dtype[Any]] = {
    Kind.DOUBLE: np.dtype(np.float64),
    Kind.LONG: np.dtype(np.int64),
    Kind.BOOLEAN: np.dtype(np.bool_),
}


def _check_valid(field: Field, valid: Mask, n: int, active: Mask | None) -> Mask | None:
    if valid.shape != (n,) or valid.dtype != np.bool_:
        raise ValueError(
            f"{field.path}: row 0: `valid` must be bool ({n},), not {valid.dtype} {valid.shape}"
        )
    if valid.all():
        return None
    if field.null_branch is None:
        nulls = ~valid if active is None else active & ~valid
        if nulls.any():
            raise _null_error(field, nulls)
    return valid


def _of_objects(field: Field, column: Column, needed: Mask | None, constant: bool, n: int) -> Ready:
    """Objects to a list or numbers. None is looked for only where the items do not pass as is."""
    items: list[Any] = column.values.tolist() if column.values.ndim == 1 else list(column.values)
    if needed is not None:
        harmless = _harmless(field)
        items = [
            item if use else harmless for item, use in zip(items, needed.tolist(), strict=True)
        ]
    try:
        return Ready(_converted(field, items), column.valid, constant)
    except ValueError:
        valid = np.array([item is not None for item in items], np.bool_)
        if valid.all():
            raise
        if field.null_branch is None:
            raise _null_error(field, ~valid) from None
    if constant:
        return Ready([], np.broadcast_to(valid, (n,)), True)
    harmless = _harmless(field)
    items = [harmless if item is None else item for item in items]
    return Ready(_converted(field, items), valid if column.valid is None else valid & column.valid)


def _converted(field: Field, items: list[Any]) -> list[Any] | npt.NDArray[Any]:
    if field.kind in LISTED:
        return listed(field, items)
    return numbers(field, numbers_of_objects(field, items), None)


def _null_error(field: Field, nulls: Mask) -> ValueError:
    return ValueError(f"{field.path}: row {nulls.argmax()}: null, and the field has no null")


def _harmless(field: Field) -> Any:
    """A value that passes the checks; unlike MISSING it has the right type."""
    if field.kind is Kind.ENUM:
        return field.symbols[0]
    return {Kind.DOUBLES: (), Kind.ARRAY: (), Kind.MAP: {}}.get(field.kind, MISSING[field.kind])
