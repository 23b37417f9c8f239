"""Reads every topic of the task back, as a consumer of committed records."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from confluent_kafka import IsolationLevel, KafkaError, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from schemas.codec import Codec
from schemas.columns import Column
from schemas.topics import BY_NAME
from services.contract import Contract
from services.faults.account import Outcomes, Predictions, number_of
from streams.transport.messages import BoundedConsumer

AT_ONCE = 10_000
QUIET_S = 60.0
"""Longest silence of the broker while there is more to read."""

Ints = npt.NDArray[np.int64]

FEW = ("status", "label", "version")
"""Columns with few different values."""

KEPT = {
    "requests": ["request_id"],
    "predictions": ["request_id", "status", "version"],
    "outcomes": ["request_id", "revision", "label", "truth", "previous_truth"],
    "dead-letters": ["topic", "partition", "offset"],
    "models": ["event_id", "version"],
    "alerts": ["kind", "evidence"],
}
"""Columns kept of each topic's records; of the others only where they are."""


class ReadError(RuntimeError):
    """The topics cannot be read; the message says why."""


class Reading:
    """What the topics hold, up to the last `advance`; use as a context manager.

    offsets: of the committed records, by short topic name and partition.
    """

    def __init__(self, contract: Contract, librdkafka: Mapping[str, Any]) -> None:
        self._contract = contract
        self._librdkafka = {"log_level": 0, **librdkafka}
        self._admin = AdminClient(self._librdkafka)
        self._name = {full: topic.name for full, topic in contract.topics()}
        self._at = {
            (full, number): 0
            for full, topic in contract.topics()
            for number in range(contract.partitions_of(topic))
        }
        self._codecs = {name: contract.codec(BY_NAME[name].record) for name in KEPT}
        self._offsets: defaultdict[tuple[str, int], list[Ints]] = defaultdict(list)
        self._frames: defaultdict[str, list[pd.DataFrame]] = defaultdict(list)
        self.counts = dict.fromkeys(self._name.values(), 0)

    def __enter__(self) -> Self:
        self._consumer = BoundedConsumer(
            {
                **self._librdkafka,
                "group.id": "weir-faults-reading",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 50,
            }
        )
        self._consumer.assign([TopicPartition(*each, 0) for each in self._at])
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._consumer.close()

    def advance(self) -> int:
        """Read up to where the topics end now; the number of records that were new."""
        ends, new, heard = self._ends(), 0, time.monotonic()
        while any(self._at[each] < end for each, end in ends.items()):
            messages = self._consumer.consume(AT_ONCE, 0.05)
            if messages:
                heard = time.monotonic()
            elif time.monotonic() - heard > QUIET_S:
                behind = [f"{t} [{n}]" for (t, n), end in ends.items() if self._at[t, n] < end]
                raise ReadError(f"the broker sends no more of {', '.join(behind)}")
            new += self._take(messages)
        return new

    def offsets(self) -> dict[str, dict[int, Ints]]:
        """Of the committed records, by short topic name and partition."""
        found: dict[str, dict[int, Ints]] = {name: {} for name in self._name.values()}
        for (name, partition), parts in self._offsets.items():
            found[name][partition] = np.concatenate(parts)
        return found

    def requests(self) -> Ints:
        """The number of each request record."""
        return self._frame("requests")["number"].to_numpy(np.int64)

    def predictions(self) -> Predictions:
        """All predictions."""
        frame = self._frame("predictions")
        rejected = (frame["status"] == "rejected").to_numpy(bool)
        return Predictions(frame["number"].to_numpy(np.int64), rejected)

    def outcomes(self) -> Outcomes:
        """All true outcomes."""
        frame = self._frame("outcomes")
        frame = frame[frame["label"] == "true"]
        return Outcomes(
            frame["number"].to_numpy(np.int64),
            frame["revision"].to_numpy(np.int64),
            frame["truth"].to_numpy(np.int8),
            frame["previous_truth"].to_numpy(np.int8),
        )

    def dead_letters(self) -> Iterator[tuple[str, int, int]]:
        """The origin of each: short topic name, partition, offset."""
        frame = self._frame("dead-letters")
        for topic, partition, offset in zip(*(frame[c] for c in KEPT["dead-letters"]), strict=True):
            yield self._name.get(topic, topic), partition, offset

    def models(self) -> Iterator[tuple[str, str]]:
        """Event id and version of each record of the model versions."""
        frame = self._frame("models")
        yield from zip(frame["event_id"], frame["version"], strict=True)

    def versions(self) -> dict[str, int]:
        """How many predictions each version made."""
        counts = self._frame("predictions")["version"].value_counts()
        return {str(name): int(count) for name, count in counts.items() if name and count}

    def refusals(self) -> Counter[str]:
        """How many alerts tell of a refusal, by what is refused."""
        alerts = self._frame("alerts")
        return Counter(alerts["evidence"][alerts["kind"] == "refused"])

    def _ends(self) -> dict[tuple[str, int], int]:
        asked = {TopicPartition(*each): OffsetSpec.latest() for each in self._at}
        answers = self._admin.list_offsets(
            asked, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=QUIET_S
        )
        return {(p.topic, p.partition): f.result().offset for p, f in answers.items()}

    def _take(self, messages: list[Any]) -> int:
        values: defaultdict[tuple[str, int], list[Any]] = defaultdict(list)
        for message in messages:
            where, error = (message.topic(), message.partition()), message.error()
            if error is None:
                self._at[where] = message.offset() + 1
                if message.value() is not None or not self._compacted(message.topic()):
                    values[where].append(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                self._at[where] = max(self._at[where], message.offset())
            elif error.fatal():
                raise ReadError(f"the topics cannot be read: {error.str()}")
        for (topic, partition), some in values.items():
            name = self._name[topic]
            self.counts[name] += len(some)
            self._offsets[name, partition].append(np.array([m.offset() for m in some], np.int64))
            if name in KEPT:
                self._keep(name, self._codecs[name], [m.value() for m in some])
        return sum(map(len, values.values()))

    def _compacted(self, topic: str) -> bool:
        """Whether a key without a value is no record there, but takes one back."""
        return BY_NAME[self._name[topic]].cleanup == "compact"

    def _keep(self, name: str, codec: Codec, values: list[bytes | None]) -> None:
        batch = codec.decode(values)
        data: dict[str, Any] = {}
        for column in KEPT[name]:
            data[column] = _plain(batch.columns[column])
        if "request_id" in data:
            data["number"] = np.array([number_of(id_) for id_ in data.pop("request_id")], np.int64)
        for few in FEW:
            if few in data:
                data[few] = pd.Categorical(data[few])
        if name == "outcomes":
            for truth in ("truth", "previous_truth"):
                data[truth] = _trit(batch.columns[truth])
        self._frames[name].append(pd.DataFrame(data))
        if name == "requests":  # a poisoned one, of which only the id may be read
            told = [f.request_id for f in batch.failures if f.request_id is not None]
            more = np.array([number_of(id_) for id_ in told], np.int64)
            self._frames[name].append(pd.DataFrame({"number": more}))

    def _frame(self, name: str) -> pd.DataFrame:
        frames = [frame for frame in self._frames[name] if len(frame)]
        if not frames:
            columns = [c for c in KEPT[name] if c != "request_id"]
            return pd.DataFrame(columns=["number", *columns])
        merged = pd.concat([_spelled_out(frame) for frame in frames], ignore_index=True)
        self._frames[name] = [merged]
        return merged


def _spelled_out(frame: pd.DataFrame) -> pd.DataFrame:
    """Categories of different frames are only concatenated as plain values."""
    few = frame.select_dtypes("category").columns
    return frame.astype(dict.fromkeys(few, object))


def _plain(column: Column) -> npt.NDArray[Any]:
    return np.asarray(column.values)


def _trit(column: Column) -> npt.NDArray[np.int8]:
    """1 for true, 0 for false, -1 for null."""
    values = column.values.astype(np.int8)
    if column.valid is not None:
        values = np.where(column.valid, values, -1).astype(np.int8)
    return values
