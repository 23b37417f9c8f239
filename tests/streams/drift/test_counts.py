"""Counts of batches: what they hold, and that they add up."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.columns import Column, constant
from streams.drift.counts import STEP, Counts, count_outcomes, count_predictions, parts, steps
from streams.drift.policy import Drift
from streams.drift.reference import Block, Reference
from tests.streams.drift.traffic import VERSION, columns, counted, reference_of
from tests.streams.tasks import HOUR_MS, START, task_of

REFERENCE = reference_of(n=2_000)
N = 300


def cells(counts: Counts, reference: Reference, subject: str) -> list[int]:
    at = [block.subject for block in reference.blocks].index(subject)
    starts = reference.starts
    found: list[int] = counts.cells[starts[at] : starts[at + 1]].tolist()
    return found


def test_each_value_is_in_one_cell() -> None:
    batch = columns(REFERENCE.task, N, 1)
    predictions, outcomes = counted(REFERENCE, batch)
    for block in REFERENCE.blocks:
        of = outcomes if block.kind == "target" else predictions
        assert sum(cells(of, REFERENCE, block.subject)) == N
    assert predictions.records == N
    assert outcomes.records == 0
    *_, unknown, missing = cells(predictions, REFERENCE, "age")
    assert (unknown, missing) == (0, int((~batch["features.age"].valid).sum()))  # type: ignore[operator]


def test_names_that_training_had_not_are_unknown() -> None:
    batch = columns(REFERENCE.task, N, 1, shop=["x"] * 200 + ["z"] * 100)
    predictions, _ = counted(REFERENCE, batch)
    *_, unknown, missing = cells(predictions, REFERENCE, "shop")
    assert (unknown, missing) == (100, 0)


def test_wild_numbers_are_counted_apart() -> None:
    batch = columns(REFERENCE.task, N, 1)
    ages = batch["features.age"].values.copy()
    ages[:3] = 10**9
    batch["features.age"] = Column(ages, ~np.isnan(ages))
    predictions, _ = counted(REFERENCE, batch)
    at = [block.subject for block in REFERENCE.blocks].index("age")
    assert predictions.wild[at] == 3
    assert predictions.totals[at] < N * 200  # each is clipped


def test_rejected_requests_count_nowhere() -> None:
    batch = columns(REFERENCE.task, N, 1)
    batch["status"] = constant("rejected", N)
    predictions = count_predictions(REFERENCE.task, REFERENCE, batch, np.arange(N))
    assert predictions.records == 0
    assert not predictions.cells.any()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("label", "weak"),
        ("source", "labeller"),
        ("status", "deferred"),
        ("gate_decision", "defer"),
    ],
)
def test_labels_that_say_nothing_of_the_error_rate_are_left_out(path: str, value: str) -> None:
    batch = columns(REFERENCE.task, N, 1)
    batch[path] = constant(value, N)
    assert len(count_outcomes(REFERENCE.task, REFERENCE, batch, np.arange(N)).labels) == 0


def test_a_correction_is_no_second_label() -> None:
    batch = columns(REFERENCE.task, N, 1)
    batch["previous_truth"] = Column(batch["truth"].values, np.arange(N) < 100)
    labels = count_outcomes(REFERENCE.task, REFERENCE, batch, np.arange(N)).labels
    assert labels[:, 0].sum() == N - 100


def test_errors_are_counted_by_segment() -> None:
    batch = columns(REFERENCE.task, N, 1)
    wrong = batch["answer"].values != batch["truth"].values
    red = batch["features.colour"].values == "red"
    outcomes = count_outcomes(REFERENCE.task, REFERENCE, batch, np.arange(N))
    n, k, _ = outcomes.segments["colour=red"]
    assert (n, k) == (red.sum(), (wrong & red).sum())


def test_labels_keep_their_order_to_a_step() -> None:
    wrong = np.arange(100) >= 50
    table = steps(wrong, np.full(100, 0.1))
    assert table[:, 0].tolist() == [STEP] * (100 // STEP) + [100 % STEP] * (100 % STEP > 0)
    assert table[:3, 1].tolist() == [0, 0, 0]
    assert table[:, 1].sum() == 50


@given(st.integers(0, N), st.integers(0, 10))
def test_counts_of_parts_add_up_to_those_of_the_whole(cut: int, seed: int) -> None:
    batch = columns(REFERENCE.task, N, seed)
    for count in (count_predictions, count_outcomes):
        whole = count(REFERENCE.task, REFERENCE, batch, np.arange(N))
        both = count(REFERENCE.task, REFERENCE, batch, np.arange(cut)) + count(
            REFERENCE.task, REFERENCE, batch, np.arange(cut, N)
        )
        assert (whole.cells == both.cells).all()
        assert (whole.wild == both.wild).all()
        assert whole.totals == pytest.approx(both.totals)
        assert whole.labels.sum(0) == pytest.approx(both.labels.sum(0))
        assert whole.segments.keys() == both.segments.keys()
        assert (whole.first, whole.last, whole.records) == (both.first, both.last, both.records)


def test_counts_go_through_json() -> None:
    for counts in counted(REFERENCE, columns(REFERENCE.task, N, 1)):
        data = json.loads(json.dumps(counts.plain()))
        assert Counts.of(data).plain() == counts.plain()


def test_counts_of_two_versions_do_not_add_up() -> None:
    one = counted(REFERENCE, columns(REFERENCE.task, N, 1))[0]
    other = Counts.of({**one.plain(), "version": "v2"})
    with pytest.raises(ValueError, match="v1 and of v2"):
        one + other


def test_a_batch_is_parted_by_version_and_by_hour_where_there_are_seasons() -> None:
    batch = columns(task_of("binary"), 90, 1)
    assert [(v, b, len(rows)) for v, b, rows in parts(Drift(), batch)] == [(VERSION, START, 90)]
    hours = Drift(seasonality=["hour_of_day"])
    assert [(b, len(rows)) for _, b, rows in parts(hours, batch)] == [
        (START, 60),
        (START + HOUR_MS, 30),
    ]
    versions = np.array(["v1", "v2", ""] * 30, object)
    batch["version"] = Column(versions)
    assert [(v, len(rows)) for v, _, rows in parts(Drift(), batch)] == [("v1", 30), ("v2", 30)]


@pytest.mark.parametrize("names", [("true", "false"), ("false", "true"), ("true",)])
@pytest.mark.parametrize("dtype", [object, bool])
def test_answers_of_a_binary_task_are_counted_as_their_names_are(
    names: tuple[str, ...], dtype: type
) -> None:
    shares = np.full(len(names), 1 / len(names))
    block = Block("prediction", "answer", "answer", names, np.zeros(0), shares, 0.0, 100)
    answers = [True, False, True, True, False]
    texts = np.array([str(one).lower() for one in answers], object)
    everything = np.ones(len(answers), bool)
    by_name = block.count(texts, everything)
    assert (block.count(np.array(answers, dtype), everything) == by_name).all()
