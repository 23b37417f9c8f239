"""What alerts are of is judged right, and Weir's detectors and alerts are what is judged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from services.evaluate import episodes
from services.evaluate.episodes import BEGIN, DAY_MS, END, START_MS, Told, renew
from services.evaluate.report import ReportError

TWO = {"stuck humidity": START_MS + 4 * DAY_MS, "more late flights": START_MS + 8 * DAY_MS}


def member(kind: str, subject: str, began: float, found: float) -> dict[str, object]:
    times = {"began": START_MS + began * DAY_MS, "found": START_MS + found * DAY_MS}
    return {"kind": kind, "subject": subject} | times


def test_an_input_is_of_the_cause_that_changes_it_and_the_rest_of_the_newest_cause() -> None:
    for kind, subject, began, found, cause in (
        ("data", "humidity", 4.0, 9.0, "stuck humidity"),
        ("data", "humidity and wind", 4.0, 4.5, "stuck humidity"),
        ("data", "wind", 4.0, 4.5, None),
        ("data", "humidity", 1.0, 2.0, None),
        ("concept", "", 4.0, 9.0, "stuck humidity"),
        ("concept", "", 8.0, 9.0, "more late flights"),
        ("score", "probability", 4.0, 5.0, "stuck humidity"),
        ("concept", "", 1.0, 2.0, None),
    ):
        assert episodes._cause_of(member(kind, subject, began, found), TWO) == cause


def test_one_cause_in_the_flights_is_found_many_times_and_is_one_alert_that_names_it() -> None:
    told = episodes.judged({"stuck humidity": 1.0}, 2_000, np.random.default_rng(3))
    assert told.findings > 1
    assert (told.alerts, told.pure, told.causes, told.named, told.false) == (1, 1, 1, 1, 0)


def test_a_cause_that_does_no_harm_alerts_nobody() -> None:
    told = episodes.judged({"distance in kilometres": 1.0}, 2_000, np.random.default_rng(3))
    assert told.findings >= 1
    assert (told.alerts, told.causes, told.harmless) == (0, 0, 1)


def test_the_page_gets_the_figures_between_its_marks(tmp_path: Path) -> None:
    page = tmp_path / "alerts.md"
    page.write_text(f"before\n{BEGIN}\nfigures of yesterday\n{END}\nafter\n")
    found = {"2,000 a day": {"nothing": Told(draws=2), "a": Told(2, 2, 1, alerts=3, pure=2)}}
    renew(page, found, "2026-11-30")
    text = page.read_text()
    assert "| a | 2,000 a day | 2 | 0 | 3 | 2 of 3 (67%) | 1 of 2 (50%) | – | 0 |" in text
    assert "| all |  | 4 |" in text
    assert text.startswith("before")
    assert text.endswith("after\n")
    assert "yesterday" not in text
    page.write_text("no marks")
    with pytest.raises(ReportError, match="lacks the marks"):
        renew(page, found, "2026-11-30")
