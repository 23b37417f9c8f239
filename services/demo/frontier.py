"""How far the loop has come with what the replay published, and how far event time may run ahead.

In life a truth reaches the windowed features within a fraction of a second, and a training takes a
small part of a day. The replay runs tens of thousands of times faster than life, so both would
take hours and weeks of event time if nobody waited. So event time never runs ahead of the oldest
truth that no served feature counts yet by more than `TRUTH_AHEAD_MS`, nor of a training that was
asked for by more than `TRAINING_AHEAD_MS`.

Pure: no Kafka and no clock in here.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass

from schemas.moments import moment

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS

TRUTH_AHEAD_MS = 45 * MINUTE_MS
"""How far event time may be ahead of a truth that no feature counts yet. Were every truth of March
so late, the first model's AUC by day would be lower by 0.005."""

TRAINING_AHEAD_MS = 72 * HOUR_MS
"""How far event time may be ahead of a training that is not answered yet."""


@dataclass(frozen=True, slots=True)
class Limit:
    """Up to when event time may run, and what it waits for there.

    until_ms: the last moment that may be published, in milliseconds since 1970; None: no limit.
    waits_for: what has to happen before it may run further, in words.
    """

    until_ms: int | None = None
    waits_for: str = ""


class Frontier:
    """Which published truths are not in the features yet, and which trainings are not answered.

    A truth is on its way until its outcome was seen (`joined`) and the features count the outcome's
    partition beyond it (`counted`).

    >>> frontier = Frontier()
    >>> frontier.published([b"a"], [1_000_000])
    >>> frontier.limit(next_truth_ms=2_000_000).until_ms == 1_000_000 + TRUTH_AHEAD_MS
    True
    >>> frontier.joined(0, 7, b"a")
    >>> frontier.counted(0, 8)
    >>> frontier.limit(next_truth_ms=2_000_000).until_ms == 2_000_000 + TRUTH_AHEAD_MS
    True
    """

    def __init__(self) -> None:
        self._on_the_way: dict[bytes, int] = {}  # in the order of publication: by time
        self._joined: defaultdict[int, deque[tuple[int, bytes]]] = defaultdict(deque)
        self._counted: dict[int, int] = {}
        self._asked: dict[str, int] = {}
        self._answered: set[str] = set()

    @property
    def on_the_way(self) -> int:
        """Published truths that no feature counts yet."""
        return len(self._on_the_way)

    def published(self, keys: Iterable[bytes], known_at: Iterable[int]) -> None:
        """Truths that are about to be published, in order of time (milliseconds)."""
        self._on_the_way.update(zip(keys, known_at, strict=True))

    def joined(self, partition: int, offset: int, key: bytes) -> None:
        """An outcome: where it stands in its topic, and whose it is."""
        if key not in self._on_the_way:
            return
        if offset < self._counted.get(partition, 0):
            del self._on_the_way[key]
        else:
            self._joined[partition].append((offset, key))

    def counted(self, partition: int, upto: int) -> None:
        """The served features count the outcomes of a partition before this offset."""
        self._counted[partition] = max(upto, self._counted.get(partition, 0))
        waiting = self._joined[partition]
        while waiting and waiting[0][0] < upto:
            self._on_the_way.pop(waiting.popleft()[1], None)

    def without_outcome(self) -> list[bytes]:
        """Truths on their way whose outcome was not seen, oldest first."""
        joined = {key for waiting in self._joined.values() for _, key in waiting}
        return [key for key in self._on_the_way if key not in joined]

    def give_up(self, keys: Iterable[bytes]) -> None:
        """Truths that the loop has read and made no outcome of: nothing waits for them."""
        for key in keys:
            self._on_the_way.pop(key, None)

    def asked(self, event_id: str, event_time: int) -> None:
        """A training that was asked for, as of an event time (milliseconds)."""
        if event_id not in self._answered:
            self._asked.setdefault(event_id, event_time)

    def answered(self, event_id: str) -> None:
        """A version, or a failure, that answers an event, and with it all events before it."""
        self._answered.add(event_id)
        if event_id in self._asked:
            order = list(self._asked)
            for earlier in order[: order.index(event_id) + 1]:
                del self._asked[earlier]

    def limit(self, next_truth_ms: int | None) -> Limit:
        """Up to when events may be published now.

        next_truth_ms: time of the next truth that is to be published, in milliseconds; None: there
        is none. It is on its way as soon as it is published, so it holds up what is published with
        it.
        """
        limits = []
        oldest = next(iter(self._on_the_way.values()), next_truth_ms)
        if oldest is not None:
            words = f"the truths of {_time(oldest)} to reach the features"
            limits.append(Limit(oldest + TRUTH_AHEAD_MS, words))
        if self._asked:
            event_id, asked = min(self._asked.items(), key=lambda each: each[1])
            words = f"the training {event_id}, asked for at {_time(asked)}"
            limits.append(Limit(asked + TRAINING_AHEAD_MS, words))
        return min(limits, key=lambda each: each.until_ms or 0, default=Limit())


def _time(ms: int) -> str:
    return f"{moment(ms):%b %d %H:%M} UTC"
