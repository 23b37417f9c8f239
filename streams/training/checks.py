"""Checks of the rows before anything is learned from them: all that is wrong, at once.

Columns, types, ranges and names are a pandera schema made from the task's features; the rest are
statements about many rows: how many there are, how many twice, what is missing more often than it
was, how labels moved, and what tells the label before its time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pa

from schemas.features import Boolean, Category, Feature, Integer, Number
from schemas.moments import bounded
from streams.task import Task
from streams.training.check_policy import WARNS_AT, DataChecks
from streams.training.data import EVENT_TIME, REQUEST_ID, STANDS_FOR, WEAK
from streams.training.errors import DataError
from streams.training.leakage import skills

KNOWN_AT = "known_at"
"""When a row's label became known, UTC; where the rows say it."""
FUTURE = pd.Timedelta(days=1)
"""How far clocks may be apart: an event that is later than this lies in the future."""
SHOWN = 3
"""Wrong values that a message shows."""


@dataclass(frozen=True)
class Finding:
    """Something about the rows that is not as it should be. refuses: or else it is a warning."""

    text: str
    refuses: bool


class ChecksFailed(DataError):
    """The rows must not be trained on; ``findings`` has every reason, and the warnings."""

    def __init__(self, findings: list[Finding]) -> None:
        self.findings = findings
        reasons = [finding.text for finding in findings if finding.refuses]
        text = "; ".join(reasons)
        super().__init__(text if len(reasons) == 1 else f"{len(reasons)} checks failed: {text}")


def check(
    task: Task,
    table: pd.DataFrame,
    profile: Mapping[str, Any] | None = None,
    asked_at_ms: int | None = None,
) -> list[str]:
    """The warnings about a table (`data.prepare` says of its columns).

    profile: of the champion's training data; None or {}: nothing to compare with. asked_at_ms: when
    the training was asked for; no event is later. Raises ChecksFailed with all that refuses it.
    """
    findings = list(_findings(task, table, profile or {}, asked_at_ms))
    if any(finding.refuses for finding in findings):
        raise ChecksFailed(findings)
    return [finding.text for finding in findings]


def _findings(
    task: Task, table: pd.DataFrame, profile: Mapping[str, Any], asked_at_ms: int | None
) -> Iterator[Finding]:
    policy = task.training.checks
    yield from _enough(policy, table)
    clean = _clean(task, table)
    yield from _by_schema(task, policy, clean)
    yield from _of_times(task, policy, table, asked_at_ms)
    yield from _twice(task, policy, table)
    each = _standing(table)
    for feature in task.inputs:
        if feature.name in clean:
            before = profile.get("features", {}).get(feature.name, {})
            yield from _missing(policy, feature, clean[feature.name], each, before)
    if task.target.name in clean:
        yield from _labels(task, policy, clean[task.target.name], each, profile.get("target", {}))
        yield from _leaks(task, policy, clean)


def _enough(policy: DataChecks, table: pd.DataFrame) -> Iterator[Finding]:
    weak = int(table[WEAK].sum()) if WEAK in table else 0
    if len(table) - weak < policy.rows:
        found = f"{len(table) - weak} rows with a true label (and {weak} weak ones)"
        found = found if weak else f"{len(table)} rows"
        yield Finding(f"{found} are too few to train on; {policy.rows} are needed", True)


def _clean(task: Task, table: pd.DataFrame) -> pd.DataFrame:
    """The columns that are looked at: numbers and times as such, infinite where they are none."""
    columns: dict[str, Any] = {}
    kinds = {feature.name: feature for feature in task.inputs}
    for name in [*kinds, task.target.name]:
        if name not in table:
            continue
        series = table[name].reset_index(drop=True)
        numeric = not isinstance(kinds.get(name), Category)
        if name == task.target.name:
            numeric = task.kind != "multiclass"
        if numeric:
            numbers = pd.to_numeric(series, errors="coerce")
            values = pd.Series(numbers.to_numpy(np.float64, na_value=np.nan))
            columns[name] = values.where(values.notna() | series.isna(), np.inf)
        else:
            columns[name] = _text(series)
    if REQUEST_ID in table:
        columns[REQUEST_ID] = _text(table[REQUEST_ID].reset_index(drop=True))
    return pd.DataFrame(columns, index=pd.RangeIndex(len(table)))


def _text(series: pd.Series) -> pd.Series:
    """As objects, text or None."""
    values = np.full(len(series), None, object)
    there = series.notna().to_numpy(bool)
    values[there] = series[there].astype(str).to_numpy(object)
    return pd.Series(values, dtype=object)


NO_NUMBER = "is not a finite number"
BELOW, ABOVE, NO_NAME = "is below", "is above", "is not one of the declared names"
TOLERATED = (BELOW, ABOVE, NO_NAME)
"""What some rows may be: serving refuses such requests, or takes the value as missing."""


