"""Three small tasks on scikit-learn's bundled data: one of each kind, quick to train."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from streams.task import Binary, Boolean, Category, MultiClass, Number, Regression, Task, Training

SCALED = make_pipeline(SimpleImputer(), StandardScaler())


def timed(table: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """The table shuffled, a row an hour from 1 January 2024, with request ids."""
    table = table.sample(frac=1, random_state=seed, ignore_index=True)
    table["event_time"] = pd.date_range("2024-01-01", periods=len(table), freq="h", tz="UTC")
    table["request_id"] = [f"row-{i:04}" for i in range(len(table))]
    return table


def tumours() -> pd.DataFrame:
    """Breast cancer: 569 rows; some numbers missing, a category and a boolean made of numbers."""
    data = load_breast_cancer(as_frame=True).frame
    table = pd.DataFrame(
        {
            "radius": data["mean radius"],
            "texture": data["mean texture"].where(data.index % 10 != 3),
            "smooth": data["mean smoothness"] < 0.1,
            "shape": pd.cut(data["mean concavity"], 3, labels=["round", "bent", "ragged"]).astype(
                object
            ),
            "benign": data["target"] == 1,
        }
    )
    table.loc[data.index % 17 == 5, "shape"] = None
    return timed(table)


def tumour_task(**changes: object) -> Task:
    """A binary task with every type of feature."""
    settings: dict[str, object] = {
        "training": Training(gate_must_pay=False),  # no time decides what a test sees
        "name": "tumour",
        "features": [
            Number("radius", unit="mm", low=0),
            Number("texture", nullable=True),
            Boolean("smooth"),
            Category("shape", nullable=True),
        ],
        "target": Binary("benign"),
        "candidates": {
            "linear": make_pipeline(
                make_column_transformer(
                    (SCALED, ["radius", "texture", "smooth"]),
                    (OneHotEncoder(handle_unknown="ignore"), ["shape"]),
                ),
                LogisticRegression(),
            ),
            "trees": HistGradientBoostingClassifier(categorical_features="from_dtype", max_iter=20),
        },
        "fallback": False,
        "segments": ["shape"],
        "history": tumours,
    }
    return Task(**(settings | changes))  # type: ignore[arg-type]


def two_eras(old: int = 300, new: int = 1200) -> pd.DataFrame:
    """Rows of `tumour_task`, of which a retrained version is better overall and worse where the
    shape is bent: an era in which large radii are malignant, and one in which they are benign
    except for bent ones, whose labels are wrong in all but the newest sixth of it."""
    draw = np.random.default_rng(5)
    n, shapes = old + new, np.array(["round", "bent", "ragged"], object)
    table = pd.DataFrame(
        {
            "radius": draw.uniform(10, 20, n),
            "texture": draw.normal(20, 4, n),
            "smooth": draw.random(n) < 0.5,
            "shape": draw.choice(shapes, n, p=[0.33, 0.34, 0.33]),
        }
    )
    large, bent = table["radius"] > 15, table["shape"] == "bent"
    later, wrong = np.arange(n) >= old, np.arange(n) < old + new * 0.85
    odd = draw.random(n) < 0.04  # so that no model is sure of itself
    table["benign"] = large ^ (~later | (bent & ~wrong)) ^ odd
    table["event_time"] = pd.date_range("2024-03-01", periods=n, freq="h", tz="UTC")
    table["request_id"] = [f"era-{i:04}" for i in range(n)]
    return table


def wines() -> pd.DataFrame:
    """Wine: 178 rows of three cultivars."""
    data = load_wine(as_frame=True).frame
    table = data[["alcohol", "hue", "proline"]].copy()
    table["cultivar"] = [f"cultivar-{n}" for n in data["target"]]
    return timed(table)


def wine_task(**changes: object) -> Task:
    """A multi-class task whose classes are not in the order of their names."""
    settings: dict[str, object] = {
        "training": Training(gate_must_pay=False),  # no time decides what a test sees
        "name": "wine",
        "features": [Number("alcohol"), Number("hue"), Number("proline")],
        "target": MultiClass("cultivar", classes=["cultivar-2", "cultivar-0", "cultivar-1"]),
        "candidates": {"linear": make_pipeline(StandardScaler(), LogisticRegression())},
        "fallback": "cultivar-1",
        "history": wines,
    }
    return Task(**(settings | changes))  # type: ignore[arg-type]


def patients() -> pd.DataFrame:
    """Diabetes: 442 rows."""
    data = load_diabetes(as_frame=True, scaled=False).frame
    table = data[["age", "bmi", "bp"]].assign(female=data["sex"] == 2, progression=data["target"])
    return timed(table)


def diabetes_task(**changes: object) -> Task:
    """A regression."""
    settings: dict[str, object] = {
        "training": Training(gate_must_pay=False),  # no time decides what a test sees
        "name": "diabetes",
        "features": [Number("age"), Number("bmi"), Number("bp"), Boolean("female")],
        "target": Regression("progression"),
        "candidates": {
            "forest": RandomForestRegressor(20, max_depth=6),
            "linear": make_pipeline(StandardScaler(), Ridge()),
        },
        "fallback": 150.0,
        "history": patients,
    }
    return Task(**(settings | changes))  # type: ignore[arg-type]


TUMOUR, WINE, DIABETES = tumour_task(), wine_task(), diabetes_task()
