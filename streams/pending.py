"""What of a partition waits in the store for its partner: predictions, truths, and when they leave.

Keys: ``p`` + request id: a prediction; ``r`` + request id: that the request was rejected, so that
its truth is expected and makes no outcome; ``t`` + request id: its chain of truths; ``x`` + kind +
hour + request id: the index by which an entry leaves; ``w``: how far event time has come.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from prometheus_client import Counter

from streams.horizon import HOUR_MS, Horizon
from streams.join import Chain, KnownTruth, pack, unpack
from streams.store import Store

EXPIRED = Counter("weir_expired", "Entries that left the join at the label horizon", ["kind"])

_PREDICTION, _REJECTED, _TRUTH, _INDEX, _HORIZON = b"p", b"r", b"t", b"x", b"w"
_ID_AT = 10  # in a key of the index, after its letter, the kind's letter and eight bytes of hour


class Pending:
    """The join's state of one partition. Changes are staged in its store."""

    def __init__(self, store: Store, horizon_ms: int, now_ms: int) -> None:
        self._store = store
        self.horizon = Horizon.begin(horizon_ms, now_ms, store.get_many([_HORIZON])[0])

    def predictions(self, ids: Sequence[bytes]) -> list[bytes | None]:
        """The prediction of each request id: its record's value, or None."""
        return self._store.get_many([_PREDICTION + id_ for id_ in ids])

    def chains(self, ids: Sequence[bytes]) -> list[Chain]:
        """The truths of each request id."""
        return [unpack(raw) for raw in self._store.get_many([_TRUTH + id_ for id_ in ids])]

    def put_prediction(self, id_: bytes, value: bytes, event_time: int) -> None:
        """Keep the prediction of a request."""
        self._store.put(_PREDICTION + id_, value)
        self._store.put(_index(_PREDICTION, self.horizon.prediction_hour(event_time), id_), b"")

    def put_rejected(self, id_: bytes, event_time: int) -> None:
        """Keep that a request was rejected."""
        self._store.put(_REJECTED + id_, b"")
        self._store.put(_index(_REJECTED, self.horizon.prediction_hour(event_time), id_), b"")

    def put_chain(self, id_: bytes, chain: Chain) -> None:
        """Keep the truths of a request, the last of which is new or was said again."""
        self._store.put(_TRUTH + id_, pack(chain))
        self._store.put(_index(_TRUTH, self.horizon.truth_hour(chain[-1].until), id_), b"")

    def expire(self, now_ms: int) -> list[KnownTruth]:
        """Let go of what is past the horizon; returns the truths whose prediction never came."""
        orphans = self._expire_truths(*self.horizon.truths_leave(now_ms))
        first, last = self.horizon.predictions_leave(now_ms)
        self._expire_rejected(first, last)
        self._expire_predictions(first, last)
        self._store.put(_HORIZON, self.horizon.pack())
        return orphans

    def _expire_predictions(self, first: int, last: int) -> None:
        """Predictions of these hours leave, and with them the truths that they met."""
        for key in self._leaving(_PREDICTION, first, last):
            self._delete(key, _PREDICTION + key[_ID_AT:], _TRUTH + key[_ID_AT:])
            EXPIRED.labels("prediction").inc()

    def _expire_rejected(self, first: int, last: int) -> None:
        keys = self._leaving(_REJECTED, first, last)
        predictions = self.predictions([key[_ID_AT:] for key in keys])
        for key, prediction in zip(keys, predictions, strict=True):
            self._delete(key, _REJECTED + key[_ID_AT:])
            if prediction is None:
                self._delete(_TRUTH + key[_ID_AT:])

    def _expire_truths(self, first: int, last: int) -> list[KnownTruth]:
        keys = self._leaving(_TRUTH, first, last)
        ids = [key[_ID_AT:] for key in keys]
        rejected = self._store.get_many([_REJECTED + id_ for id_ in ids])
        orphans: dict[bytes, Chain] = {}
        for key, id_, prediction, marked, chain in zip(
            keys, ids, self.predictions(ids), rejected, self.chains(ids), strict=True
        ):
            self._delete(key)
            # One that met its prediction leaves with it; one that was said again leaves later.
            if chain and prediction is None and chain[-1].until // HOUR_MS < last:
                self._delete(_TRUTH + id_)
                if marked is None:
                    orphans[id_] = chain
        found = [truth for chain in orphans.values() for truth in chain]
        EXPIRED.labels("truth").inc(len(found))
        return found

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
