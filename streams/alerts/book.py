"""The episodes that are open: from signs to notices, one an episode."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from streams.alerts.policy import Alerts
from streams.alerts.sign import Kind, Severity, Sign, worse

Change = Literal["opened", "worse", "updated", "reminder", "resolved", "happened"]

BY_QUIET = frozenset({"abuse"})
"""Kinds of which nobody says that they are well again: they end when no sign comes any more."""
UPDATE_MS = 60_000
"""What changes in an episode without being worse is recorded, and sent to nobody, at most once in
so long: a page need not be newer."""
SETTLED_MS = 600_000
"""For so long a lag or a share must have been well before it is told: one that goes up and down
around its bound is one episode."""
SETTLING = frozenset({"lag", "dead-letters"})
MOST_REMEMBERED = 10_000
"""Things that have happened and are not told of again: about 2 MB."""
MOST_OPEN = 1_000
"""Episodes: nobody reads as many, and clients that misbehave may have any number of names."""

Key = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Notice:
    """One record of ``alerts``; its fields are those of ``schemas/avro/alert.avsc``, but for the
    link and the command, which depend on where Weir runs. Times are milliseconds since 1970 UTC.

    count: signs of the episode so far. findings: of an episode of drift. notify: whether people
    are sent it; else it is only recorded.
    """

    alert_id: str
    episode: str
    raised_at: int
    opened_at: int
    change: Change
    kind: Kind
    about: str
    severity: Severity
    title: str
    message: str
    evidence: str | None
    version: str
    origin: str
    event_time: int | None
    count: int
    findings: str = ""
    notify: bool = True

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Notice:
        """From a decoded record."""
        return cls(**{f.name: record[f.name] for f in fields(cls) if f.name in record})

    def record(self) -> dict[str, Any]:
        """As plain data."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass
class _Episode:
    """last: what was told of it last. now: how it would be told now. bad_at: its last bad sign.
    well_since: the first well one after it, or None. reminded_at: when people were told last;
    seen_again: whether it was seen since."""

    last: Notice
    now: Notice
    count: int
    bad_at: int
    reminded_at: int
    well_since: int | None = None
    seen_again: bool = False

    @property
    def changed(self) -> bool:
        """Whether another cause is the most likely one now, or something new belongs to it."""
        same = self.now.findings == self.last.findings
        return not same and _members(self.now) != _members(self.last)


