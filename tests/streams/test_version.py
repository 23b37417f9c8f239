from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyClassifier

from streams.frame import columns_of, frame
from streams.task import Number, Task
from streams.training.fitting import bare_version
from tests.small_tasks import DIABETES, TUMOUR, WINE, tumours, wines

WORDS = {"shape": ["bent", "ragged", "round"]}


def wine_frame() -> pd.DataFrame:
    return frame(WINE, columns_of(WINE.features, wines()), {})


def test_probabilities_stand_in_the_tasks_order_of_classes() -> None:
    model = WINE.candidates["linear"].fit(wine_frame(), wines()["cultivar"].to_numpy(object))
    answers = bare_version(WINE, model).predict(wine_frame())
    raw = model.predict_proba(wine_frame())
    assert answers.probabilities is not None
    assert answers.probability is not None
    by_class = dict(zip(model.classes_, raw.T, strict=True))
    for i, name in enumerate(WINE.classes):
        np.testing.assert_array_equal(answers.probabilities[:, i], by_class[name])
    np.testing.assert_array_equal(answers.answer, model.predict(wine_frame()))
    np.testing.assert_array_equal(answers.probability, raw.max(axis=1))
    assert all(type(answer) is str for answer in answers.answer)


def test_a_class_that_training_never_met_has_probability_zero() -> None:
    target = np.where(np.arange(178) % 2 == 0, "cultivar-0", "cultivar-1").astype(object)
    model = WINE.candidates["linear"].fit(wine_frame(), target)
    answers = bare_version(WINE, model).predict(wine_frame())
    assert answers.probabilities is not None
    assert answers.probabilities.shape == (178, 3)
    assert (answers.probabilities[:, 0] == 0).all()
    np.testing.assert_allclose(answers.probabilities.sum(axis=1), 1)


def test_a_model_of_other_classes_is_refused() -> None:
    model = DummyClassifier().fit([[0.0], [1.0]], ["merlot", "malbec"])
    with pytest.raises(ValueError, match="malbec, merlot: not classes of task wine"):
        bare_version(WINE, model)


def test_a_binary_model_needs_false_and_true() -> None:
    model = DummyClassifier().fit([[0.0], [1.0]], [True, True])
    with pytest.raises(ValueError, match="not false and true"):
        bare_version(TUMOUR, model)


def test_a_binary_answer_is_true_from_the_decision_threshold_on() -> None:
    inputs = frame(TUMOUR, columns_of(TUMOUR.features, tumours()), WORDS)
    model = TUMOUR.candidates["trees"].fit(inputs, tumours()["benign"].to_numpy(bool))
    version = bare_version(TUMOUR, model)
    version.decision_threshold = 0.9
    answers = version.predict(inputs)
    assert answers.probability is not None
    np.testing.assert_array_equal(answers.answer, answers.probability >= 0.9)
    assert answers.answer.dtype == bool
    assert answers.probabilities is None


def test_a_regression_gives_numbers_and_no_probability() -> None:
    assert DIABETES.history is not None
    table = DIABETES.history()
    inputs = frame(DIABETES, columns_of(DIABETES.features, table), {})
    model = DIABETES.candidates["forest"].fit(inputs, table["progression"].to_numpy(float))
    answers = bare_version(DIABETES, model).predict(inputs.head(1))
    assert answers.answer.dtype == np.float64
    assert answers.answer.shape == (1,)
    assert answers.probability is None


@pytest.mark.parametrize("rows", [1, 2, 569])
def test_the_fast_way_gives_what_the_pipeline_gives(rows: int) -> None:
    inputs = frame(TUMOUR, columns_of(TUMOUR.features, tumours()), WORDS)
    model = TUMOUR.candidates["linear"].fit(inputs, tumours()["benign"].to_numpy(bool))
    slow, fast = bare_version(TUMOUR, model, model), bare_version(TUMOUR, model, model, inputs)
    batch = inputs.tail(rows).reset_index(drop=True)
    one, other = slow.predict(batch).probability, fast.predict(batch).probability
    assert one is not None
    assert other is not None
    np.testing.assert_allclose(other, one, rtol=1e-9)
    np.testing.assert_allclose(fast.gate_scores(batch), slow.gate_scores(batch), rtol=1e-9)


def test_answers_can_be_taken_apart_and_joined() -> None:
    model = WINE.candidates["linear"].fit(wine_frame(), wines()["cultivar"].to_numpy(object))
    answers = bare_version(WINE, model).predict(wine_frame())
    again = answers.take(slice(0, 100)).join(answers.take(slice(100, None)))
    np.testing.assert_array_equal(again.answer, answers.answer)
    np.testing.assert_array_equal(again.probabilities, answers.probabilities)
    assert len(again) == len(answers) == 178


def test_a_version_without_a_gate_has_no_scores() -> None:
    model = WINE.candidates["linear"].fit(wine_frame(), wines()["cultivar"].to_numpy(object))
    version = bare_version(WINE, model)
    assert version.gate_scores(wine_frame()) is None
    assert version.threshold is None


def test_a_task_of_one_number_is_served() -> None:
    task = Task(
        name="one",
        features=[Number("radius")],
        target=TUMOUR.target,
        candidates={"any": DummyClassifier()},
        fallback=False,
    )
    inputs = frame(task, columns_of(task.features, tumours()), {})
    model = DummyClassifier(strategy="prior").fit(inputs, tumours()["benign"].to_numpy(bool))
    assert len(bare_version(task, model).predict(inputs.head(3))) == 3
