"""Behavioural tests that a task declares: what every version must do, however small its loss.

The three kinds of CheckList (Ribeiro, Wu, Guestrin and Singh 2020, Beyond Accuracy: Behavioral
Testing of NLP Models with CheckList, ACL, section 2.1), for rows of features.
`streams.training.checklist` runs them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from schemas.features import Boolean, Category, Feature
from schemas.records import Kind

if TYPE_CHECKING:
    import pandas as pd

Severity = Literal["refuse", "warn"]
Expect = Literal["not_lower", "not_higher"]
Where = Mapping[str, Any]
"""Which rows: for some features the value, or the list of values, that a row must have."""

MEASURES: dict[Kind, tuple[str, ...]] = {
    "binary": ("log_loss", "accuracy", "precision", "recall", "f1", "brier", "calibration_error"),
    "multiclass": ("log_loss", "accuracy", "f1_macro"),
    "regression": ("mae", "rmse", "r2"),
}
"""What a slice may be measured by (`streams.training.metrics.scores`)."""


@dataclass(frozen=True, kw_only=True)
class Invariance:
    """Changing these features this way must not change the answer.

    name: what the test is called. features: which are changed; all others stay as they are.
    change: gets a table of rows (a column an input; numbers as float64, categories as str, null as
        NaN or None) and gives one with as many; it must give the same whenever it is called.
    at_most: how far the answer may move: a binary task's probability, the probability of any class,
        or a regression's answer.
    share: of the rows, 0 to 1, for which it may move further.
    where: only rows with these values. severity: whether a failure refuses the version.
    """

    name: str
    features: Sequence[str]
    change: Callable[[pd.DataFrame], pd.DataFrame]
    at_most: float
    share: float = 0.0
    where: Where | None = None
    severity: Severity = "refuse"

    def problems(self, context: Context) -> Iterator[str]:
        """What is wrong with it in such a task."""
        if isinstance(self.features, str) or not self.features:
            yield "features is a list of one name or more"
        else:
            yield from context.unknown(self.features)
        change: object = self.change
        if not callable(change):
            yield "change is a function that gets a table of rows and gives one"
        if not _number(self.at_most) or self.at_most < 0:
            yield f"at_most {self.at_most!r} is a number, 0 or more"
        yield from _share(self.share)


@dataclass(frozen=True, kw_only=True)
class Directional:
    """Raising a feature must not lower (or not raise) the answer.

    by: how much it is raised; below 0: lowered. It stays within the feature's declared range; rows
        in which it is null or cannot move are left out.
    expect: ``not_lower`` or ``not_higher``: the probability of true, or of the class ``of``, or a
        regression's answer.
    at_most: how far it may go the wrong way. share: of the rows, for which it may go further.
    where: only rows with these values. severity: whether a failure refuses the version.
    """

    name: str
    feature: str
    by: float
    expect: Expect
    of: str = ""
    at_most: float = 0.0
    share: float = 0.0
    where: Where | None = None
    severity: Severity = "refuse"

    def problems(self, context: Context) -> Iterator[str]:
        """What is wrong with it in such a task."""
        yield from context.unknown([self.feature])
        if isinstance(context.inputs.get(self.feature), Category | Boolean):
            yield f"{self.feature!r} is not a number: nothing is higher than another"
        if not _number(self.by) or self.by == 0:
            yield f"by {self.by!r} is a number other than 0"
        if self.expect not in get_args(Expect):
            yield f"expect {self.expect!r} is 'not_lower' or 'not_higher'"
        if context.kind == "multiclass" and self.of not in context.classes:
            yield f"of {self.of!r} is one of the classes"
        if context.kind != "multiclass" and self.of:
            yield "of belongs to a multi-class target"
        if not _number(self.at_most) or self.at_most < 0:
            yield f"at_most {self.at_most!r} is a number, 0 or more"
        yield from _share(self.share)


@dataclass(frozen=True, kw_only=True)
class Functionality:
    """The least that a version must be able to do: answer plain cases, or a slice well enough.

    rows: plain cases, each with its features by name (those left out are null); answers: what each
        must be answered. within: how far a regression's answer may be off.
    share: of the rows, 0 to 1, that may be answered otherwise.

    Or, on the newest held-out rows:

    where: rows with these values ({}: all); measure: one of MEASURES of the task's kind; at_least,
        at_most: where it must be. least_rows: fewer are not judged.
    """

    name: str
    rows: Sequence[Mapping[str, Any]] = ()
    answers: Sequence[bool | str | float] = ()
    within: float = 0.0
    share: float = 0.0
    where: Where | None = None
    measure: str = ""
    at_least: float | None = None
    at_most: float | None = None
    least_rows: int = 50
    severity: Severity = "refuse"

    def problems(self, context: Context) -> Iterator[str]:
        """What is wrong with it in such a task."""
        if bool(self.rows) == bool(self.measure):
            yield "give either rows with their answers, or a measure with its bound"
        elif self.rows:
            yield from self._problems_of_rows(context)
        else:
            yield from self._problems_of_measure(context)
        yield from _share(self.share)

    def _problems_of_rows(self, context: Context) -> Iterator[str]:
        if len(self.answers) != len(self.rows):
            yield f"{len(self.rows)} rows have {len(self.answers)} answers"
        for answer in self.answers:
            if not context.fits(answer):
                yield f"answer {answer!r} is not a {context.kind} answer"
        if self.where is not None or self.at_least is not None or self.at_most is not None:
            yield "where, at_least and at_most belong to a measure"
        if not _number(self.within) or self.within < 0:
            yield f"within {self.within!r} is a number, 0 or more"
        for at, row in enumerate(self.rows):
            for problem in context.row(row):
                yield f"row {at + 1}: {problem}"

    def _problems_of_measure(self, context: Context) -> Iterator[str]:
        names = MEASURES[context.kind]
        if self.measure not in names:
            yield f"measure {self.measure!r} is one of {', '.join(names)}"
        bounds = [bound for bound in (self.at_least, self.at_most) if bound is not None]
        if not bounds or not all(_number(bound) for bound in bounds):
            yield "set at_least or at_most to a number"
        if self.answers:
            yield "answers belong to rows"
        whole = isinstance(self.least_rows, int) and not isinstance(self.least_rows, bool)
        if not whole or self.least_rows < 1:
            yield f"least_rows {self.least_rows!r} is a whole number, 1 or more"


Behaviour = Invariance | Directional | Functionality


@dataclass(frozen=True)
class Context:
    """The task around a test. fits: whether something is an answer of it."""

    kind: Kind
    classes: Sequence[str]
    inputs: Mapping[str, Feature]
    fits: Callable[[object], bool]

    def unknown(self, names: Sequence[str]) -> Iterator[str]:
        """Names that are no inputs of the model."""
        for name in names:
            if name not in self.inputs:
                yield f"{name!r} is no feature of the task"

    def row(self, row: Mapping[str, Any]) -> Iterator[str]:
        """Why serving would not let this row through."""
        yield from self.unknown([*row])
        for name, feature in self.inputs.items():
            value = row.get(name)
            if value is None:
                if not feature.nullable:
                    yield f"{name!r} may not be null"
            elif isinstance(feature, Category):
                if not isinstance(value, str) or (feature.values and value not in feature.values):
                    yield f"{name!r} {value!r} is not one of its names"
            elif isinstance(feature, Boolean):
                if not isinstance(value, bool):
                    yield f"{name!r} {value!r} is not true or false"
            elif not _number(value) or not _within(feature, value):
                yield f"{name!r} {value!r} is not a number in its range"


def problems(tests: Sequence[object], context: Context) -> Iterator[str]:
    """What is wrong with a task's tests, in words; nothing where nothing is."""
    names = [getattr(test, "name", "") for test in tests]
    for at, test in enumerate(tests):
        if not isinstance(test, Invariance | Directional | Functionality):
            yield f"behaviour: {test!r} is no Invariance, Directional or Functionality"
            continue
        where = f"behaviour {test.name!r}"
        if not isinstance(test.name, str) or not test.name:
            yield f"{where}: it needs a name"
        elif test.name in names[:at]:
            yield f"{where} is declared twice"
        if test.severity not in get_args(Severity):
            yield f"{where}: severity {test.severity!r} is 'refuse' or 'warn'"
        for problem in [*context.unknown([*(test.where or {})]), *test.problems(context)]:
            yield f"{where}: {problem}"


def facts(test: Behaviour) -> dict[str, Any]:
    """A test as JSON data; functions by their name, not their file's, which may be loaded as
    several modules."""
    found = {"kind": type(test).__name__.lower(), **vars(test)}
    if isinstance(test, Invariance):
        found["change"] = getattr(test.change, "__qualname__", type(test.change).__qualname__)
    plain: dict[str, Any] = _plain(found)
    return plain


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in (sorted(value) if isinstance(value, set) else value)]
    return value


def _within(feature: Feature, value: float) -> bool:
    low, high = getattr(feature, "low", None), getattr(feature, "high", None)
    return (low is None or value >= low) and (high is None or value <= high)


def _share(share: object) -> Iterator[str]:
    if not _number(share) or not 0 <= share < 1:  # type: ignore[operator]
        yield f"share {share!r} is a share of the rows: 0 to below 1"


def _number(value: object) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value)  # type: ignore[arg-type]
