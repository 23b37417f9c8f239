"""Episodes of drift: findings of one version that begin together, or follow one from another.

A finding joins the episode of its version that has a member which

    is of the same kind and subject, and nothing was found for less than ``drift_quiet`` since;
    began when it began: the change points are no further apart than both may be off;
    or precedes it in the order of causes (`causes`), began before it, and was found at most
    `FOLLOWS_MS` before it began; or the other way round, since a cause may be found last.

Where several do, that with the nearest change point; where none does, it begins an episode.

An episode is told as soon as a detector of the performance says that it suffers. Of a version
whose performance nobody knows it is told after ``hold``. All times are event times, or the
clock's where nothing else is found.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from streams.alerts import causes
from streams.alerts.book import Notice, span
from streams.alerts.causes import Member
from streams.alerts.policy import Alerts
from streams.alerts.sign import Severity, Sign

FOLLOWS_MS = 2 * 24 * 3_600_000
"""For so long after a cause was found may what follows from it begin."""
MOST_MEMBERS = 200
"""Kinds and subjects of an episode that are kept, about 300 bytes each; the rest is counted."""
MOST_UNTOLD = 200
"""Episodes that nobody was told of: the oldest goes."""

Record = Mapping[str, Any]


@dataclass
class Episode:
    """Findings that have one cause, as far as can be told.

    about: its name, for the book. at_ms: when its newest finding was stored; last: where that
    one's evidence ends, in event time. origin: the record that it was read from. told: whether
    people were. held: of the first finding that may be told, event time and clock. members: by
    kind and subject.
    """

    about: str
    version: str
    at_ms: int
    origin: str = ""
    last: int = 0
    told: bool = False
    held: tuple[int, int] | None = None
    members: dict[tuple[str, str], Member] = field(default_factory=dict)

    def distance(self, new: Member, quiet_ms: int) -> int | None:
        """Between its change point and the nearest of a member that it belongs to; None: to none.

        quiet_ms: how long after the last finding the same may be found again.
        """
        again = new.key in self.members and new.found - self.last <= quiet_ms
        near = [
            min(abs(new.begins - m.begins), abs(new.begins - m.began))
            for m in self.members.values()
            if again or _together(new, m) or _follows(new, m) or _follows(m, new)
        ]
        return min(near, default=None)

    def join(self, new: Member, at_ms: int, origin: str) -> None:
        """Take it in."""
        self.last, self.at_ms, self.origin = max(self.last, new.found), at_ms, origin
        if new.alerting and new.degraded is None and self.held is None:
            self.held = (new.found, at_ms)
        known = self.members.get(new.key)
        if known is not None:
            new = replace(new, began=min(known.began, new.began), seen=known.seen + 1)
        if known is not None or len(self.members) < MOST_MEMBERS:
            self.members[new.key] = new

    def sign(self, at_ms: int) -> Sign:
        """What is known of it."""
        members = causes.ranked(self.members.values())
        suffers = any(causes.hurting(m) and m.alerting for m in members)
        severity: Severity = "critical" if suffers else "warning"
        return Sign(
            kind="drift",
            about=self.about,
            state="bad",
            at_ms=at_ms,
            severity=severity,
            title=causes.title(members),
            message=causes.message(members),
            evidence=members[0].drift_id,
            version=self.version,
            origin=self.origin,
            event_time=self.last,
            findings=json.dumps([m.plain() for m in members], separators=(",", ":")),
        )


def _together(one: Member, other: Member) -> bool:
    doubt = one.doubt_ms + other.doubt_ms
    return abs(one.begins - other.begins) <= doubt or abs(one.begins - other.began) <= doubt


def _follows(late: Member, early: Member) -> bool:
    """Whether the one may follow from the other."""
    return (
        early.order < late.order
        and early.began - early.doubt_ms - late.doubt_ms <= late.begins
        and late.begins <= early.found + FOLLOWS_MS
    )


class Episodes:
    """The episodes of a task, told and not: findings in, signs for the book out."""

    def __init__(self, policy: Alerts) -> None:
        self._hold_ms, self._quiet_ms = policy.ms("hold"), policy.ms("drift_quiet")
        self._all: dict[str, Episode] = {}  # by what the book calls them, the oldest first
        self._watched: set[str] = set()  # versions whose performance is known
        self._silent: set[str] = set()

    @property
    def told(self) -> list[Episode]:
        """Those that people were told of, the oldest first."""
        return [one for one in self._all.values() if one.told]

    def see(self, record: Record, at_ms: int, origin: str) -> list[Sign]:
        """A ``drifts`` record, stored at ``at_ms``: what changes of which episodes."""
        if record["version"] in self._silent:
            return []
        # What the clock decides is decided before: so it is the same however often one ticks.
        signs = self.tick(at_ms)
        version, new = record["version"], Member.of(record)
        episode = self._take(version, new, at_ms, origin)
        signs += self._over(episode, new.found, at_ms)
        was_told = episode.told
        signs += self._become_due(version, new.found, at_ms)
        if was_told:
            signs.append(episode.sign(at_ms))
        return signs

    def tick(self, now_ms: int) -> list[Sign]:
        """What the time gives to tell; to be asked when every record there is has been seen."""
        signs = self._become_due(None, None, now_ms)
        for one in [*self._all.values()]:
            if now_ms - one.at_ms >= self._quiet_ms:
                signs += self._end(one, now_ms)
        return signs

    def role(self, version: str, answers: bool) -> bool:
        """Whether a version is looked at; returns whether it has just left service."""
        if answers:
            self._silent.discard(version)
            return False
        leaves = version not in self._silent
        self._silent.add(version)
        self._watched.discard(version)
        self._all = {name: one for name, one in self._all.items() if one.version != version}
        return leaves

    def resume(self, notices: Iterable[Notice], now_ms: int) -> None:
        """After every record that was seen before was seen again (and what it gave was told to
        nobody): what was told, in its order, says which episodes are open."""
        last = {notice.about: notice for notice in notices if notice.kind == "drift"}
        for about, one in [*self._all.items()]:
            notice = last.get(about)
            if (notice is None and one.told) or (notice and notice.change == "resolved"):
                # It ended, or is of a time before anybody was told of anything: no news.
                del self._all[about]
            elif notice is not None:
                one.told = True
        for about, notice in last.items():
            if notice.change == "resolved" or notice.version in self._silent or about in self._all:
                continue
            # It began longer ago than the records reach.
            one = _restored(notice, now_ms)
            listed = {member.drift_id for member in one.members.values()}
            self._all = {
                name: other
                for name, other in self._all.items()
                if other.told or not listed & {m.drift_id for m in other.members.values()}
            }
            self._all[about] = one

    def _take(self, version: str, new: Member, at_ms: int, origin: str) -> Episode:
        """The episode that a finding belongs to, with it."""
        if new.degraded is not None:
            self._watched.add(version)
        near = [
            (distance, at, one)
            for at, one in enumerate(self._all.values())
            if one.version == version
            and (distance := one.distance(new, self._quiet_ms)) is not None
        ]
        if near:
            episode = min(near, key=lambda found: found[:2])[2]
        else:
            episode = Episode(f"drift of version {version}, first {new.drift_id}", version, at_ms)
            self._all[episode.about] = episode
        episode.join(new, at_ms, origin)
        while len(self._all) - len(self.told) > MOST_UNTOLD:
            del self._all[next(one.about for one in self._all.values() if not one.told)]
        return episode

    def _due(self, one: Episode, event_time: int | None, now_ms: int) -> bool:
        """Whether an episode is to be told now. event_time: of the newest evidence, if known."""
        if any(causes.hurting(m) and m.alerting for m in one.members.values()):
            return True
        if one.held is None:
            return False
        passed = now_ms - one.held[1] >= self._hold_ms or (
            event_time is not None and event_time - one.held[0] >= self._hold_ms
        )
        if not passed:
            return False
        if one.version in self._watched:
            # Where performance is known its own detectors say, with few false alarms, that it fell.
            one.held = None
            return False
        return True

    def _become_due(self, version: str | None, event_time: int | None, now_ms: int) -> list[Sign]:
        signs = []
        for one in self._all.values():
            if one.told or (version is not None and one.version != version):
                continue
            if self._due(one, event_time, now_ms):
                one.told = True
                signs.append(one.sign(now_ms))
        return signs

    def _over(self, newest: Episode, event_time: int, at_ms: int) -> list[Sign]:
        """The ends of the version's other episodes in which nothing was found for long."""
        return [
            sign
            for one in [*self._all.values()]
            if one is not newest
            and one.version == newest.version
            and event_time - one.last > self._quiet_ms
            for sign in self._end(one, at_ms)
        ]

    def _end(self, one: Episode, at_ms: int) -> list[Sign]:
        del self._all[one.about]
        if not one.told:
            return []
        words = (
            f"Nothing new was found in it for {span(self._quiet_ms)}; what has changed may stay."
        )
        return [Sign(kind="drift", about=one.about, state="well", at_ms=at_ms, message=words)]


def _restored(notice: Notice, now_ms: int) -> Episode:
    """An episode as it was told last; one of a Weir before episodes has no members."""
    one = Episode(notice.about, notice.version, now_ms, notice.origin, told=True)
    one.last = notice.event_time or 0
    try:
        members = [Member.of_plain(facts) for facts in json.loads(notice.findings or "[]")]
    except (ValueError, TypeError, AttributeError):
        members = []
    one.members = {m.key: m for m in members}
    return one
