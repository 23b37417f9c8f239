"""The supervisor, on real processes: small Python programs that do what each test needs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from services.supervisor import (
    HomeBusyError,
    ProcessSpec,
    ProcessState,
    StartError,
    Supervisor,
    SupervisorError,
    UnplannedEnd,
    child,
    read_run_state,
    restarts,
    stop_home,
    unplanned_ends,
)
from services.supervisor.crashes import LOOP_OVER_S
from services.supervisor.spec import problems_of
from services.supervisor.state import end_process, start_ticks, write_state
from tests.conftest import PATIENCE_S

FOREVER = "import signal; signal.pause()"


pytestmark = [
    pytest.mark.expect_end(".", why="processes that end are what is tested"),
    pytest.mark.expect_error(".", why="and what they said last"),
]


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-I", "-S", "-c", code)


def note(path: Path, word: str) -> str:
    """Code that appends a word to a file."""
    return f"open({str(path)!r}, 'a').write({word + ' '!r})"


def eventually(holds: Callable[[], bool], timeout_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.01)


def only(states: list[ProcessState]) -> ProcessState:
    (state,) = states
    return state


def pid_of(supervisor: Supervisor, name: str) -> int:
    pid = next(s.pid for s in supervisor.status() if s.name == name)
    assert pid is not None
    return pid


def test_a_process_starts_when_those_it_comes_after_are_ready(tmp_path: Path) -> None:
    diary, broker_is_up = tmp_path / "diary", tmp_path / "up"
    specs = [
        ProcessSpec("worker", python(f"{note(diary, 'worker')}; {FOREVER}"), after=("broker",)),
        ProcessSpec(
            "broker",
            python(f"{note(diary, 'broker')}; {note(broker_is_up, 'x')}; {FOREVER}"),
            ready=broker_is_up.exists,
        ),
    ]
    with Supervisor(tmp_path / "home") as supervisor:
        assert supervisor.start(specs)
        eventually(lambda: len(diary.read_text().split()) == 2)
    assert diary.read_text().split() == ["broker", "worker"]


def test_processes_that_need_nothing_of_each_other_start_at_the_same_time(tmp_path: Path) -> None:
    # Each is ready only when the other runs: one after the other, neither would ever be.
    a, b = tmp_path / "a", tmp_path / "b"
    specs = [
        ProcessSpec("a", python(f"{note(a, 'x')}; {FOREVER}"), ready=b.exists),
        ProcessSpec("b", python(f"{note(b, 'x')}; {FOREVER}"), ready=a.exists),
    ]
    with Supervisor(tmp_path / "home") as supervisor:
        assert supervisor.start(specs)


def test_more_processes_can_be_started_beside_those_that_run(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        assert supervisor.start([ProcessSpec("broker", python(FOREVER))])
        assert supervisor.start([ProcessSpec("worker", python(FOREVER), after=("broker",))])
        assert [s.name for s in supervisor.status()] == ["broker", "worker"]
        with pytest.raises(ValueError, match="worker: runs already"):
            supervisor.start([ProcessSpec("worker", python(FOREVER))])


def test_stopping_goes_in_reverse_and_lets_each_end_in_order(tmp_path: Path) -> None:
    diary = tmp_path / "diary"

    def ending(name: str) -> tuple[str, ...]:
        up = note(tmp_path / f"{name}.up", "x")
        return python(
            "import signal, sys\n"
            "def end(*_):\n"
            f"    {note(diary, name)}; sys.exit()\n"
            f"signal.signal(signal.SIGTERM, end); {up}\n"
            "while True: signal.pause()"
        )

    specs = [
        ProcessSpec(name, ending(name), ready=(tmp_path / f"{name}.up").exists, after=after)
        for name, after in [("broker", ()), ("store", ("broker",)), ("sink", ("store", "broker"))]
    ]
    with Supervisor(tmp_path / "home") as supervisor:
        assert supervisor.start(specs)
    assert diary.read_text().split() == ["sink", "store", "broker"]


def test_a_process_that_ignores_sigterm_is_killed_after_its_time(tmp_path: Path) -> None:
    up = tmp_path / "up"
    deaf = python(f"import signal; signal.signal(15, signal.SIG_IGN); {note(up, 'x')}; {FOREVER}")
    with Supervisor(tmp_path / "home") as supervisor:
        supervisor.start([ProcessSpec("deaf", deaf, ready=up.exists, stop_timeout_s=0.1)])
        pid = pid_of(supervisor, "deaf")
    assert start_ticks(pid) is None


def test_a_process_that_is_killed_is_started_again(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        supervisor.start([ProcessSpec("worker", python(FOREVER))])
        first = pid_of(supervisor, "worker")
        os.kill(first, signal.SIGKILL)
        eventually(
            lambda: (
                only(supervisor.status()).state == "ready"
                and only(supervisor.status()).pid != first
            )
        )
        state = read_run_state(tmp_path).processes["worker"]
        assert (state.restarts, state.pid, state.alive) == (1, pid_of(supervisor, "worker"), True)


def test_an_unplanned_end_is_kept_with_its_last_error(tmp_path: Path) -> None:
    error = json.dumps({"event": "stage failed", "level": "error", "exception": "x\nValueError: 1"})
    went = tmp_path / "went"
    code = f"import os\nif not os.path.exists({str(went)!r}):\n"
    code += (
        f" open({str(went)!r}, 'w'); print({error!r}, flush=True); raise SystemExit(3)\n{FOREVER}"
    )
    told: list[UnplannedEnd] = []
    with Supervisor(tmp_path / "home", on_end=told.append) as supervisor:
        supervisor.start(
            [ProcessSpec("worker", python(code)), ProcessSpec("sink", python(FOREVER))]
        )
        eventually(lambda: went.exists() and supervisor.status()[0].state == "ready")
        eventually(lambda: supervisor.status()[0].restarts == 1)
        last = read_run_state(tmp_path / "home").processes["worker"].last_end
    # An end that is asked for is none, and what was kept outlives the supervisor.
    (end,) = unplanned_ends(tmp_path / "home")
    assert (end.name, end.how, end.error) == (
        "worker",
        "exit code 3",
        "stage failed: ValueError: 1",
    )
    assert last == asdict(end)
    assert told == [end]


def test_a_process_that_ends_again_and_again_is_in_a_crash_loop(tmp_path: Path) -> None:
    lives = tmp_path / "lives"
    code = (
        f"{note(lives, 'x')}\n"
        f"if len(open({str(lives)!r}).read()) > 6: {FOREVER}\n"
        "raise OSError('no')"
    )
    with Supervisor(tmp_path / "home") as supervisor:
        supervisor.start([ProcessSpec("worker", python(code))])
        eventually(lambda: only(supervisor.status()).looping(time.time()))

        def kept() -> ProcessState:
            return read_run_state(tmp_path / "home").processes["worker"]

        eventually(lambda: (kept().restarts, kept().state) == (3, "ready"))
        state = kept()
        assert state.looping(time.time())  # it lives, and has yet to show that it stays alive
        assert state.started_at is not None
        assert not state.looping(state.started_at + LOOP_OVER_S)
    assert restarts(unplanned_ends(tmp_path / "home")) == {"worker": 3}


def test_where_ends_cannot_be_kept_the_process_is_started_again(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        supervisor.start([ProcessSpec("worker", python(FOREVER))])
        (tmp_path / "run" / "ends.jsonl").mkdir()  # as on a full disk: nothing can be written
        first = pid_of(supervisor, "worker")
        os.kill(first, signal.SIGKILL)
        eventually(lambda: only(supervisor.status()).alive)
        eventually(lambda: only(supervisor.status()).pid not in (None, first))
        assert only(supervisor.status()).restarts == 1


def test_a_first_start_that_fails_is_an_unplanned_end(tmp_path: Path) -> None:
    spec = ProcessSpec("worker", python("import nothing_of_that_name"), ready=lambda: False)
    with Supervisor(tmp_path) as supervisor, pytest.raises(StartError):
        supervisor.start([spec])
    (end,) = unplanned_ends(tmp_path)
    assert end.text == "exit code 1: ModuleNotFoundError: No module named 'nothing_of_that_name'"


def test_a_process_that_need_not_be_restarted_stays_ended(tmp_path: Path) -> None:
    go = tmp_path / "go"
    code = f"import os\nwhile not os.path.exists({str(go)!r}): pass"
    with Supervisor(tmp_path / "home") as supervisor:
        supervisor.start([ProcessSpec("once", python(code), restart=False)])
        go.touch()
        eventually(lambda: only(supervisor.status()).state == "ended")
        assert only(supervisor.status()).restarts == 0
    assert unplanned_ends(tmp_path / "home") == []


def test_what_a_dead_process_left_in_its_session_is_ended(tmp_path: Path) -> None:
    # As a trainer leaves its pool of workers when it is killed.
    grandchild = tmp_path / "grandchild"
    code = (
        "import os, signal\n"
        "pid = os.fork()\n"
        f"if pid: open({str(grandchild)!r} + '~', 'w').write(str(pid)); "
        f"os.rename({str(grandchild)!r} + '~', {str(grandchild)!r})\n"
        "signal.pause()"
    )
    with Supervisor(tmp_path / "home") as supervisor:
        spec = ProcessSpec("trainer", python(code), ready=grandchild.exists, restart=False)
        supervisor.start([spec])
        pid = int(grandchild.read_text())
        assert start_ticks(pid) is not None
        os.kill(pid_of(supervisor, "trainer"), signal.SIGKILL)
        eventually(lambda: start_ticks(pid) is None)


def test_a_process_that_ends_before_it_is_ready_fails_the_start_with_its_log(
    tmp_path: Path,
) -> None:
    code = "print('the task has no target'); raise SystemExit(3)"
    with Supervisor(tmp_path) as supervisor, pytest.raises(StartError) as caught:
        supervisor.start([ProcessSpec("worker", python(code), ready=lambda: False)])
    assert "worker ended at its first start (exit code 3)" in str(caught.value)
    assert "the task has no target" in str(caught.value)


def test_a_process_that_is_never_ready_fails_the_start_with_the_last_error(tmp_path: Path) -> None:
    def refuse() -> bool:
        raise ConnectionRefusedError("nobody listens")

    late = ProcessSpec("worker", python(FOREVER), ready=refuse, ready_timeout_s=0.1)
    with Supervisor(tmp_path) as supervisor, pytest.raises(StartError) as caught:
        supervisor.start([late])
    assert "worker was not ready after 0.1 s (last: nobody listens)" in str(caught.value)


def test_a_command_that_does_not_exist_fails_the_start(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor, pytest.raises(StartError, match="cannot be run"):
        supervisor.start([ProcessSpec("worker", ("no-such-command",))])


def test_a_health_page_says_when_a_process_is_ready(tmp_path: Path) -> None:
    address = tmp_path / "address"
    server = tmp_path / "server.py"
    server.write_text(
        f"""
