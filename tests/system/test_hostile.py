"""The whole system while a producer that means harm writes to every topic."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest

from schemas.topics import BY_NAME, TOPICS
from services.contract import recorded
from services.supervisor import read_run_state
from tests.hostile import ABSURD_TIMES, BROKEN, CODECS, Forger, Hostile
from tests.services.test_command_hostile import READS
from tests.services.test_command_system import FEATURES, START_S, Running
from tests.system.worker import wait_for

pytestmark = pytest.mark.system

SECRET = "signing.key"


@pytest.fixture
def running(tmp_path: Path, mlflow_home: Path) -> Iterator[Running]:
    deployment = Running(tmp_path)
    shutil.copytree(mlflow_home / "mlflow", deployment.folder / "home" / "mlflow")
    deployment.ok("init", "tumours")
    deployment.ok("up", "--task", "tumours.py:Tumours", timeout=START_S)
    yield deployment
    deployment.weir("down")


class Attack:
    """Good requests with their truths, and between them whatever else a broker takes."""

    def __init__(self, running: Running, hostile: Hostile) -> None:
        self._running, self._hostile, self._random = running, hostile, Random(0)
        contract = recorded(Path(running.env["WEIR_HOME"]), "tumours")
        assert contract is not None
        self._contract = contract
        self._forgers = {}
        for topic in TOPICS:
            foreign = next(other for other in TOPICS if other.record != topic.record)
            self._forgers[topic.name] = Forger(
                self._contract.codec(topic.record),
                self._contract.codec(foreign.record),
                self._random,
            )
        self.good: list[str] = []

    def topic(self, name: str) -> str:
        return f"{self._contract.task}.{name}"

    def run(self, records: int, every: int) -> None:
        """So many hostile records, a good one each `every`, a flood of each codec in between."""
        random = self._random
        names = [topic.name for topic in TOPICS]
        for number in range(records):
            name = names[number % len(names)]
            forger = self._forgers[name]
            # What is forged for an internal topic and reads well is obeyed: that is what a broker's
            # access lists are for. What does not read is what no list keeps out of the others.
            value = forger.value() if name in PUBLIC else forger.unreadable()
            partitions = self._contract.partitions_of(BY_NAME[name])
            self._hostile.send(
                self.topic(name),
                value,
                random.choice((b"x", b"\xff\xfe", b"0", b"champion")),
                random.randrange(partitions),
                [(BROKEN, b"x")] if random.random() < 0.2 else [("traceparent", b"\xff" * 300)],
                random.choice((*(t for t in ABSURD_TIMES if t >= 0), time.time_ns() // 10**6)),
            )
            if number % every == 0:
                self.send_good()
            if number % (records // len(CODECS)) == records // 8:
                codec = CODECS[number // (records // len(CODECS))]
                for name in ("requests", "truth", "outcomes", "models"):
                    self._hostile.packed(
                        self.topic(name), [bytes((8 if codec == "snappy" else 100) << 20)], codec
                    )
                    self.send_good(codec)
        self._hostile.flush()

    def send_good(self, codec: str = "none") -> None:
        request_id = f"good-{len(self.good)}"
        self.good.append(request_id)
        request = {
            "request_id": request_id,
            "event_time": time.time_ns() // 10**6 - 1000,
            "entity": None,
            "features": FEATURES,
        }
        value = self._contract.codec("request").write(request)
        known = {
            "request_id": request_id,
            "known_at": request["event_time"] + 1,
            "truth": True,
            "source": "system",
        }
        truth = self._contract.codec("truth").write(known)
        partition = len(self.good) % self._contract.partitions
        if codec == "none":
            headers = [(BROKEN, b"x")] if len(self.good) % 2 else []
            self._hostile.send(
                self.topic("requests"), value, request_id.encode(), partition, headers
            )
            self._hostile.send(self.topic("truth"), truth, request_id.encode(), partition, headers)
        else:
            self._hostile.packed(self.topic("requests"), [value], codec, partition)
            self._hostile.packed(self.topic("truth"), [truth], codec, partition)


PUBLIC = ("requests", "truth", "signals")


@pytest.mark.parametrize(
    ("records", "every", "commands"),
    [
        # What the other commands make of such topics tests/services/test_command_hostile.py tells.
        pytest.param(800, 20, (("models",), ("trace", "good-1")), id="short"),
        pytest.param(10_000, 20, READS, id="long", marks=pytest.mark.long),
    ],
)
def test_every_good_record_is_answered_joined_and_stored_and_no_process_ends(
    records: int, every: int, commands: Sequence[Sequence[str]], running: Running
) -> None:
    running.wait_for_version()
    before = pids(running)
    bootstrap = json.loads(running.ok("status", "--json"))["addresses"]["kafka"]
    with Hostile(bootstrap) as hostile:
        attack = Attack(running, hostile)
        attack.run(records, every)

    wanted = len(attack.good)
    for table in ("requests", "predictions", "outcomes"):
        running.wait_for_rows(
            f"SELECT uniqExact(request_id) AS n FROM {table} WHERE startsWith(request_id, 'good-')",
            lambda rows: int(rows[0]["n"]) == wanted,
        )
    running.wait_for_rows(
        "SELECT countIf(status = 'answered') + countIf(status = 'deferred') AS n FROM predictions "
        "WHERE startsWith(request_id, 'good-')",
        lambda rows: int(rows[0]["n"]) == wanted,
    )
    for arguments in commands:
        done = running.weir(*arguments)
        assert "Traceback" not in done.stderr, done.stderr[-3000:]
    wait_for(lambda: well(running), "every process is well")
    assert pids(running) == before
    leaked = [path for path in Path(running.env["WEIR_HOME"]).rglob(SECRET)]
    assert [path.parent.name for path in leaked] == ["keys"]


def pids(running: Running) -> dict[str, Any]:
    state = read_run_state(Path(running.env["WEIR_HOME"]))
    return {name: process.pid for name, process in state.processes.items()}


def well(running: Running) -> bool:
    found = json.loads(running.weir("status", "--json").stdout)
    return all(process["well"] for process in found["processes"])
