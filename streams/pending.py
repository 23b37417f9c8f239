"""What of a partition waits in the store for its partner, and when it leaves.

Keys: ``p`` + request id: a prediction; ``r`` + request id: that the request was rejected, so that
its truth is expected and makes no outcome; ``t`` + request id: its truths; ``s`` + request id: its
signals; ``x`` + kind + hour + request id: the index by which an entry leaves; ``e`` + time +
request id: the end of a session that is open; ``w``: how far event time has come.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from prometheus_client import Counter

from streams.horizon import HOUR_MS, Horizon
from streams.join import Held, Known, Waiting, pack, unpack
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

    def predictions(self, ids: Sequence[bytes]) -> list[bytes | None]:
        """The prediction of each request id: its record's value, or None."""
        return self._store.get_many([_PREDICTION + id_ for id_ in ids])

    def truths(self, ids: Sequence[bytes]) -> list[Known | None]:
        """What is known of the truth of each request id."""
        kept = self._store.get_many([_TRUTH + id_ for id_ in ids])
        return [None if raw is None else unpack(raw) for raw in kept]

    def signals(self, ids: Sequence[bytes]) -> list[Signals]:
        """The signals of each request id."""
        return [unpack_signals(raw) for raw in self._store.get_many([_SIGNALS + i for i in ids])]

    def put_prediction(self, id_: bytes, value: bytes, event_time: int) -> None:
        """Keep the prediction of a request."""
        self._store.put(_PREDICTION + id_, value)
        self._store.put(_index(_PREDICTION, self.horizon.prediction_hour(event_time), id_), b"")

    def put_rejected(self, id_: bytes, event_time: int) -> None:
        """Keep that a request was rejected."""
        self._store.put(_REJECTED + id_, b"")
        self._store.put(_index(_REJECTED, self.horizon.prediction_hour(event_time), id_), b"")

    def put_held(self, id_: bytes, held: Held) -> None:
        """Keep what is known of a request whose prediction is there; it leaves with that."""
        self._store.put(_TRUTH + id_, pack(held))

    def put_waiting(self, id_: bytes, waiting: tuple[Waiting, ...]) -> None:
        """Keep the truths of a request whose prediction is not there; the last one is new."""
        self._store.put(_TRUTH + id_, pack(waiting))
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
        if end is not None and end > self.horizon.signals:
            self._store.put(_session(end, id_), b"")

    def ended(self, before: int, now: int) -> list[bytes]:
        """The ids whose sessions ended while event time went from one time to another."""
        if now <= before:
            return []
        keys = [key for key, _ in self._store.scan(_session(before), _session(now + 1))]
        self._delete(*keys)
        return [key[_SESSION_ID_AT:] for key in keys]

    def expire(self, now_ms: int) -> list[Waiting]:
        """Let go of what is past the horizon; returns the truths whose prediction never came."""
        first, last = self.horizon.truths_leave(now_ms)
        orphans = self._expire_truths(first, last)
        self._expire_signals(first, last)
        first, last = self.horizon.predictions_leave(now_ms)
        self._expire_rejected(first, last)
        self._expire_predictions(first, last)
        self._store.put(_HORIZON, self.horizon.pack())
        return orphans

    def _expire_predictions(self, first: int, last: int) -> None:
        """Predictions of these hours leave, and with them the truths and signals that they met."""
        keys = self._leaving(_PREDICTION, first, last)
        for key in keys:
            id_ = key[_ID_AT:]
            self._delete(key, _PREDICTION + id_, _TRUTH + id_)
            if self.horizon.follows_signals:
                self._delete(_SIGNALS + id_)
        EXPIRED.labels("prediction").inc(len(keys))

    def _expire_rejected(self, first: int, last: int) -> None:
        keys = self._leaving(_REJECTED, first, last)
        predictions = self.predictions([key[_ID_AT:] for key in keys])
        for key, prediction in zip(keys, predictions, strict=True):
            self._delete(key, _REJECTED + key[_ID_AT:])
            if prediction is None:
                self._delete(_TRUTH + key[_ID_AT:])

    def _expire_truths(self, first: int, last: int) -> list[Waiting]:
        keys = self._leaving(_TRUTH, first, last)
        ids = [key[_ID_AT:] for key in keys]
        rejected = self._store.get_many([_REJECTED + id_ for id_ in ids])
        orphans: dict[bytes, tuple[Waiting, ...]] = {}
        for key, id_, marked, known in zip(keys, ids, rejected, self.truths(ids), strict=True):
            self._delete(key)
            # One that was said again leaves later.
            if isinstance(known, tuple) and all(one.known_at // HOUR_MS < last for one in known):
                self._delete(_TRUTH + id_)
                if marked is None:
                    orphans[id_] = known
        found = [truth for known in orphans.values() for truth in known]
        EXPIRED.labels("truth").inc(len(found))
        return found

    def _expire_signals(self, first: int, last: int) -> None:
        """Signals of these hours leave, unless their prediction came: with that they leave."""
        keys = self._leaving(_SIGNALS, first, last) if self.horizon.follows_signals else []
        ids = [key[_ID_AT:] for key in keys]
        gone = 0
        for key, id_, prediction, kept in zip(
            keys, ids, self.predictions(ids), self.signals(ids), strict=True
        ):
            self._delete(key)
            if kept and prediction is None and kept[-1].at // HOUR_MS < last:
                self._delete(_SIGNALS + id_)
                gone += len(kept)
        EXPIRED.labels("signal").inc(gone)

    def _delete(self, *keys: bytes) -> None:
        for key in keys:
            self._store.delete(key)

    def _leaving(self, kind: bytes, first: int, last: int) -> list[bytes]:
        """The index's keys of a kind from the first hour to before the last."""
        if first >= last:
            return []
        return [key for key, _ in self._store.scan(_index(kind, first), _index(kind, last))]


def _index(kind: bytes, hour: int, id_: bytes = b"") -> bytes:
    # Shifted so that hours before 1970 sort before later ones.
    return _INDEX + kind + struct.pack(">Q", hour + (1 << 62)) + id_


def _session(end: int, id_: bytes = b"") -> bytes:
    return _SESSION + struct.pack(">Q", max(end, 0)) + id_
