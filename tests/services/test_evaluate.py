import json
from pathlib import Path

import pandas as pd
import pytest

from services.evaluate.comparison import Compared
from services.evaluate.report import BEGIN, END, ReportError, derived, plain, renew
from services.evaluate.sets import MONTHLY, Bundled
from services.evaluate.weir import estimate
from tests.services.command_line import weir
from tests.streams.test_estimates import clicks

FOUND = {
    "some": {
        "accuracy": Compared(3, 0.9, 0.01, 0.02, 0.95, 2, 0.005),
        "log_loss": Compared(3, 0.5, 0.03, 0.04, 0.95, 2, 0.005),
    }
}


def test_figures_go_between_the_marks_of_the_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    renew(page, FOUND)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith(f"{END}\nafter\n")
    assert "old" not in text
    own, derived_ones = text.split("Log loss, which NannyML does not estimate")
    assert "| some | accuracy | 3 | 0.9000 | 0.0100 | 0.0200 | 0.50 | 95% | 2 | 0.0050 |" in own
    assert "log_loss" not in own
    assert "| some | log_loss | 3 | 0.5000 | 0.0300 | 0.0400 | 0.75 |" in derived_ones


def test_a_page_without_marks_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing")
    with pytest.raises(ReportError, match="lacks the marks"):
        renew(page, FOUND)
    assert page.read_text() == "nothing"


def test_a_metric_that_nannyml_does_not_estimate_is_not_said_to_be_its_own() -> None:
    assert derived(FOUND) == {
        "some": {"log_loss": {"weir_mae": 0.03, "from_cbpe_probabilities_mae": 0.04}}
    }


def test_the_last_line_holds_both_sides_by_set_and_metric() -> None:
    assert json.loads(json.dumps(plain(FOUND))) == {
        "some": {"accuracy": {"weir_mae": 0.01, "nannyml_mae": 0.02}}
    }


def test_a_bundled_set_is_cut_by_rows_or_by_month(tmp_path: Path) -> None:
    raw = pd.DataFrame(
        {
            "x": [1.0, 2.0, 3.0],
            "name": ["a", None, "b"],
            "hit": [1, 0, 1],
            "y_pred_proba": [0.9, 0.2, 0.6],
            "y_pred": [1, 0, 1],
            "timestamp": ["2020-01-30", "2020-01-31", "2020-02-01"],
        }
    )
    (tmp_path / "set").mkdir()
    for part in ("reference", "analysis"):
        raw.to_csv(tmp_path / "set" / f"{part}.csv", index=False)
    by_rows = Bundled("binary", "hit", 2, ("x", "name")).read("set", tmp_path)
    by_month = Bundled("binary", "hit", MONTHLY, ("x", "name")).read("set", tmp_path)
    assert by_rows.analysis["chunk"].tolist() == ["chunk_000", "chunk_000", "chunk_001"]
    assert by_month.analysis["chunk"].tolist() == ["2020-01-01", "2020-01-01", "2020-02-01"]
    assert by_rows.categories == ("name",)
    assert by_rows.analysis["name"].isna().tolist() == [False, True, False]


def test_estimates_see_no_truth_of_the_chunk(tmp_path: Path) -> None:
    frame, answers, truth = clicks(1_200, seed=1)
    raw = frame.assign(
        hit=truth.astype(int), y_pred_proba=answers.probability, y_pred=answers.answer.astype(int)
    )
    (tmp_path / "set").mkdir()
    found = []
    for flipped in (False, True):
        raw.head(600).to_csv(tmp_path / "set" / "reference.csv", index=False)
        later = raw.tail(600).assign(hit=lambda t, by=flipped: t["hit"] ^ by)
        later.to_csv(tmp_path / "set" / "analysis.csv", index=False)
        data = Bundled("binary", "hit", 200, ("x", "hidden", "kind")).read("set", tmp_path)
        found.append(estimate(data))
    once, again = found
    assert {name: chunk.estimates for name, chunk in once.items()} == {
        name: chunk.estimates for name, chunk in again.items()
    }
    assert once["chunk_000"].realised != again["chunk_000"].realised


def test_an_unknown_data_set_is_told_with_those_there_are() -> None:
    done = weir("evaluate", "estimates", "--data", "nothing", env={})
    assert done.returncode == 2
    assert "no data set nothing; there are synthetic_binary" in done.stderr
