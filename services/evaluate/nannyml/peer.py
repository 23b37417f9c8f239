"""NannyML's side of the comparison; run by the Python of NannyML's own environment.

    python peer.py export FOLDER
        its bundled data sets, as FOLDER/<name>/reference.csv and analysis.csv
    python peer.py estimate FOLDER
        of FOLDER/task.json, reference.csv and analysis.csv makes estimates.json

The estimators are used as NannyML's tutorials use them: CBPE with its isotonic calibration
(0.13.1's only one, and applied where its own test finds that it helps), DLE with its default
gradient boosting. Its answers on log loss, which CBPE has no metric for, are the expected loss
under the probabilities that CBPE itself calibrated.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any

os.environ["NML_DISABLE_USAGE_LOGGING"] = "1"
warnings.filterwarnings("ignore")

import nannyml  # noqa: E402
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from nannyml.chunk import Chunk, Chunker  # noqa: E402
from nannyml.datasets import datasets  # noqa: E402
from nannyml.performance_estimation.confidence_based import cbpe  # noqa: E402

BUNDLED = {
    "synthetic_binary": datasets.load_synthetic_binary_classification_dataset,
    "car_loan": datasets.load_synthetic_car_loan_dataset,
    "car_loan_data_quality": datasets.load_synthetic_car_loan_data_quality_dataset,
    "california_housing": datasets.load_modified_california_housing_dataset,
    "us_census_ma": datasets.load_us_census_ma_employment_data,
    "synthetic_multiclass": datasets.load_synthetic_multiclass_classification_dataset,
    "car_price": datasets.load_synthetic_car_price_dataset,
}
"""All but Titanic, which has no model's predictions."""

EPSILON = float(np.finfo(np.float64).eps)


class ByColumn(Chunker):  # type: ignore[misc]
    """The chunks that the file's column ``chunk`` names."""

    def _split(self, data: pd.DataFrame) -> list[Chunk]:
        return [Chunk(str(key), rows) for key, rows in data.groupby("chunk", sort=False)]


def export(folder: Path) -> None:
    """Write the bundled sets, targets joined to the rows that they belong to."""
    for name, load in BUNDLED.items():
        reference, analysis, targets = load()
        (folder / name).mkdir(parents=True, exist_ok=True)
        reference.to_csv(folder / name / "reference.csv", index=False)
        analysis.merge(targets, on="id").to_csv(folder / name / "analysis.csv", index=False)


def estimate(folder: Path) -> None:
    """Fit on the reference, estimate every chunk of the analysis."""
    task = json.loads((folder / "task.json").read_text())
    reference, analysis = (
        pd.read_csv(folder / f"{name}.csv", dtype=dict.fromkeys(task["categories"], "category"))
        for name in ("reference", "analysis")
    )
    found = (_losses if task["kind"] == "regression" else _confidences)(task, reference, analysis)
    (folder / "estimates.json").write_text(json.dumps(found))


def _losses(
    task: dict[str, Any], reference: pd.DataFrame, analysis: pd.DataFrame
) -> dict[str, Any]:
    estimator = nannyml.DLE(
        feature_column_names=task["features"],
        y_pred="answer",
        y_true="truth",
        metrics=["mae", "rmse"],
        chunker=ByColumn(),
    )
    estimator.fit(reference)
    return _table(estimator.estimate(analysis), ["mae", "rmse"])


def _confidences(
    task: dict[str, Any], reference: pd.DataFrame, analysis: pd.DataFrame
) -> dict[str, Any]:
    classes = task["classes"]
    scores: Any = "probability" if not classes else {name: f"p:{name}" for name in classes}
    metrics = ["accuracy", "roc_auc"]
    estimator = nannyml.CBPE(
        problem_type="classification_multiclass" if classes else "classification_binary",
        y_pred_proba=scores,
        y_pred="answer",
        y_true="truth",
        metrics=metrics,
        chunker=ByColumn(),
    )
    estimator.fit(reference)
    found = _table(estimator.estimate(analysis), metrics)
    losses = _expected_log_loss(estimator, analysis, scores)
    for key, rows in losses.groupby(analysis["chunk"].to_numpy()):
        found[str(key)]["log_loss"] = float(rows.mean())
    return found


def _expected_log_loss(estimator: nannyml.CBPE, data: pd.DataFrame, scores: Any) -> pd.Series:
    if isinstance(scores, dict):
        raw = data[list(scores.values())].to_numpy()
        calibrated = cbpe._calibrate_predicted_probabilities(
            data, "truth", scores, estimator._calibrators
        )[list(scores.values())].to_numpy()
    else:
        p = data[scores].to_numpy()
        q = estimator.calibrator.calibrate(p) if estimator.needs_calibration else p
        raw, calibrated = np.column_stack([1 - p, p]), np.column_stack([1 - q, q])
    # As log loss is realised: a probability of 0 is clipped.
    return pd.Series(-(calibrated * np.log(np.clip(raw, EPSILON, 1))).sum(axis=1))


def _table(result: Any, metrics: list[str]) -> dict[str, Any]:
    table = result.filter(period="analysis").to_df(multilevel=False)
    return {
        str(row["chunk_key"]): {name: _number(row[f"{name}_value"]) for name in metrics}
        for row in table.to_dict("records")
    }


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


if __name__ == "__main__":
    {"export": export, "estimate": estimate}[sys.argv[1]](Path(sys.argv[2]))
