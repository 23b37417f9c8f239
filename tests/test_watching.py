"""What the watch over processes and logs finds, in a run of pytest of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.watching import ROOT

CASES = """
import json, subprocess, sys, time
import pytest
from services.supervisor.child import Child
from services.supervisor.ends import UnplannedEnd, record_end

def child(code, log):
    return Child([sys.executable, "-c", code], {}, log)

FOREVER = "import time; time.sleep(1000)"
ERROR = json.dumps({"level": "error", "event": "no disk", "process": "sink"})
END = dict(name="sink", pid=1, at="2026-11-30T00:00:00+00:00", how="exit code 1", error="", log="")

@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    child_ = child(FOREVER, tmp_path_factory.mktemp("shared") / "shared.log")
    yield child_
    child_.kill()
    child_.wait()

def test_ok_killed(tmp_path, shared):
    child_ = child(FOREVER, tmp_path / "x.log")
    child_.kill()
    child_.wait()

def test_bad_end(tmp_path):
    child("pass", tmp_path / "x.log").wait()

def test_bad_end_before_the_kill(tmp_path):
    child_ = child("pass", tmp_path / "x.log")
    while not child_.has_ended():
        time.sleep(0.01)
    child_.kill()
    child_.wait()

def test_ok_end_declared(tmp_path, watched):
    child_ = child("pass", tmp_path / "x.log")
    watched.expect_end(child_, why="that is what is tested")
    child_.wait()

@pytest.mark.expect_end("pass", why="that is what is tested")
def test_ok_end_marked(tmp_path):
    child("pass", tmp_path / "x.log").wait()

def logs(folder, text, name="x.log"):
    done = child(f"print({text!r})", folder / name)
    done.wait()

@pytest.mark.expect_end("print", why="it prints")
class TestLogs:
    def test_bad_error(self, tmp_path):
        logs(tmp_path, ERROR)

    def test_ok_not_again(self):
        pass

    def test_bad_other_error(self, tmp_path, watched):
        watched.expect_error("no memory", why="another")
        logs(tmp_path, ERROR)

    def test_ok_error(self, tmp_path, watched):
        watched.expect_error("no disk", why="it has none")
        logs(tmp_path, ERROR)

    @pytest.mark.expect_error("no disk", why="it has none")
    def test_ok_error_marked(self, tmp_path):
        logs(tmp_path, ERROR)

    def test_ok_warning(self, tmp_path):
        logs(tmp_path, json.dumps({"level": "warning", "event": "no disk"}))

def test_bad_traceback(tmp_path):
    done = subprocess.run([sys.executable, "-c", "1 / 0"], capture_output=True, text=True)
    assert done.returncode == 1

def test_bad_death_in_a_home(tmp_path):
    home = tmp_path / "home"
    (home / "run").mkdir(parents=True)
    record_end(home, UnplannedEnd(**END))
    subprocess.run([sys.executable, "-c", "pass"], env={"WEIR_HOME": str(home)})

def test_bad_error_in_a_home(tmp_path):
    home = tmp_path / "home"
    (home / "logs").mkdir(parents=True)
    (home / "logs" / "sink.log").write_text(ERROR + "\\n")
    subprocess.run([sys.executable, "-c", "pass", "--home", str(home)])

def test_bad_end_of_the_shared(shared):
    subprocess.run(["kill", "-9", str(shared.pid)])
    while not shared.has_ended():
        time.sleep(0.01)
"""


@pytest.mark.expect_error("ZeroDivisionError", why="the run below has it")
def test_undeclared_ends_and_errors_fail_the_test_that_has_them(tmp_path: Path) -> None:
    file = tmp_path / "test_cases.py"
    file.write_text(CASES)
    how = ["-p", "tests.watching", "-p", "no:cacheprovider", "-rA", "--tb=line", "-n0"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-c", "pyproject.toml", *how, str(file)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    told = re.findall(r"^(PASSED|ERROR|FAILED) \S*::test_(\w+)", done.stdout, re.M)
    assert told, done.stdout + done.stderr
    assert {outcome for outcome, _ in told} == {"PASSED", "ERROR"}
    wrong = {name for outcome, name in told if outcome == "ERROR"}
    names = re.findall(r"def test_(\w+)", CASES)
    assert wrong == {name for name in names if name.startswith("bad_")}
    assert {name for _, name in told} == set(names)
