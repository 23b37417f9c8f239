"""All that is decided of a task's alerts: records and looks in, notices out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from streams.alerts.book import Book, Notice
from streams.alerts.crashes import Crashes, of_crashes
from streams.alerts.episodes import Episodes
from streams.alerts.levels import DeadLetterSigns, LagSigns
from streams.alerts.policy import Alerts
from streams.alerts.sign import Sign
from streams.alerts.signs import VOLUME, RoleSigns, of_metric, of_retrain, of_volume
from streams.roles import ModelRecord

IN_SERVICE = ("champion", "canary", "shadow", "candidate")
"""Roles whose versions' drift goes on being grouped."""


class Decider:
    """Keeps the book of one task.

    windows: names of the task's windows, in its order. now_ms, requests: the time at its start,
    and how many records the topic of requests has had by then.
    """

    def __init__(
        self, task: str, policy: Alerts, windows: Sequence[str], now_ms: int, requests: int
    ) -> None:
        self._policy, self._windows = policy, windows
        self._book = Book(task, policy)
        self._episodes = Episodes(policy)
        self._roles = RoleSigns()
        self._lags = LagSigns(policy)
        self._letters = DeadLetterSigns(policy, now_ms, requests)

    def restore(
        self,
        notices: Sequence[Notice],
        models: Iterable[tuple[ModelRecord, int]],
        drifts: Iterable[tuple[Mapping[str, Any], int]],
        now_ms: int,
    ) -> None:
        """Take up what was told before, the roles that were decided before, all of them, and the
        newest of the ``drifts`` that were seen before: each with when it was stored."""
        self._book.restore(notices, now_ms)
        of_versions = (found for found in drifts if found[0]["kind"] != VOLUME)
        before: list[tuple[int, ModelRecord | Mapping[str, Any]]] = [
            *((at_ms, record) for record, at_ms in models),
            *((at_ms, record) for record, at_ms in of_versions if self._policy.drift),
        ]
        for at_ms, record in sorted(before, key=lambda one: one[0]):
            if isinstance(record, ModelRecord):
                self._roles.see(record, at_ms, "")
                self._leavers()
            else:
                self._episodes.see(record, at_ms, "")
        self._episodes.resume(notices, now_ms)

    def see(self, topic: str, record: Mapping[str, Any], at_ms: int, origin: str) -> list[Notice]:
        """A record of ``drifts``, ``metrics``, ``retrain`` or ``models``, stored at ``at_ms``."""
        signs: list[Sign | None] = []
        ended: list[Notice] = []
        if topic == "drifts" and record["kind"] == VOLUME:
            signs = [of_volume(record, at_ms, origin)]
        elif topic == "drifts" and self._policy.drift:
            signs = [*self._episodes.see(record, at_ms, origin)]
        elif topic == "metrics":
            signs = [*of_metric(record, self._policy.metrics, self._windows, at_ms, origin)]
        elif topic == "retrain":
            signs = [of_retrain(record, at_ms, origin)]
        elif topic == "models":
            signs = [*self._roles.see(ModelRecord.of(record), at_ms, origin)]
            ended = [n for version in self._leavers() for n in self._book.left(version, at_ms)]
        return ended + self._told(signs)

    def deleted(self, version: str, at_ms: int) -> list[Notice]:
        """An operator deleted a version, by a null in ``models`` stored at ``at_ms``."""
        self._roles.forget(version)
        self._episodes.role(version, answers=False)
        return self._book.left(version, at_ms)

    def count_dead_letters(self, at_ms: int, reasons: Mapping[str, int]) -> None:
        """Dead letters that were stored at one time, by reason."""
        self._letters.count(at_ms, reasons)

    def look(self, lags: Mapping[str, int | None], requests: int, at_ms: int) -> list[Notice]:
        """A look at the running system: each process's lag, and the requests that ever came."""
        signs = [self._lags.see(process, lag, at_ms) for process, lag in lags.items()]
        return self._told([*signs, self._letters.see(requests, at_ms)])

    def look_at_crashes(self, crashes: Mapping[str, Crashes], at_ms: int) -> list[Notice]:
        """A look at the unplanned ends of each process, by its name."""
        return self._told(of_crashes(process, each, at_ms) for process, each in crashes.items())

    def tick(self, now_ms: int) -> list[Notice]:
        """What the time gives to tell; to be asked when every record there is has been seen."""
        # What a Weir before episodes left open of versions that have gone.
        known = self._roles.roles
        gone = {
            notice.version
            for notice in self._book.open
            if notice.version in known.records and known.role(notice.version) not in IN_SERVICE
        }
        left = [n for version in sorted(gone) for n in self._book.left(version, now_ms)]
        return left + self._told(self._episodes.tick(now_ms)) + self._book.tick(now_ms)

    @property
    def open(self) -> list[Notice]:
        """What was told last of each open episode."""
        return self._book.open

    def _leavers(self) -> list[str]:
        """Versions that have just left service; a shadow may yet be taken into it."""
        roles = self._roles.roles
        return [
            version
            for version in roles.records
            if self._episodes.role(version, roles.role(version) in IN_SERVICE)
        ]

    def _told(self, signs: Iterable[Sign | None]) -> list[Notice]:
        return [notice for sign in signs if sign is not None for notice in self._book.see(sign)]
