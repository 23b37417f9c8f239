from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    KBinsDiscretizer,
    OneHotEncoder,
    PolynomialFeatures,
    RobustScaler,
    StandardScaler,
)

from streams.additive import additive
from streams.frame import columns_of, frame
from streams.training.gate import estimator
from tests.small_tasks import TUMOUR, tumours

FRAME = frame(
    TUMOUR, columns_of(TUMOUR.features, tumours()), {"shape": ["bent", "ragged", "round"]}
)
BENIGN = tumours()["benign"].to_numpy(bool)
NUMBERS = ["radius", "texture", "smooth"]


def scaled(*steps: Any) -> Any:
    return make_pipeline(
        make_column_transformer(
            (make_pipeline(SimpleImputer(add_indicator=True), *steps), NUMBERS),
            (OneHotEncoder(min_frequency=30, handle_unknown="infrequent_if_exist"), ["shape"]),
        ),
        LogisticRegression(),
    )


@pytest.mark.parametrize(
    "pipeline",
    [
        scaled(StandardScaler()),
        scaled(RobustScaler()),
        scaled(),
        estimator(TUMOUR),
        TUMOUR.candidates["linear"],
        make_pipeline(
            make_column_transformer((SimpleImputer(), ["texture"]), remainder="drop"), Ridge()
        ),
        make_pipeline(
            make_column_transformer(("passthrough", ["radius"]), (OneHotEncoder(), ["shape"])),
            LinearRegression(),
        ),
    ],
)
def test_a_linear_pipeline_is_the_sum_that_is_read_off(pipeline: Any) -> None:
    pipeline.fit(FRAME, BENIGN)
    terms = additive(pipeline, TUMOUR.features, FRAME.head(40))
    assert terms is not None
    classifier = hasattr(pipeline, "decision_function")
    expected = pipeline.decision_function(FRAME) if classifier else pipeline.predict(FRAME)
    np.testing.assert_allclose(terms(FRAME), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "pipeline",
    [
        scaled(StandardScaler(), PolynomialFeatures(2)),
        make_pipeline(
            make_column_transformer((KBinsDiscretizer(4), ["radius"])), LogisticRegression()
        ),
        TUMOUR.candidates["trees"],
    ],
)
def test_what_is_no_sum_of_terms_is_left_as_it_is(pipeline: Any) -> None:
    pipeline.fit(FRAME, BENIGN)
    assert additive(pipeline, TUMOUR.features, FRAME.head(40)) is None


def test_a_number_that_is_never_null_does_not_spoil_the_rows_around_a_nan() -> None:
    pipeline = scaled(StandardScaler()).fit(FRAME, BENIGN)
    terms = additive(pipeline, TUMOUR.features, FRAME.head(40))
    assert terms is not None
    batch = FRAME.head(3).copy()
    before = terms(batch)
    batch.loc[1, "radius"] = np.nan
    after = terms(batch)
    assert after[[0, 2]].tolist() == before[[0, 2]].tolist()
    assert np.isnan(after[1])


def test_a_constant_sample_is_enough() -> None:
    pipeline = scaled(StandardScaler()).fit(FRAME, BENIGN)
    sample = pd.concat([FRAME.head(1)] * 3, ignore_index=True)
    assert additive(pipeline, TUMOUR.features, sample) is not None
