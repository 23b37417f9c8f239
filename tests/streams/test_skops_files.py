"""Which estimators survive, that their files are the same each time, and what is refused."""

from __future__ import annotations

import io
import json
import operator
import zipfile
from typing import Any

import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
    VotingClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    OneHotEncoder,
    OrdinalEncoder,
    StandardScaler,
)

from streams import skops_files
from streams.skops_files import UnsafeFile

N = 300
CHANCE = np.random.default_rng(0)
WORDS = pd.CategoricalDtype(pd.Index(["x", "y", "z"], dtype=object))
FRAME = pd.DataFrame(
    {
        "a": np.where(np.arange(N) % 7 == 0, np.nan, CHANCE.normal(size=N)),
        "b": CHANCE.normal(size=N),
        "c": pd.Categorical.from_codes(CHANCE.integers(-1, 3, N), dtype=WORDS),
    }
)
BINARY = (FRAME["b"] + CHANCE.normal(size=N) > 0).to_numpy()
CLASSES = np.array(["p", "q", "r"], object)[CHANCE.integers(0, 3, N)]
NUMBER = FRAME["b"].to_numpy() + CHANCE.normal(size=N)

SCALED = make_pipeline(SimpleImputer(), StandardScaler())
NUMBERS = make_column_selector(dtype_include="number")
ENCODED = make_column_transformer(
    (SCALED, ["a", "b"]), (OneHotEncoder(handle_unknown="ignore"), ["c"])
)
SELECTED = make_column_transformer(
    (SCALED, NUMBERS),
    (
        OrdinalEncoder(
            handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2
        ),
        make_column_selector(dtype_include="category"),
    ),
)
BINNED = make_column_transformer((make_pipeline(SimpleImputer(), KBinsDiscretizer(4)), ["a", "b"]))

ESTIMATORS: dict[str, tuple[Any, Any]] = {
    "logistic": (make_pipeline(ENCODED, LogisticRegression()), BINARY),
    "logistic of classes": (make_pipeline(SELECTED, LogisticRegression(max_iter=500)), CLASSES),
    "logistic of bins": (make_pipeline(BINNED, LogisticRegression()), BINARY),
    "ridge": (make_pipeline(ENCODED, Ridge()), NUMBER),
    "gradient descent": (make_pipeline(ENCODED, SGDClassifier(loss="log_loss")), BINARY),
    "trees": (HistGradientBoostingClassifier(categorical_features="from_dtype"), BINARY),
    "trees of classes": (HistGradientBoostingClassifier(early_stopping=True), CLASSES),
    "trees of numbers": (HistGradientBoostingRegressor(categorical_features="from_dtype"), NUMBER),
    "forest": (make_pipeline(SELECTED, RandomForestClassifier(10)), BINARY),
    "forest of numbers": (make_pipeline(ENCODED, RandomForestRegressor(10)), NUMBER),
    "extra trees": (make_pipeline(ENCODED, ExtraTreesClassifier(10)), CLASSES),
    "boosting": (make_pipeline(ENCODED, GradientBoostingClassifier(n_estimators=10)), BINARY),
    "calibrated": (make_pipeline(ENCODED, CalibratedClassifierCV(LogisticRegression())), BINARY),
    "neighbours": (make_pipeline(ENCODED, KNeighborsClassifier()), BINARY),
    "network": (make_pipeline(ENCODED, MLPClassifier(max_iter=5)), BINARY),
    "bayes": (make_pipeline(ENCODED, GaussianNB()), CLASSES),
    "vote": (
        VotingClassifier(
            [
                ("linear", make_pipeline(ENCODED, LogisticRegression())),
                ("trees", HistGradientBoostingClassifier(max_iter=5)),
            ],
            voting="soft",
        ),
        BINARY,
    ),
    "constant": (DummyClassifier(), BINARY),
    "constant number": (DummyRegressor(), NUMBER),
}


def fitted(name: str) -> Any:
    estimator, target = ESTIMATORS[name]
    estimator = clone(estimator)
    seeds = [p for p in estimator.get_params() if p.rpartition("__")[2] == "random_state"]
    return estimator.set_params(**dict.fromkeys(seeds, 0)).fit(FRAME, target)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ESTIMATORS)
def test_an_estimator_answers_as_before_and_its_file_is_the_same_each_time(name: str) -> None:
    estimator = fitted(name)
    data = skops_files.dump(estimator)
    loaded = skops_files.load(data)
    verb = "predict_proba" if hasattr(estimator, "predict_proba") else "predict"
    np.testing.assert_array_equal(getattr(loaded, verb)(FRAME), getattr(estimator, verb)(FRAME))
    assert skops_files.dump(fitted(name)) == data


class Malicious:
    """A type that only this test knows."""

    ran = False

    def __setstate__(self, state: object) -> None:
        Malicious.ran = True


def test_a_file_with_an_unknown_type_is_refused_before_anything_is_made() -> None:
    estimator = fitted("logistic")
    estimator.extra_ = Malicious()
    data = skops.io.dumps(estimator)
    with pytest.raises(UnsafeFile, match=r"no bundle may hold: .*Malicious"):
        skops_files.load(data)
    assert not Malicious.ran


@pytest.mark.parametrize("function", [operator.attrgetter("system"), print, Malicious.__setstate__])
def test_a_pipeline_that_calls_functions_is_refused_when_it_is_saved(function: Any) -> None:
    estimator = make_pipeline(FunctionTransformer(function), LogisticRegression())
    with pytest.raises(UnsafeFile):
        skops_files.dump(estimator)


def test_a_file_that_names_a_function_of_the_system_is_refused() -> None:
    with zipfile.ZipFile(io.BytesIO(skops_files.dump(fitted("constant")))) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    schema = json.loads(content["schema.json"])
    schema["__module__"], schema["__class__"] = "os", "system"
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in (content | {"schema.json": json.dumps(schema).encode()}).items():
            archive.writestr(name, data)
    with pytest.raises(UnsafeFile, match=r"os\.system"):
        skops_files.load(out.getvalue())


@pytest.mark.parametrize("cut", [0, 10, -10])
def test_a_truncated_file_is_refused(cut: int) -> None:
    data = skops_files.dump(fitted("constant"))
    with pytest.raises(UnsafeFile, match="not a skops file"):
        skops_files.load(data[:cut])


def test_a_file_that_would_unpack_to_more_than_memory_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = skops_files.dump(fitted("logistic"))
    monkeypatch.setattr(skops_files, "_LIMIT_BYTES", 1000)
    with pytest.raises(UnsafeFile, match="the limit is 1000"):
        skops_files.load(data)
