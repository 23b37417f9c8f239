"""A learner: judged before it learns, kept as a bundle, and gone on from as if never stopped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import log_loss

from streams.bundle import load_bundle, save_bundle
from streams.continual.contents import contents_of, resumed
from streams.continual.learner import ALONE, CHAMPION, TOGETHER, Learner
from streams.continual.model import Floats
from streams.frame import columns_of
from streams.task import Task, TaskError
from streams.version import Version
from tests.small_tasks import TUMOUR as WITHOUT
from tests.small_tasks import tumour_task, tumours
from tests.streams.continual.examples import DIABETES, TUMOUR, continual, trained

KEY = b"a test's key"
ROWS = tumours()


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Version:
    return served(TUMOUR, tmp_path_factory.mktemp("bundles"))


def served(task: Task, folder: Path) -> Version:
    return load_bundle(save_bundle(folder, task, trained(task), KEY).folder, task, KEY)


def chances(version: Version, frame: pd.DataFrame) -> Floats:
    probability = version.predict(frame).probability
    assert probability is not None
    return probability


def take(learner: Learner, base: Version, rows: slice) -> None:
    some = ROWS[rows]
    frame = base.frame(columns_of(TUMOUR.inputs, some))
    truth = some["benign"].to_numpy(bool)
    learner.judge(learner.say(base, frame), truth)
    learner.learn(frame, truth, np.arange(len(some)))


def test_answers_are_judged_before_their_truths_are_learned_from(base: Version) -> None:
    learner = Learner(TUMOUR)
    frame = base.frame(columns_of(TUMOUR.inputs, ROWS[300:400]))
    truth = ROWS["benign"].to_numpy(bool)[300:400]
    untaught = learner.say(base, frame)
    np.testing.assert_allclose(untaught.alone, 0.5)
    champion = chances(base, frame)
    np.testing.assert_allclose(untaught.champion[:, 1], champion)
    take(learner, base, slice(300, 400))
    means = learner.scores.means()
    assert means[ALONE] == pytest.approx(np.log(2))
    assert means[CHAMPION] == pytest.approx(log_loss(truth, champion), rel=0.05)  # nearly unfaded
    assert means[CHAMPION] < means[TOGETHER] < means[ALONE]
    assert (learner.learned, learner.leads) == (100, False)
    assert abs(learner.say(base, frame).alone[:, 1] - 0.5).max() > 0.1


def test_a_version_answers_as_the_learner_did_and_the_learner_goes_on_from_it(
    base: Version, tmp_path: Path
) -> None:
    one = Learner(TUMOUR)
    take(one, base, slice(300, 400))
    contents = contents_of(TUMOUR, one, base, [60, 40])
    assert contents_of(TUMOUR, one, base, [60, 40]).id == contents.id
    version = load_bundle(save_bundle(tmp_path, TUMOUR, contents, KEY).folder, TUMOUR, KEY)
    frame = base.frame(columns_of(TUMOUR.inputs, ROWS[400:]))
    said = one.say(base, frame)
    np.testing.assert_allclose(chances(version, frame), said.together[:, 1], rtol=1e-12)

    other, offsets = resumed(TUMOUR, version)
    assert offsets == [60, 40]
    for learner in (one, other):
        take(learner, base, slice(400, 500))
    assert other.scores == one.scores
    assert (other.learned, other.newest_ms) == (one.learned, one.newest_ms)
    np.testing.assert_array_equal(other.say(base, frame).alone, one.say(base, frame).alone)
    # What was published has not learned since.
    np.testing.assert_allclose(chances(version, frame), said.together[:, 1], rtol=1e-12)
    assert contents_of(TUMOUR, one, base, [120, 80]).id != contents.id


def test_another_declaration_begins_anew(base: Version, tmp_path: Path) -> None:
    learner = Learner(TUMOUR)
    take(learner, base, slice(300, 350))
    contents = contents_of(TUMOUR, learner, base, [50])
    version = load_bundle(save_bundle(tmp_path, TUMOUR, contents, KEY).folder, TUMOUR, KEY)
    other = tumour_task(continual=continual(share=0.5))
    with pytest.raises(ValueError, match="not of the learner that the task declares now"):
        resumed(other, version)
    with pytest.raises(ValueError, match="not of the learner"):
        resumed(TUMOUR, base)


def test_a_regression_is_a_mean_of_both_answers(tmp_path: Path) -> None:
    base = served(DIABETES, tmp_path)
    learner = Learner(DIABETES)
    assert DIABETES.history is not None
    table = DIABETES.history().iloc[300:]
    frame, truth = base.frame(columns_of(DIABETES.inputs, table)), table["progression"].to_numpy()
    learner.judge(learner.say(base, frame), truth)
    learner.learn(frame, truth, np.arange(len(table)))
    said = learner.say(base, frame)
    np.testing.assert_allclose(said.together, 0.6 * said.champion + 0.4 * said.alone)
    contents = contents_of(DIABETES, learner, base, [len(table)])
    version = load_bundle(save_bundle(tmp_path, DIABETES, contents, KEY).folder, DIABETES, KEY)
    np.testing.assert_allclose(version.predict(frame).answer, said.together)


def test_all_that_is_wrong_with_a_declaration_is_said() -> None:
    with pytest.raises(TaskError) as error:
        tumour_task(continual=continual(learner=object(), share=0, every=0, seconds=-1))
    said = str(error.value)
    for words in ("learn_one", "share 0", "every 0", "seconds -1"):
        assert words in said
    assert WITHOUT.continual is None


def test_a_learner_that_no_bundle_could_hold_is_refused() -> None:
    from river.forest import ARFClassifier

    with pytest.raises(TaskError, match="cannot be kept as data"):
        tumour_task(continual=continual(learner=ARFClassifier()))
