"""Features as a matrix that a linear model can take, and the region that training saw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd

from streams.numbers import read_numbers

Floats = npt.NDArray[np.float64]

EDGE = 0.001
"""Share of the reference's numbers on each side that count as beyond the region."""
RARE = 20
"""A category with fewer rows than this has no column: it counts as the average one."""


@dataclass(frozen=True)
class Numeric:
    """A number's place: mean and standard deviation, and the region's ends (quantiles)."""

    mean: float
    std: float
    low: float
    high: float


@dataclass(frozen=True)
class Design:
    """How a frame's columns become columns of a matrix. All of it is plain numbers.

    numbers: by column; categories: by column, the codes that have a column of their own;
    known: by column, the codes that the reference held at all.
    """

    numbers: Mapping[str, Numeric]
    categories: Mapping[str, tuple[int, ...]]
    known: Mapping[str, tuple[int, ...]]

    @cached_property
    def _places(self) -> Floats:
        """(4, numbers): means, standard deviations, the regions' low and high ends."""
        places = [(of.mean, of.std, of.low, of.high) for of in self.numbers.values()]
        return np.array(places).reshape(-1, 4).T

    @property
    def width(self) -> int:
        """Columns of the matrix."""
        return 2 * len(self.numbers) + sum(len(codes) for codes in self.categories.values())

    def matrix(self, frame: pd.DataFrame) -> Floats:
        """(n, width): standardised numbers, clipped at the region's ends, 0 where missing; then
        whether they are missing; then one column a category."""
        made = np.zeros((len(frame), self.width))
        if self.numbers:
            values = read_numbers(frame, tuple(self.numbers))
            missing = np.isnan(values)
            mean, std, low, high = self._places
            scaled = (np.clip(values, low, high) - mean) / std
            made[:, 0 : 2 * len(self.numbers) : 2] = np.where(missing, 0.0, scaled)
            made[:, 1 : 2 * len(self.numbers) : 2] = missing
        at = 2 * len(self.numbers)
        for name, codes in self.categories.items():
            found = frame[name].cat.codes.to_numpy()
            made[:, at : at + len(codes)] = found[:, None] == np.array(codes, np.int64)
            at += len(codes)
        return made

    def outside(self, frame: pd.DataFrame) -> npt.NDArray[np.bool_]:
        """(n,): rows with a number beyond the region's ends or a category it never held."""
        outside = np.zeros(len(frame), bool)
        if self.numbers:
            values = read_numbers(frame, tuple(self.numbers))
            _, _, low, high = self._places
            outside |= ((values < low) | (values > high)).any(axis=1)
        for name, codes in self.known.items():
            outside |= ~np.isin(frame[name].cat.codes.to_numpy(), np.array(codes, np.int64))
        return outside


def fit_design(frame: pd.DataFrame) -> Design:
    """The design of a reference: float columns are numbers, categorical ones categories."""
    numbers: dict[str, Numeric] = {}
    categories: dict[str, tuple[int, ...]] = {}
    known: dict[str, tuple[int, ...]] = {}
    for name in map(str, frame.columns):
        if isinstance(frame[name].dtype, pd.CategoricalDtype):
            codes, counts = np.unique(frame[name].cat.codes.to_numpy(), return_counts=True)
            known[name] = tuple(codes.tolist())
            categories[name] = tuple(codes[counts >= RARE].tolist())
            continue
        values = frame[name].to_numpy(np.float64)
        values = values[np.isfinite(values)]
        if not len(values):
            continue
        low, high = np.quantile(values, (EDGE, 1 - EDGE)).tolist()
        std = float(np.clip(values, low, high).std())
        numbers[name] = Numeric(float(values.mean()), std or 1.0, low, high)
    return Design(numbers, categories, known)
