"""How many records of a range came before an offset, for a million ranges at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


class Dominance:
    """Records in some order, each with an offset and a number of units.

    A wavelet matrix (Claude, Navarro and Ordóñez 2015, The wavelet matrix, 4): a range is followed
    through one stable partition of the records a bit of their offsets' ranks, so that a query costs
    log2 of the number of records, however long its range is.
    """

    def __init__(self, offsets: Ints, units: Ints) -> None:
        self._sorted = np.sort(offsets)
        now = np.searchsorted(self._sorted, offsets)
        self._levels: list[tuple[int, Ints, Ints]] = []
        for bit in reversed(range(len(offsets).bit_length())):
            zero = (now >> bit) & 1 == 0
            self._levels.append((bit, _sums(zero.astype(np.int64)), _sums(units * zero)))
            order = np.concatenate([np.flatnonzero(zero), np.flatnonzero(~zero)])
            now, units = now[order], units[order]

    def before(self, low: Ints, high: Ints, offset: Ints) -> tuple[Ints, Ints]:
        """Of the records at ``low`` to ``high`` - 1, how many have an offset below ``offset``, and
        the sum of their units; each (queries,)."""
        rank = np.searchsorted(self._sorted, offset)
        count, total = np.zeros_like(low), np.zeros_like(low)
        for bit, zeros, units in self._levels:
            left, right = zeros[low], zeros[high]
            above = (rank >> bit) & 1 == 1
            count += np.where(above, right - left, 0)
            total += np.where(above, units[high] - units[low], 0)
            low = np.where(above, zeros[-1] + low - left, left)
            high = np.where(above, zeros[-1] + high - right, right)
        return count, total


def _sums(parts: Ints) -> Ints:
    return np.append(np.int64(0), np.cumsum(parts))
