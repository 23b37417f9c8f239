from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from sklearn.compose import make_column_transformer
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from streams.bends import Bends
from streams.frame import columns_of, frame
from streams.layers import layers
from tests.small_tasks import TUMOUR, tumours

WORDS = {"shape": ["bent", "ragged", "round"]}
FRAME = frame(TUMOUR, columns_of(TUMOUR.features, tumours()), WORDS)
BENIGN = tumours()["benign"].to_numpy(float)
NUMBERS = ["radius", "texture", "smooth"]
SHAPE = (OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=30), ["shape"])


def network(*parts: Any, outputs: int = 1, **settings: Any) -> Any:
    """Fitted to tell benign tumours, or that and its contrary."""
    units = MLPRegressor(**({"hidden_layer_sizes": (8,)} | settings), max_iter=3, random_state=0)
    made = make_pipeline(make_column_transformer(*parts), units)
    target = BENIGN if outputs == 1 else np.column_stack([BENIGN, 1 - BENIGN])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return made.fit(FRAME, target)


@pytest.mark.parametrize(
    ("parts", "outputs"),
    [
        ([(Bends(), NUMBERS), SHAPE], 1),
        ([SHAPE, (Bends(), NUMBERS)], 2),
        ([(Bends(), ["texture"])], 1),
        ([SHAPE], 2),
    ],
)
@pytest.mark.parametrize("rows", [1, 569])
def test_a_network_gives_what_its_pipeline_gives(parts: Any, outputs: int, rows: int) -> None:
    fitted = network(*parts, outputs=outputs)
    used = [name for _, names in parts for name in names]
    features = [feature for feature in TUMOUR.features if feature.name in used]
    batch = FRAME[[f.name for f in features]].tail(rows).reset_index(drop=True)
    fast = layers(fitted, features, FRAME[[f.name for f in features]].head(40))
    assert fast is not None
    before = batch.copy()
    np.testing.assert_allclose(fast(batch), fitted.predict(batch), rtol=1e-9, atol=1e-9)
    assert batch.equals(before)  # it reads the frame's own memory, and must not write there


def test_missing_numbers_are_met() -> None:
    assert FRAME["texture"].isna().any()


@pytest.mark.parametrize(
    "other",
    [
        network((StandardScaler(), ["radius"]), SHAPE),
        network((Bends(), NUMBERS), SHAPE, activation="tanh"),
        network((Bends(), NUMBERS), SHAPE, hidden_layer_sizes=(4, 3)),
        make_pipeline(StandardScaler()),
        StandardScaler(),
    ],
)
def test_what_is_no_such_network_is_left_as_it_is(other: Any) -> None:
    assert layers(other, TUMOUR.features, FRAME.head(40)) is None