class Book:
    """Turns signs into notices. Deterministic: the same signs and times give the same notices.

    Between two calls it changes nothing by itself; `tick` is to be called every few seconds. All
    notices that it gave must be stored, since `restore` makes it again from them. What it forgets
    then is when a thing was last seen between two notices: an episode is never ended earlier for
    that, it may be later.
    """

    def __init__(self, task: str, policy: Alerts) -> None:
        self._task = task
        self._remind_ms, self._quiet_ms = policy.ms("remind"), policy.ms("quiet")
        self._open: dict[Key, _Episode] = {}
        self._happened: dict[Key, int] = {}
        self._reached: dict[Key, int] = {}

    def restore(self, notices: Iterable[Notice], now_ms: int) -> None:
        """Take up what earlier notices, in their order, say; what is open counts as seen now."""
        for notice in notices:
            key = (notice.kind, notice.about)
            if notice.kind == "metric" and notice.event_time is not None:
                self._reached[key] = notice.event_time
            if notice.change == "happened":
                self._remember(key, notice.raised_at)
            elif notice.change == "resolved":
                self._open.pop(key, None)
            else:
                before = self._open.get(key)
                told_at = notice.raised_at if notice.notify or not before else before.reminded_at
                self._open[key] = _Episode(notice, notice, notice.count, now_ms, told_at)

    def see(self, sign: Sign) -> list[Notice]:
        """What a sign gives to tell: nothing or a notice, seldom two."""
        key = (sign.kind, sign.about)
        if sign.kind == "metric" and sign.event_time is not None:
            # Of an older window a later revision says nothing of how things are now.
            if sign.event_time < self._reached.get(key, sign.event_time):
                return []
            self._reached[key] = sign.event_time
        if sign.state == "happened":
            return self._happen(key, sign)
        episode = self._open.get(key)
        if sign.state == "bad":
            return self._open_new(key, sign) if episode is None else self._go_on(episode, sign)
        if episode is None:
            return []
        if sign.kind not in SETTLING:
            return [self._end(key, sign.at_ms, sign.message or "It is well again.")]
        if episode.well_since is None:
            episode.well_since = sign.at_ms
        return []

    def tick(self, now_ms: int) -> list[Notice]:
        """What the time gives to tell: reminders and ends."""
        notices = []
        for key, episode in list(self._open.items()):
            quiet_ms = now_ms - episode.bad_at
            if key[0] in BY_QUIET and quiet_ms >= self._quiet_ms:
                notices.append(self._end(key, now_ms, f"Not seen again for {span(quiet_ms)}."))
            elif episode.well_since is not None and now_ms - episode.well_since >= SETTLED_MS:
                notices.append(self._end(key, now_ms, "It is well again."))
            elif now_ms - episode.reminded_at >= self._remind_ms and episode.seen_again:
                notices.append(self._again(episode, "reminder", now_ms))
            elif episode.changed and now_ms - episode.last.raised_at >= UPDATE_MS:
                notices.append(self._again(episode, "updated", now_ms))
        return notices

    def left(self, version: str, now_ms: int) -> list[Notice]:
        """The ends of what was drift for a version that answers no more: recorded, sent to nobody,
        since nobody has anything to do."""
        about = [
            key
            for key, episode in self._open.items()
            if key[0] == "drift" and episode.last.version == version
        ]
        words = f"Version {version} answers no more."
        return [self._end(key, now_ms, words, notify=False) for key in about]

    @property
    def open(self) -> list[Notice]:
        """What was told last of each open episode, the oldest first."""
        return [episode.last for episode in self._open.values()]

    def _open_new(self, key: Key, sign: Sign) -> list[Notice]:
        notice = self._notice(sign, "opened")
        self._open[key] = _Episode(notice, notice, 1, sign.at_ms, sign.at_ms)
        if len(self._open) <= MOST_OPEN:
            return [notice]
        oldest = next(iter(self._open))
        return [notice, self._end(oldest, sign.at_ms, f"{MOST_OPEN} newer alerts are open.")]

    def _go_on(self, episode: _Episode, sign: Sign) -> list[Notice]:
        episode.count += 1
        episode.bad_at, episode.well_since = max(episode.bad_at, sign.at_ms), None
        episode.seen_again = True
        is_worse = worse(sign.severity, episode.last.severity)
        new = replace(
            self._notice(sign, "worse"),
            alert_id=f"{episode.last.episode}-{sign.severity}",
            episode=episode.last.episode,
            opened_at=episode.last.opened_at,
            count=episode.count,
        )
        if is_worse:
            episode.last = episode.now = new
            episode.reminded_at, episode.seen_again = sign.at_ms, False
            return [new]
        if sign.kind == "drift":
            # Once it was bad it is not told as less: what gets better by turns is told once.
            episode.now = replace(new, severity=episode.last.severity)
        return []

    def _again(
        self, episode: _Episode, change: Literal["reminder", "updated"], now_ms: int
    ) -> Notice:
        """An episode told once more, as it is now."""
        episode.last = episode.now = replace(
            episode.now,
            alert_id=f"{episode.last.episode}-{change}-{now_ms}",
            raised_at=now_ms,
            change=change,
            count=episode.count,
            notify=change == "reminder",
        )
        if change == "reminder":
            episode.reminded_at, episode.seen_again = now_ms, False
        return episode.last

    def _end(self, key: Key, now_ms: int, why: str, notify: bool = True) -> Notice:
        episode = self._open.pop(key)
        return replace(
            episode.now,
            notify=notify,
            alert_id=f"{episode.last.episode}-resolved",
            raised_at=now_ms,
            change="resolved",
            severity="info",
            message=why,
            count=episode.count,
            event_time=self._reached.get(key, episode.last.event_time),
        )

    def _happen(self, key: Key, sign: Sign) -> list[Notice]:
        told = self._happened.get(key)
        if told is not None and sign.at_ms - told < self._remind_ms:
            return []
        self._remember(key, sign.at_ms)
        return [self._notice(sign, "happened")]

    def _remember(self, key: Key, at_ms: int) -> None:
        self._happened.pop(key, None)
        self._happened[key] = at_ms
        while len(self._happened) > MOST_REMEMBERED:
            del self._happened[next(iter(self._happened))]

    def _notice(self, sign: Sign, change: Change) -> Notice:
        text = "\n".join([self._task, sign.kind, sign.about, sign.origin or str(sign.at_ms)])
        alert_id = hashlib.sha256(text.encode()).hexdigest()[:16]
        return Notice(
            alert_id=alert_id,
            episode=alert_id,
            raised_at=sign.at_ms,
            opened_at=sign.at_ms,
            change=change,
            kind=sign.kind,
            about=sign.about,
            severity=sign.severity,
            title=sign.title,
            message=sign.message,
            evidence=sign.evidence,
            version=sign.version,
            origin=sign.origin,
            event_time=sign.event_time,
            count=1,
            findings=sign.findings,
        )


def span(ms: int) -> str:
    """A duration in its largest unit, rounded: ``6 h``."""
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000)):
        if ms >= 2 * size or (ms >= size and ms % size == 0):
            return f"{round(ms / size)} {unit}"
    return f"{round(ms / 1000)} s"


def _members(notice: Notice) -> tuple[str | None, frozenset[tuple[str, str]]]:
    """Of an episode of drift, the most likely cause and all that belongs to it."""
    try:
        listed = [(str(m["kind"]), str(m["subject"])) for m in json.loads(notice.findings or "[]")]
    except (ValueError, TypeError, KeyError):  # of another Weir
        return None, frozenset()
    return " ".join(listed[0]) if listed else None, frozenset(listed)
