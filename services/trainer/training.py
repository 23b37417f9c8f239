"""From an event to a recorded version: the one function that the trainer repeats."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import structlog

from services.registry import model_record, now_ms
from services.trainer.events import FIRST, Event
from services.trainer.journal import read_journal
from services.trainer.rows import collect
from services.trainer.runs import Journalled
from services.trainer.snapshot import Stopped
from streams.bundle import BundleError, BundleInfo, folder_of, load_bundle, save_bundle
from streams.roles import BY_TRAINER, ModelRecord, Role, Roles
from streams.skops_files import UnsafeFile
from streams.task import Task
from streams.training.errors import TrainingError
from streams.training.run import Run
from streams.training.runtime import with_runtime
from streams.training.train import Trained, train
from streams.version import Version
from streams.windowed.definition import Definition
from streams.windowed.history import seed

log = structlog.get_logger("trainer")


class Publishes(Protocol):
    """Writes a record and returns when it is stored."""

    def publish(self, topic: str, key: str, record: Mapping[str, Any]) -> None:
        """See `services.registry.Publisher`."""


@dataclass(frozen=True)
class Workshop:
    """What a training needs around it.

    home: folder of the journals (`runs`); artifacts: of the bundles; key: their signature's;
    clickhouse: arguments of ``clickhouse_connect.get_client``; ends: the outcomes' offsets at a
    time (`snapshot.ends_at`); roles: reads the registry; progress: is told step and share done;
    stop: set when the process ends; passed: how far the sink is with the outcomes.
    """

    task: Task
    home: Path
    artifacts: Path
    key: bytes
    clickhouse: Mapping[str, Any]
    ends: Callable[[int], Sequence[int]]
    roles: Callable[[], Roles]
    publisher: Publishes
    progress: Callable[[str, float], None]
    stop: threading.Event
    passed: Callable[[], Sequence[int]] = tuple


def work_on(shop: Workshop, event: Event) -> str:
    """Answer one event: the version's role, ``refused`` or ``known`` (recorded before).

    Every step may be repeated. A crash after step 1 to 4 leaves what was fitted, and at most a
    bundle that nothing names; the event is worked on again, on the same rows and beside the same
    champion, and gives the same version. So does one after step 5, whose records would be the same.
    After step 6 the version is recorded, and the repeated
    event ends at step 1.
    """
    run = Journalled(shop.home, event.event_id, shop.progress, shop.stop)
    # 1. What is recorded: an event is answered once.
    roles = shop.roles()
    known = roles.of_event(event.event_id) is not None
    answer = "known" if known else _answer(shop, event, roles, run)
    # 7. Nobody goes on with it: what was kept for that goes.
    run.answered()
    return answer


def _answer(shop: Workshop, event: Event, roles: Roles, run: Run) -> str:
    # 2. The rows, and the champion to compare with. 3. The training.
    try:
        trained = _train(shop, event, roles, run)
    except Stopped:
        raise
    except TrainingError as error:
        return _refuse(shop, event, str(error))
    except Exception as error:  # the task's own code, or ours: the events behind it must not wait
        log.exception("training failed", event_id=event.event_id)
        return _refuse(shop, event, f"{type(error).__name__}: {error}; the trainer's log has more")
    # 4. The bundle, whole or not at all.
    try:
        with run.step("save", 0.98) as facts:
            info = save_bundle(shop.artifacts, shop.task, trained.contents, shop.key)
            facts |= {"version": info.id, "sha256": info.sha256}
    except UnsafeFile as error:
        return _refuse(shop, event, str(error))
    # 5. What the history says of windowed features, which the first version is served with.
    if event.trigger == FIRST and shop.task.windowed and shop.task.history is not None:
        with run.step("features", 0.985) as facts:
            records = list(seed(Definition(shop.task), shop.task.history()))
            for key, update in records:
                shop.publisher.publish("features", key, update)
            facts |= {"records": len(records)}
    # 6. The record, which puts a champion in service.
    record = _record(shop, roles, event, trained, info)
    with run.step("register", 0.99) as facts:
        shop.publisher.publish("models", record.version, record.record())
        facts |= {"version": record.version, "role": record.role, "reason": record.reason}
    log.info("version recorded", version=record.version, role=record.role, reason=record.reason)
    return record.role


def _train(shop: Workshop, event: Event, roles: Roles, run: Run) -> Trained:
    begun = _begun(shop, event)
    with run.step("snapshot", 0.0) as facts:
        ends: Sequence[int] = ()
        if event.trigger != FIRST:
            ends = event.outcomes_to or begun.get("outcomes_to") or shop.ends(event.requested_at)
        table = collect(shop.task, event, shop.clickhouse, ends, shop.stop, shop.passed)
        # Below a version that learns in the stream, which has learned from the rows that judge.
        before = roles.batch_champion.version if roles.batch_champion else ""
        record = roles.records.get(begun.get("champion", before))
        champion = _champion(shop, record)
        facts |= {"rows": len(table), "champion": record.version if record else ""}
        facts |= _pointer(event, ends)
    trained = train(shop.task, table, event.event_id, champion, run, event.requested_at)
    with run.step("runtime", 0.97) as facts:
        contents = with_runtime(shop.task, trained.contents, table)
        facts |= contents.runtime
    return replace(trained, contents=contents)


def _begun(shop: Workshop, event: Event) -> Mapping[str, Any]:
    """What an earlier attempt at the event began with: it is followed."""
    for line in read_journal(shop.home, event.event_id):
        if line["step"] == "snapshot" and "champion" in line["facts"]:
            found: Mapping[str, Any] = line["facts"]
            return found
    return {}


def _pointer(event: Event, ends: Sequence[int]) -> dict[str, Any]:
    """What `collect` gives the same rows for again."""
    return {
        "data_from": event.data_from,
        "data_to": event.data_to,
        "outcomes_from": list(event.outcomes_from),
        "outcomes_to": list(ends),
    }


def _champion(shop: Workshop, record: ModelRecord | None) -> Version | None:
    if record is None:
        return None
    try:
        return load_bundle(folder_of(shop.artifacts, record.bundle), shop.task, shop.key)
    except BundleError as error:
        # Serving cannot load it either: a new version that beats the baseline is what is needed.
        log.error("the champion cannot be compared with", version=record.version, error=str(error))
        return None


def _record(
    shop: Workshop, roles: Roles, event: Event, trained: Trained, info: BundleInfo
) -> ModelRecord:
    contents = trained.contents
    before = roles.champion
    again = before is not None and before.version == contents.id
    reason = trained.reason
    if again:
        # Rows and declaration are the champion's own: it stays, whatever it was compared with.
        reason = "the same rows and declaration give the champion again"
    role: Role = "champion" if again else "rejected"
    known = roles.records.get(contents.id)
    if trained.accepted and not again:
        role = shop.task.rollout.first_role if before is not None else "champion"
    changed_by = BY_TRAINER
    if known is not None and roles.role(contents.id) in ("canary", "candidate", "shadow"):
        role = known.role  # it is on its way already, and the rollout decides about it
    elif before is not None and known is not None and known.by_hand and known.role == "archived":
        # Somebody took it out of service: that the same rows give it again does not undo that.
        role, changed_by, reason = "archived", known.changed_by, known.reason
    else:
        known = None
    return replace(
        model_record(contents, info, role, reason, changed_by),
        event_id=event.event_id,
        replaces=before.replaces if before and again else before.version if before else "",
        share=known.share if known else 0.0,
        experiment=known.experiment if known else "",
    )


def _refuse(shop: Workshop, event: Event, why: str) -> str:
    """Tell people and triggers that an event gave no version; its id keeps a repeated alert
    recognisable."""
    log.warning("no version for this event", event_id=event.event_id, why=why)
    alert_id = f"refused-{event.event_id}"
    shop.publisher.publish(
        "alerts",
        alert_id,
        {
            "alert_id": alert_id,
            "raised_at": now_ms(),
            "kind": "refused",
            "severity": "warning",
            "message": f"retrain event {event.event_id} ({event.reason}) gave no version: {why}",
            "about": event.event_id,
            "evidence": event.event_id,
        },
    )
    shop.publisher.publish("retrain", event.event_id, event.failed(why))
    return "refused"
