"""Metrics: tallies of all partitions in, windows out. One partition, so one worker has them all."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client import Counter

from schemas.codec import Codec
from schemas.topics import BY_NAME
from streams.bounds import BOUNDED, bounds
from streams.contributions import UNITS
from streams.dead_letters import DeadLetter, DeadLetters
from streams.estimates.sums import fields
from streams.event_time import from_number, latest, to_number
from streams.groups import Group
from streams.last import LastOutcomes, Newest, Whose, most, rows_of
from streams.last import sums_of as last_sums
from streams.quality import Sums, check, labels_by_class, measure
from streams.sources import Sources
from streams.store import Store, Stores
from streams.tally import STAGE, newest_in, pane_ms, record, sources_of, sums_of
from streams.task import AnyWindow, LastN, Task
from streams.transport.batch import Output, RecordBatch, Result
from streams.windows import Span, begun, oldest_needed, spans_of

# How often a window that changes all the time is told of anew (the worker's clock).
EMIT_EVERY_MS = 1_000
# Groups of one pane, at most: a segment by an open category must not grow without end.
MOST_GROUPS = 10_000

UNCOUNTED = Counter(
    "weir_metrics_uncounted",
    "Records that no window counts: their panes have left, or hold too many groups",
    ["why"],
)

_BOUNDS = tuple(f"{name}_{end}" for name in BOUNDED for end in ("low", "high"))
_WATERMARK, _SOURCE, _GROUP, _LAST = b"w", b"s", b"g", b"l"
_QUALITY = (
    *("base_rate", "accuracy", "precision", "recall", "f1", "roc_auc"),
    *("log_loss", "brier", "calibration_error", "mae", "rmse", "r2"),
)
_TIMES = struct.Struct(">2q")
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
        self._by_name = {window.name: window for window in task.windows}
        self._pane = pane_ms(task.windows)
        self._tallies = codecs["tally"]
        self._metrics = codecs["metric"]
        self._dead = DeadLetters(task.name, codecs["dead_letter"], STAGE)
        self._stores = stores
        self._clock = clock
        self._topic = BY_NAME["metrics"].topic(task.name)
        self.topic = BY_NAME["tallies"].topic(task.name)
        self._emitted_at = 0
        self.close()

    def close(self) -> None:
        """The partition goes."""
        self._store: Store | None = None
        self._panes: dict[int, dict[Who, Sums]] = {}
        self._dirty: set[tuple[Span, Who]] = set()
        # The newest event time: windows begin and end by it.
        self._watermark: int | None = None
        # The start of the oldest pane that is kept; None: none has left.
        self._oldest: int | None = None
        self._sources = Sources(())
        self._last = LastOutcomes(most(self._task))

    def open(self) -> None:
        """Read the sums from the store, as the worker gets the partition."""
        self.close()
        store = self._store = self._stores.get(STAGE, 0)
        raw = store.get_many([_WATERMARK])[0]
        if raw:
            self._watermark, self._oldest = map(from_number, _TIMES.unpack(raw))
        newest = {
            key[1:].decode(): struct.unpack(">q", value)[0]
            for key, value in store.scan(_SOURCE, _SOURCE + b"\xff")
        }
        self._sources = Sources(sources_of(self._task), newest, self._clock())
        for _, value in store.scan(_LAST, _LAST + b"\xff"):
            self._restore_last(self._tallies.read(value))
        for pane, whose in list(self._last.panes()):
            self._touch_last(pane, (*whose, "", ""))
        for _, value in store.scan(_GROUP, _GROUP + b"\xff"):
            group, sums = sums_of(self._tallies.read(value))
            self._panes.setdefault(group.pane_start, {})[group[1:]] = sums
            self._touch(group)

    def __call__(self, batch: RecordBatch) -> Result:
        """Add a batch of tallies to the sums."""
        if self._store is None:
            self.open()
        store = self._store
        assert store is not None
        now = self._clock()
        letters: list[DeadLetter] = []
        touched: dict[Group, Sums] = {}
        lasting: dict[Group, Newest] = {}
        newest = self._watermark
        for position, value in enumerate(batch.values):
            try:
                tally = self._tallies.read(value)
                group, delta = sums_of(tally)
                check(self._task.kind, len(self._task.classes), delta)
                last = rows_of(self._task, tally)
            except ValueError as error:
                # Only Weir writes here, and this is not Weir's.
                letters.append(DeadLetter(position, "undecodable", str(error)))
                continue
            told = newest_in(tally)
            self._saw(tally["source"], told, now, store)
            newest = latest(newest, told)
            sums = self._sums(group, delta)
            if sums is not None:
                sums.add(delta)
                sums.add(Sums({"tallies": 1}))
                touched[group] = sums
                if last:
                    lasting[group] = self._last.add(group.pane_start, group[1:3], last)
        for group, sums in touched.items():
            store.put(_key(group), self._tallies.write(record(group, sums, newest)))
            self._touch(group)
        for group, kept in lasting.items():
            self._put_last(group.pane_start, group[1:3], kept, store)
            self._touch_last(group.pane_start, group[1:])
        self._advance(newest)
        outputs = self._leave(now, store)
        if now - self._emitted_at >= EMIT_EVERY_MS:
            outputs += self._emit(now)
        store.put(_WATERMARK, _TIMES.pack(*map(to_number, (self._watermark, self._oldest))))
        if letters:
            outputs.append(self._dead.output(batch, letters, now))
        return Result(batch, outputs, store.seal({batch.topic: batch.next_offset}))

    def tick(self) -> Result | None:
        """Tell of what changed and was held back; called by a timer."""
        now = self._clock()
        if not self._dirty or self._store is None or now - self._emitted_at < EMIT_EVERY_MS:
            return None
        outputs = self._emit(now)
        return Result(None, outputs) if outputs else None

    def _saw(self, source: str, newest: int | None, now: int, store: Store) -> None:
        if source and newest is not None and self._sources.saw(source, newest, now):
            store.put(_SOURCE + source.encode(), struct.pack(">q", newest))

    def _sums(self, group: Group, delta: Sums) -> Sums | None:
        """The sums that a tally adds to; None where it comes too late or is one group too many."""
        groups = self._panes.get(group.pane_start, {})
        sums = groups.get(group[1:])
        if sums is not None:
            return sums
        why = ""
        if not self._is_kept(group.pane_start):
            why = "late"
        elif len(groups) >= MOST_GROUPS and group.segment:
            why = "groups"
        if why:
            if why == "groups" or not group.segment:  # segments hold the same records again
                names = ("predictions", "rejected", "outcomes")
                UNCOUNTED.labels(why).inc(sum(delta.count(name) for name in names))
            return None
        sums = self._panes.setdefault(group.pane_start, {})[group[1:]] = Sums()
        return sums

    def _touch(self, group: Group) -> None:
        """Tell anew of the windows that hold the group's pane, and all of whose panes are kept."""
        for window in self._windows:
            if isinstance(window, LastN):
                continue  # `_dirty_last`
            for span in spans_of(window, group.pane_start):
                if self._is_kept(span.start):
                    self._dirty.add((span, group[1:]))

    def _is_kept(self, start: int) -> bool:
        """Whether no pane that starts then, or later, has left."""
        return self._oldest is None or start >= self._oldest

    def _advance(self, newest: int | None) -> None:
        """Move event time on: windows come to their end, and are told of once more."""
        before, now = self._watermark, latest(newest, self._watermark)
        self._watermark = now
        if now is None or (before is not None and before // self._pane == now // self._pane):
            return
        for pane, groups in self._panes.items():
            for window in self._windows:
                for span in spans_of(window, pane):
                    comes_to_its_end = span.end <= now and (before is None or before < span.end)
                    if comes_to_its_end and self._is_kept(span.start):
                        self._dirty.update(
                            (span, who) for who in groups if self._is_told(window, span, who)
                        )

    def _leave(self, now: int, store: Store) -> list[Output]:
        """Let go of panes that no late truth can change any more, after a last word of them."""
        slowest = self._sources.slowest(now)
        if slowest is None:
            return []
        oldest = oldest_needed(self._windows, slowest, self._task.horizon_ms)
        gone = [pane for pane in self._panes if pane < oldest]
        # After a restart nothing tells of a window that began before the oldest pane, even where
        # it began before there were panes: what is to be said of it is said now.
        moves_on = self._oldest is None or oldest > self._oldest
        last_words = moves_on and any(span.start < oldest for span, _ in self._dirty)
        outputs = self._emit(now) if gone or last_words else []
        self._oldest = latest(self._oldest, oldest)
        for pane in sorted(gone):
            for whose, kept in self._last.leave(pane):
                store.delete(_last_key(pane, whose))
                self._put_last(None, whose, kept, store)
            for who in self._panes.pop(pane):
                store.delete(_key(Group(pane, *who)))
        if gone:
            self._dirty = {(span, who) for span, who in self._dirty if self._is_kept(span.start)}
        return outputs

    def _is_told(self, window: AnyWindow, span: Span, who: Who) -> bool:
        """Whether there are records of a window: of the last N where the last are of its span."""
        if not isinstance(window, LastN):
            return True
        return not who[2] and self._last.has(span.panes(self._pane), who[:2])

    def _touch_last(self, pane: int, who: Who) -> None:
        """Tell anew of the checkpoints after a pane whose last N may be others now."""
        for window in self._windows:
            if not isinstance(window, LastN):
                continue
            later = {
                span
                for other, whose in self._last.panes()
                if whose == who[:2] and other >= pane
                for span in spans_of(window, other)
            }
            for span in later:
                (first,) = spans_of(window, pane)
                if span.end >= first.end and self._is_kept(span.start):
                    self._dirty.add((span, who))

    def _put_last(self, pane: int | None, whose: Whose, kept: Newest, store: Store) -> None:
        """Keep the last outcomes of a pane; None: of all panes that have left together."""
        group = Group(to_number(pane), *whose, "", "")
        sums = Sums({"changes": kept.changes})
        value = self._tallies.write(record(group, sums, None, "", kept.rows))
        store.put(_last_key(pane, whose), value)

    def _restore_last(self, tally: dict[str, Any]) -> None:
        group, sums = sums_of(tally)
        kept = Newest(rows_of(self._task, tally), sums.count("changes"))
        self._last.restore(from_number(group.pane_start), group[1:3], kept)

    def _emit(self, now_ms: int) -> list[Output]:
        self._emitted_at = now_ms
        watermark = self._watermark
        if watermark is None:
            return []
        due = sorted(
            (span, who)
            for span, who in self._dirty
            if begun(span, self._by_name[span.name], watermark)
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
        window, since = self._by_name[span.name], None
        if isinstance(window, LastN):
            changes, since, said = self._last.before(span.end, who[:2], window.n)
            total = last_sums(self._task, said)
            total.add(Sums({"tallies": changes}))
        else:
            total = _total(self._panes.get(pane, {}).get(who) for pane in span.panes(self._pane))
        version, role, segment, value = who
        predictions, outcomes = total.count("predictions"), total.count("outcomes")
        kind, classes = self._task.kind, len(self._task.classes)
        realised = measure(kind, classes, total)
        found = realised | bounds(kind, classes, total)
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
            "since": since,
            "weight": total.counts["weight"] / UNITS if "weight" in total.counts else None,
            "share_deferred": total.count("deferred") / predictions if predictions else 0.0,
            "share_labelled": outcomes / predictions if predictions else 0.0,
            **{name: found.get(name) for name in (*_QUALITY, *_BOUNDS)},
            **fields(kind, classes, total, realised),
            "watermark": watermark,
            "classes": {} if segment else labels_by_class(kind, self._task.classes, total),
        }


def _total(parts: Iterable[Sums | None]) -> Sums:
    total = Sums()
    for part in parts:
        if part is not None:
            total.add(part)
    return total


def _key(group: Group, kind: bytes = _GROUP) -> bytes:
    # Shifted so that panes before 1970 sort before later ones.
    who = "\x1f".join(group[1:]).encode()
    return kind + struct.pack(">Q", group.pane_start + (1 << 62)) + who


def _last_key(pane: int | None, whose: Whose) -> bytes:
    return _key(Group(to_number(pane), *whose, "", ""), _LAST)
