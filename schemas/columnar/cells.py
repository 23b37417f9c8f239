"""A record's bytes as cells of fixed width, of which each record keeps the first few bytes.

All records of a batch are laid out in one matrix, a row each, a column range a cell; a mask then
squeezes out what a record does not use (nulls, the rest of a short string or varint).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

Sizes = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Cell:
    """width: bytes in the matrix. data: the same bytes for all, or (n,) items of `width` bytes.

    sizes: (n,) how many leading bytes each record keeps, None for all of them.
    """

    width: int
    data: bytes | npt.NDArray[Any]
    sizes: Sizes | None = None


def pack(cells: Sequence[Cell], n: int) -> list[bytes]:
    """n records: the kept bytes of all cells in order."""
    cells = [cell for cell in cells if cell.width]
    width = sum(cell.width for cell in cells)
    fixed = sum(cell.width for cell in cells if cell.sizes is None)
    if not width:
        return [b""] * n
    template = b"".join(
        cell.data if isinstance(cell.data, bytes) else bytes(cell.width) for cell in cells
    )
    matrix = np.empty((n, width), np.uint8)
    matrix[:] = np.frombuffer(template, np.uint8)
    at = 0
    for cell in cells:
        if not isinstance(cell.data, bytes):
            np.ndarray((n,), cell.data.dtype, matrix.data, at, (width,))[:] = cell.data
        at += cell.width
    if fixed == width:
        raw = matrix.tobytes()
        return [raw[i : i + width] for i in range(0, n * width, width)]
    keep = np.ones((n, width), np.bool_)
    sizes = np.full(n, fixed, np.int64)
    at = 0
    for cell in cells:
        if cell.sizes is not None:
            sizes += cell.sizes
            _mask(keep, at, cell.width, cell.sizes)
        at += cell.width
    raw = matrix[keep].tobytes()
    ends = sizes.cumsum().tolist()
    return [raw[a:b] for a, b in zip([0, *ends], ends, strict=False)]


def _mask(keep: npt.NDArray[np.bool_], at: int, width: int, sizes: Sizes) -> None:
    """Clear the mask of one cell beyond each record's size."""
    if width == 1:
        keep[:, at] = sizes
    elif width <= _TABLE_WIDTH:
        n, stride = keep.shape
        np.ndarray((n,), f"V{width}", keep.data, at, (stride,))[:] = _prefixes(width)[sizes]
    else:
        np.less(np.arange(width), sizes[:, None], out=keep[:, at : at + width])


_TABLE_WIDTH = 64  # the table has width² bytes


@lru_cache(maxsize=_TABLE_WIDTH)
def _prefixes(width: int) -> npt.NDArray[Any]:
    """Item s: a mask of `width` bytes whose first s are kept."""
    return np.tri(width + 1, width, -1, dtype=np.bool_).view(f"V{width}")[:, 0]


def varint_cell(values: Sizes, needed: npt.NDArray[np.bool_] | None) -> Cell:
    """A cell of zigzag varints; records that are not needed keep nothing."""
    words = ((values << 1) ^ (values >> 63)).view(np.uint64)
    top = int(words.max())
    width = max(1, -(-top.bit_length() // 7))
    if width == 1:
        data = words.astype(np.uint8)
        return Cell(1, data, None if needed is None else needed.astype(np.int64))
    sizes = np.ones(len(words), np.int64)
    for group in range(1, width):
        sizes += words >= np.uint64(1 << (7 * group))
    raw = np.zeros((len(words), 16), np.uint8)
    low = raw.view(np.uint64)[:, 0]
    low[:] = words & np.uint64((1 << 56) - 1)
    # Open gaps: one group of 56 bits, 2 of 28, 4 of 14, 8 of 7 in 8 bytes.
    for mask, shift in (
        (0x000000000FFFFFFF, 4),
        (0x00003FFF00003FFF, 2),
        (0x007F007F007F007F, 1),
    ):
        right = low & np.uint64(mask)
        low ^= right
        low <<= np.uint64(shift)
        low |= right
    if width > 8:
        raw[:, 8] = (words >> np.uint64(56)) & np.uint64(0x7F)
        raw[:, 9] = words >> np.uint64(63)
    raw |= _CONTINUED.take(sizes, axis=0)
    data = np.ndarray((len(words),), f"V{width}", raw.data, 0, (16,))
    if needed is not None:
        return Cell(width, data, sizes * needed)
    return Cell(width, data, None if bool((sizes == width).all()) else sizes)


# Row s: the continuation bits of a varint of s bytes.
_CONTINUED = np.zeros((11, 16), np.uint8)
for _size in range(2, 11):
    _CONTINUED[_size, : _size - 1] = 0x80
