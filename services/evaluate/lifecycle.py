"""One life of a model on the flights: from trigger to champion, a refusal, and a rollback.

A real system (broker, store, worker, sink, trainer under the supervisor) replays flights while
three things happen:

1. **promotion**: enough new labels came; the trigger asks for a version, the trainer makes it, and
   the rollout takes it from shadow over canary to champion;
2. **refusal**: somebody asks for a version of one week of January; it does not hold against the
   champion;
3. **rollback**: a version that learned the opposite of the truth is promoted by hand; the former
   champion looks on, and answers again when the regression is sure.

What is told is what the topics ``retrain``, ``models`` and ``decisions`` and the trainer's journal
say, and what the demo's ledger counts at the end.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
from confluent_kafka import TopicPartition

from schemas.topics import BY_NAME
from services.contract import Contract
from services.demo.backlog import Backlog
from services.demo.flights import flights_from_march
from services.demo.ledger import Ledger
from services.demo.replay import Replay
from services.demo.report import SinkRows, drain, report
from services.demo.timeline import Timeline
from services.demo.watch import Watch
from services.registry import Publisher, model_record, request_retrain
from services.trainer.journal import read_journal
from streams.bundle import save_bundle
from streams.roles import ModelRecord
from streams.settings import Settings
from streams.task import Task
from streams.training.train import train
from streams.transport.messages import BoundedConsumer
from streams.windowed.history import with_windowed

TASK = "services.evaluate.lifecycle_task:Lifecycle"
FOLLOWED = ("retrain", "models", "decisions")
DAYS_A_SECOND = 0.25
"""So slow that a training, in days of flights, is not longer than the labels' delay by far."""
LONGEST_S = 900.0
"""For one of the three."""
WEEK = ("2013-01-07", "2013-01-14")
BY = "weir evaluate lifecycle"
LOOK_S = 0.1

Say = Callable[[str], None]
Record = Mapping[str, Any]


class LifecycleError(RuntimeError):
    """It did not come as it should; the message says what was waited for."""


@dataclass
class Story:
    """The followed topics' records so far, each with when it was seen; a thread adds to it."""

    records: dict[str, list[tuple[float, Record]]] = field(
        default_factory=lambda: {name: [] for name in FOLLOWED}
    )

    def first(self, topic: str, fits: Callable[[Record], bool]) -> tuple[float, Record] | None:
        """The first record that fits, and when it was seen."""
        return next((found for found in list(self.records[topic]) if fits(found[1])), None)


class Follow:
    """Reads the followed topics from their beginning, in a thread; use as a context manager."""

    def __init__(self, contract: Contract, settings: Settings) -> None:
        self.story = Story()
        self._topics = {contract.topic(name).topic(contract.task): name for name in FOLLOWED}
        self._codecs = {
            name: contract.codec(BY_NAME[name].record, settings.home) for name in FOLLOWED
        }
        self._client = settings.librdkafka()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lifecycle", daemon=True)

    def __enter__(self) -> Story:
        self._thread.start()
        return self.story

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        consumer = BoundedConsumer(
            {
                "log_level": 0,
                **self._client,
                "group.id": "weir-lifecycle",  # librdkafka wants one; assign() never joins it
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
            }
        )
        try:
            consumer.assign([TopicPartition(topic, 0, 0) for topic in self._topics])
            while not self._over.is_set():
                message = consumer.poll(LOOK_S)
                if message is None or message.error() is not None or message.value() is None:
                    continue
                name = self._topics[message.topic()]
                record = self._codecs[name].read(message.value())
                self.story.records[name].append((time.monotonic(), record))
        finally:
            consumer.close()


