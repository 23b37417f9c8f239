"""The journal of a training: a line a step, whatever crashes."""

from __future__ import annotations

import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sklearn.dummy import DummyClassifier

from services.trainer.journal import JOURNAL, MOST, folder_of, read_journal
from services.trainer.runs import KEPT, Journalled
from services.trainer.snapshot import Stopped
from streams.bundle import save_bundle
from streams.task import Search, Task, Training
from streams.training.data import prepare
from streams.training.fitting import answers, fit
from streams.training.run import UNWATCHED
from streams.training.train import train
from streams.version import Answers
from tests.small_tasks import DIABETES, TUMOUR, WINE, tumour_task, tumours


def journalled(home: Path, event: str = "e1", stop: threading.Event | None = None) -> Journalled:
    return Journalled(home, event, lambda step, done: None, stop or threading.Event())


def test_each_step_is_a_line_with_what_it_found_and_how_long_it_took(tmp_path: Path) -> None:
    run = journalled(tmp_path)
    with run.step("rows", 0.0) as facts:
        facts["rows"] = 7
    with pytest.raises(ValueError, match="on purpose"), run.step("fit", 0.5):
        raise ValueError("on purpose")
    rows, fit = read_journal(tmp_path, "e1")
    assert (rows["step"], rows["facts"]) == ("rows", {"rows": 7})
    assert rows["seconds"] >= 0
    assert rows["began_at"] <= fit["began_at"]
    assert fit["facts"] == {"error": "ValueError: on purpose"}


def test_a_line_that_a_crash_cut_short_is_left_out_and_written_over(tmp_path: Path) -> None:
    with journalled(tmp_path).step("rows", 0.0):
        pass
    with (folder_of(tmp_path, "e1") / JOURNAL).open("a") as file:
        file.write('{"step": "fi')
    assert [line["step"] for line in read_journal(tmp_path, "e1")] == ["rows"]
    with journalled(tmp_path).step("fit", 0.5):
        pass
    assert [line["step"] for line in read_journal(tmp_path, "e1")] == ["rows", "fit"]


def test_a_run_ends_between_two_steps_where_the_process_is_to_end(tmp_path: Path) -> None:
    stop = threading.Event()
    run = journalled(tmp_path, stop=stop)
    with run.step("rows", 0.0):
        stop.set()
    with pytest.raises(Stopped), run.step("fit", 0.5):
        raise AssertionError("it must not begin")
    assert [line["step"] for line in read_journal(tmp_path, "e1")] == ["rows"]


@pytest.mark.parametrize("event", ["../../etc", "a/b", "..", "x" * 500, "ä?"])
def test_an_events_id_names_one_folder_whatever_is_in_it(tmp_path: Path, event: str) -> None:
    with journalled(tmp_path, event).step("rows", 0.0):
        pass
    assert len(read_journal(tmp_path, event)) == 1
    assert folder_of(tmp_path, event).parent == tmp_path / "trainings"
    assert [path.name for path in tmp_path.iterdir()] == ["trainings"]


def test_journals_of_the_newest_trainings_are_kept(tmp_path: Path) -> None:
    for number in range(MOST + 5):
        journalled(tmp_path, f"e{number}")
    assert len(list((tmp_path / "trainings").iterdir())) == MOST


@pytest.mark.parametrize("task", [TUMOUR, WINE, DIABETES], ids=lambda task: task.kind)
def test_what_was_fitted_is_read_again_and_answers_to_the_last_bit_alike(
    tmp_path: Path, task: Task
) -> None:
    assert task.history is not None
    data = prepare(task, task.history())
    frame, target = data.rows(data.train)
    for name, estimator in task.candidates.items():
        own = partial(fit, task, estimator, frame, target)
        fitted = journalled(tmp_path).fitted({"fit": name}, own)
        read = journalled(tmp_path).fitted({"fit": name}, never)
        assert read is not fitted
        for one, other in zip(
            columns(answers(task, fitted, data.frame)),
            columns(answers(task, read, data.frame)),
            strict=True,
        ):
            assert one.tolist() == other.tolist()


def columns(given: Answers) -> list[Any]:
    found = (given.answer, given.probability, given.probabilities)
    return [column for column in found if column is not None]


def never() -> Any:
    raise AssertionError("an earlier attempt kept it")


def test_what_was_kept_and_then_damaged_is_made_again(tmp_path: Path) -> None:
    run = journalled(tmp_path)
    run.fitted({"fit": 1}, lambda: DummyClassifier().fit([[0]], [True]))
    run.found({"trial": 1}, lambda: {"loss": 0.5})
    for path in (folder_of(tmp_path, "e1") / KEPT).iterdir():
        path.write_bytes(path.read_bytes()[:5])
    assert journalled(tmp_path).fitted({"fit": 1}, lambda: "again") == "again"
    assert journalled(tmp_path).found({"trial": 1}, lambda: {"loss": 0.7}) == {"loss": 0.7}


def test_what_cannot_be_written_is_fitted_each_time(tmp_path: Path) -> None:
    class Own:
        pass

    assert isinstance(journalled(tmp_path).fitted({"fit": 1}, Own), Own)
    assert isinstance(journalled(tmp_path).fitted({"fit": 1}, Own), Own)


def test_the_journal_tells_what_an_earlier_attempt_had_done(tmp_path: Path) -> None:
    journalled(tmp_path).found({"trial": 1}, lambda: {"loss": 0.5})
    run = journalled(tmp_path)
    with run.step("search", 0.1) as facts:
        assert run.found({"trial": 1}, never) == {"loss": 0.5}
        facts["tried"] = 1
    (line,) = read_journal(tmp_path, "e1")
    assert line["facts"] == {"tried": 1, "kept_by_an_earlier_attempt": 1}
    run.answered()
    assert run.found({"trial": 1}, lambda: {"loss": 0.6}) == {"loss": 0.6}  # nothing is kept


def test_two_runs_on_one_event_give_the_same_bundle_to_the_last_byte(tmp_path: Path) -> None:
    search = Search(
        spaces={"trees": {"max_iter": [3, 10], "max_leaf_nodes": [4, 8, 15]}}, budget=2.0
    )
    task = tumour_task(
        training=Training(search=search), defer_budget=0.0
    )  # a gate's cost is measured
    saved = []
    for number, run in enumerate([UNWATCHED, journalled(tmp_path), journalled(tmp_path)]):
        contents = train(task, tumours(), "e1", run=run).contents
        saved.append(save_bundle(tmp_path / str(number), task, contents, b"key"))
    assert len({info.id for info in saved}) == 1
    assert len({info.sha256 for info in saved}) == 1
    kept = [
        line["facts"].get("kept_by_an_earlier_attempt", 0) for line in read_journal(tmp_path, "e1")
    ]
    assert sum(kept) > 7  # the second read its settings, candidates and folds
