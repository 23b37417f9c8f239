"""What training leaves for drift: seasons, clusters in time, joint projections, errors by score."""

from __future__ import annotations

import json

import numpy as np
import pytest

from streams.drift import clusters, seasons
from streams.drift.joint import Joint, fit_joint
from streams.drift.policy import Drift
from streams.drift.reference import Reference
from streams.training.train import train
from streams.training.usual import errors_by_score
from tests.small_tasks import DIABETES, TUMOUR, WINE, tumour_task
from tests.streams.tasks import DAY_MS, HOUR_MS, START


def test_independent_records_are_worth_one_each() -> None:
    draw = np.random.default_rng(0)
    assert clusters.of_shares(draw.integers(0, 10, 20_000), 10) == 1.0
    wrong = (draw.random(20_000) < 0.1).astype(float)
    assert clusters.of_errors(wrong, np.full(20_000, 0.1)) == 1.0


def test_records_that_come_in_clusters_are_worth_fewer() -> None:
    draw = np.random.default_rng(0)
    codes = np.repeat(draw.integers(0, 10, 500), 40)  # forty alike in a row
    assert 20 < clusters.of_shares(codes, 10) < 80
    rate = np.repeat(draw.choice([0.02, 0.18], 100), 200)
    wrong = (draw.random(20_000) < rate).astype(float)
    assert clusters.of_errors(wrong, np.full(20_000, 0.1)) > 5


def test_a_season_that_is_expected_is_no_cluster() -> None:
    draw = np.random.default_rng(0)
    times = START + HOUR_MS // 20 * np.arange(20_000, dtype=np.int64)
    night = seasons.slot_of(times, ["hour_of_day"]) < 8
    codes = np.where(draw.random(20_000) < np.where(night, 0.9, 0.1), 1, 0)
    at, count = seasons.slot_of(times, ["hour_of_day"]), seasons.slots(["hour_of_day"])
    expected = seasons.shares_of(codes, 2, at, count)[at]
    assert clusters.of_shares(codes, 2) > 10
    assert clusters.of_shares(codes, 2, expected) < 1.5


def test_slots_are_hours_and_days() -> None:
    monday = START + 5 * DAY_MS  # START is a Wednesday
    times = np.array([monday, monday + 5 * HOUR_MS, monday + 2 * DAY_MS])
    assert seasons.slot_of(times, ["hour_of_day"]).tolist() == [0, 5, 0]
    assert seasons.slot_of(times, ["day_of_week"]).tolist() == [0, 0, 2]
    assert seasons.slot_of(times, ["hour_of_day", "day_of_week"]).tolist() == [0, 5, 48]
    assert seasons.slots(["hour_of_day", "day_of_week"]) == 168


def test_projections_see_numbers_that_no_longer_go_together() -> None:
    draw = np.random.default_rng(0)
    x = draw.normal(size=(3, 5_000))
    x[1] = x[0] + 0.1 * x[1]
    joint = fit_joint(["a", "b", "c"], x)
    assert joint is not None
    assert joint.words(0) == "a and b"
    alone = x.copy()
    alone[1] = draw.permutation(alone[1])
    assert joint(alone)[0].std() > 5 * joint(x)[0].std()
    again = Joint.of(json.loads(json.dumps(joint.plain())))
    assert (again(x) == joint(x)).all()


def test_a_missing_or_wild_number_does_not_carry_a_projection() -> None:
    x = np.random.default_rng(0).normal(size=(2, 1_000))
    joint = fit_joint(["a", "b"], x)
    assert joint is not None
    x[0, 0], x[1, 1] = np.nan, 1e12
    assert np.isfinite(joint(x)).all()
    assert np.abs(joint(x)).max() < 20


def test_numbers_that_do_not_vary_have_no_projection() -> None:
    assert fit_joint(["a", "b"], np.ones((2, 100))) is None
    assert fit_joint([], np.zeros((0, 0))) is None


def test_errors_are_expected_by_score() -> None:
    draw = np.random.default_rng(0)
    probability = draw.random(20_000)
    wrong = draw.random(20_000) < np.minimum(probability, 1 - probability)
    edges, by_score, expected = errors_by_score(probability, wrong)
    assert len(by_score) == len(edges) + 1
    assert by_score[0] < 0.1 < 0.4 < by_score[len(by_score) // 2]
    assert expected.sum() == pytest.approx(wrong.sum(), rel=0.02)


@pytest.mark.parametrize("task", [TUMOUR, WINE, DIABETES], ids=lambda task: task.kind)
def test_a_trained_version_says_what_drift_is_measured_against(task: object) -> None:
    profile = train(task, task.history(), "event-1").contents.profile  # type: ignore[attr-defined]
    reference = Reference(task, "v", profile)  # type: ignore[arg-type]
    kinds = {block.kind for block in reference.blocks}
    assert {"data", "prediction", "target", "joint"} <= kinds
    assert reference.errors is not None
    assert reference.errors.size > 0
    assert 0 <= reference.errors.rate < 1
    assert all(block.inflation >= 1 for block in reference.blocks)


def test_declared_seasons_are_in_the_profile() -> None:
    task = tumour_task(drift=Drift(seasonality=["hour_of_day"]))
    profile = train(task, task.history(), "event-1").contents.profile  # type: ignore[misc]
    table = np.array(profile["drift"]["slots"]["data radius"])
    assert table.shape == (24, 10)
    assert table.sum(1) == pytest.approx(np.ones(24))
