"""Drift records as people read them: bins, words, and the command on a real broker."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.drifts import Bar, about, bars, histogram, number, verdict
from tests.conftest import RunningBroker
from tests.services.command_line import Deployment, deploy
from tests.services.running_console import drift


def test_bins_are_named_by_their_edges_and_by_their_names() -> None:
    assert [bar.label for bar in bars(drift("a")["evidence"])] == ["< 1", "1 – 2.5", "≥ 2.5"]
    told = {"names": ["JFK", "LGA"], "reference": [0.6, 0.4], "window": [0.4, 0.6]}
    assert bars(json.dumps(told)) == [Bar("JFK", 0.6, 0.4), Bar("LGA", 0.4, 0.6)]


@pytest.mark.parametrize("evidence", ["", "{}", "null", "[1]", "no JSON", '{"edges": [1]}'])
def test_evidence_without_distributions_draws_nothing(evidence: str) -> None:
    assert bars(evidence) == []
    assert list(histogram(bars(evidence))) == []


@given(st.lists(st.tuples(*2 * [st.floats(0, 1)]), min_size=1, max_size=30))
def test_a_histogram_has_a_line_a_bin_and_no_bar_is_longer_than_the_longest(
    shares: list[tuple[float, float]],
) -> None:
    lines = list(histogram([Bar(f"b{i}", *pair) for i, pair in enumerate(shares)], width=10))
    assert len(lines) == len(shares) + 1
    for line, pair in zip(lines[1:], shares, strict=True):
        assert line.count("█") <= 20
        assert [f"{share:.1%}" in line for share in pair] == [True, True]


@given(st.floats(allow_nan=False))
def test_a_number_is_short(value: float) -> None:
    assert 0 < len(number(value)) <= 10


def test_words() -> None:
    assert number(None) == "–"
    assert number(math.inf) == "∞"
    assert about(drift("a")) == "data drift of distance"
    assert about(drift("a", kind="volume", subject="", feature=None)) == "volume drift"
    assert verdict(drift("a")) == "it hurts; alerting"
    assert verdict(drift("a", hurts=False, alerting=False)) == "it does not hurt; recorded only"
    assert verdict(drift("a", hurts=None)).startswith("whether it hurts is unknown")


@pytest.fixture
def deployment(broker: RunningBroker, tmp_path: Path) -> Deployment:
    return deploy(tmp_path, broker.bootstrap)


@pytest.mark.system
def test_drifts_are_listed_newest_first_and_explained(deployment: Deployment) -> None:
    assert "no drift so far" in deployment.weir("drift").stderr
    codec = deployment.codec("drift")
    newer = drift("bbbb2222", kind="concept", subject="", feature=None, evidence="", since=None)
    for one in (drift("aaaa1111"), newer):
        deployment.produce("drifts", one["version"], codec.write(one))
    (rows,) = deployment.weir_json("drift", "list")
    assert [row["drift_id"] for row in rows] == ["bbbb2222", "aaaa1111"]
    assert rows[1]["since"] == "2013-03-01T02:00:00.000Z"
    assert "evidence" not in rows[1]
    ((newest,),) = deployment.weir_json("drift", "-n", "1")
    assert (newest["drift_id"], newest["since"]) == ("bbbb2222", None)

    (told,) = deployment.weir_json("drift", "explain", "aaaa1111")
    assert told["evidence"]["window"] == [0.1, 0.3, 0.6]
    said = deployment.weir("drift", "explain", "aaaa").stdout
    assert "the median rose from 1.2 to 2.6 km" in said
    assert "total variation 0.4, threshold 0.1 (bins)" in said
    assert "2.50e+09" in said
    assert "1,200 records" in said
    assert said.splitlines()[-1].split() == ["≥", "2.5", *said.splitlines()[-1].split()[2:]]
    assert said.splitlines()[-1].rstrip().endswith("60.0%")

    unknown = deployment.weir("drift", "explain", "cccc")
    assert unknown.returncode == 1
    assert "there is no drift cccc" in unknown.stderr
