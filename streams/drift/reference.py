"""The reference: what a version's training data, answers and errors were, as bins to count in.

Made of a version's profile (`streams.training.profile`), and so as unchanging as the version.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from schemas.features import Boolean, Category
from streams.drift.joint import Joint
from streams.drift.numbers import Numbers, aligned
from streams.task import Regression, Task

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]

MOST_NAMES = 20
"""Names of a category with a bin of their own; the rarer ones share one, or a distribution of many
names would need many records to tell of a change."""
OTHERS = "(others)"
BOOLEAN = ("false", "true")
FENCE_IQR = 3.0
"""A number further than so many interquartile ranges from the quartiles, and outside of what
training had, is wild: an outlier until many of them make a shift."""


@dataclass(frozen=True, eq=False)
class Block:
    """One distribution: its bins in the reference, then a cell for unknown and one for missing.

    kind, subject: as findings name them. path: the column that is counted. names: of the bins, or
    None where ``edges`` (inner, ascending) part numbers. shares: of the bins, sum 1. missing: the
    share of missing values. size: values that the reference is of. inflation, missing_inflation:
    how many records are worth one independent one, 1 or more, for bins and for nulls. unit, least,
    most: of numbers in training. low, high: what is beyond them is
    wild. clip: numbers are taken as within these for their mean. others: whether the last bin is
    that of known names without one of their own, which are in ``rare``.
    """

    kind: str
    subject: str
    path: str
    names: tuple[str, ...] | None
    edges: Floats
    shares: Floats
    missing: float
    size: int
    inflation: float = 1.0
    missing_inflation: float = 1.0
    unit: str = ""
    least: float = -np.inf
    most: float = np.inf
    low: float = -np.inf
    high: float = np.inf
    clip: tuple[float, float] = (-np.inf, np.inf)
    mean: float | None = None
    rare: frozenset[str] = frozenset()

    @property
    def bins(self) -> int:
        """Bins of values that are there."""
        return len(self.shares)

    @property
    def width(self) -> int:
        """Cells: the bins, unknown, missing."""
        return self.bins + 2

    def count(self, values: npt.NDArray[Any], present: npt.NDArray[np.bool_]) -> Rows:
        """How many of the values are in each cell; ``present``: which are there."""
        at = self._present(values[present])
        cells = np.bincount(at, minlength=self.width)
        cells[-1] = len(values) - len(at)
        return cells

    def positions(self, values: npt.NDArray[Any], present: npt.NDArray[np.bool_]) -> Rows:
        """The cell of each value."""
        at = np.full(len(values), self.width - 1)
        at[present] = self._present(values[present])
        return at

    def _present(self, values: npt.NDArray[Any]) -> Rows:
        if self.names is None:
            return np.searchsorted(self.edges, values.astype(np.float64), side="right")
        return self._by_name(values)

    def _place(self, name: str) -> int:
        """The bin of a name, the cell of unknown ones where it has none."""
        assert self.names is not None
        if name in self.names:
            return self.names.index(name)
        return self.bins - 1 if name in self.rare else self.bins

    def _by_name(self, values: npt.NDArray[Any]) -> Rows:
        assert self.names is not None
        if self.names == BOOLEAN and values.dtype != object:
            return values.astype(bool).astype(np.int64)  # frames hold them as 0.0 and 1.0
        if len(values) and isinstance(values[0], bool | np.bool_):
            # Answers and truths of a binary task, two in every batch: no names to look for.
            found_of = np.array([self._place(name) for name in BOOLEAN], np.int64)
            of_bools: Rows = found_of[values.astype(bool).astype(np.int64)]
            return of_bools
        found, texts = pd.factorize(values)
        places = {name: place for place, name in enumerate(self.names)}
        last = self.bins - 1
        of_text = [
            places.get(text, last if text in self.rare else self.bins)
            for text in (_text(one) for one in texts.tolist())
        ]
        at: Rows = np.array(of_text, np.int64)[found] if len(values) else np.zeros(0, np.int64)
        return at


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


@dataclass(frozen=True, eq=False)
class Errors:
    """Errors on rows that the version did not learn from.

    size, errors, expected: rows, those whose answer was wrong, and how many of them ``by_score``
    expects. beyond: of a regression, the error that
    counts as wrong. score_edges, by_score: error rate by bin of the model's probability, or
    empty. segments: the same three by ``segment=value``. inflation: as a block's.
    """

    size: int
    errors: int
    expected: float
    beyond: float | None = None
    score_edges: Floats = field(default_factory=lambda: np.zeros(0))
    by_score: Floats = field(default_factory=lambda: np.zeros(0))
    segments: Mapping[str, tuple[float, float, float]] | None = None
    inflation: float = 1.0

    @property
    def rate(self) -> float:
        """The share of wrong answers, kept from 0 and 1 by half an error."""
        return (self.errors + 0.5) / (self.size + 1)


class Reference:
    """What a version's serving is compared with.

    version: its id. blocks: the distributions, in order: inputs, answers, scores, truths.
    errors: None where the profile does not tell of them (versions of older Weirs).
    """

    def __init__(self, task: Task, version: str, profile: Mapping[str, Any]) -> None:
        self.task = task
        self.version = version
        more: Mapping[str, Any] = profile.get("drift") or {}
        self.size = int(profile.get("rows", 0))
        self.slots: Mapping[str, Any] = more.get("slots") or {}
        self.blocks: tuple[Block, ...] = tuple(
            block
            for block in (*_inputs(task, profile, more), *_others(task, profile, more))
            if block is not None
        )
        self.joint, together = _together(self.blocks, more)
        self.blocks += together
        self.errors = _errors(task, profile, more)
        # What the version's estimator expects of the same rows.
        self.expected_error: float | None = more.get("expected_error")
        self.expected_size = self.errors.size if self.errors else 0
        # Expected errors follow the score: they are as alike in time as it is.
        self.expected_inflation = max(
            [1.0, *(block.inflation for block in self.blocks if block.subject == "probability")]
        )

    @cached_property
    def starts(self) -> list[int]:
        """The first cell of each block, and behind the last one the number of all."""
        return [0, *np.cumsum([block.width for block in self.blocks], dtype=int).tolist()]

    @cached_property
    def parts(self) -> list[frozenset[str]]:
        """Of each block the inputs that it is of; none of the answers, scores and truths."""
        joint, first = self.joint, len(self.blocks) - len(self.joint or ())
        return [
            frozenset([block.subject])
            if block.kind == "data"
            else frozenset(joint.parts(at - first) if joint and block.kind == "joint" else ())
            for at, block in enumerate(self.blocks)
        ]

    @cached_property
    def joint_edges(self) -> Floats:
        """Inner edges of the projections' bins, `aligned`."""
        first = len(self.blocks) - len(self.joint or ())
        return aligned([block.edges for block in self.blocks[first:]])

    @cached_property
    def numbers(self) -> Numbers:
        """The inputs that are numbers, to be counted together."""
        return Numbers(self.blocks, self.starts)