@dataclass
class Life:
    """The run: `live` does it and gives the report."""

    task: Task
    contract: Contract
    settings: Settings
    stop: threading.Event
    say: Say
    _began: float = field(default_factory=time.monotonic)
    _told: list[dict[str, Any]] = field(default_factory=list)

    def live(self) -> dict[str, Any]:
        """The three parts, one after the other, while flights are replayed. LifecycleError."""
        kafka = {**self.settings.librdkafka(), "log_level": 0}
        enough = threading.Event()
        with (
            Follow(self.contract, self.settings) as story,
            Watch(self.task.name, self.task.partitions, kafka) as watch,
        ):
            replay = Replay(
                self.task,
                Timeline(self.task, flights_from_march()),
                kafka,
                speed=DAYS_A_SECOND,
                stop=enough,
                backlog=Backlog(self.task, kafka),
                on_requests=watch.published,
            )
            thread = threading.Thread(target=replay.run, name="replay", daemon=True)
            thread.start()
            try:
                parts = {
                    "promotion": self._promotion(story),
                    "refusal": self._refusal(story),
                    "rollback": self._rollback(story),
                }
            finally:
                enough.set()
                thread.join()
            counted = self._counted(watch)
        return {**parts, "counted": counted, "seconds": round(time.monotonic() - self._began, 1)}

    def _promotion(self, story: Story) -> dict[str, Any]:
        at, event = self._await(
            story, "retrain", lambda r: r["status"] == "asked" and r["trigger"] != "first", "event"
        )
        id_ = event["event_id"]
        registered, model = self._await(
            story, "models", lambda r: r["event_id"] == id_, "version of the event"
        )
        version = model["version"]
        over = ("promoted", "refused", "kept")
        promoted, last = self._await(
            story,
            "decisions",
            lambda r: r["version"] == version and r["action"] in over,
            "decision about the version",
        )
        decisions = [r for _, r in story.records["decisions"] if r["version"] == version]
        return {
            "event": _short(event, "event_id", "trigger", "policy", "reason"),
            "version": _short(model, "version", "role", "reason", "rows", "metrics"),
            "steps": self._steps(id_),
            "seconds": {
                "event to registered": round(registered - at, 1),
                "registered to decided": round(promoted - registered, 1),
            },
            "decided": last["action"],
            "decisions": [_decision(one) for one in decisions],
        }

    def _refusal(self, story: Story) -> dict[str, Any]:
        first, last = (int(pd.Timestamp(day, tz="UTC").timestamp() * 1000) for day in WEEK)
        id_ = request_retrain(
            self.settings, self.task, "one week of January", BY, data_from=first, data_to=last
        )
        _, model = self._await(
            story, "models", lambda r: r["event_id"] == id_, "version of one week"
        )
        return {
            "version": _short(model, "version", "role", "reason", "rows", "metrics"),
            "steps": self._steps(id_),
        }

    def _rollback(self, story: Story) -> dict[str, Any]:
        bad = self._bad()
        publisher = Publisher(self.settings, self.task)
        try:
            publisher.publish("models", bad.version, bad.record())
        finally:
            publisher.close()
        at = time.monotonic()
        seen, decision = self._await(
            story,
            "decisions",
            lambda r: r["version"] == bad.version and r["action"] == "rolled-back",
            "rollback",
        )
        return {
            "version": _short(bad.record(), "version", "reason", "rows", "metrics"),
            "seconds": round(seen - at, 1),
            "decisions": [
                _decision(r) for _, r in story.records["decisions"] if r["version"] == bad.version
            ],
            "moves": decision["moves"],
        }

    def _bad(self) -> ModelRecord:
        """A version that learned the opposite of the truth, saved, and promoted by hand."""
        assert self.task.history is not None
        table = with_windowed(self.task, self.task.history())
        name = self.task.target.name
        self.say("training a version on the opposite of the truth")
        plain = replace(self.task, triggers=())
        table = table.iloc[::4].assign(**{name: ~table[name].iloc[::4].astype(bool)})
        contents = train(plain, table, "the opposite of the truth").contents
        key = self.settings.signing_key.get_secret_value().encode()
        info = save_bundle(self.settings.artifacts, plain, contents, key)
        reason = "promoted by hand, to see what becomes of a bad model"
        return model_record(contents, info, "champion", reason, BY)

    def _steps(self, event_id: str) -> dict[str, float]:
        """Seconds of each step of a training, from the trainer's journal."""
        steps: dict[str, float] = {}
        for line in read_journal(self.settings.home, event_id):
            steps[line["step"]] = round(steps.get(line["step"], 0.0) + line["seconds"], 2)
        return steps

    def _await(
        self, story: Story, topic: str, fits: Callable[[Record], bool], what: str
    ) -> tuple[float, Record]:
        until = time.monotonic() + LONGEST_S
        while time.monotonic() < until and not self.stop.wait(LOOK_S):
            found = story.first(topic, fits)
            if found is not None:
                self.say(f"{time.monotonic() - self._began:.0f} s: {what}: {_words(found[1])}")
                return found
        raise LifecycleError(f"no {what} after {LONGEST_S:.0f} s")

    def _counted(self, watch: Watch) -> dict[str, Any]:
        rows = SinkRows(self.settings, self.contract.task)
        self.say("draining")
        with Ledger(self.contract, self.settings.librdkafka(), self.settings.home) as ledger:
            missing = drain(ledger, self.contract, rows, deadline_s=120, stop=self.stop)
            found = report(ledger, self.contract, watch.latency_ms(), rows())
        if missing:
            raise LifecycleError("; ".join(missing))
        return found


def _short(record: Record, *names: str) -> dict[str, Any]:
    return {name: record[name] for name in names}


def _decision(record: Record) -> dict[str, Any]:
    names = ("decision_id", "action", "from_role", "to_role", "share", "rule", "reason")
    return _short(record, *names, "value", "low", "high", "moves")


def _words(record: Record) -> str:
    told = [str(record[name]) for name in ("version", "role", "action") if record.get(name)]
    return f"{' '.join(told)}: {record['reason']}" if told else str(record["reason"])


def begun_in(home: Path) -> None:
    """Raise LifecycleError where the folder is not empty."""
    if home.exists() and any(home.iterdir()):
        raise LifecycleError(f"{home} is not empty, and the run needs a home of its own")
