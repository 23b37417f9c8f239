"""Feedback without Kafka: topics as lists of records, cut into batches and interleaved at will."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from schemas.codec import Codec
from streams.codecs import codecs
from streams.feedback import Feedback
from streams.join import is_waiting
from streams.pending import unpack_ids
from streams.store import Stores
from streams.task import Task
from streams.transport.batch import Headers, Output, RecordBatch
from tests.streams.tasks import START, by_topic, task_of

FEATURES = {"size": 1.0, "age": 3, "fresh": True, "colour": "red", "shop": "x"}
NOW = START + 400 * 86_400_000


def prediction(id_: str, event_time: int, **changes: Any) -> dict[str, Any]:
    return {
        "request_id": id_,
        "event_time": event_time,
        "predicted_at": event_time,
        "status": "answered",
        "answer": True,
        "probability": 0.75,
        "probabilities": [],
        "gate_decision": "admit",
        "gate_score": 0.1,
        "version": "v1",
        "role": "champion",
        "dataset_id": "d1",
        "app_version": "1",
        "timings": dict.fromkeys(
            ("wait_us", "decode_us", "validate_us", "gate_us", "infer_us", "batch_size"), 0
        ),
        "features": FEATURES,
        **changes,
    }


def truth(id_: str, known_at: int, value: Any = True, source: str = "system") -> dict[str, Any]:
    return {"request_id": id_, "known_at": known_at, "truth": value, "source": source}


def signal(id_: str, event_time: int, kind: str, **more: Any) -> dict[str, Any]:
    return {"request_id": id_, "event_time": event_time, "kind": kind, **more}


class Topic:
    """One partition of one topic: records by offset."""

    def __init__(self, name: str, codec: Codec, records: Sequence[Any], partition: int = 0) -> None:
        self.name = name
        self.partition = partition
        self.values = [
            record if record is None or isinstance(record, bytes) else codec.write(record)
            for record in records
        ]

    @classmethod
    def until(cls, topic: Topic, end: int) -> Topic:
        """The records of a topic before an offset."""
        part = cls.__new__(cls)
        part.name, part.partition, part.values = topic.name, topic.partition, topic.values[:end]
        return part

    def batch(self, first: int, end: int, headers: dict[int, Headers] | None = None) -> RecordBatch:
        values = self.values[first:end]
        return RecordBatch(
            self.name,
            self.partition,
            np.arange(first, first + len(values), dtype=np.int64),
            np.full(len(values), START, np.int64),
            [b"key"] * len(values),
            list(values),
            headers or {},
        )

    def cut(self, lengths: Iterable[int]) -> Iterator[RecordBatch]:
        """The topic in batches of these lengths; what is left over is one more."""
        at = 0
        for length in lengths:
            if at < len(self.values):
                yield self.batch(at, at + length)
                at += length
        if at < len(self.values):
            yield self.batch(at, len(self.values))


class Joining:
    """A feedback stage on a store of its own."""

    def __init__(self, folder: Path, task: Task | None = None) -> None:
        self.task = task or task_of("binary")
        self.codecs = codecs(self.task)
        self.now = NOW
        self.folder = folder
        self.outputs: list[Output] = []
        self.begin()

    def begin(self) -> None:
        """Start, or start again, on what is on disk."""
        self.stores = Stores(self.folder)
        self.feedback = Feedback(self.task, self.codecs, self.stores, lambda: self.now)

    def close(self) -> None:
        self.feedback.close()
        self.stores.close()

    def empty(self) -> None:
        """Start anew with nothing, without making another store on disk, which takes long."""
        self.feedback.close()
        self.outputs.clear()
        store = self.stores.get("feedback", 0)
        for key in self._stored():
            store.delete(key)
        store.seal(dict.fromkeys(store.offsets, 0))()

    def predictions(self, records: Sequence[Any], partition: int = 0) -> Topic:
        name = f"{self.task.name}.predictions"
        return Topic(name, self.codecs["prediction"], records, partition)

    def truths(self, records: Sequence[Any], partition: int = 0) -> Topic:
        return Topic(f"{self.task.name}.truth", self.codecs["truth"], records, partition)

    def signals(self, records: Sequence[Any]) -> Topic:
        return Topic(f"{self.task.name}.signals", self.codecs["signal"], records)

    def run(self, batches: Iterable[RecordBatch]) -> list[Output]:
        """Join batches and commit each; returns what they gave, which is kept as well."""
        made: list[Output] = []
        for batch in batches:
            result = self.feedback(batch)
            assert result.batch is batch
            assert result.after_commit is not None
            result.after_commit()
            made += result.outputs
        self.outputs += made
        return made

    def all(self, *topics: Topic) -> list[Output]:
        """Join whole topics, one after the other."""
        return self.run(topic.batch(0, len(topic.values)) for topic in topics)

    def outcomes(self, outputs: Sequence[Output] | None = None) -> list[dict[str, Any]]:
        return self._read("outcomes", "outcome", outputs)

    def dead(self, outputs: Sequence[Output] | None = None) -> list[dict[str, Any]]:
        return self._read("dead-letters", "dead_letter", outputs)

    def _read(
        self, topic: str, record: str, outputs: Sequence[Output] | None
    ) -> list[dict[str, Any]]:
        rows = by_topic(self.outputs if outputs is None else outputs).get(topic, [])
        return [self.codecs[record].read(value) for _, value, _ in rows]

    def state(self, partition: int = 0) -> dict[bytes, bytes]:
        """All that the store holds; the index of predictions, which has an entry a batch, by id."""
        found: dict[bytes, bytes] = {}
        for key, value in self._stored(partition).items():
            if key[:2] == b"xp":
                found |= {key[:10] + id_: b"" for id_ in unpack_ids(value)}
            else:
                found[key] = value
        return found

    def _stored(self, partition: int = 0) -> dict[bytes, bytes]:
        store = self.stores.get("feedback", partition)
        return dict(store.scan(b"\x01", b"\xff" * 200))

    def waiting(self, partition: int = 0) -> set[bytes]:
        """What is in the store by request id: p a prediction, r a rejection, t truths."""
        return {
            (b"t" if key[:1] == b"p" and is_waiting(value) else key[:1]) + key[1:]
            for key, value in self.state(partition).items()
            if key[:1] in (b"p", b"r", b"t")
        }


def net(outcomes: Iterable[dict[str, Any]], label: str = "true") -> dict[str, Any]:
    """The truth of each request after all corrections; each must take back what held before."""
    return {id_: truth for id_, (truth, _, _) in held(outcomes, label).items()}


def held(outcomes: Iterable[dict[str, Any]], label: str) -> dict[str, tuple[Any, str, float]]:
    """Truth, source and weight of each request after all corrections of outcomes of a label."""
    last: dict[str, dict[str, Any]] = {}
    for outcome in outcomes:
        if outcome["label"] != label:
            continue
        id_ = outcome["request_id"]
        before = last.get(id_)
        previous = outcome["previous_truth"], outcome["previous_source"], outcome["previous_weight"]
        if before is None:
            assert previous == (None, None, None), f"{id_}: it takes back what was not told"
        else:
            told = before["truth"], before["source"], before["weight"]
            assert previous == told, f"{id_}: counted twice or not at all"
            assert outcome["revision"] > before["revision"]
        last[id_] = outcome
    return {id_: (one["truth"], one["source"], one["weight"]) for id_, one in last.items()}