def schema(task: Task) -> pa.DataFrameSchema:
    """The columns that a table of rows must have, as pandera checks them."""
    columns = {feature.name: _column(feature) for feature in task.features}
    for windowed in task.inputs[len(task.features) :]:
        columns[windowed.name] = _column(windowed, required=False)  # or they are computed
    of_target = {
        "regression": _is_number(),
        "binary": _is_one_of([0.0, 1.0], "is neither true nor false"),
        "multiclass": _is_one_of(task.classes, "is not one of the task's classes"),
    }
    columns[task.target.name] = pa.Column(checks=of_target[task.kind], nullable=False)
    once = pa.Check(lambda ids: ~ids.duplicated(keep=False), error="is there twice")
    columns[REQUEST_ID] = pa.Column(checks=once, nullable=True, required=False)
    return pa.DataFrameSchema(columns)


def _column(feature: Feature, required: bool = True) -> pa.Column:
    checks: list[pa.Check] = []
    if isinstance(feature, Category):
        if feature.values is not None:
            checks = [_is_one_of(feature.values, NO_NAME)]
    elif isinstance(feature, Boolean):
        checks = [_is_one_of([0.0, 1.0], "is neither true nor false")]
    else:
        checks = [_is_number()]
        if isinstance(feature, Number | Integer):
            checks += _is_within(feature.low, feature.high)
    return pa.Column(checks=checks, nullable=feature.nullable, required=required)


def _is_one_of(values: Sequence[Any], error: str) -> pa.Check:
    return pa.Check.isin(list(values), error=error)


def _is_number() -> pa.Check:
    return pa.Check(lambda values: ~np.isinf(values), error=NO_NUMBER)


def _is_within(low: float | None, high: float | None) -> list[pa.Check]:
    """A range; what is no number does not break it, as that is told by itself."""
    found = []
    if low is not None:
        within = partial(lambda bound, values: (values >= bound) | np.isinf(values), low)
        found.append(pa.Check(within, error=f"{BELOW} {low:g}"))
    if high is not None:
        within = partial(lambda bound, values: (values <= bound) | np.isinf(values), high)
        found.append(pa.Check(within, error=f"{ABOVE} {high:g}"))
    return found


def _by_schema(task: Task, policy: DataChecks, clean: pd.DataFrame) -> Iterator[Finding]:
    try:
        schema(task).validate(clean, lazy=True)
    except pa.errors.SchemaErrors as errors:
        cases = errors.failure_cases
        for (column, rule), wrong in cases.groupby(["column", "check"], sort=False, dropna=False):
            yield _told(task, policy, column, str(rule), wrong["failure_case"], len(clean))


def _told(
    task: Task, policy: DataChecks, column: Any, rule: str, wrong: pd.Series, n: int
) -> Finding:
    if rule == "column_in_dataframe":
        names = ", ".join(repr(name) for name in wrong)
        return Finding(f"the data has no column {names}", True)
    what = f"{'target' if column == task.target.name else 'feature'} {column!r}"
    rows = f"{len(wrong)} of {n} rows"
    if rule == "not_nullable":
        remedy = "leave those rows out"
        if column != task.target.name:
            remedy = f"declare it nullable=True, or {remedy}"
        return Finding(f"{what} is null in {rows}; {remedy}", True)
    values = [_short(value) for value in wrong.drop_duplicates().head(SHOWN)]
    shown = "" if rule == NO_NUMBER else f" ({', '.join(values)})"
    what = "the request id" if column == REQUEST_ID else what
    tolerated = rule.startswith(TOLERATED) and len(wrong) <= policy.out_of_range * n
    return Finding(f"{what} {rule} in {rows}{shown}", not tolerated)


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else repr(value)[:40]


def _of_times(
    task: Task, policy: DataChecks, table: pd.DataFrame, asked_at_ms: int | None
) -> Iterator[Finding]:
    if EVENT_TIME not in table:
        yield Finding(f"the data has no column {EVENT_TIME!r}", True)
        return
    times, n = _times(table[EVENT_TIME]), len(table)
    nulls = int(table[EVENT_TIME].isna().sum())
    if nulls:
        yield Finding(f"{nulls} rows have no {EVENT_TIME}", True)
    strange = int(times.isna().sum()) - nulls
    if strange:
        yield Finding(f"column {EVENT_TIME!r} does not hold times in {strange} of {n} rows", True)
    if asked_at_ms is not None:
        ahead = times > pd.Timestamp(bounded(asked_at_ms), unit="ms", tz="UTC") + FUTURE
        if ahead.any():
            text = f"{EVENT_TIME} lies in the future in {int(ahead.sum())} of {n} rows"
            yield Finding(f"{text} (the latest is {times.max().isoformat()})", True)
    earliest, latest = task.event_times
    outside = pd.Series(False, index=times.index)
    outside |= times < earliest if earliest is not None else False
    outside |= times > latest if latest is not None else False
    if outside.any():
        text = f"{EVENT_TIME} is outside the task's event_times in {int(outside.sum())} of {n} rows"
        yield Finding(text, outside.mean() > policy.out_of_range)
    if KNOWN_AT in table:
        early = _times(table[KNOWN_AT]) < times
        if early.any():
            text = f"the label was known before the event in {int(early.sum())} of {n} rows"
            yield Finding(
                f"{text}: is {EVENT_TIME} when the answer was asked for?",
                early.mean() > policy.known_before,
            )


