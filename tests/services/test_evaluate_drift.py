"""The comparison of drift detectors: what alarms are worth, and that every side is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.evaluate.drift import ours, report, stationary
from services.evaluate.drift.comparison import Found, Plan, compare
from services.evaluate.drift.judge import Seen, judge
from services.evaluate.drift.streams import ERRORS
from services.evaluate.report import ReportError
from streams.drift.policy import Drift

FIGURES = {"false_alarms_per_million", "delay_median", "missed", "cpu_s_per_million"}


def seen(alarms: tuple[int, ...], changes: tuple[int, ...] = (600,), records: int = 1_000) -> Seen:
    return Seen(records, 100, changes, alarms, 0.5)


def test_alarms_before_the_change_are_false_and_the_first_after_it_is_the_delay() -> None:
    found = judge([seen((50, 200, 300, 609, 700))])  # 50 is in the reference
    assert (found.quiet, found.false) == (500, 2)
    assert found.false_alarms_per_million == 4_000
    assert (found.delays, found.delay_median, found.missed) == ((10,), 10, 0)
    assert found.cpu_s_per_million == 500


def test_a_change_that_is_not_seen_before_the_next_one_is_missed() -> None:
    found = judge([seen((850,), changes=(600, 800)), seen((), changes=(600, 800))])
    assert (found.changes, found.delays, found.missed) == (4, (51,), 0.75)
    assert found.delay_median is None  # most were missed


def test_where_nothing_changes_there_is_no_delay() -> None:
    assert judge([seen((500,), changes=())]).plain() == {
        "false_alarms_per_million": 1_000,
        "delay_median": None,
        "missed": None,
        "cpu_s_per_million": 500,
    }


def test_every_side_is_asked_of_every_stream(tmp_path: Path) -> None:
    plan = Plan(3, 1, 1, 0, (2_000, 3), 20_480, 500, ("normal_abrupt",))
    found = compare(plan, lambda text: None, tmp_path, workers=1)
    plain = found.plain()
    assert {"weir", "weir_1m", "weir_at_adwin_rate", "weir_data"} <= plain.keys()
    assert {"river_ADWIN", "river_ADWIN_at_weir_rate", "river_DDM", "river_KSWIN"} <= plain.keys()
    assert list(plain["weir"]) == [
        "none_50_numbers",
        "none_errors",
        "none_normal",
        "normal_abrupt",
    ]
    assert all(by.keys() == FIGURES for streams in plain.values() for by in streams.values())
    assert plain["weir"]["normal_abrupt"]["missed"] == 0
    assert plain["weir"]["none_50_numbers"]["false_alarms_per_million"] == 0
    assert found.judged["river_ADWIN"]["none_errors"].quiet == 3 * 2_000
    assert found.judged["river_HDDM_A"]["none_errors"].quiet == 2_000  # it is slow
    assert found.longest == 20_480
    assert "normal_abrupt" in report.section(found)
    # What was measured is not measured again.
    assert compare(plan, lambda text: None, tmp_path, workers=1).plain() == plain


def test_draws_side_by_side_are_each_as_alone() -> None:
    draws = [ERRORS[0].make(seed) for seed in range(3)]
    often = Drift(false_alarm_every=20_000)
    together = ours.watch_together(draws, often)
    for made, seen in zip(draws, together, strict=True):
        alone, _ = ours.watch(made, often, ours.LABELS)
        assert seen.alarms == alone.alarms
        assert seen.alarms


def test_the_same_seed_gives_the_same_stationary_traffic() -> None:
    often = Drift(false_alarm_every=1_000)
    one, other = (stationary.watch(51_200, often, 5) for _ in range(2))
    assert one.alarms == other.alarms


def test_a_page_without_marks_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("no marks")
    with pytest.raises(ReportError, match="lacks the marks"):
        report.renew(page, Found())
