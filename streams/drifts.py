"""Drift: profiles of all partitions in, statements of drift out. One partition, so one worker.

What the detectors find, and at which record, is a function of the records of the topic in their
order. So the state needs not be written with every batch: it is written now and then, and what came
since is replayed.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from prometheus_client import Counter, Gauge

from schemas.codec import Codec
from schemas.topics import BY_NAME
from streams.dead_letters import DeadLetter, DeadLetters
from streams.drift.counts import Counts
from streams.drift.family import FORMAT as DETECTORS
from streams.drift.family import Family
from streams.drift.finding import Finding
from streams.drift.records import record
from streams.drift.rejections import Rejections
from streams.profiles import UNPROFILED
from streams.references import References
from streams.store import Store, Stores
from streams.task import Task
from streams.transport.batch import Output, RecordBatch, Result

log = logging.getLogger(__name__)

STAGE = "drift"
FORMAT = f"2.{DETECTORS}"
"""How the state is written; one in another format is made anew from the topic."""
SAVE_EVERY_MS = 5_000
"""How often the state goes to disk, by the worker's clock."""
MOST_VERSIONS = 8
"""Versions that drift is looked for in: the least recent one goes. Its late labels are not
looked at any more."""

FINDINGS = Counter("weir_drift_findings", "Statements of drift", ["kind"])
FAMILIES = Gauge("weir_drift_families", "Versions in whose records drift is looked for")
LAG = Gauge("weir_drift_lag_seconds", "Age of the newest counts that were looked at, at that time")

_VERSION, _STREAM = b"v", b"s"


