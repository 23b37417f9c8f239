"""Checks of one leaf's values: numbers as arrays, everything else as lists."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from schemas.columnar.scalar_read import INT_MAX
from schemas.columnar.types import Field, Kind

LISTED = frozenset({Kind.STRING, Kind.ENUM, Kind.BYTES, Kind.DOUBLES, Kind.ARRAY, Kind.MAP})
"""Kinds whose values are a list of objects; the others are an ndarray."""

_LONG_MAX = 2**63 - 1


def _fail(field: Field, row: int, what: str) -> NoReturn:
    raise ValueError(f"{field.path}: row {row}: {what}")


def numbers(
    field: Field, values: npt.NDArray[Any], needed: npt.NDArray[np.bool_] | None
) -> npt.NDArray[Any]:
    """Values in the wire's dtype; rows that are not needed are not judged."""
    code = values.dtype.kind
    if field.kind is Kind.BOOLEAN:
        if code != "b":
            _fail(field, 0, f"values of dtype {values.dtype} in a field of type boolean")
        return values
    if field.kind in (Kind.INT, Kind.LONG):
        if code not in "iu":
            _fail(field, 0, f"values of dtype {values.dtype} in a field of type {field.kind.value}")
        high = INT_MAX if field.kind is Kind.INT else _LONG_MAX
        if np.iinfo(values.dtype).max > high and len(values):
            wrong = values > high
            if code == "i":
                wrong |= values < -high - 1
            _refuse(field, values, wrong, needed, "is out of range")
        return values.astype(np.int64, copy=False)
    if code not in "fiu":
        _fail(field, 0, f"values of dtype {values.dtype} in a field of type {field.kind.value}")
    if field.kind is Kind.DOUBLE:
        return values.astype(np.float64, copy=False)
    with np.errstate(over="ignore"):
        short = values.astype(np.float32)
    _refuse(field, values, np.isinf(short) & ~np.isinf(values), needed, "is too large for a float")
    return short


def _refuse(
    field: Field,
    values: npt.NDArray[Any],
    wrong: npt.NDArray[np.bool_],
    needed: npt.NDArray[np.bool_] | None,
    what: str,
) -> None:
    if wrong.any():
        wrong = wrong if needed is None else wrong & needed
        if wrong.any():
            row = int(wrong.argmax())
            _fail(field, row, f"{values[row]} {what}")


_NUMBER_TYPES: dict[Kind, tuple[type, ...]] = {
    Kind.BOOLEAN: (bool, np.bool_),
    Kind.INT: (int, np.integer),
    Kind.LONG: (int, np.integer),
    Kind.DOUBLE: (float, int, np.floating, np.integer),
    Kind.FLOAT: (float, int, np.floating, np.integer),
}


def numbers_of_objects(field: Field, values: list[Any]) -> npt.NDArray[Any]:
    """A list of numbers as an array; nothing is converted from text or, but to double, from int."""
    for row, value in enumerate(values):
        _check_number(field, field.kind, row, value)
    dtype = {Kind.BOOLEAN: np.bool_, Kind.INT: np.int64, Kind.LONG: np.int64}
    return np.array(values, dtype.get(field.kind, np.float64))


def _check_number(field: Field, kind: Kind, row: int, value: Any) -> None:
    types = _NUMBER_TYPES[kind]
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        _fail(field, row, f"{_short(value)} in a field of type {field.kind.value}")
    high = INT_MAX if kind is Kind.INT else _LONG_MAX
    if isinstance(value, (int, np.integer)) and not -high - 1 <= value <= high:
        _fail(field, row, f"{value} is out of range")


def listed(field: Field, items: list[Any]) -> list[Any]:
    """The items, each known to encode; enums as the indices of their symbols."""
    return _LISTED[field.kind](field, items)


def _strings(field: Field, items: list[Any]) -> list[Any]:
    try:
        joined = "".join(items)
        if not joined.isascii():
            joined.encode()
    except (TypeError, UnicodeEncodeError):
        for row, item in enumerate(items):
            if not isinstance(item, str):
                _fail(field, row, f"{_short(item)} in a field of type string")
            _check_text(field, row, item)
    return items


def _check_text(field: Field, row: int, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        _fail(field, row, "the string holds a lone surrogate, which UTF-8 cannot carry")


def _bytes(field: Field, items: list[Any]) -> list[Any]:
    for row, item in enumerate(items):
        if not isinstance(item, bytes):
            _fail(field, row, f"{_short(item)} in a field of type bytes")
    return items


def _symbols(field: Field, items: list[Any]) -> list[Any]:
    index = {symbol: i for i, symbol in enumerate(field.symbols)}
    try:
        return list(map(index.__getitem__, items))
    except (KeyError, TypeError):
        row = next(
            i for i, item in enumerate(items) if not isinstance(item, str) or item not in index
        )
        _fail(field, row, f"{_short(items[row])} is not one of the symbols {', '.join(index)}")


def _doubles(field: Field, items: list[Any]) -> list[Any]:
    out = []
    for row, item in enumerate(items):
        array = np.asarray(item)
        if array.ndim != 1 or (array.dtype.kind not in "fiu" and array.size):
            _fail(field, row, f"{_short(item)} is not a one-dimensional array of numbers")
        out.append(array.astype("<f8", copy=False))
    return out


def _arrays(field: Field, items: list[Any]) -> list[Any]:
    for row, item in enumerate(items):
        if not isinstance(item, (Sequence, np.ndarray)) or isinstance(item, (str, bytes)):
            _fail(field, row, f"{_short(item)} is not a sequence")
        _each(field, field.item, row, item)
    return [[_plain(value) for value in item] for item in items]


def _maps(field: Field, items: list[Any]) -> list[Any]:
    for row, item in enumerate(items):
        if not isinstance(item, Mapping):
            _fail(field, row, f"{_short(item)} is not a map")
        _each(field, Kind.STRING, row, item)
        _each(field, field.item, row, item.values())
    return [{key: _plain(value) for key, value in item.items()} for item in items]


def _plain(value: Any) -> Any:
    """NumPy's scalars as Python's, which the scalar writers expect."""
    return value.item() if isinstance(value, np.generic) else value


def _each(field: Field, kind: Kind | None, row: int, values: Iterable[Any]) -> None:
    for value in values:
        if kind is not Kind.STRING and kind is not None:
            _check_number(field, kind, row, value)
        elif not isinstance(value, str):
            _fail(field, row, f"{_short(value)} among strings")
        else:
            _check_text(field, row, value)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


_LISTED: dict[Kind, Callable[[Field, list[Any]], list[Any]]] = {
    Kind.STRING: _strings,
    Kind.BYTES: _bytes,
    Kind.ENUM: _symbols,
    Kind.DOUBLES: _doubles,
    Kind.ARRAY: _arrays,
    Kind.MAP: _maps,
}
