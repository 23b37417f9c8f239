from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from streams.frame import columns_of, frame
from streams.trees import without_encoder
from tests.small_tasks import TUMOUR, tumours

WORDS = {"shape": ["ragged", "never met", "bent", "round"]}
FRAME = frame(TUMOUR, columns_of(TUMOUR.features, tumours()), WORDS)
BENIGN = tumours()["benign"].to_numpy(bool)


@pytest.mark.parametrize(
    ("model", "target"),
    [
        (HistGradientBoostingClassifier(categorical_features="from_dtype", max_iter=10), BENIGN),
        (HistGradientBoostingRegressor(max_iter=10), tumours()["radius"].to_numpy(float)),
        (HistGradientBoostingClassifier(categorical_features=["shape"], max_iter=10), BENIGN),
    ],
)
def test_the_quick_encoder_changes_no_answer(model: Any, target: Any) -> None:
    model.fit(FRAME, target)
    quick = without_encoder(model, FRAME.head(16))
    assert quick is not model
    for batch in (FRAME, FRAME.head(1), FRAME[FRAME["shape"].isna()]):
        verb = "predict_proba" if hasattr(model, "predict_proba") else "predict"
        np.testing.assert_array_equal(getattr(quick, verb)(batch), getattr(model, verb)(batch))


def test_the_given_model_is_not_changed() -> None:
    model = HistGradientBoostingClassifier(max_iter=5).fit(FRAME, BENIGN)
    encoder = model._preprocessor
    without_encoder(model, FRAME.head(16))
    assert model._preprocessor is encoder


@pytest.mark.parametrize(
    "model",
    [
        TUMOUR.candidates["linear"],
        HistGradientBoostingClassifier(max_iter=5),  # of numbers only: it has no encoder
    ],
)
def test_other_models_are_left_as_they_are(model: Any) -> None:
    inputs = FRAME if not isinstance(model, HistGradientBoostingClassifier) else FRAME[["radius"]]
    model.fit(inputs, BENIGN)
    assert without_encoder(model, inputs.head(16)) is model


@pytest.mark.parametrize("damage", ["named_transformers_", "is_categorical_"])
def test_an_encoder_that_is_not_as_expected_is_left_in_its_place(damage: str) -> None:
    model = HistGradientBoostingClassifier(max_iter=5).fit(FRAME, BENIGN)
    if damage == "is_categorical_":
        model.is_categorical_ = ~model.is_categorical_
    else:
        model._preprocessor = object()
    assert without_encoder(model, FRAME.head(16)) is model