import os
from streams.observe import Health, serve_observability
answers = iter([False, False, True])
port = serve_observability(0, lambda: Health(ok=next(answers)))
open({str(address)!r} + "~", "w").write(f"http://127.0.0.1:{{port}}/health")
os.rename({str(address)!r} + "~", {str(address)!r})
import signal; signal.pause()
"""
    )
    with Supervisor(tmp_path / "home") as supervisor:
        found = ProcessSpec("server", (sys.executable, str(server)), ready=address.exists)
        assert supervisor.start([found])
        other = ProcessSpec("client", python(FOREVER), ready=address.read_text())
        assert supervisor.start([other])


def test_a_stop_during_the_start_ends_what_was_started(tmp_path: Path) -> None:
    stop = threading.Event()
    asked: list[None] = []

    def never() -> bool:
        asked.append(None)
        stop.set()
        return False

    with Supervisor(tmp_path, stop) as supervisor:
        assert not supervisor.start([ProcessSpec("worker", python(FOREVER), ready=never)])
        pid = pid_of(supervisor, "worker")
    assert asked
    assert start_ticks(pid) is None


def test_output_and_environment_of_a_child(tmp_path: Path) -> None:
    code = "import os, sys; print('out', os.environ['WEIR_X']); print('err', file=sys.stderr)"
    log = tmp_path / "logs" / "worker.log"
    log.parent.mkdir()
    log.write_text("an earlier run\n")
    with Supervisor(tmp_path) as supervisor:
        spec = ProcessSpec("worker", python(code), env={"WEIR_X": "7"}, restart=False)
        supervisor.start([spec])
        eventually(lambda: only(supervisor.status()).state == "ended")
    earlier, begin, *said = log.read_text().splitlines()
    assert (earlier, json.loads(begin)["event"]) == ("an earlier run", "process starts")
    assert sorted(said) == ["err", "out 7"]


def test_a_long_log_is_set_aside_at_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "LARGEST_LOG", 10)
    log = tmp_path / "worker.log"
    log.write_text("more than ten bytes")
    with child.open_log(log) as opened:
        opened.write(b"new")
    assert log.read_text() == "new"
    assert (tmp_path / "worker.log.1").read_text() == "more than ten bytes"


def test_the_run_files_tell_other_commands_what_runs(tmp_path: Path) -> None:
    spec = ProcessSpec("store", python(FOREVER), addresses={"http": "http://127.0.0.1:8123"})
    with Supervisor(tmp_path) as supervisor:
        supervisor.start([spec])
        state = read_run_state(tmp_path)
        assert state.running
        store = state.processes["store"]
        assert (store.alive, store.state) == (True, "ready")
        assert store.addresses == {"http": "http://127.0.0.1:8123"}
        assert store.pid == pid_of(supervisor, "store")
    after = read_run_state(tmp_path)
    assert (after.supervisor, after.processes) == (None, {})


def test_a_second_supervisor_is_refused_and_told_the_pid_of_the_first(tmp_path: Path) -> None:
    with Supervisor(tmp_path), pytest.raises(HomeBusyError, match=rf"pid {os.getpid()}\b"):
        Supervisor(tmp_path).__enter__()
    with Supervisor(tmp_path):
        pass  # the lock is free again


def test_another_process_with_the_same_pid_is_not_taken_for_it(tmp_path: Path) -> None:
    ticks = start_ticks(os.getpid())
    assert ticks is not None
    ours = ProcessState("worker", os.getpid(), ticks, "ready", "2026-01-01T00:00:00Z")
    stranger = ProcessState("sink", os.getpid(), ticks - 1, "ready", "2026-01-01T00:00:00Z")
    (tmp_path / "run").mkdir()
    for state in (ours, stranger):
        write_state(tmp_path, state)
    processes = read_run_state(tmp_path).processes
    assert (processes["worker"].alive, processes["sink"].alive) == (True, False)


SUPERVISE = """
import sys, threading
from pathlib import Path
from services.supervisor import ProcessSpec, Supervisor
from streams.observe import stop_on_signals
stop = threading.Event()
stop_on_signals(stop)
child = (sys.executable, "-I", "-S", "-c", "import signal; signal.pause()")
with Supervisor(Path(sys.argv[1]), stop) as supervisor:
    supervisor.run([ProcessSpec("a", child), ProcessSpec("b", child, after=("a",))])
