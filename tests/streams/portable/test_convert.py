"""Versions in ONNX: the same answers as scikit-learn's, for whatever can be converted."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import (
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    RobustScaler,
    StandardScaler,
)
from sklearn.tree import DecisionTreeRegressor

from schemas.features import Category
from streams.bends import Bends
from streams.portable.convert import convert
from streams.portable.graph import NotConvertible
from streams.portable.parity import Parity, compare
from streams.portable.session import Session
from streams.task import Task
from streams.training.data import Dataset, prepare
from streams.training.fitting import bare_version, fit
from streams.training.gate import estimator as gate_estimator
from streams.version import Version
from tests.small_tasks import DIABETES, TUMOUR, WINE

NUMBERS = ["radius", "texture", "smooth"]
QUICK: dict[str, Any] = {"max_iter": 12, "min_samples_leaf": 5, "max_leaf_nodes": 7}
Columns = tuple[Any, list[str]]


@lru_cache
def data(name: str) -> Dataset:
    task = {task.name: task for task in (TUMOUR, WINE, DIABETES)}[name]
    assert task.history is not None
    return prepare(task, task.history())


def tumour(numbers: Any, last: Any, words: Any = None) -> Any:
    """A pipeline for the task with every type of feature."""
    words = words or OneHotEncoder(handle_unknown="ignore")
    return make_pipeline(make_column_transformer((numbers, NUMBERS), (words, ["shape"])), last)


def scaled(scaler: Any, **imputer: Any) -> Any:
    return make_pipeline(SimpleImputer(**imputer), scaler)


ordinal = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
EXACT: dict[str, tuple[Task, Callable[[], Any]]] = {
    "linear": (TUMOUR, lambda: tumour(scaled(StandardScaler()), LogisticRegression())),
    "linear, indicators, rare words": (
        TUMOUR,
        lambda: tumour(
            scaled(RobustScaler(), add_indicator=True, strategy="median"),
            LogisticRegression(),
            OneHotEncoder(min_frequency=60, handle_unknown="infrequent_if_exist"),
        ),
    ),
    "linear, chosen by type": (
        TUMOUR,
        lambda: make_pipeline(
            make_column_transformer(
                (scaled(MinMaxScaler()), make_column_selector(dtype_include=float)),
                (make_pipeline(SimpleImputer(strategy="most_frequent"), ordinal), ["shape"]),
            ),
            StandardScaler(),
            LogisticRegression(),
        ),
    ),
    "boosted": (
        TUMOUR,
        lambda: HistGradientBoostingClassifier(categorical_features="from_dtype", **QUICK),
    ),
    "boosted after an encoder": (
        TUMOUR,
        lambda: make_pipeline(
            make_column_transformer((ordinal, ["shape"]), remainder="passthrough"),
            HistGradientBoostingClassifier(categorical_features=[0], **QUICK),
        ),
    ),
    "forest": (
        TUMOUR,
        lambda: tumour("passthrough", RandomForestClassifier(8, max_depth=5), ordinal),
    ),
    "sigmoid": (
        TUMOUR,
        lambda: CalibratedClassifierCV(
            HistGradientBoostingClassifier(categorical_features="from_dtype", **QUICK), cv=2
        ),
    ),
    "isotonic": (
        TUMOUR,
        lambda: CalibratedClassifierCV(
            tumour("passthrough", RandomForestClassifier(8, max_depth=5), ordinal),
            method="isotonic",
            cv=2,
        ),
    ),
    "temperature": (
        TUMOUR,
        lambda: CalibratedClassifierCV(
            tumour(scaled(StandardScaler()), LogisticRegression()), method="temperature", cv=2
        ),
    ),
    "three classes, linear": (WINE, lambda: make_pipeline(StandardScaler(), LogisticRegression())),
    "three classes, boosted": (WINE, lambda: HistGradientBoostingClassifier(**QUICK)),
    "three classes, forest": (WINE, lambda: RandomForestClassifier(6, max_depth=4)),
    "three classes, isotonic": (
        WINE,
        lambda: CalibratedClassifierCV(RandomForestClassifier(6), method="isotonic", cv=2),
    ),
    "three classes, temperature": (
        WINE,
        lambda: CalibratedClassifierCV(
            HistGradientBoostingClassifier(**QUICK), method="temperature", cv=2
        ),
    ),
    "ridge": (DIABETES, lambda: make_pipeline(StandardScaler(), Ridge())),
    "boosted regression": (DIABETES, lambda: HistGradientBoostingRegressor(**QUICK)),
    "boosted counts": (
        DIABETES,
        lambda: HistGradientBoostingRegressor(loss="poisson", **QUICK),
    ),
    "a stump of one leaf": (
        DIABETES,
        lambda: HistGradientBoostingRegressor(max_iter=2, min_samples_leaf=10_000),
    ),
    "forest regression": (DIABETES, lambda: RandomForestRegressor(8, max_depth=5)),
    "random trees": (DIABETES, lambda: ExtraTreesRegressor(8, max_depth=5)),
    "a tree": (DIABETES, lambda: DecisionTreeRegressor(max_depth=5)),
}


def ported(task: Task, estimator: Any, gated: bool = False) -> Parity:
    rows = data(task.name)
    model = fit(task, estimator, rows.frame, rows.target)
    gate = None
    if gated:
        wrongs = np.arange(len(rows.frame)) % 3 == 0
        gate = fit(task, gate_estimator(task), rows.frame, wrongs)
    version = bare_version(task, model, gate, rows.frame.head(16))
    made = convert(task, model, rows.frame.head(16), gate)
    assert made == convert(task, model, rows.frame.head(16), gate)  # byte for byte
    session = Session(made)
    assert session.has_gate == gated
    return compare(version, session, rows.frame)


@pytest.mark.parametrize("name", EXACT)
def test_what_is_converted_here_computes_in_float64(name: str) -> None:
    task, make = EXACT[name]
    parity = ported(task, make())
    assert parity.holds
    assert parity.largest < 1e-12


@pytest.mark.parametrize(
    ("task", "estimator"),
    [
        (TUMOUR, tumour(scaled(StandardScaler()), MLPClassifier((5,), max_iter=30))),
        (WINE, make_pipeline(StandardScaler(), GaussianNB())),
        (
            DIABETES,
            make_pipeline(StandardScaler(), MLPRegressor(hidden_layer_sizes=(4,), max_iter=30)),
        ),
    ],
)
def test_what_skl2onnx_converts_is_within_the_stated_tolerance(task: Task, estimator: Any) -> None:
    assert ported(task, estimator).holds


@pytest.mark.parametrize("task", [TUMOUR, WINE, DIABETES], ids=lambda task: task.name)
def test_the_gate_is_in_the_file_where_it_is_wanted(task: Task) -> None:
    parity = ported(task, next(iter(task.candidates.values())), gated=True)
    assert parity.largest < 1e-12


CALIBRATIONS: list[tuple[Task, dict[str, Any]]] = [
    (TUMOUR, {"method": "temperature", "slope": [0.7]}),
    (TUMOUR, {"method": "sigmoid", "slope": [1.3], "intercept": [-0.2]}),
    (TUMOUR, {"method": "isotonic", "x": [[0.1, 0.4, 0.4, 0.9]], "y": [[0.0, 0.2, 0.3, 1.0]]}),
    (WINE, {"method": "temperature", "slope": [0.6]}),
    (WINE, {"method": "sigmoid", "slope": [1.3, 0.8, 1.0], "intercept": [-0.2, 0.1, 0.0]}),
    (WINE, {"method": "isotonic", "x": [[0.0, 1.0]] * 3, "y": [[0.1, 0.9], [0.0, 0.8], [0.2, 1]]}),
]


@pytest.mark.parametrize(("task", "calibration"), CALIBRATIONS)
def test_a_versions_own_calibration_is_in_the_file(task: Task, calibration: Any) -> None:
    rows = data(task.name)
    model = fit(task, next(iter(task.candidates.values())), rows.frame, rows.target)
    few = rows.frame.head(16)
    version = bare_version(task, model, samples=few, calibration=calibration)
    for calibrator in (version.calibrator, None):  # in the file, or after it
        session = Session(convert(task, model, few, calibrator=calibrator))
        assert session.calibrated == (calibrator is not None)
        parity = compare(version, session, rows.frame)
        assert parity.holds
        assert parity.largest < 1e-9


@pytest.mark.parametrize("task", [TUMOUR, WINE], ids=lambda task: task.name)
def test_a_gate_that_foresees_doubts_is_in_the_file(task: Task) -> None:
    rows = data(task.name)
    model = fit(task, next(iter(task.candidates.values())), rows.frame, rows.target)
    names = [f.name for f in task.inputs if not isinstance(f, Category)]
    units = MLPRegressor(hidden_layer_sizes=(5,), max_iter=30, random_state=0)
    gate = make_pipeline(make_column_transformer((Bends(), names)), units)
    given = model.predict_proba(rows.frame)
    gate.fit(rows.frame, given[:, 1] if task.kind == "binary" else given)
    few = rows.frame.head(16)
    manifest = {
        **bare_version(task, model).manifest,
        "gate": {"threshold": 0.3, "scale": [-1, 0.5]},
    }
    version = Version(task, manifest, model, gate, samples=few)
    session = Session(convert(task, model, few, gate, scale=[-1, 0.5]))
    assert session.has_gate
    assert compare(version, session, rows.frame).largest < 1e-9


class Unknown(LogisticRegression):  # type: ignore[misc]
    """An estimator of the user's own."""


