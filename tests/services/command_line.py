"""What the tests of the command share: a small task in a home of its own, and running ``weir``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

from schemas.codec import Codec
from services.admin import create_topics
from services.contract import Contract, record
from services.deployment import remember
from streams.settings import Settings
from streams.task import load_task
from tests.conftest import PATIENCE_S

TASK_FILE = """
from datetime import timedelta
from sklearn.dummy import DummyClassifier
from streams.task import Binary, Boolean, Category, Integer, Number, Task

Small = Task(
    name="{name}",
    features=[
        Number("price", low=0, unit="EUR"),
        Integer("visits", low=0),
        Boolean("member", nullable=True),
        Category("colour", values=["red", "green"], nullable=True),
    ],
    target=Binary("buys"),
    candidates={{"dummy": DummyClassifier()}},
    fallback=False,
    horizon=timedelta(days=2),
    partitions=3,
)
"""


@dataclass(frozen=True)
class Deployment:
    """A home in which a task has been started once, without its processes."""

    home: Path
    bootstrap: str
    contract: Contract

    def topic(self, name: str) -> str:
        """The full name of a topic."""
        return f"{self.contract.task}.{name}"

    def codec(self, record: str) -> Codec:
        """The task's codec of a record."""
        return self.contract.codec(record)

    def produce(self, topic: str, key: str | None, value: bytes | None, **more: Any) -> None:
        """Put one record into a topic, acknowledged."""
        producer = Producer({"bootstrap.servers": self.bootstrap, "partitioner": "murmur2_random"})
        producer.produce(self.topic(topic), value, key=key, **more)
        assert producer.flush(PATIENCE_S) == 0

    def weir(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run the command in this home, as in a terminal of its own."""
        return weir(*arguments, env={"WEIR_HOME": str(self.home)}, cwd=self.home, **options)

    def weir_json(self, *arguments: str, **options: Any) -> list[Any]:
        """Run it with --json; what it printed, a value a line."""
        done = self.weir(*arguments, "--json", **options)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]


def deploy(folder: Path, bootstrap: str) -> Deployment:
    """A home with a new task's contract, addresses and topics."""
    name = f"t_{uuid.uuid4().hex[:12]}"
    home = folder / "home"
    reference = f"{write_task(folder, name)}:Small"
    contract = Contract.of(load_task(reference), reference)
    record(contract, home)
    settings = Settings(home=home, bootstrap=bootstrap, task=reference, clickhouse_port=1)
    remember(settings, contract)
    create_topics(contract, settings.librdkafka())
    return Deployment(home, bootstrap, contract)


def write_task(folder: Path, name: str, changes: Mapping[str, str] | None = None) -> Path:
    """The file of the small task, each text of ``changes`` replaced by another."""
    text = TASK_FILE.format(name=name)
    for old, new in (changes or {}).items():
        assert old in text
        text = text.replace(old, new)
    path = folder / f"{name}.py"
    path.write_text(text)
    return path


def weir(
    *arguments: str, env: Mapping[str, str], timeout: float = PATIENCE_S, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run ``weir`` as a process, with no WEIR_ variable but those given."""
    return subprocess.run(
        command(*arguments),
        env={**inherited_environment(), **env},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        **({"stdin": subprocess.DEVNULL} if "input" not in options else {}),
        **options,
    )


def inherited_environment() -> dict[str, str]:
    """This process's variables but those of Weir."""
    return {name: v for name, v in os.environ.items() if not name.startswith("WEIR_")}


def command(*arguments: str) -> Sequence[str]:
    """The command line of ``weir`` in this environment."""
    return [sys.executable, "-m", "services.command", *arguments]
