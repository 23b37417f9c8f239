"""Columns: how a batch of records travels through Weir.

A batch is a dict from leaf path ("request_id", "features.distance") to `Column`, not a list of
dicts: one NumPy operation then serves the whole batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

# Length of the shared arrays that constants are cut from. A repeated value has stride 0, so its
# length costs no memory; it only has to exceed any batch.
_ENDLESS = 1 << 40


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """One field of n records.

    values: ndarray of length n (for arrays of doubles also (n, k)).
    valid: bool ndarray (n,), False where the value is null, or None when every value is present.
    What stands in `values` where `valid` is False has no meaning for a reader; decoders put NaN,
    0, False, "", b"" or (arrays and maps) None there.
    """

    values: npt.NDArray[Any]
    valid: npt.NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.values)

    @property
    def present(self) -> npt.NDArray[np.bool_]:
        """bool (n,): where there is a value."""
        return np.ones(len(self), bool) if self.valid is None else self.valid

    def take(self, rows: npt.NDArray[Any] | slice) -> Column:
        """The records that `rows` (a mask, indices or a slice) selects, in that order."""
        return Column(self.values[rows], None if self.valid is None else self.valid[rows])


Columns = dict[str, Column]
"""Leaf path → column; all columns of one batch have the same length."""


def joined(columns: Sequence[Column]) -> Column:
    """Columns of one field, one after the other."""
    values = np.concatenate([column.values for column in columns])
    if all(column.valid is None for column in columns):
        return Column(values)
    return Column(values, np.concatenate([column.present for column in columns]))


def constant(value: str | bytes | bool | int | float | None, n: int) -> Column:
    """Column of n times the same value, at the cost of one; None makes a column of nulls.

    The values are a read-only array of stride 0; encoders see the stride and encode the value
    once. A column of nulls has object dtype and fits any nullable field.
    """
    if value is None:
        return Column(_repeated(None)[:n], _repeated(False)[:n])
    # The key holds the type and the sign: 1, 1.0 and True are equal but are not one value.
    key = repr(value) if isinstance(value, float) else None
    return Column(_repeated(value, key)[:n])


@lru_cache(maxsize=1024, typed=True)
def _repeated(value: Any, key: str | None = None) -> npt.NDArray[Any]:
    # Python's int is 64 bit in Avro; text and bytes stay objects, as decoders give them.
    dtypes: dict[type, Any] = {bool: np.bool_, int: np.int64, float: np.float64}
    one = np.empty(1, dtype=dtypes.get(type(value), object))
    one[0] = value
    return np.broadcast_to(one, (_ENDLESS,))
