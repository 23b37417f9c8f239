"""The family of detectors: what it finds, what it does not, and that its state is all it knows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from streams.drift.counts import Counts
from streams.drift.family import Family
from streams.drift.finding import Finding
from streams.drift.policy import Drift
from streams.drift.reference import Reference
from tests.streams.drift.traffic import MINUTE_MS, VERSION, columns, counted, reference_of
from tests.streams.tasks import START

REFERENCE = reference_of()
BATCH = 100


def batches(count: int, first: int = 0, **changes: Any) -> Iterator[Counts]:
    for i in range(first, first + count):
        start = START + i * BATCH * MINUTE_MS
        yield from counted(REFERENCE, columns(REFERENCE.task, BATCH, i, start, **changes))


def run(family: Family, stream: Iterator[Counts]) -> list[Finding]:
    return [finding for counts in stream for finding in family.update(counts)]


def family_of(reference: Reference = REFERENCE, **policy: Any) -> Family:
    return Family(reference.task, reference, Drift(**policy))


def test_nothing_is_found_where_nothing_drifts() -> None:
    assert run(family_of(), batches(200)) == []


def test_a_shift_of_a_number_is_found_with_its_size_and_time() -> None:
    family = family_of()
    assert run(family, batches(40)) == []
    found = run(family, batches(40, first=40, shift=10.0))
    assert [(one.kind, one.subject) for one in found] == [("data", "size")]
    [one] = found
    change = START + 40 * BATCH * MINUTE_MS
    assert abs(one.since - change) < 10 * BATCH * MINUTE_MS
    assert one.value >= one.threshold
    assert "median of size" in one.effect
    assert " m)" in one.effect  # its unit
    assert sum(one.distributions["window"]) == pytest.approx(1)
    assert len(one.distributions["edges"]) + 1 == len(one.distributions["reference"])


def test_more_errors_are_concept_drift() -> None:
    family = family_of()
    assert run(family, batches(40)) == []
    found = run(family, batches(20, first=40, rate=0.25))
    assert {one.kind for one in found} == {"concept"}
    one = found[0]
    assert one.hurts
    assert one.effect.startswith("error rate 10 %")


def test_the_same_counts_give_the_same_findings_after_a_crash() -> None:
    stream = [*batches(20), *batches(30, first=20, shift=8.0, rate=0.3)]
    whole, first = family_of(), family_of()
    expected = run(whole, iter(stream))
    before = run(first, iter(stream[:45]))
    state = json.loads(json.dumps(first.state()))
    again = Family.of(REFERENCE.task, REFERENCE, Drift(), state)
    assert [one.plain() for one in before + run(again, iter(stream[45:]))] == [
        one.plain() for one in expected
    ]
    assert expected
    assert again.state() == whole.state()


def test_counts_of_another_version_are_refused() -> None:
    [counts, _] = counted(REFERENCE, columns(REFERENCE.task, BATCH, 0))
    other = Counts.of({**counts.plain(), "version": "v2"})
    with pytest.raises(ValueError, match="version v2"):
        family_of().update(other)
    state = {**family_of().state(), "version": "v2"}
    with pytest.raises(ValueError, match="v2"):
        Family.of(REFERENCE.task, REFERENCE, Drift(), state)


def test_kinds_that_are_off_are_not_found() -> None:
    family = family_of(kinds=["score"])
    assert run(family, batches(40, shift=15.0, rate=0.4)) == []


def test_findings_are_json() -> None:
    [one, *_] = run(family_of(), batches(40, shift=20.0))
    assert json.loads(json.dumps(one.plain()))["version"] == VERSION


def test_a_shift_is_dated_by_its_predictions_however_late_labels_come() -> None:
    family = family_of()
    days = 2 * 24 * 60 * MINUTE_MS
    for counts in [*batches(40), *batches(40, first=40, shift=10.0)]:
        data = counts.plain()
        if not counts.records:  # labels, of predictions of two days before
            data |= {"first": counts.first - days, "last": counts.last - days}
        for one in family.update(Counts.of(data)):
            assert abs(one.since - (START + 40 * BATCH * MINUTE_MS)) < 10 * BATCH * MINUTE_MS
            assert one.window_from <= one.window_to
