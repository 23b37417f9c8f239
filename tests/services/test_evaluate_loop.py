"""The evaluation of the closed loop: nothing is known before its time, and the sums are right."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import log_loss, roc_auc_score

from services.demo.flight_delay import FlightDelay
from services.evaluate import loop_report, loop_weir
from services.evaluate.loop import (
    ALL,
    NEVER,
    STATEFUL,
    STATELESS,
    WEIR,
    Found,
    blend,
    compare,
    lead,
    told,
)
from services.evaluate.loop_policy import CONTINUAL
from services.evaluate.loop_report import BEGIN, END, renew
from services.evaluate.loop_weir import replay
from services.evaluate.loop_windows import Windows
from services.evaluate.loop_world import Floats, World, learned, scheduled, score, starts, world
from streams.triggers.declare import NewLabels, Trigger

LABELS = 500
TICK_MS = 12 * 3_600_000
"""Twice as long as an evaluation's: half as many looks at drift, metrics and triggers."""


@pytest.fixture(scope="module", autouse=True)
def long_ticks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop_weir, "TICK_MS", TICK_MS)
        yield


@pytest.fixture(scope="module")
def april() -> World:
    """Each fortieth flight up to April, eight trees, a training for each 500 labels."""
    trigger = Trigger(name="labels", when=NewLabels(LABELS), cooldown=timedelta(days=7))
    continual = replace(CONTINUAL, judged=200, window=500)
    task = replace(FlightDelay, triggers=[trigger], continual=continual)
    return world(task, upto=4, every=40, settings={"max_iter": 8, "learning_rate": 0.3})


@pytest.fixture(scope="module")
def found(april: World) -> Found:
    return compare(april, draws=3)


def test_a_training_sees_what_was_known_at_its_time(april: World) -> None:
    at = starts(4)
    rows = learned(april, at).index.to_numpy()
    assert (april.known[rows] < at).all()
    assert (april.known[np.setdiff1d(np.arange(len(april)), rows)] >= at).all()
    since = learned(april, at, starts(3)).index.to_numpy()
    assert april.asked[since].min() >= starts(3)


def test_what_comes_later_changes_no_answer_and_no_decision(april: World, found: Found) -> None:
    """Truths of the second half of April are turned round: nothing before may differ."""
    at = starts(4) + 15 * 86_400_000
    later = april.known >= at
    truth = np.where(later, ~april.truth, april.truth)
    table = april.table.assign(**{april.task.target.name: truth})
    other = replace(april, truth=truth, table=table)
    one, two = found.replayed, replay(other)
    before = (april.asked >= april.begins) & (april.asked < at)
    np.testing.assert_array_equal(one.said.probability[before], two.said.probability[before])
    np.testing.assert_array_equal(one.said.expected[before], two.said.expected[before])
    np.testing.assert_array_equal(one.said.alone[before], two.said.alone[before])
    assert [led for led in one.led if led[0] <= at] == [led for led in two.led if led[0] <= at]
    events = [[e for e in r.retrainings if e.at <= at] for r in (one, two)]
    assert events[0] == events[1]
    assert events[0]


def test_triggers_ask_once_so_many_labels_have_come(april: World, found: Found) -> None:
    events = found.replayed.retrainings
    assert events
    before = april.begins
    for event in events:
        came = (april.known >= before) & (april.known < event.at) & (april.asked >= april.begins)
        assert came.sum() >= LABELS
        earlier = came & (april.known < event.at - TICK_MS)
        assert earlier.sum() < LABELS or event.at - before < 8 * 86_400_000
        assert event.rows == (april.known < event.at).sum()
        before = event.at


def test_all_strategies_begin_with_the_same_model(april: World, found: Found) -> None:
    first = found.replayed.retrainings[0].at
    here = (april.asked >= april.begins) & (april.asked < first)
    plain = scheduled(april, [april.begins])
    np.testing.assert_allclose(found.replayed.said.batch[here], plain[here], rtol=1e-12)
    assert found.scores[NEVER].retrainings == 0
    assert found.scores[ALL].retrainings == 1
    assert found.scores[WEIR].retrainings == len(found.replayed.retrainings)


