"""How each system is started on the broker, and ended: Weir's workers and the peers' scripts."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import joblib
import psutil
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from prometheus_client.parser import text_string_to_metric_families

from schemas.codec import Codec
from services import contract as contracts
from services.admin import create_topics
from services.broker import Broker
from services.contract import Contract
from services.ports import free_port
from services.supervisor.child import Child
from streams.bundle import save_bundle
from streams.codecs import codecs
from streams.task import Task, load_task
from streams.training.train import train
from tests.benchmarks import task as bench_task

ROOT = Path(__file__).parents[2]
PEERS = Path(__file__).parent / "peers"
PEER_PYTHON = ROOT / ".venv-bench" / "bin" / "python"
REFERENCE = f"{Path(bench_task.__file__)}:Bench"
KEY = b"a benchmark's key"

# One thread of BLAS or OpenMP each: two cores are shared with the broker.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

PREDICTION = {
    "type": "record",
    "name": "Prediction",
    "fields": [
        {"name": "request_id", "type": "string"},
        {"name": "event_time", "type": "long"},
        {"name": "predicted_at", "type": "long"},
        {"name": "answer", "type": "boolean"},
        {"name": "probability", "type": "double"},
        {"name": "version", "type": "string"},
    ],
}
"""What peers publish; Weir publishes its full record (features, gate, timings, origin)."""


@dataclass(frozen=True)
class System:
    """One system to measure.

    backlog: share of the full backlog that it gets, so that slow ones end too; the measured span
    is then still seconds long. workers: processes of Weir.
    """

    name: str
    title: str
    delivery: Literal["exactly once", "at least once"]
    script: str = ""  # a peer's; empty: Weir's own worker
    arguments: tuple[str, ...] = ()
    module: str = "streams.app"
    workers: int = 1
    backlog: float = 1.0
    partitions: int = 4
    shadows: int = 0


@dataclass
class Running:
    """A system that is up: its topics and processes; of Weir's workers the ports of their health
    pages."""

    requests: str
    predictions: str
    codec: Codec
    partitions: int
    children: list[Child] = field(default_factory=list)
    ports: list[int] = field(default_factory=list)

    def cpu_s(self) -> float:
        """CPU seconds of its processes so far."""
        times = [psutil.Process(child.pid).cpu_times() for child in self.children]
        return float(sum(t.user + t.system for t in times))

    def stages_s(self) -> Counter[str]:
        """Seconds of work of each stage so far, by its own count; nothing of a peer."""
        found: Counter[str] = Counter()
        for port in self.ports:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as page:
                for family in text_string_to_metric_families(page.read().decode()):
                    for sample in family.samples:
                        if sample.name == "weir_stage_seconds_sum":
                            found[sample.labels["stage"]] += sample.value
        return found

    def resident_mb(self) -> float:
        """Memory of its processes now."""
        return sum(psutil.Process(child.pid).memory_info().rss for child in self.children) / 1e6

    def check(self) -> None:
        """RuntimeError where one of its processes has ended."""
        if any(child.has_ended() for child in self.children):
            raise RuntimeError(f"a process of {self.requests} ended: see its log")


@contextlib.contextmanager
def fresh_stage(folder: Path) -> Iterator[Stage]:
    """A stage on a broker of its own, which is ended afterwards."""
    broker = Broker(folder / "broker", port=free_port(), thorough=True)
    broker.prepare()
    process = Child(broker.command(), {}, folder / "broker.log")
    try:
        broker.wait_until_ready(alive=lambda: not process.has_ended())
        yield Stage(broker.bootstrap, folder, process.pid)
    finally:
        process.terminate()
        process.wait()


class Stage:
    """The broker, and a folder for all that the systems keep."""

    def __init__(self, bootstrap: str, folder: Path, broker_pid: int) -> None:
        self.bootstrap = bootstrap
        self._broker = psutil.Process(broker_pid)
        self.folder = folder
        self._count = 0
        self._write_for_peers()

    def _write_for_peers(self) -> None:
        task = load_task(REFERENCE)
        schema = task.schemas()["request"]
        (self.folder / "request.avsc").write_text(json.dumps(_plain(schema)))
        (self.folder / "prediction.avsc").write_text(json.dumps(PREDICTION))
        rows = bench_task.history()
        model = bench_task.Bench.candidates["logistic"]
        model.fit(rows[bench_task.NAMES].to_numpy(), rows["label"])
        joblib.dump(model, self.folder / "model.joblib")

    def broker_cpu_s(self) -> float:
        """CPU seconds of the broker so far."""
        times = self._broker.cpu_times()
        return float(times.user + times.system)

    def compiler_cpu_s(self) -> float:
        """CPU seconds that the broker's JVM has spent on compiling what it does often.

        By the names of its threads, which Linux alone tells; elsewhere 0.
        """
        spent = 0.0
        for thread in self._broker.threads():
            name = Path(f"/proc/{self._broker.pid}/task/{thread.id}/comm")
            with contextlib.suppress(OSError):
                if name.read_text().startswith(("C1 Comp", "C2 Comp")):
                    spent += thread.user_time + thread.system_time
        return spent

    @contextlib.contextmanager
    def running(self, system: System) -> Iterator[Running]:
        """Start a system on topics of its own; end it afterwards."""
        self._count += 1
        name = f"b{self._count}_{system.name}"
        start = self._peer if system.script else self._weir
        running = start(system, name)
        try:
            yield running
        finally:
            for child in running.children:
                child.terminate()
            deadline = time.monotonic() + 10
            for child in running.children:
                while not child.has_ended() and time.monotonic() < deadline:
                    time.sleep(0.05)
                child.kill()
                child.wait()
            self._forget(name)

    def _peer(self, system: System, name: str) -> Running:
        running = Running(
            f"{name}.requests",
            f"{name}.predictions",
            codecs(load_task(REFERENCE))["request"],
            system.partitions,
        )
        client = AdminClient({"bootstrap.servers": self.bootstrap})
        made = client.create_topics(
            [NewTopic(t, system.partitions, -1) for t in (running.requests, running.predictions)]
        )
        for future in made.values():
            future.result(30)
        env = {
            **ONE_THREAD,
            "BENCH_BOOTSTRAP": self.bootstrap,
            "BENCH_REQUESTS": running.requests,
            "BENCH_PREDICTIONS": running.predictions,
            "BENCH_FOLDER": str(self.folder),
        }
        argv = [str(PEER_PYTHON), str(PEERS / system.script), *system.arguments]
        if system.script.startswith("faust"):
            argv += ["--datadir", str(self.folder / name)]
        running.children.append(Child(argv, env, self.folder / f"{name}.log"))
        return running

    def _weir(self, system: System, name: str) -> Running:
        home = self.folder / name
        os.environ["WEIR_BENCH_TASK"] = name
        os.environ["WEIR_BENCH_PARTITIONS"] = str(system.partitions)
        task = load_task(REFERENCE)
        contract = Contract.of(task, REFERENCE)
        contracts.record(contract, home)
        create_topics(contract, {"bootstrap.servers": self.bootstrap})
        for number in range(1 + system.shadows):
            self._put_in_service(task, home, number)
        running = Running(
            f"{name}.requests", f"{name}.predictions", codecs(task)["request"], system.partitions
        )
        for worker in range(system.workers):
            running.ports.append(free_port())
            env = {
                **ONE_THREAD,
                "WEIR_HOME": str(home),
                "WEIR_TASK": REFERENCE,
                "WEIR_BENCH_TASK": name,
                "WEIR_BENCH_PARTITIONS": str(system.partitions),
                "WEIR_BOOTSTRAP": self.bootstrap,
                "WEIR_HEALTH_PORT": str(running.ports[-1]),
                "WEIR_SIGNING_KEY": KEY.decode(),
                "WEIR_WORKER": str(worker),
                "WEIR_DELIVERY": system.delivery.replace(" ", "_"),
            }
            argv = [sys.executable, "-m", system.module]
            running.children.append(Child(argv, env, self.folder / f"{name}-{worker}.log"))
        _wait_until_shared(running)
        return running

    def _put_in_service(self, task: Task, home: Path, number: int) -> None:
        """Train and announce: number 0 answers, the others are shadows, of other rows each."""
        trained = train(task, bench_task.history().iloc[100 * number :], "first")
        if trained.contents.gate is None:
            raise RuntimeError(f"training found no gate: {trained.contents.gate_metrics}")
        info = save_bundle(home / "artifacts", task, trained.contents, KEY)
        record: dict[str, Any] = {
            "version": info.id,
            "role": "shadow" if number else "champion",
            "changed_at": time.time_ns() // 1_000_000,
            "reason": "the benchmark's",
            "event_id": "first",
            "bundle": info.folder.name,
            "sha256": "",
            "dataset_id": "",
            "rows": 0,
            "data_from": 0,
            "data_to": 0,
            "metrics": {},
        }
        producer = Producer({"bootstrap.servers": self.bootstrap})
        value = codecs(task)["model"].write(record)
        producer.produce(f"{task.name}.models", value, info.id.encode())
        producer.flush(30)

    def _forget(self, name: str) -> None:
        """Delete its topics: the broker's disk and memory are the next one's."""
        client = AdminClient({"bootstrap.servers": self.bootstrap})
        topics = [t for t in client.list_topics(timeout=10).topics if t.startswith(f"{name}.")]
        for future in client.delete_topics(topics).values():
            future.result(30)


def _wait_until_shared(running: Running) -> None:
    """Wait until all workers serve a version and each has its share of the partitions."""
    deadline = time.monotonic() + 90
    while True:
        running.check()
        states = [_health(port) for port in running.ports]
        if all(s and s.get("version") and s.get("partitions") for s in states):
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"the workers are not ready: {states}")
        time.sleep(0.1)


def _health(port: int) -> dict[str, Any] | None:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
            state: dict[str, Any] = json.load(answer)
            return state
    except OSError:
        return None


def _plain(node: Any) -> Any:
    """The schema without logical types: times stay integers, which is faster for fastavro."""
    if isinstance(node, dict):
        return {key: _plain(value) for key, value in node.items() if key != "logicalType"}
    if isinstance(node, list):
        return [_plain(part) for part in node]
    return node
