"""Which version serves: follow the ``models`` topic, load what it names, swap between batches."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from confluent_kafka import Consumer
from prometheus_client import Counter, Gauge

from schemas.codec import Codec
from streams.refusals import Refusals
from streams.roles import ModelRecord, Role, Roles, fold
from streams.rollout.policy import By
from streams.routing import Arm, Routing, Served
from streams.transport.follower import WAIT_S, Follower
from streams.unreadable import Unreadable, place_of
from streams.version import Version

log = logging.getLogger(__name__)

SWAPS = Counter("weir_model_swaps", "Model versions put in service")
REFUSED = Counter("weir_bundles_refused", "Bundles that were not put in service")
EXPERIMENTAL: tuple[Role, ...] = ("shadow", "canary", "candidate")
"""Roles that versions have in an experiment, beside the champion."""
IN_SERVICE = Gauge("weir_model_in_service", "1 for the version in service", ["version", "role"])


class Following(Follower):
    """Follows roles; `current` is what the next batch is served by, `shadows` what looks on.

    A version is loaded and checked in this thread, off the stream; the swap is one assignment,
    which a stage reads once a batch. A bundle that is refused changes nothing: the version in
    service goes on, the refusal is told (`streams.refusals`), and the bundle is tried again now
    and then, since a store that is down comes back and a damaged copy may be replaced.
    """

    def __init__(
        self,
        task: str,
        codec: Codec,
        client: Mapping[str, Any],
        load: Callable[[ModelRecord], Version],
        refusals: Refusals,
        by: By = "id",
    ) -> None:
        super().__init__(
            task,
            "models",
            client,
            "model versions can no longer be followed; the one in service goes on",
        )
        self._codec = codec
        self._load_version = load
        self._refusals = refusals
        self._current: Served | None = None
        self._shadows: tuple[Served, ...] = ()
        self._routing: Routing | None = None
        self._by = by
        self._roles = Roles()
        self._unreadable = Unreadable(log.warning)
        self._as_of = 0

    def current(self) -> Served | None:
        """The version in service; None before there is one."""
        return self._current

    def shadows(self) -> tuple[Served, ...]:
        """The versions in the role shadow, oldest first."""
        return self._shadows

    def routing(self) -> Routing | None:
        """Who answers what while an experiment runs; None: `current` answers all."""
        return self._routing

    @property
    def as_of(self) -> int:
        """The offset in ``models`` up to which (exclusive) the roles are obeyed. Workers with the
        same one have the same roles."""
        return self._as_of

    def _take(self, consumer: Consumer) -> None:
        message = consumer.poll(WAIT_S)
        if message is not None:
            error = message.error()
            if error is None:
                self._roles = self._unreadable.roles(
                    self._roles, self._codec, message.key(), message.value(), place_of(message)
                )
                if self._caught_up.is_set():
                    self._obey()
                self._as_of = message.offset() + 1
            elif self._is_end(error) and not self._caught_up.is_set():
                self._obey()
                log.info("roles are as of offset %d of %s", self._as_of, self._topic)
                self._caught_up.set()
        if self._caught_up.is_set() and self._refusals.due(time.monotonic()):
            self._obey()

    def obey(self, records: Iterable[ModelRecord]) -> None:
        """Take some records of roles in, and put in service what they say."""
        self._roles = fold(records, self._roles)
        self._obey()

    def _obey(self) -> None:
        """Put in service what the roles say, or, where it is refused, go on as well as can be."""
        self._refusals.begin()
        self._obey_champion()
        before = {served.version.id: served for served in self._shadows}
        wanted = self._roles.with_role("shadow")
        shadows = [before.get(r.version) or self._load(r, "it looks on no more") for r in wanted]
        self._shadows = tuple(shadow for shadow in shadows if shadow is not None)
        now = {served.version.id for served in self._shadows}
        for id_ in before.keys() - now:
            IN_SERVICE.labels(id_, "shadow").set(0)
        for id_ in now - before.keys():
            IN_SERVICE.labels(id_, "shadow").set(1)
            log.info("version %s is in service as shadow", id_)
        self._obey_arms()
        self._refusals.end(time.monotonic())

    def _obey_champion(self) -> None:
        champion = self._roles.champion
        if champion is None or self._put_in_service(champion) or self._current is not None:
            return
        # A worker that starts with a champion it must refuse: the one before it is better than
        # none. It may look on as a shadow now.
        former = self._roles.records.get(champion.replaces)
        others = self._roles.with_role("archived")
        for record in reversed([*others, former] if former else others):
            if self._put_in_service(replace(record, role="champion")):
                return

    def _obey_arms(self) -> None:
        """Let the versions of the experiment that runs answer, and look on, as their records say;
        without one there is nothing to be routed."""
        before = {arm.version for arm in self._routing.arms} if self._routing else set()
        self._routing = self._routed()
        arms = self._routing.arms if self._routing else ()
        now = {arm.version for arm in arms if arm.served is not None}
        for id_ in before - now:
            IN_SERVICE.labels(id_, "arm").set(0)
        for arm in arms:
            if arm.served is not None:
                IN_SERVICE.labels(arm.version, "arm").set(arm.share)

    def _routed(self) -> Routing | None:
        part_of = [
            record
            for role in EXPERIMENTAL
            for record in self._roles.with_role(role)
            if record.experiment or record.share  # somebody may give a share by hand
        ]
        champion = self._current
        if not part_of or champion is None:
            return None
        # The newest record says which experiment runs; what is of another one is about to leave.
        order = {version: at for at, version in enumerate(self._roles.records)}
        experiment = max(part_of, key=lambda record: order[record.version]).experiment
        arms, beside = [], []
        for record in part_of:
            if record.experiment != experiment or record.version == champion.version.id:
                continue
            if record.role == "shadow":
                beside += [s for s in self._shadows if s.version.id == record.version]
                continue
            served = (
                self._load(record, "the champion answers its requests") if record.share else None
            )
            if record.share:
                arms.append(Arm(record.version, record.share, served))
            if record.role == "canary" and served is not None and experiment:
                beside += [served, champion]
        return Routing(experiment, champion, tuple(arms), tuple(beside), self._by)

    def _put_in_service(self, record: ModelRecord) -> bool:
        before = self._current
        if before is not None and before.version.id == record.version:
            return True
        goes_on = f"version {before.version.id} goes on" if before else "none is in service"
        served = self._load(record, goes_on)
        if served is None:
            return False
        self._current = served
        if before is not None:
            IN_SERVICE.labels(before.version.id, before.role).set(0)
        IN_SERVICE.labels(record.version, record.role).set(1)
        SWAPS.inc()
        log.info("version %s is in service as %s", record.version, record.role)
        return True

    def _load(self, record: ModelRecord, otherwise: str) -> Served | None:
        """The version that a record names; None where its bundle is refused."""
        try:
            version = self._load_version(record)
        except Exception as error:
            if self._refusals.refuse(record, otherwise, str(error)):
                REFUSED.inc()
                log.error("version %s is refused, %s: %s", record.version, otherwise, error)
            return None
        return Served(version, record.role)