def _inputs(task: Task, profile: Mapping[str, Any], more: Mapping[str, Any]) -> list[Block | None]:
    known = profile.get("features") or {}
    return [
        _block(
            "data",
            feature.name,
            f"features.{feature.name}",
            known.get(feature.name),
            getattr(feature, "unit", ""),
            more.get("inflation") or {},
            category=isinstance(feature, Category),
            boolean=isinstance(feature, Boolean),
        )
        for feature in task.inputs
    ]


def _together(
    blocks: Sequence[Block], more: Mapping[str, Any]
) -> tuple[Joint | None, tuple[Block, ...]]:
    """The projections of the numbers, and a block for each; none where the profile has none."""
    seen = more.get("joint")
    numbers = [block.subject for block in blocks if block.kind == "data" and block.names is None]
    if not seen or seen["projections"]["names"] != numbers:
        return None, ()
    joint, inflation = Joint.of(seen["projections"]), more.get("inflation") or {}
    made = [
        _block("joint", joint.words(at), f"joint.{at}", one, "", inflation)
        for at, one in enumerate(seen["blocks"])
    ]
    return joint, tuple(block for block in made if block is not None)


def _others(task: Task, profile: Mapping[str, Any], more: Mapping[str, Any]) -> list[Block | None]:
    unit = task.target.unit if isinstance(task.target, Regression) else ""
    named = task.kind != "regression"
    parts = [
        ("prediction", "answer", more.get("answers") or profile.get("answers"), unit, named),
        ("score", "probability", more.get("probability") or profile.get("probability"), "", False),
        ("score", "gate_score", more.get("gate_score"), "", False),
        ("target", "truth", profile.get("target"), unit, named),
    ]
    inflation = more.get("inflation") or {}
    return [
        _block(kind, name, name, seen, unit, inflation, category=names)
        for kind, name, seen, unit, names in parts
    ]


