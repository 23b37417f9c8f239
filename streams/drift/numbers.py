"""Blocks of numbers counted together: of twenty inputs the fixed cost of an operation once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from schemas.columns import Column, Columns

if TYPE_CHECKING:
    from streams.drift.reference import Block

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]


class Numbers:
    """The inputs that are numbers, among the blocks of a reference; starts: their first cells."""

    def __init__(self, blocks: Sequence[Block], starts: Sequence[int]) -> None:
        self.at = [
            at for at, block in enumerate(blocks) if block.kind == "data" and block.names is None
        ]
        chosen = [blocks[at] for at in self.at]
        self._paths = [block.path for block in chosen]
        self._edges = aligned([block.edges for block in chosen])
        self._starts = np.array([starts[at] for at in self.at], np.int64)[:, None]
        self._missing = np.array([block.width - 1 for block in chosen], np.int64)[:, None]
        self._low = np.array([block.low for block in chosen])[:, None]
        self._high = np.array([block.high for block in chosen])[:, None]
        self._least = np.array([block.clip[0] for block in chosen])[:, None]
        self._most = np.array([block.clip[1] for block in chosen])[:, None]

    def count(
        self, columns: Columns, rows: Rows, cells: Rows, wild: Rows, totals: Floats
    ) -> Floats:
        """Add the rows to the cells of all blocks, and set what each has of wild ones and sums.

        Gives the (blocks, rows) numbers, NaN where there is none.
        """
        if not self.at:
            return np.empty((0, len(rows)))
        table = np.empty((len(self.at), len(rows)))
        for values, path in zip(table, self._paths, strict=True):
            _fill(values, columns[path], rows)
        missing = np.isnan(table)
        cell = np.where(missing, self._missing, positions(table, self._edges)) + self._starts
        cells += np.bincount(cell.ravel(), minlength=len(cells))
        wild[self.at] = ((table < self._low) | (table > self._high)).sum(1)
        clipped = np.clip(table, self._least, self._most)
        totals[self.at] = np.where(missing, 0.0, clipped).sum(1)
        return table


def aligned(edges: Sequence[Floats]) -> Floats:
    """(most, k) inner edges of k blocks, by their order; NaN where a block has fewer."""
    most = max((len(inner) for inner in edges), default=0)
    table = np.full((most, len(edges)), np.nan)
    for column, inner in zip(table.T, edges, strict=True):
        column[: len(inner)] = inner
    return table


def positions(table: Floats, edges: Floats) -> Rows:
    """(k, n) bins of a table of numbers, by `aligned` inner edges; 0 of NaN.

    A bin is how many edges are not above the number: of ten bins that is quicker than a search.
    """
    found = np.zeros(table.shape, np.int64)
    for inner in edges:
        found += table >= inner[:, None]
    return found


def _fill(values: Floats, column: Column, rows: Rows) -> None:
    """Write the rows of a column of numbers, NaN where there is none."""
    if column.valid is None:
        values[:] = column.values[rows]
        return
    there = column.valid[rows]
    values[:] = np.nan
    values[there] = column.values[rows[there]]
