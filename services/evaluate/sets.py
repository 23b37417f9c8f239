"""The data sets that estimates are judged on: predictions of a fixed model, with truth, in chunks.

NannyML's bundled sets come as NannyML exports them, with the features, chunk sizes and models of
its own tutorials. The flights are Weir's demo: a model that learned from January and February
2013, a reference of March and April, and the weeks from May to December.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from schemas.records import Kind

MONTHLY, WEEKLY = "MS", "W-MON"


@dataclass(frozen=True, eq=False)
class Predicted:
    """A model's predictions before and after a moment.

    reference: rows whose truth an estimator may learn from; analysis: rows that it estimates.
    Both have the features, ``answer``, ``truth``, ``chunk`` (its name), and ``probability`` (of
    true; binary) or ``p:<class>`` (multi-class), in order of time. categories: of the features,
    those that are names.
    """

    name: str
    kind: Kind
    classes: tuple[str, ...]
    features: tuple[str, ...]
    categories: tuple[str, ...]
    reference: pd.DataFrame
    analysis: pd.DataFrame


@dataclass(frozen=True)
class Bundled:
    """How a bundled set's columns are to be read. chunk: rows in one, or MONTHLY."""

    kind: Kind
    truth: str
    chunk: int | str
    features: tuple[str, ...]
    probability: str = "y_pred_proba"
    answer: str = "y_pred"
    classes: tuple[str, ...] = ()

    def read(self, name: str, folder: Path) -> Predicted:
        """The set from the files that NannyML's side exported."""
        parts = [pd.read_csv(folder / name / f"{p}.csv") for p in ("reference", "analysis")]
        categories = [f for f in self.features if not _is_number(parts, f)]
        for part in parts:
            part[categories] = part[categories].astype("str")
        made = [self._part(part) for part in parts]
        return Predicted(name, self.kind, self.classes, self.features, tuple(categories), *made)

    def _part(self, raw: pd.DataFrame) -> pd.DataFrame:
        part = raw[list(self.features)].copy()
        part["answer"], part["truth"] = raw[self.answer], raw[self.truth]
        if self.kind == "binary":
            part["answer"], part["truth"] = part["answer"].astype(int), part["truth"].astype(int)
            part["probability"] = raw[self.probability]
        for label in self.classes:
            part[f"p:{label}"] = raw[f"{self.probability}_{label}"]
        if isinstance(self.chunk, int):
            part["chunk"] = [f"chunk_{i:03}" for i in np.arange(len(raw)) // self.chunk]
        else:
            part["chunk"] = periods(pd.to_datetime(raw["timestamp"]), self.chunk)
        return part


def _is_number(parts: Sequence[pd.DataFrame], feature: str) -> bool:
    return all(part[feature].dtype.kind in "if" for part in parts)


def periods(times: pd.Series, every: str) -> pd.Series:
    """The first day of the month or week that each time is in, as text."""
    frequency = {"MS": "M", WEEKLY: "W-SUN"}[every]
    periods: pd.Series = times.dt.to_period(frequency).dt.start_time.dt.strftime("%Y-%m-%d")
    return periods


_CAR_LOAN = Bundled(
    "binary",
    "repaid",
    5000,
    (
        *("car_value", "salary_range", "debt_to_income_ratio", "loan_length"),
        *("repaid_loan_on_prev_car", "size_of_downpayment", "driver_tenure"),
    ),
)
BUNDLED = {
    "synthetic_binary": Bundled(
        "binary",
        "work_home_actual",
        5000,
        (
            *("distance_from_office", "salary_range", "gas_price_per_litre"),
            *("public_transportation_cost", "wfh_prev_workday", "workday", "tenure"),
        ),
    ),
    "car_loan": _CAR_LOAN,
    "car_loan_data_quality": _CAR_LOAN,
    "california_housing": Bundled(
        "binary",
        "clf_target",
        MONTHLY,
        (
            *("MedInc", "HouseAge", "AveRooms", "AveBedrms"),
            *("Population", "AveOccup", "Latitude", "Longitude"),
        ),
    ),
    "us_census_ma": Bundled(
        "binary",
        "employed",
        5000,
        (
            *("AGEP", "SCHL", "MAR", "RELP", "DIS", "ESP", "CIT", "MIG"),
            *("MIL", "ANC", "NATIVITY", "DEAR", "DEYE", "DREM", "SEX", "RAC1P"),
        ),
        "predicted_probability",
        "prediction",
    ),
    "synthetic_multiclass": Bundled(
        "multiclass",
        "y_true",
        6000,
        (
            *("acq_channel", "app_behavioral_score", "requested_credit_limit", "app_channel"),
            *("credit_bureau_score", "stated_income", "is_customer"),
        ),
        classes=("prepaid_card", "highstreet_card", "upmarket_card"),
    ),
    "car_price": Bundled(
        "regression",
        "y_true",
        6000,
        (
            *("car_age", "km_driven", "price_new", "accident_count"),
            *("door_count", "fuel", "transmission"),
        ),
    ),
}