def test_weir_answers_with_the_learner_while_it_leads(april: World, found: Found) -> None:
    said = found.replayed.said
    replayed = april.asked >= april.begins
    changes = [(april.begins, False), *found.replayed.led, (april.ends, False)]
    leads = np.zeros(len(april), bool)
    for (since, led), (until, _) in pairwise(changes):
        leads[(april.asked >= since) & (april.asked < until)] = led
    assert leads.any()
    answered = np.where(leads, said.together, said.batch)
    np.testing.assert_array_equal(said.probability[replayed], answered[replayed])
    pooled = blend_of(said.batch[replayed], said.alone[replayed], CONTINUAL.share)
    np.testing.assert_allclose(said.together[replayed], pooled, rtol=1e-6)
    assert found.scores[STATELESS].retrainings == found.scores[WEIR].retrainings
    assert found.scores[STATEFUL].retrainings == 0


def blend_of(one: Floats, other: Floats, share: float) -> Floats:
    odds = (one / (1 - one)) ** (1 - share) * (other / (1 - other)) ** share
    found: Floats = odds / (1 + odds)
    return found


def test_fits_alone_give_the_same_answers_until_a_version_is_refused(
    april: World, found: Found
) -> None:
    alone, whole = replay(april, fit_only=True), found.replayed
    assert [e.at for e in alone.retrainings] == [e.at for e in whole.retrainings]
    refused = [event.at for event in whole.retrainings if not event.accepted]
    same = (april.asked >= april.begins) & (april.asked < min([*refused, april.ends]))
    assert same.any()
    np.testing.assert_allclose(
        alone.said.probability[same], whole.said.probability[same], rtol=1e-9
    )


def test_scores_are_means_of_the_months(april: World) -> None:
    probability = np.random.default_rng(0).uniform(0.01, 0.99, len(april))
    made = score(april, probability, 7)
    by_month = [april.month == month for month in (3, 4)]
    assert made.mean_auc == pytest.approx(
        np.mean([roc_auc_score(april.truth[here], probability[here]) for here in by_month])
    )
    assert made.mean_log_loss == pytest.approx(
        np.mean([log_loss(april.truth[here], probability[here]) for here in by_month])
    )


def test_the_lead_is_of_the_days_as_they_were_and_nothing_over_itself(april: World) -> None:
    generator = np.random.default_rng(1)
    one, two = (generator.uniform(0.1, 0.9, len(april)) for _ in range(2))
    made = lead(april, one, two, draws=4)
    mine, theirs = (score(april, p, 0) for p in (one, two))
    assert made["auc"][0] == pytest.approx(mine.mean_auc - theirs.mean_auc)
    assert made["log_loss"][0] == pytest.approx(theirs.mean_log_loss - mine.mean_log_loss)
    assert made["auc"][1] <= made["auc"][2]
    assert lead(april, one, one, draws=4)["auc"] == (0.0, 0.0, 0.0)


@given(st.floats(0.001, 0.999), st.floats(0.001, 0.999))
def test_a_blend_is_between_both(one: float, other: float) -> None:
    made = blend(np.array([one]), np.array([other]))[0]
    assert min(one, other) - 1e-9 <= made <= max(one, other) + 1e-9
    assert blend(np.array([one]), np.array([one]))[0] == pytest.approx(one)


def test_windows_say_what_scikit_learn_says(april: World, found: Found) -> None:
    said = found.replayed.said
    day = april.begins // 86_400_000 * 86_400_000 + 86_400_000
    rows = np.flatnonzero((april.asked >= day) & (april.asked < day + 86_400_000))
    windows = Windows(april.task)
    half = len(rows) // 2
    for part in (rows[:half], rows[half:]):
        windows.predictions(said.predictions(part))
        windows.outcomes(said.outcomes(part))
    (one,) = [m for m in windows.measured(day + 86_400_000) if m.window == "tumbling_1d"]
    assert (one.start, one.complete, one.predictions, one.scored) == (
        day,
        True,
        len(rows),
        len(rows),
    )
    assert one.classes["true"] == april.truth[rows].sum()
    expected = log_loss(april.truth[rows], said.probability[rows])
    assert one.figures["log_loss"] == pytest.approx(expected)
    assert one.figures["estimated_accuracy_low"] < one.figures["estimated_accuracy"]
    assert windows.measured(day + 86_400_000 + 1) == []


def test_the_page_gets_its_figures(
    tmp_path: Path, found: Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "loop.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    drawn = []
    monkeypatch.setattr(loop_report, "draw", lambda what, image: drawn.append(image))
    renew(page, found, found)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert f"| mean | {found.scores[NEVER].mean_auc:.4f} |" in text
    assert f"labels: {LABELS:,} labels" not in text  # the reason says how many there were
    assert found.replayed.retrainings[0].reason in text
    assert drawn == [tmp_path / "images" / "loop.svg"]
    assert list(json.loads(json.dumps(told(found)))["strategies"]) == list(found.scores)