"""


def supervise(home: Path) -> tuple[subprocess.Popen[bytes], list[ProcessState]]:
    """A supervisor in a process of its own, and its two children, once they are ready."""
    process = subprocess.Popen([sys.executable, "-c", SUPERVISE, str(home)])

    def ready() -> bool:
        states = read_run_state(home).processes.values()
        return [s.state for s in states] == ["ready", "ready"]

    eventually(ready)
    return process, list(read_run_state(home).processes.values())


def test_a_home_is_stopped_from_another_process(tmp_path: Path) -> None:
    process, children = supervise(tmp_path)
    assert stop_home(tmp_path)
    assert process.wait() == 0
    assert not any(child.alive for child in children)
    assert not stop_home(tmp_path)  # nothing runs any more


def test_no_child_outlives_a_supervisor_that_was_killed(tmp_path: Path) -> None:
    process, children = supervise(tmp_path)
    process.kill()
    process.wait()
    eventually(lambda: not any(child.alive for child in children))
    assert not read_run_state(tmp_path).running
    with Supervisor(tmp_path) as supervisor:  # its lock and files are not in the way
        assert supervisor.start([ProcessSpec("a", python(FOREVER))])


def test_a_leftover_of_an_earlier_run_is_ended_first(tmp_path: Path) -> None:
    leftover = subprocess.Popen(python(FOREVER))
    threading.Thread(target=leftover.wait, daemon=True).start()
    (tmp_path / "run").mkdir()
    ticks = start_ticks(leftover.pid)
    write_state(tmp_path, ProcessState("sink", leftover.pid, ticks, "ready", "2026-01-01"))
    with Supervisor(tmp_path):
        assert start_ticks(leftover.pid) is None
        assert read_run_state(tmp_path).processes == {}


def test_a_supervisor_that_does_not_stop_is_an_error_that_names_it(tmp_path: Path) -> None:
    up = tmp_path / "up"
    deaf = subprocess.Popen(
        python(f"import signal; signal.signal(15, signal.SIG_IGN); {note(up, 'x')}; {FOREVER}")
    )
    eventually(up.exists)
    (tmp_path / "run").mkdir()
    state = ProcessState("supervisor", deaf.pid, start_ticks(deaf.pid), "ready", "2026-01-01")
    write_state(tmp_path, state)
    with pytest.raises(SupervisorError, match=f"pid {deaf.pid}"):
        stop_home(tmp_path, timeout_s=0.1)
    deaf.kill()
    deaf.wait()
    assert end_process(deaf.pid, signal.SIGTERM, timeout_s=1)


def test_a_supervisor_needs_its_lock_before_it_starts_anything(tmp_path: Path) -> None:
    with pytest.raises(SupervisorError, match="with"):
        Supervisor(tmp_path).start([ProcessSpec("a", python(FOREVER))])


def test_all_problems_of_the_specs_are_told_at_once() -> None:
    specs = [
        ProcessSpec("a", ("x",), after=("b",)),
        ProcessSpec("b", ("x",), after=("a",)),
        ProcessSpec("c", ("x",), after=("nobody",)),
        ProcessSpec("c", ()),
    ]
    problems = problems_of(specs)
    assert sorted(problem.split(":")[0] for problem in problems) == [
        "c",
        "c",
        "c",
        "each waits for the next",
    ]


def test_run_files_hold_no_environment(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        supervisor.start([ProcessSpec("a", python(FOREVER), env={"WEIR_PASSWORD": "hunter2"})])
        files = [json.loads(p.read_text()) for p in (tmp_path / "run").glob("*.json")]
        assert len(files) == 2
        assert "hunter2" not in json.dumps(files)
