from __future__ import annotations

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from streams.doubts import doubts
from streams.frame import columns_of, frame
from streams.skops_files import dump, load
from streams.training.imitation import imitate, mixed
from tests.small_tasks import TUMOUR, WINE, tumours, wines

FRAME = frame(TUMOUR, columns_of(TUMOUR.features, tumours()), {"shape": ["bent", "round"]})
BENIGN = tumours()["benign"].to_numpy(bool)


def test_a_network_follows_what_it_imitates() -> None:
    models = [
        HistGradientBoostingClassifier(categorical_features="from_dtype", max_iter=20)
        for _ in range(2)
    ]
    for i, model in enumerate(models):
        model.fit(FRAME[i::2], BENIGN[i::2])
    network = imitate(TUMOUR, models, FRAME)
    wanted = np.mean([model.predict_proba(FRAME)[:, 1] for model in models], axis=0)
    assert np.corrcoef(network.predict(FRAME), wanted)[0, 1] > 0.8
    again = load(dump(network))
    np.testing.assert_array_equal(again.predict(FRAME), network.predict(FRAME))


def test_the_same_rows_give_the_same_network() -> None:
    model = TUMOUR.candidates["linear"].fit(FRAME, BENIGN)
    assert dump(imitate(TUMOUR, [model], FRAME)) == dump(imitate(TUMOUR, [model], FRAME))


def test_classes_are_in_the_tasks_order() -> None:
    rows = frame(WINE, columns_of(WINE.features, wines()), {})
    truth = wines()["cultivar"].to_numpy(object)
    network = imitate(WINE, [WINE.candidates["linear"].fit(rows, truth)], rows)
    given = network.predict(rows)
    assert given.shape == (len(rows), len(WINE.classes))
    assert (np.array(WINE.classes, object)[given.argmax(axis=1)] == truth).mean() > 0.8


def test_mixed_rows_hold_what_some_row_holds() -> None:
    made = mixed(FRAME, 300, seed=1)
    assert len(made) == 300
    assert (made.dtypes == FRAME.dtypes).all()
    for name in FRAME:
        assert set(made[name].dropna()) <= set(FRAME[name].dropna())
    both = made.merge(FRAME.drop_duplicates(), how="inner")
    assert 0 < len(both) < 300  # some rows are as they were, some are not
    assert mixed(FRAME, 300, seed=1).equals(made)


@pytest.mark.parametrize("given", [np.array([0.1, 0.5, 0.8]), np.array([[0.7, 0.3], [0.2, 0.8]])])
def test_doubts_are_log_odds_that_the_likeliest_is_wrong(given: np.ndarray) -> None:
    right = np.maximum(given, 1 - given) if given.ndim == 1 else given.max(axis=1)
    np.testing.assert_allclose(doubts(given), np.log((1 - right) / right), atol=1e-12)


def test_sums_beyond_a_probability_have_finite_odds() -> None:
    assert np.isfinite(doubts(np.array([-0.3, 1.4, 0.0, 1.0]))).all()
