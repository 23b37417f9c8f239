"""Metrics: tallies of all partitions in, windows out. One partition, so one worker has them all."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from schemas.codec import Codec
from schemas.topics import BY_NAME
from streams.quality import Sums, measure
from streams.store import Store, Stores
from streams.tally import STAGE, Group, pane_ms, record, sums_of
from streams.task import Task
from streams.transport.batch import Output, RecordBatch, Result
from streams.windows import Span, begun, turned_between, oldest_needed, spans_of

# How often a window that changes all the time is told of anew (the worker's clock).
EMIT_EVERY_MS = 1_000

_WATERMARK = b"w"
_QUALITY = (
    *("base_rate", "accuracy", "precision", "recall", "f1", "roc_auc"),
    *("log_loss", "brier", "calibration_error", "mae", "rmse", "r2"),
)
Who = tuple[str, str, str, str]  # version, role, segment, value


class Metrics:
    """The stage that keeps the sums of every pane and tells of the windows that change.

    The sums live in the store; a window that changed and was not told of before a crash is told
    of after it, since every pane that is still open is looked at again.
    """

    def __init__(
        self, task: Task, codecs: dict[str, Codec], stores: Stores, clock: Callable[[], int]
    ) -> None:
        self._task = task
        self._windows = tuple(task.windows)
        self._pane = pane_ms(task.windows)
        self._tallies = codecs["tally"]
        self._metrics = codecs["metric"]
        self._stores = stores
        self._clock = clock
        self._topic = BY_NAME["metrics"].topic(task.name)
        self.topic = BY_NAME["tallies"].topic(task.name)
        self._panes: dict[int, dict[Who, Sums]] = {}
        self._dirty: set[tuple[Span, Who]] = set()
        self._watermark: int | None = None
        self._emitted_at = 0
        self._store: Store | None = None

    def open(self) -> None:
        """Read the sums from the store, as the worker gets the partition."""
        store = self._store = self._stores.get(STAGE, 0)
        self._panes.clear()
        self._dirty.clear()
        raw = store.get_many([_WATERMARK])[0]
        self._watermark = struct.unpack(">q", raw)[0] if raw else None
        for _, value in store.scan(b"g", b"h"):
            group, sums = sums_of(self._tallies.read(value))
            self._panes.setdefault(group.pane_start, {})[group[1:]] = sums
            self._touch(group)

    def close(self) -> None:
        """The partition goes."""
        self._store = None
        self._panes.clear()
        self._dirty.clear()
        self._watermark = None

    def __call__(self, batch: RecordBatch) -> Result:
        """Add a batch of tallies to the sums."""
        if self._store is None:
            self.open()
        store = self._store
        assert store is not None
        touched: dict[Group, Sums] = {}
        newest = self._watermark
        for value in batch.values:
            tally = self._tallies.read(value)  # our own records: one that is bad is a bug
            group, delta = sums_of(tally)
            sums = self._panes.setdefault(group.pane_start, {}).setdefault(group[1:], Sums())
            sums.add(delta)
            sums.add(Sums({"tallies": 1}))
            touched[group] = sums
            if tally["newest"] > -(1 << 62):
                newest = tally["newest"] if newest is None else max(newest, tally["newest"])
        self._advance(newest, store)
        for group, sums in touched.items():
            if group.pane_start in self._panes:
                store.put(_key(group), self._tallies.write(record(group, sums, newest or 0)))
                self._touch(group)
        now = self._clock()
        outputs = self._emit(now) if now - self._emitted_at >= EMIT_EVERY_MS else []
        return Result(batch, outputs, store.seal({batch.topic: batch.next_offset}))

    def tick(self) -> Result | None:
        """Tell of what changed and was held back; called by a timer."""
        now = self._clock()
        if not self._dirty or self._store is None or now - self._emitted_at < EMIT_EVERY_MS:
            return None
        outputs = self._emit(now)
        return Result(None, outputs) if outputs else None

    def _touch(self, group: Group) -> None:
        for window in self._windows:
            for span in spans_of(window, group.pane_start):
                self._dirty.add((span, group[1:]))

    def _advance(self, newest: int | None, store: Store) -> None:
        """Move event time on: windows come to their end, old panes leave."""
        before = self._watermark
        if newest is None or (before is not None and newest <= before):
            return
        self._watermark = newest
        store.put(_WATERMARK, struct.pack(">q", newest))
        for window in self._windows:
            for span in turned_between(window, newest if before is None else before, newest):
                for who in {
                    w for pane in span.panes(self._pane) for w in self._panes.get(pane, ())
                }:
                    self._dirty.add((span, who))
        oldest = oldest_needed(self._windows, newest, self._task.horizon_ms)
        for pane in [pane for pane in self._panes if pane < oldest]:
            for who in self._panes.pop(pane):
                store.delete(_key(Group(pane, *who)))
        self._dirty = {(span, who) for span, who in self._dirty if span.end > oldest}

    def _emit(self, now_ms: int) -> list[Output]:
        self._emitted_at = now_ms
        watermark = -(1 << 62) if self._watermark is None else self._watermark
        by_name = {window.name: window for window in self._windows}
        due = sorted(
            (span, who) for span, who in self._dirty if begun(span, by_name[span.name], watermark)
        )
        self._dirty.difference_update(due)
        if not due:
            return []
        records = [self._record(span, who, watermark, now_ms) for span, who in due]
        keys = [
            "|".join((r["window"], str(r["window_start"]), *who)).encode()
            for r, (_, who) in zip(records, due, strict=True)
        ]
        return [Output(self._topic, keys, self._metrics.write_many(records))]

    def _record(self, span: Span, who: Who, watermark: int, now_ms: int) -> dict[str, Any]:
        total = Sums()
        for pane in span.panes(self._pane):
            part = self._panes.get(pane, {}).get(who)
            if part is not None:
                total.add(part)
        version, role, segment, value = who
        predictions, outcomes = total.count("predictions"), total.count("outcomes")
        quality = measure(self._task.kind, len(self._task.classes), total)
        return {
            "window": span.name,
            "window_start": span.start,
            "window_end": span.end,
            "version": version,
            "role": role,
            "segment": segment,
            "value": value,
            "revision": total.count("tallies"),
            "computed_at": now_ms,
            "complete": watermark >= span.end,
            "predictions": predictions,
            "deferred": total.count("deferred"),
            "rejected": total.count("rejected"),
            "outcomes": outcomes,
            "scored": total.count("scored"),
            "share_deferred": total.count("deferred") / predictions if predictions else 0.0,
            "share_labelled": outcomes / predictions if predictions else 0.0,
            **{name: quality.get(name) for name in _QUALITY},
        }


def _key(group: Group) -> bytes:
    who = "\x1f".join(group[1:]).encode()
    return b"g" + struct.pack(">Q", group.pane_start + (1 << 62)) + who
