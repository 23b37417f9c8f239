"""CUSUMs of rates: their thresholds give the runs that they promise."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sparse
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse.linalg import spsolve

from streams.drift import rates
from streams.drift.concept import Concept
from streams.drift.rates import GRID, THETAS


def mean_run(p: float, theta: float, h: float, states: int) -> float:
    """Of a CUSUM from 0 to h, by its integral equation on a grid with linear interpolation."""
    step = float(rates.load(np.array(p), np.array(theta)))
    grid = np.linspace(0, h, states)
    rows, columns, chances = [], [], []
    for move, chance in ((theta - step, p), (-step, 1 - p)):
        to = np.maximum(grid + move, 0.0)
        inside = np.flatnonzero(to < h)
        at = to[inside] / grid[1]
        low = np.minimum(at.astype(int), states - 2)
        for place, weight in ((low, 1 - (at - low)), (low + 1, at - low)):
            rows.append(inside)
            columns.append(place)
            chances.append(chance * weight)
    where = (np.concatenate(rows), np.concatenate(columns))
    moves = sparse.csc_matrix((np.concatenate(chances), where), shape=(states, states))
    runs = spsolve(sparse.eye(states, format="csc") - moves, np.ones(states))
    return float(runs[0])


@pytest.mark.parametrize("p", [0.02, 0.1, 0.4])
@pytest.mark.parametrize("j", [3, 5, 7, 12, 15])
@pytest.mark.parametrize("every", [1e5, 1e7])
def test_a_threshold_gives_the_run_that_was_asked_for(p: float, j: int, every: float) -> None:
    h = float(rates.threshold(np.array(every), np.full(len(THETAS), p))[j])
    assert mean_run(p, float(THETAS[j]), h, 3_000) == pytest.approx(every, rel=0.1)


def test_thresholds_leave_room_below_the_logarithm_of_the_run() -> None:
    h = rates.threshold(np.array(1e7), np.full(len(THETAS), 0.1))
    assert (h < np.log(1e7)).all()
    assert np.log(1e7) - h[5] > 3  # from 10 % to 19 %


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=40), st.floats(0, 5))
def test_paths_are_the_cusum_step_by_step(gains: list[float], start: float) -> None:
    s, expected = start, []
    for gain in gains:
        s = max(0.0, s + gain)
        expected.append(s)
    found = rates.paths(np.array([start]), np.array(gains)[:, None])[:, 0]
    assert found == pytest.approx(np.array(expected), abs=1e-9)


def feed(concept: Concept, p: float, n: int, seed: int, step: int = 8) -> list[int]:
    """Labels at an error rate of p; the labels that it took to each alarm."""
    k = np.random.default_rng(seed).binomial(step, p, n // step).astype(float)[:, None]
    size = np.full(k.shape, float(step))
    found = []
    for at in range(len(k)):
        part = slice(at, at + 1)
        alarms = concept.update(size[part], k[part], 0.1 * size[part])
        found += [(at + 1) * step for _ in alarms]
    return found


def concept_of(every: float = 1e7, labels: int = 20_000) -> Concept:
    return Concept(np.array([every]), np.array([[labels, 0.1 * labels, 0.1 * labels]]))


@pytest.mark.parametrize(("rate", "bound"), [(0.2, 363), (0.15, 1_318)])
def test_jumps_are_seen_within_lordens_bound(rate: float, bound: int) -> None:
    streams, step = 41, 8
    base = np.array([[20_000.0, 2_000.0, 2_000.0]])
    concept = Concept(np.full(streams, 1e7), np.repeat(base, streams, axis=0))
    draw, n = np.random.default_rng(1), np.full((1, streams), float(step))
    delays: dict[int, int] = {}
    for at in range(-200, bound):
        hits = draw.binomial(step, 0.1 if at < 0 else rate, streams).astype(float)[None]
        for alarm in concept.update(n, hits, 0.1 * n):
            delays.setdefault(alarm.row, (at + 1) * step)
    assert len(delays) == streams
    assert min(delays.values()) > 0  # none before the change
    assert np.median(list(delays.values())) <= 1.15 * bound


def test_a_level_that_was_passed_is_the_level_from_then_on() -> None:
    concept = concept_of()
    assert len(feed(concept, 0.2, 20_000, 1)) == 1
    assert feed(concept, 0.2, 20_000, 2) == []
    assert len(feed(concept, 0.1, 5_000, 3)) == 1  # and falls are seen too
    assert len(feed(concept, 0.2, 5_000, 4)) == 1


def test_a_reference_of_few_labels_is_not_taken_for_the_truth() -> None:
    """200 labels say 10 %; the stream is at 13 % from its first label on."""
    concept = Concept(np.array([1e7]), np.array([[200.0, 20.0, 20.0]]))
    assert feed(concept, 0.13, 40_000, 1) == []


def test_errors_that_were_foreseen_are_no_concept_drift() -> None:
    draw = np.random.default_rng(0)
    expected = np.where(np.arange(40_000) < 20_000, 0.05, 0.3)  # harder inputs, as the score says
    wrong = (draw.random(40_000) < expected).astype(float)
    size, k = np.full((2_500, 1), 16.0), wrong.reshape(-1, 16).sum(1)[:, None]
    e = expected.reshape(-1, 16).sum(1)[:, None]
    loads = rates.load(expected[:, None], GRID).reshape(-1, 16, len(GRID)).sum(1)[:, None]
    base = np.array([[20_000.0, 2_000.0, 2_000.0]])
    assert Concept(np.array([1e7]), base).update(size, k, e, loads) == []
    level = np.full_like(e, 1.6)
    assert Concept(np.array([1e7]), base).update(size, k, level)


def test_scores_that_no_longer_say_anything_are_not_held_to() -> None:
    """Half of the answers were nearly sure, half were not; then four in ten of all are wrong."""
    draw = np.random.default_rng(3)
    expected = np.where(draw.random(40_000) < 0.5, 0.005, 0.2)
    rate = np.where(np.arange(40_000) < 4_000, expected, 0.4)
    wrong = (draw.random(40_000) < rate).astype(float)
    size, k = np.full((2_500, 1), 16.0), wrong.reshape(-1, 16).sum(1)[:, None]
    e = expected.reshape(-1, 16).sum(1)[:, None]
    loads = rates.load(expected[:, None], GRID).reshape(-1, 16, len(GRID)).sum(1)[:, None]
    base = np.array([[20_000.0, 2_050.0, 2_050.0]])
    [alarm] = Concept(np.array([1e7]), base).update(size, k, e, loads)
    assert alarm.errors > 2 * alarm.usual


@pytest.mark.parametrize(("known", "rate"), [(20_000, 0.12), (3_000, 0.15)])
def test_how_well_the_level_is_known_is_part_of_the_test(known: int, rate: float) -> None:
    """A small change is found from a history of about as many labels as it takes."""
    streams, step = 41, 16
    draw = np.random.default_rng(3)
    errors = draw.binomial(known, 0.1, streams).astype(float)
    base = np.stack([np.full(streams, float(known)), errors, errors], axis=1)
    concept, n = Concept(np.full(streams, 1e7), base), np.full((100, streams), float(step))
    e = n * errors / known

    def labels(rate: float, count: int) -> set[int]:
        hits = draw.binomial(step, rate, (count // step // 100, 100, streams)).astype(float)
        return {alarm.row for one in hits for alarm in concept.update(n, one, e)}

    assert labels(0.1, 8_000) == set()  # whichever way the reference fell out
    assert len(labels(rate, 16_000)) > 0.75 * streams


def test_a_cusum_that_goes_on_for_long_begins_anew() -> None:
    """The reference says 9 %, the stream 10 %: too little to tell, and the level is learned."""
    concept = Concept(np.array([1e7]), np.array([[500.0, 45.0, 45.0]]))
    assert feed(concept, 0.1, 40_000, 1) == []
    assert (concept.pending[..., 0] <= 2 * concept.known[..., 0] + 64).all()
    assert concept.known[..., 0].min() > 5_000
