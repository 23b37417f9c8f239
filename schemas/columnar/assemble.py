"""Puts records that were read one by one into columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.columnar.types import COLUMN_DTYPES, MISSING, Field, Kind
from schemas.columns import Column


def columns_of_rows(leaves: Sequence[Field], rows: Sequence[Sequence[Any]]) -> list[Column]:
    """One column a leaf from rows of leaf values, in which None is null."""
    by_leaf = list(zip(*rows, strict=True)) if rows else [()] * len(leaves)
    return [_column(leaf, values) for leaf, values in zip(leaves, by_leaf, strict=True)]


def _column(leaf: Field, values: Sequence[Any]) -> Column:
    dtype, n = COLUMN_DTYPES[leaf.kind], len(values)
    # `in` compares: quick for plain values, wrong for arrays.
    nulls = any(value is None for value in values) if leaf.kind is Kind.DOUBLES else None in values
    if not nulls:
        return Column(np.fromiter(values, dtype, n))
    valid = np.fromiter((value is not None for value in values), np.bool_, n)
    missing = MISSING[leaf.kind]
    plain = [missing if value is None else value for value in values]
    return Column(np.fromiter(plain, dtype, n), valid)


def patch(
    leaves: Sequence[Field],
    columns: Sequence[Column],
    rows: Mapping[int, Sequence[Any]],
    ok: npt.NDArray[np.bool_],
) -> list[Column]:
    """Put single rows into columns and leave out those that are not ok.

    Changes the arrays of `columns`; a `valid` that has become all True becomes None.
    """
    everything = bool(ok.all())
    patched: list[Column] = []
    for j, (leaf, column) in enumerate(zip(leaves, columns, strict=True)):
        values, valid = column.values, column.valid
        for i, row in rows.items():
            present = row[j] is not None
            if not present and valid is None:
                valid = np.ones(len(values), np.bool_)
            if valid is not None:
                valid[i] = present
            values[i] = row[j] if present else MISSING[leaf.kind]
        if not everything:
            values, valid = values[ok], None if valid is None else valid[ok]
        if valid is not None and (rows or not everything) and valid.all():
            valid = None
        patched.append(Column(values, valid))
    return patched
