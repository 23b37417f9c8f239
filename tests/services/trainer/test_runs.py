"""The journal of a training: a line a step, whatever crashes."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from services.trainer.runs import JOURNAL, MOST, Journalled, folder_of, read_journal
from services.trainer.snapshot import Stopped


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