def _block(
    kind: str,
    subject: str,
    path: str,
    seen: Mapping[str, Any] | None,
    unit: str,
    inflation: Mapping[str, float],
    category: bool = False,
    boolean: bool = False,
) -> Block | None:
    """The block of one distribution of a profile; None where it is not in there or empty."""
    if not seen or not seen.get("count"):
        return None
    missing, size = float(seen.get("missing", 0.0)), int(seen["count"])
    alike = (
        max(float(inflation.get(f"{kind} {subject}", 1.0)), 1.0),
        max(float(inflation.get(f"missing {subject}", 1.0)), 1.0),
    )
    total = round(size / (1 - missing)) if missing < 1 else size
    if category:
        shares = seen["shares"]
        names = sorted(shares, key=lambda name: (-shares[name], name))
        kept, rare = names[:MOST_NAMES], names[MOST_NAMES:]
        if rare:
            kept, rare = names[: MOST_NAMES - 1], names[MOST_NAMES - 1 :]
        values = [shares[name] for name in kept]
        if rare:
            kept, values = [*kept, OTHERS], [*values, sum(shares[name] for name in rare)]
        return Block(
            kind, subject, path, tuple(kept), np.zeros(0), _proper(values), missing, total,
            *alike, rare=frozenset(rare),
        )  # fmt: skip
    if boolean:
        mean = float(seen["mean"])
        return Block(
            kind, subject, path, BOOLEAN, np.zeros(0), _proper([1 - mean, mean]),
            missing, total, *alike,
        )  # fmt: skip
    quantiles = seen["quantiles"]
    least, most = quantiles[0], quantiles[-1]
    quarter = len(quantiles) // 4
    first, third = quantiles[quarter], quantiles[-1 - quarter]
    reach = FENCE_IQR * (third - first)
    span = most - least
    return Block(
        kind, subject, path, None, np.array(seen["edges"], np.float64), _proper(seen["shares"]),
        missing, total, *alike, unit, least, most,
        low=min(least, first - reach), high=max(most, third + reach),
        clip=(least - span, most + span), mean=float(seen["mean"]),
    )  # fmt: skip


def _proper(shares: Sequence[float]) -> Floats:
    given = np.array(shares, np.float64)
    proper: Floats = given / given.sum()
    return proper


def _errors(task: Task, profile: Mapping[str, Any], more: Mapping[str, Any]) -> Errors | None:
    seen = more.get("errors")
    if not seen or not seen["size"]:
        return None
    return Errors(
        int(seen["size"]),
        int(seen["errors"]),
        float(seen.get("expected", seen["errors"])),
        seen.get("beyond"),
        np.array(seen.get("score_edges", ()), np.float64),
        np.array(seen.get("by_score", ()), np.float64),
        {name: (n, k, e) for name, (n, k, e) in (seen.get("segments") or {}).items()},
        float(seen.get("inflation", 1.0)),
    )
