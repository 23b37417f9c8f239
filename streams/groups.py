"""Groups of the metrics: which records of a batch belong to each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from schemas.columns import Columns
from streams.task import RESERVED_SEGMENTS

Rows = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

GATE_DECISION, LABEL, SOURCE = RESERVED_SEGMENTS
"""Segments that every task has, and that no feature of its own can be:

``gate_decision``: ``admit``, ``defer`` (how good the fallback's answers are) and ``explore`` (what
the gate would have held back and the model answered all the same: how good it would be).
``source``: who gave the truth, such as ``system``, ``labeller``, ``user``.
``label``: ``weak``. All other groups are of true labels, so that the two are never mixed.
"""
ADMIT, DEFER, EXPLORE = "admit", "defer", "explore"
WEAK = "weak"


class Group(NamedTuple):
    """What sums are kept by: a pane of event time, a version and its role, a segment."""

    pane_start: int
    version: str
    role: str
    segment: str
    value: str


class Grouping:
    """The records of a batch by pane, version and role; `by` parts them by a segment as well."""

    def __init__(self, columns: Columns, pane_ms: int) -> None:
        panes, pane = np.unique(columns["event_time"].values // pane_ms, return_inverse=True)
        version, versions = pd.factorize(columns["version"].values)
        role, roles = pd.factorize(columns["role"].values)
        self._panes = (panes * pane_ms).tolist()
        self._versions, self._roles = versions.tolist(), roles.tolist()
        # With no records there are no values, and nothing is divided by their number.
        self._codes: Rows = (pane * len(versions) + version) * len(roles) + role

    def by(
        self, segment: str, values: npt.NDArray[Any] | str, present: Mask
    ) -> Iterator[tuple[Group, Rows]]:
        """Each group with its rows, of those that are present.

        values: of the segment, one for all or one a record.
        """
        rows = np.flatnonzero(present)
        if not len(rows):
            return
        if isinstance(values, str):
            texts, codes = [values], self._codes[rows]
        else:
            value, names = pd.factorize(values[rows])
            texts = [text(name) for name in names.tolist()]
            codes = self._codes[rows] * len(texts) + value
        order = np.argsort(codes, kind="stable")
        sorted_codes = codes[order]
        starts = np.flatnonzero(np.diff(sorted_codes, prepend=-1))
        for code, members in zip(
            sorted_codes[starts].tolist(), np.split(rows[order], starts[1:]), strict=True
        ):
            code, value_at = divmod(code, len(texts))
            code, role = divmod(code, len(self._roles))
            pane, version = divmod(code, len(self._versions))
            who = (self._versions[version], self._roles[role], segment, texts[value_at])
            yield Group(self._panes[pane], *who), members


def text(value: Any) -> str:
    """A segment's value as metric records have it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def decisions(columns: Columns) -> tuple[npt.NDArray[Any], Mask]:
    """Values of the segment `GATE_DECISION`, and which records a gate decided on."""
    gate, answered = columns["gate_decision"].values, columns["status"].values == "answered"
    held = gate == "defer"
    values = np.where(held, np.where(answered, EXPLORE, DEFER), ADMIT).astype(object)
    return values, (held | (gate == "admit")) & (columns["status"].values != "rejected")
