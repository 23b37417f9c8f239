"""Volumes: usage of all partitions in; drifts of the kind ``volume``, and whom to throttle, out.

One partition, so one worker. What is found is a function of the records and their times, in their
order: the state is written now and then, and what came since is replayed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import numpy as np
from prometheus_client import Counter, Gauge

from schemas.codec import Codec
from schemas.topics import BY_NAME
from streams.dead_letters import DeadLetter, DeadLetters
from streams.event_time import from_number
from streams.store import Store, Stores
from streams.task import Task
from streams.transport.batch import Output, RecordBatch, Result
from streams.volume.buckets import Buckets
from streams.volume.counts import BUCKET_MS
from streams.volume.detector import Change, Detector
from streams.volume.wording import effect, record

FORMAT = 1
"""How the state is written; one in another format is made anew from the topic."""
SAVE_EVERY_MS = 30_000
"""How often the state goes to disk, by the times of the records."""
RENEW_MS = 60_000
"""So often a throttle is renewed while it lasts (streams.throttles lets go of it without)."""

_COUNTS = ("buckets", "requests", "held")

JUMPS = Counter("weir_volume_jumps", "Clients, or the whole stream, with too many requests")
JUMPING = Gauge("weir_volume_jumping", "Of these, those that have not ended")
LATE = Counter("weir_volume_late", "Requests whose bucket had been looked at before they came")


class Volumes:
    """The stage that keeps what is usual, and tells of what is not."""

    def __init__(
        self, task: Task, codecs: dict[str, Codec], stores: Stores, clock: Callable[[], int]
    ) -> None:
        self._task, self._stores, self._clock = task, stores, clock
        self._usage, self._drift = codecs["usage"], codecs["drift"]
        self._throttle = codecs["throttle"]
        self._drifts = BY_NAME["drifts"].topic(task.name)
        self._throttles = BY_NAME["throttles"].topic(task.name)
        self.topic = BY_NAME["usage"].topic(task.name)
        facts = json.dumps(task.volume.facts(), sort_keys=True)
        self.stage = f"volume-{hashlib.sha256(facts.encode()).hexdigest()[:8]}-{FORMAT}"
        self._dead = DeadLetters(task.name, codecs["dead_letter"], "volume")
        self.close()

    def close(self) -> None:
        """The partition goes."""
        self._store: Store | None = None
        self._detector = Detector(self._task.volume)
        self._buckets = Buckets(
            f"{BY_NAME['predictions'].topic(self._task.name)}/{partition}"
            for partition in range(self._task.partitions)
        )
        self._version = ""
        self._renewed_at = 0
        self._saved_at = 0

    def open(self) -> None:
        """Read the state from the store, unless it is at hand."""
        if self._store is not None:
            return
        store = self._store = self._stores.get(self.stage, 0)
        kept = {key.decode(): value for key, value in store.scan(b"a", b"z")}
        if kept:
            rest = json.loads(kept.pop("more"))
            self._detector.restore(kept)
            self._buckets.restore(rest["buckets"])
            self._version, self._renewed_at = rest["version"], rest["renewed_at"]
            self._saved_at = rest["saved_at"]

    def __call__(self, batch: RecordBatch) -> Result:
        """Take a batch of usage."""
        self.open()
        letters: list[DeadLetter] = []
        changes: list[Change] = []
        now = self._clock()
        for position, value in enumerate(batch.values):
            try:
                usage = self._usage.read(value)
                clients = usage["clients"]
                buckets, requests, held = (np.array(usage[n], np.int64) for n in _COUNTS)
                if not len(clients) == len(buckets) == len(requests) == len(held):
                    raise ValueError("its columns are of different lengths")
            except ValueError as error:
                # Only Weir writes here, and this is not Weir's.
                letters.append(DeadLetter(position, "undecodable", f"no usage: {error}"))
                continue
            self._version = usage["version"] or self._version
            self._detector.serve(self._version)
            at = int(batch.timestamps[position])
            newest = from_number(usage["newest"])
            late = self._buckets.add(usage["source"], newest, clients, buckets, requests, held, at)
            LATE.inc(late)
            for over in self._buckets.over(at):
                changes += self._detector.look(*over)
        JUMPS.inc(sum(change.state == "begun" for change in changes))
        outputs = self._told(changes, now)
        outputs += self._renewed(int(batch.timestamps[-1]), changes, now)
        if letters:
            outputs.append(self._dead.output(batch, letters, now))
        JUMPING.set(len(self._detector.jumping))
        return Result(batch, outputs, self._save(batch))

    def _told(self, changes: list[Change], now: int) -> list[Output]:
        """The records of ``drifts``, and of ``throttles`` where the task acts."""
        if not changes:
            return []
        whose = [change.client for change in changes]
        records = [
            record(change, self._version, "champion", self._task.name, now) for change in changes
        ]
        keys: list[bytes | None] = [f"{self._version}|volume|{name}".encode() for name in whose]
        outputs = [Output(self._drifts, keys, self._drift.write_many(records))]
        about = [
            (change, found["drift_id"])
            for change, found in zip(changes, records, strict=True)
            if change.client and change.state != "on"
        ]
        if self._task.volume.action is not None and about:
            outputs.append(self._throttled(about, now))
        return outputs

    def _renewed(self, at: int, changes: list[Change], now: int) -> list[Output]:
        if self._task.volume.action is None or at - self._renewed_at < RENEW_MS:
            return []
        self._renewed_at = at
        told = {change.client for change in changes}
        about = [
            (Change(client, "on", jump.told, jump), "")
            for client, jump in self._detector.jumping.items()
            if client and client not in told
        ]
        return [self._throttled(about, now)] if about else []

    def _throttled(self, about: list[tuple[Change, str]], now: int) -> Output:
        records: list[dict[str, Any]] = [
            {
                "client": change.client,
                "action": "none" if change.state == "over" else self._task.volume.action,
                "decided_at": now,
                "since": change.jump.since * BUCKET_MS,
                "reason": effect(change),
                "drift_id": drift_id,
            }
            for change, drift_id in about
        ]
        keys: list[bytes | None] = [change.client.encode() for change, _ in about]
        return Output(self._throttles, keys, self._throttle.write_many(records))

    def _save(self, batch: RecordBatch) -> Callable[[], None] | None:
        """What writes the state; None while it is too early for that."""
        store, at = self._store, int(batch.timestamps[-1])
        assert store is not None
        if at - self._saved_at < SAVE_EVERY_MS:
            return None
        self._saved_at = at
        rest = {
            "buckets": self._buckets.state(),
            "version": self._version,
            "renewed_at": self._renewed_at,
            "saved_at": self._saved_at,
        }
        for name, value in (self._detector.state() | {"more": json.dumps(rest).encode()}).items():
            store.put(name.encode(), value)
        return store.seal({batch.topic: batch.next_offset})