class Drifts:
    """The stage that keeps a family of detectors for each version, and tells what they find."""

    def __init__(
        self,
        task: Task,
        codecs: dict[str, Codec],
        references: References,
        stores: Stores,
        clock: Callable[[], int],
    ) -> None:
        self._task = task
        self._references = references
        self._stores = stores
        self._clock = clock
        self._profile = codecs["profile"]
        self._drift = codecs["drift"]
        self._dead = DeadLetters(task.name, codecs["dead_letter"], STAGE)
        self._predictions = BY_NAME["predictions"].topic(task.name)
        self._drifts = BY_NAME["drifts"].topic(task.name)
        self.topic = BY_NAME["profiles"].topic(task.name)
        self._names = [feature.name for feature in task.features]
        # Another policy has other detectors: their state is made from the topic.
        policy = json.dumps(task.drift.facts(), sort_keys=True)
        self.stage = f"{STAGE}-{hashlib.sha256(policy.encode()).hexdigest()[:8]}-{FORMAT}"
        self.close()

    def close(self) -> None:
        """The partition goes."""
        self._store: Store | None = None
        self._families: OrderedDict[str, Family] = OrderedDict()  # the least recent first
        self._used: dict[str, int] = {}  # of each the number of its last look
        self._changed: set[str] = set()
        self._answering = ""  # the version that was last seen to answer
        self._rejections = Rejections(self._names, self._task.drift)
        self._saved_at = self._clock()

    def open(self) -> None:
        """Read the state from the store, unless it is at hand."""
        if self._store is not None:
            return
        store = self._store = self._stores.get(self.stage, 0)
        kept = [json.loads(value) for _, value in store.scan(_VERSION, _VERSION + b"\xff")]
        for one in sorted(kept, key=lambda one: one["used"]):
            version = one["version"]
            reference = self._references.of(version)
            if reference is None:
                continue
            try:
                family = Family.of(self._task, reference, self._task.drift, one["family"])
            except (ValueError, KeyError, TypeError) as error:
                log.error("the detectors of version %s begin anew: %s", version, error)
                continue
            self._families[version] = family
            self._used[version] = one["used"]
        raw = store.get_many([_STREAM])[0]
        if raw:
            stream = json.loads(raw)
            self._answering = stream["answering"]
            self._rejections.restore(stream["rejections"])

    def __call__(self, batch: RecordBatch) -> Result:
        """Take a batch of profiles."""
        self.open()
        now = self._clock()
        letters: list[DeadLetter] = []
        outputs: list[Output] = []
        for position, value in enumerate(batch.values):
            try:
                profile = self._profile.read(value)
                counts = _counts(profile)
            except (ValueError, KeyError, TypeError) as error:
                # Only Weir writes here, and this is not Weir's.
                letters.append(DeadLetter(position, "undecodable", f"no profile: {error!r}"))
                continue
            found = self._look_at_requests(profile)
            if counts is not None:
                found += self._look(counts)
            outputs += self._told(found, profile["role"], batch, position, now)
        FAMILIES.set(len(self._families))
        LAG.set(max(0.0, (now - int(batch.timestamps[-1])) / 1000))
        if letters:
            outputs.append(self._dead.output(batch, letters, now))
        return Result(batch, outputs, self._save(batch, now))

    def _look_at_requests(self, profile: dict[str, Any]) -> list[Finding]:
        """What is found in how many requests are refused; that is of the stream, not a version."""
        if profile["source"].rpartition("/")[0] != self._predictions:
            return []
        if profile["version"]:
            self._answering = profile["version"]
        first, last = profile["event_from"], profile["event_to"]
        requests = profile["rejected"] or profile["records"]
        by_field = profile["rejected_by"]
        return self._rejections.update(self._answering, requests, by_field, first, last)

    def _look(self, counts: Counts) -> list[Finding]:
        """What a version's detectors find in counts."""
        family = self._family(counts.version, counts)
        return [] if family is None else family.update(counts)

    def _told(
        self, found: list[Finding], role: str, batch: RecordBatch, position: int, now: int
    ) -> list[Output]:
        """The statements of what was found at a record. role: of the version's records there."""
        if not found:
            return []
        offset, stored = int(batch.offsets[position]), int(batch.timestamps[position])
        keys: list[bytes | None] = []
        records = []
        for finding in found:
            FINDINGS.labels(finding.kind).inc()
            keys.append(f"{finding.version}|{finding.kind}|{finding.subject}".encode())
            # Refused requests are those of whoever would have answered.
            as_what = role if role != "none" else "champion"
            records.append(record(finding, self._id(finding, offset), as_what, now, stored))
        return [Output(self._drifts, keys, self._drift.write_many(records))]

    def _family(self, version: str, counts: Counts) -> Family | None:
        """A version's detectors, which become the most recent; None where they cannot look."""
        reference = self._references.of(version)
        # Of another shape are those of a Weir before an upgrade.
        if reference is None or len(counts.cells) != reference.starts[-1]:
            UNPROFILED.labels("shape" if reference else "reference").inc(counts.records)
            return None
        family = self._families.get(version)
        if family is None:
            family = self._families[version] = Family(self._task, reference, self._task.drift)
        self._families.move_to_end(version)
        self._used[version] = max(self._used.values(), default=0) + 1
        self._changed.add(version)
        while len(self._families) > MOST_VERSIONS:
            gone, _ = self._families.popitem(last=False)
            del self._used[gone]
            self._changed.add(gone)
        return family

    def _id(self, finding: Finding, offset: int) -> str:
        """The same after any replay: what was found, and at which record of the topic."""
        what = (self._task.name, finding.version, finding.detector, finding.kind)
        text = "|".join((*what, finding.subject, str(finding.since), str(offset)))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _save(self, batch: RecordBatch, now: int) -> Callable[[], None] | None:
        """What writes the state; None while it is too early for that."""
        store = self._store
        assert store is not None
        if now - self._saved_at < SAVE_EVERY_MS:
            return None
        self._saved_at = now
        for version in self._changed:
            family = self._families.get(version)
            if family is None:
                store.delete(_VERSION + version.encode())
                continue
            kept = {
                "version": version,
                "used": self._used[version],
                "family": family.state(),
            }
            store.put(_VERSION + version.encode(), json.dumps(kept).encode())
        self._changed.clear()
        stream = {"answering": self._answering, "rejections": self._rejections.state()}
        store.put(_STREAM, json.dumps(stream).encode())
        return store.seal({batch.topic: batch.next_offset})


def _counts(profile: dict[str, Any]) -> Counts | None:
    """What a profile counts; None of one that tells of refused requests.

    ValueError, KeyError or TypeError where it is not Weir's.
    """
    if not profile["version"] and profile["rejected"]:
        return None
    counts = Counts.of(json.loads(profile["counts"]))
    if counts.version != profile["version"]:
        raise ValueError(f"counts of {counts.version} in a profile of {profile['version']}")
    return counts