def test_what_cannot_be_converted_is_refused_by_name() -> None:
    cases: list[tuple[Any, str]] = [
        (tumour(SimpleImputer(), Unknown()), "Unknown"),
        (
            make_pipeline(
                make_column_transformer((OneHotEncoder(), ["shape", "smooth"])),
                LogisticRegression(),
            ),
            "categories and numbers together",
        ),
    ]
    for estimator, why in cases:
        rows = data("tumour")
        frame = rows.frame.fillna({name: 0.0 for name in NUMBERS})
        model = fit(TUMOUR, estimator, frame, rows.target)
        with pytest.raises(NotConvertible, match=why):
            convert(TUMOUR, model, rows.frame.head(16))


def test_a_difference_is_found_wherever_it_is() -> None:
    rows = data("tumour")
    candidate = TUMOUR.candidates["trees"]
    one, other = (
        fit(TUMOUR, candidate, rows.frame.iloc[part], rows.target[part])
        for part in (slice(0, 300), slice(250, None))
    )
    version = bare_version(TUMOUR, one, samples=rows.frame.head(16))
    parity = compare(version, Session(convert(TUMOUR, other, rows.frame.head(16))), rows.frame)
    assert not parity.holds
    assert parity.decisions > 0
    assert parity.largest > 0.1
