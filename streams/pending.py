"""What of a partition waits in the store for its partner, and when it leaves.

Keys: ``p`` + request id: a prediction, or the truths that wait for it (so that one look finds
either); ``t`` + request id: what is known of the truth of a prediction that is there; ``r`` +
request id: that the request was rejected, so that its truth is expected and makes no outcome;
``s`` + request id: its signals; ``x`` + kind + hour + …: the index by which entries leave, of
predictions an entry a batch with their ids, of the others one an entry with its id; ``e`` + time +
request id: the end of a session that is open; ``w``: how far event time has come.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
from prometheus_client import Counter

from streams.horizon import HOUR_MS, Horizon, Hours
from streams.join import Held, Value, Waiting, is_waiting, pack, pack_firsts, unpack, unpack_waiting
from streams.signals import Signals
from streams.signals import pack as pack_signals
from streams.signals import unpack as unpack_signals
from streams.store import Store

EXPIRED = Counter("weir_expired", "Entries that left the join at the label horizon", ["kind"])

_PREDICTION, _REJECTED, _TRUTH, _SIGNALS = b"p", b"r", b"t", b"s"
_INDEX, _SESSION, _HORIZON = b"x", b"e", b"w"
_ID_AT = 10  # in a key of the index, after its letter, the kind's letter and eight bytes of hour
_SESSION_ID_AT = 9


class Pending:
    """The join's state of one partition. Changes are staged in its store."""

    def __init__(self, store: Store, horizon_ms: int, now_ms: int, signals: bool = False) -> None:
        self._store = store
        kept = store.get_many([_HORIZON])[0]
        self.horizon = Horizon.begin(horizon_ms, now_ms, kept, signals=signals)

    def asked(
        self, ids: Sequence[bytes]
    ) -> tuple[list[bytes | None], dict[int, tuple[Waiting, ...]]]:
        """Of each request id its prediction (the record's value), or None.

        And by position the truths of those whose prediction is not there.
        """
        found = self._store.get_many([_PREDICTION + id_ for id_ in ids])
        waiting = {}
        for i, raw in enumerate(found):
            if raw is not None and is_waiting(raw):
                waiting[i] = unpack_waiting(raw)
                found[i] = None
        return found, waiting

    def held(self, ids: Sequence[bytes]) -> list[Held | None]:
        """What is known of the truth of each request id whose prediction is there."""
        kept = self._store.get_many([_TRUTH + id_ for id_ in ids])
        return [None if raw is None else unpack(raw) for raw in kept]

    def signals(self, ids: Sequence[bytes]) -> list[Signals]:
        """The signals of each request id."""
        return [unpack_signals(raw) for raw in self._store.get_many([_SIGNALS + i for i in ids])]

    def put_predictions(
        self,
        ids: Sequence[bytes],
        values: Sequence[bytes | None],
        event_times: npt.NDArray[np.int64],
    ) -> None:
        """Keep the predictions of different requests, one or more."""
        self._store.put_many([_PREDICTION + id_ for id_ in ids], values)
        hours = self.horizon.prediction_hours(event_times)
        for hour in np.unique(hours).tolist():
            some = [ids[i] for i in np.flatnonzero(hours == hour).tolist()]
            # The first one's id tells the entry from those of other batches.
            self._store.put(_index(_PREDICTION, hour, some[0]), _pack_ids(some))

    def put_rejected(self, id_: bytes, event_time: int) -> None:
        """Keep that a request was rejected."""
        self._store.put(_REJECTED + id_, b"")
        self._store.put(_index(_REJECTED, self.horizon.prediction_hour(event_time), id_), b"")

    def put_held(self, id_: bytes, held: Held) -> None:
        """Keep what is known of a request whose prediction is there; it leaves with that."""
        self._store.put(_TRUTH + id_, pack(held))

    def put_firsts(
        self,
        ids: Sequence[bytes],
        sources: Sequence[str],
        known_at: Sequence[int],
        truths: Sequence[Value],
    ) -> None:
        """Keep the first truths of requests whose predictions are there."""
        self._store.put_many([_TRUTH + i for i in ids], pack_firsts(sources, known_at, truths))

    def put_waiting(self, id_: bytes, waiting: tuple[Waiting, ...]) -> None:
        """Keep the truths of a request whose prediction is not there; the last one is new."""
        self._store.put(_PREDICTION + id_, pack(waiting))
        self._store.put(_index(_TRUTH, waiting[-1].hour, id_), b"")

    def met(self, id_: bytes, waiting: tuple[Waiting, ...]) -> None:
        """The prediction of waiting truths is there: they do not leave by themselves any more."""
        for truth in waiting:
            self._store.delete(_index(_TRUTH, truth.hour, id_))

    def put_signals(self, id_: bytes, kept: Signals) -> None:
        """Keep the signals of a request."""
        if kept:
            self._store.put(_SIGNALS + id_, pack_signals(kept))
        else:
            self._store.delete(_SIGNALS + id_)

    def put_signal_index(self, id_: bytes, event_time: int) -> None:
        """A signal of a request came: it leaves with its hour, if its prediction does not come."""
        self._store.put(_index(_SIGNALS, self.horizon.truth_hour(event_time), id_), b"")

    def move_session(self, id_: bytes, before: int | None, end: int | None) -> None:
        """A request's session ends at a time, and not at the one that was put down before."""
        if before is not None:
            self._store.delete(_session(before, id_))
        now = self.horizon.signals
        if end is not None and (now is None or end > now):
            self._store.put(_session(end, id_), b"")

    def ended(self, before: int | None, now: int | None) -> list[bytes]:
        """The ids whose sessions ended while event time went from one time to another."""
        if now is None or (before is not None and now <= before):
            return []
        begin = _SESSION if before is None else _session(before)
        keys = [key for key, _ in self._store.scan(begin, _session(now + 1))]
        self._delete(*keys)
        return [key[_SESSION_ID_AT:] for key in keys]

    def expire(self, now_ms: int) -> list[Waiting]:
        """Let go of what is past the horizon; returns the truths whose prediction never came."""
        orphans: list[Waiting] = []
        if hours := self.horizon.truths_leave(now_ms):
            orphans = self._expire_truths(hours)
            self._expire_signals(hours)
        if hours := self.horizon.predictions_leave(now_ms):
            self._expire_rejected(hours)
            self._expire_predictions(hours)
        self._store.put(_HORIZON, self.horizon.pack())
        return orphans

    def _expire_predictions(self, hours: Hours) -> None:
        """Predictions of these hours leave, and with them the truths and signals that they met."""
        gone = 0
        for key, packed in self._leaving(_PREDICTION, hours):
            self._delete(key)
            for id_ in unpack_ids(packed):
                self._delete(_PREDICTION + id_, _TRUTH + id_)
                if self.horizon.follows_signals:
                    self._delete(_SIGNALS + id_)
                gone += 1
        EXPIRED.labels("prediction").inc(gone)

    def _expire_rejected(self, hours: Hours) -> None:
        keys = [key for key, _ in self._leaving(_REJECTED, hours)]
        ids = [key[_ID_AT:] for key in keys]
        _, waiting = self.asked(ids)
        for i, key in enumerate(keys):
            self._delete(key, _REJECTED + ids[i])
            if i in waiting:
                self._delete(_PREDICTION + ids[i])

    def _expire_truths(self, hours: Hours) -> list[Waiting]:
        _, last = hours
        keys = [key for key, _ in self._leaving(_TRUTH, hours)]
        ids = [key[_ID_AT:] for key in keys]
        rejected = self._store.get_many([_REJECTED + id_ for id_ in ids])
        orphans: dict[bytes, tuple[Waiting, ...]] = {}
        self._delete(*keys)
        for i, waiting in self.asked(ids)[1].items():
            # One that was said again leaves later.
            if all(one.known_at // HOUR_MS < last for one in waiting):
                self._delete(_PREDICTION + ids[i])
                if rejected[i] is None:
                    orphans[ids[i]] = waiting
        found = [truth for waiting in orphans.values() for truth in waiting]
        EXPIRED.labels("truth").inc(len(found))
        return found

    def _expire_signals(self, hours: Hours) -> None:
        """Signals of these hours leave, unless their prediction came: with that they leave."""
        if not self.horizon.follows_signals:
            return
        _, last = hours
        keys = [key for key, _ in self._leaving(_SIGNALS, hours)]
        ids = [key[_ID_AT:] for key in keys]
        predictions, _ = self.asked(ids)
        gone: set[bytes] = set()
        self._delete(*keys)
        for id_, prediction, kept in zip(ids, predictions, self.signals(ids), strict=True):
            if kept and prediction is None and kept[-1].at // HOUR_MS < last and id_ not in gone:
                self._delete(_SIGNALS + id_)
                gone.add(id_)
                EXPIRED.labels("signal").inc(len(kept))

    def _delete(self, *keys: bytes) -> None:
        for key in keys:
            self._store.delete(key)

    def _leaving(self, kind: bytes, hours: Hours) -> list[tuple[bytes, bytes]]:
        """The index's entries of a kind and some hours."""
        first, last = hours
        if first is not None and first >= last:
            return []
        begin = _INDEX + kind if first is None else _index(kind, first)
        return self._store.scan(begin, _index(kind, last))


def _index(kind: bytes, hour: int, id_: bytes = b"") -> bytes:
    # Shifted so that hours before 1970 sort before later ones.
    return _INDEX + kind + struct.pack(">Q", hour + (1 << 62)) + id_


def _pack_ids(ids: Iterable[bytes]) -> bytes:
    # An id has 128 bytes at most: its length fits into one.
    return b"".join([part for id_ in ids for part in (_LENGTHS[len(id_)], id_)])


def unpack_ids(packed: bytes) -> Iterator[bytes]:
    """The request ids of an entry of the predictions' index."""
    at = 0
    while at < len(packed):
        end = at + 1 + packed[at]
        yield packed[at + 1 : end]
        at = end


_LENGTHS = [bytes([length]) for length in range(256)]


def _session(end: int, id_: bytes = b"") -> bytes:
    return _SESSION + struct.pack(">Q", max(end, 0)) + id_
