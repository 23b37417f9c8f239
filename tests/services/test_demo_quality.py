"""Live answers beside the same versions offline, and what the page is told of a replay."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from services.demo import standing
from services.demo.quality import auc_by_day, compare


def scored(n: int = 600) -> pd.DataFrame:
    draw = np.random.default_rng(3)
    truth = draw.random(n) < 0.4
    return pd.DataFrame(
        {
            "request_id": [f"r{i}" for i in range(n)],
            "event_time": pd.Timestamp("2013-03-01", tz="UTC")
            + pd.to_timedelta(draw.integers(0, 5 * 1440, n), unit="min"),
            "version": np.where(np.arange(n) < n // 2, "v1", "v2"),
            "probability": np.clip(truth * 0.3 + draw.random(n) * 0.7, 0, 1),
            "truth": truth,
        }
    )


def test_auc_by_day_is_the_mean_over_days_and_versions_weighted_by_rows() -> None:
    rows = scored()
    parts = [
        (roc_auc_score(part["truth"], part["probability"]), len(part))
        for _, part in rows.groupby([rows["event_time"].dt.date, "version"])
    ]
    wanted = np.average([auc for auc, _ in parts], weights=[n for _, n in parts])
    assert auc_by_day(rows, rows["probability"].to_numpy()) == round(float(wanted), 4)


def test_a_day_on_which_all_truths_are_alike_says_nothing() -> None:
    rows = scored().assign(truth=True)
    assert auc_by_day(rows, rows["probability"].to_numpy()) is None
    assert auc_by_day(rows[:0], np.zeros(0)) is None


def test_each_row_is_held_against_its_own_version_and_against_the_first() -> None:
    rows = scored()
    live = rows["probability"].to_numpy()
    offline = {"v2": live[::-1].copy(), "v1": live}
    found = compare(rows, offline, ["v1", "v2"])
    first, second = found["versions"]
    assert first["auc_by_day"] == first["auc_by_day_offline"] == first["first_version_offline"]
    assert second["auc_by_day"] == second["first_version_offline"] != second["auc_by_day_offline"]
    assert found["scored"] == first["scored"] + second["scored"] == len(rows)


def test_the_page_is_told_of_a_replay_that_runs_and_of_no_other(tmp_path: Path) -> None:
    assert standing.read(tmp_path, 100.0) is None
    standing.write(tmp_path, 100.0, "the training monthly-1", 0.25)
    found = standing.read(tmp_path, 101.0)
    assert found is not None
    assert (found["waits_for"], found["days_per_s"]) == ("the training monthly-1", 0.25)
    assert standing.read(tmp_path, 100.0 + 2 * standing.FRESH_S) is None
    (tmp_path / "replay.json").write_text("{")
    assert standing.read(tmp_path, 101.0) is None
