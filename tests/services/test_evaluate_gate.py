from __future__ import annotations

import numpy as np
import pytest

from services.evaluate.gate import Judged, error_admitted
from services.evaluate.gate_report import section


def judged(n: int = 600) -> Judged:
    """A gate that knows, and a confidence that knows less."""
    draw = np.random.default_rng(0)
    errors = draw.random(n) < 0.3
    costs = {"imitation": {"f": 1.0, "i": 5.0, "ratio": 0.2}}
    scores = {
        "imitation": errors + draw.normal(0, 0.3, n),
        "confidence": errors + draw.normal(0, 3, n),
        "errors": draw.random(n),
    }
    return Judged(errors, scores, np.arange(n) // 20, 1000, costs)


def test_what_is_left_is_what_scores_lowest() -> None:
    errors = np.array([True, False, True, False])
    assert error_admitted(errors, np.array([0.9, 0.1, 0.2, 0.3]), 0.25) == pytest.approx(1 / 3)
    assert error_admitted(errors, np.array([0.9, 0.1, 0.2, 0.3]), 0.0) == 0.5


def test_the_last_line_has_both_errors_by_share_and_none() -> None:
    told = judged().plain()
    assert list(told) == ["0.05", "0.1", "0.2", "0.3", "none"]
    for share in ("0.05", "0.1", "0.2", "0.3"):
        assert told[share]["gate_error"] < told[share]["confidence_error"] < told["none"]


def test_a_lead_lies_in_its_interval_and_is_the_same_each_time() -> None:
    lead, low, high = judged().lead(0.2)
    assert 0 < low < lead < high
    assert judged().lead(0.2) == (lead, low, high)


def test_the_page_has_a_row_for_each_share_and_each_cost() -> None:
    text = section({"with": judged()})
    assert text.count("| with |") == 6  # none, four shares, one cost
    assert "| with | 20% |" in text