def _times(series: pd.Series) -> pd.Series:
    """As times in UTC, NaT where it is none."""
    return pd.to_datetime(series.reset_index(drop=True), utc=True, errors="coerce")


def _twice(task: Task, policy: DataChecks, table: pd.DataFrame) -> Iterator[Finding]:
    wanted = [EVENT_TIME, task.target.name, *(feature.name for feature in task.inputs)]
    again = table.duplicated([name for name in wanted if name in table])
    if again.any():
        text = f"{int(again.sum())} of {len(table)} rows are there twice, with time and label"
        yield Finding(text, again.mean() > policy.duplicates)


def _standing(table: pd.DataFrame) -> pd.Series:
    """How many requests each row stands for, as in a profile: weak labels for none.

    All the same where that would leave nothing.
    """
    n = len(table)
    numbers = pd.to_numeric(table[STANDS_FOR], errors="coerce") if STANDS_FOR in table else None
    each = np.ones(n) if numbers is None else numbers.fillna(0.0).to_numpy(np.float64)
    if WEAK in table:
        each = np.where(table[WEAK].to_numpy(bool), 0.0, each)
    usable = np.isfinite(each).all() and (each >= 0).all() and each.sum() > 0
    return pd.Series(each if usable else np.ones(n))


def _missing(
    policy: DataChecks,
    feature: Feature,
    values: pd.Series,
    each: pd.Series,
    before: Mapping[str, Any],
) -> Iterator[Finding]:
    """Of a feature that may be null: is it missing more often than it was? One value alone?"""
    missing = float(np.average(values.isna(), weights=each))
    if values.isna().all():
        yield Finding(
            f"feature {feature.name!r} is null in all rows: nothing is learned from it", False
        )
    elif values.nunique() == 1:
        yield Finding(f"feature {feature.name!r} has one value in all rows", False)
    if not before.get("count") and "missing" not in before:
        return
    more = missing - before["missing"]
    if more > WARNS_AT * policy.missing_more:
        text = f"feature {feature.name!r} is null in {missing:.0%} of the rows"
        yield Finding(
            f"{text}, {before['missing']:.0%} in the champion's", more > policy.missing_more
        )


def _labels(
    task: Task, policy: DataChecks, labels: pd.Series, each: pd.Series, before: Mapping[str, Any]
) -> Iterator[Finding]:
    """How many labels would have to be others for the champion's shares."""
    known = labels[labels.notna()]
    each = each[labels.notna()]
    if not before.get("shares") or each.sum() == 0:
        return
    each = each / each.sum()
    if task.kind == "regression":
        edges, was = np.array(before["edges"]), np.array(before["shares"])
        found = np.searchsorted(edges, known, side="right")
        moved = float(np.abs(np.bincount(found, each, len(was)) - was).sum() / 2)
        mean = float(np.average(known, weights=each))
        facts = f"their mean is {mean:.4g}, {before['mean']:.4g} in the champion's"
    else:
        names = known.map({1.0: "true", 0.0: "false"}) if task.kind == "binary" else known
        now = each.groupby(names).sum()
        both = sorted({*now.index, *before["shares"]})
        gaps = {name: float(now.get(name, 0.0)) - before["shares"].get(name, 0.0) for name in both}
        moved = sum(abs(gap) for gap in gaps.values()) / 2
        most = max(gaps, key=lambda name: abs(gaps[name]))
        share, old = float(now.get(most, 0.0)), before["shares"].get(most, 0.0)
        facts = f"{most} is {share:.0%} of them, {old:.0%} in the champion's"
    if moved > WARNS_AT * policy.label_shift:
        yield Finding(f"{moved:.0%} of the labels have moved: {facts}", moved > policy.label_shift)


def _leaks(task: Task, policy: DataChecks, clean: pd.DataFrame) -> Iterator[Finding]:
    labels = clean[task.target.name]
    right = labels.notna() if task.kind == "multiclass" else np.isfinite(labels)
    for name, skill in skills(task, clean[right]).items():
        if skill > policy.leak:
            what = "R²" if task.kind == "regression" else "AUC"
            text = f"feature {name!r} alone tells the label ({what} {skill:.4f})"
            remedy = "is it known only after the event? Leave it out, or set DataChecks(leak=1)"
            yield Finding(f"{text}: {remedy}", True)
