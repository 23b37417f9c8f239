"""The worker: every agent, from requests to metrics, in the order in which records flow.

    requests ─► serving ─► predictions, deferred, shadows, dead-letters
    predictions, truth, signals ─► feedback ─► outcomes, dead-letters
    predictions, outcomes ─► tally ─► tallies
    tallies ─► metrics ─► metrics
    predictions, shadows, outcomes ─► profile ─► profiles
    profiles ─► drift ─► drifts
    predictions ─► usage ─► usage
    usage ─► volume ─► drifts, throttles (which serving looks up)
    outcomes, predictions ─► windowed ─► features (which serving looks up)
    metrics, drifts, models, retrain ─► triggers ─► retrain
    predictions, shadows, outcomes ─► compare ─► comparisons
    models, comparisons ─► rollout ─► decisions, models (which serving follows)

``python -m streams.app`` runs it; settings come from the environment (`streams.settings`).
"""

from __future__ import annotations

import gc
import logging
import sys
import time
from collections.abc import Mapping
from importlib.metadata import version as installed_version

import faust
from faust.types import TP
from threadpoolctl import threadpool_limits

from schemas.topics import BY_NAME
from streams.codecs import codecs
from streams.comparisons import Comparisons
from streams.drifts import Drifts
from streams.feedback import STAGE as FEEDBACK
from streams.feedback import Feedback
from streams.following import Following
from streams.loading import Loader
from streams.metrics import Metrics
from streams.observe import Health, configure_logging, serve_observability
from streams.profiles import Profiles
from streams.references import References
from streams.refusals import Refusals
from streams.restore import replay
from streams.rollouts import RolloutStage
from streams.serving import Serving
from streams.settings import Settings
from streams.store import Stores
from streams.tally import STAGE as METRICS
from streams.tally import Tally
from streams.task import Task, TaskError, load_task
from streams.throttles import FollowingThrottles
from streams.transport.app import App
from streams.transport.batch import RecordBatch
from streams.transport.mailbox import PROMPT, RELAYED
from streams.triggers.agent import Triggers
from streams.triggers.changelog import last_record
from streams.triggers.pointer import ends
from streams.usage import Usage
from streams.volumes import Volumes
from streams.windowed.agent import Cells
from streams.windowed.definition import Definition
from streams.windowed.following import FollowingFeatures

log = logging.getLogger(__name__)

# How the stages write their state. With another format the state is built anew from the topics, as
# after the loss of a disk.
STATE_FORMAT = "3"
# A worker that has work and commits nothing for this long is not healthy: a broker's restart takes
# about 5 s, and a commit that fails ends the worker by itself after 60 s.
STUCK_S = 30.0


def clock() -> int:
    """Milliseconds since 1970, UTC."""
    return time.time_ns() // 1_000_000


def build(task: Task, settings: Settings) -> App:
    """Wire the stages of a task into a Faust app."""
    by_record = codecs(task, settings.home)
    stores = Stores(settings.state / task.name / settings.worker / STATE_FORMAT)
    signing_key = settings.signing_key.get_secret_value().encode()
    refusals = Refusals(task.name, by_record["alert"], settings.worker, clock)
    load = Loader(
        task, settings.artifacts, signing_key, lambda: serving.recent(), settings.cache_entries
    )
    models = Following(
        task.name, by_record["model"], settings.librdkafka(), load, refusals, task.rollout.by
    )
    definition = Definition(task)
    windowed = FollowingFeatures(
        task.name, definition, by_record["feature_update"], settings.librdkafka()
    )
    throttles = FollowingThrottles(task.name, by_record["throttle"], settings.librdkafka())
    serving = Serving(
        task,
        by_record,
        models.current,
        installed_version("weir"),
        clock,
        windowed.columns,
        models.shadows,
        throttles.current,
        models.routing,
    )
    feedback = Feedback(task, by_record, stores, clock)
    tally = Tally(task, by_record, clock)
    metrics = Metrics(task, by_record, stores, clock)
    cells = Cells(task, definition, by_record, stores, clock)
    references = References(task, settings.artifacts, signing_key, clock)
    profiles = Profiles(task, by_record, references, clock)
    drifts = Drifts(task, by_record, references, stores, clock)
    usage = Usage(task, by_record)
    volumes = Volumes(task, by_record, stores, clock)
    client = settings.librdkafka()
    outcomes, changelog = (BY_NAME[name].topic(task.name) for name in ("outcomes", "triggers"))
    triggers = Triggers(
        task,
        by_record,
        clock,
        lambda: ends(client, outcomes, task.partitions),
        lambda read: last_record(client, changelog, read),
    )

    comparisons = Comparisons(task, by_record)
    rollout_log = BY_NAME["rollouts"].topic(task.name)
    rollout = RolloutStage(
        task, by_record, clock, lambda read: last_record(client, rollout_log, read)
    )

    def restore(offsets: Mapping[TP, int]) -> None:
        for partition in {tp.partition for tp in offsets if tp.topic in feedback.topics}:
            _restore_stage(FEEDBACK, feedback.topics, partition, offsets, feedback)
        for partition in {tp.partition for tp in offsets if tp.topic in cells.topics}:
            _restore_stage(cells.stage, cells.topics, partition, offsets, cells)
            cells.open(partition)
        if TP(metrics.topic, 0) in offsets:
            _restore_stage(METRICS, (metrics.topic,), 0, offsets, metrics)
            metrics.open()
        if TP(drifts.topic, 0) in offsets:
            _restore_stage(drifts.stage, (drifts.topic,), 0, offsets, drifts)
            drifts.open()
        if TP(volumes.topic, 0) in offsets:
            _restore_stage(volumes.stage, (volumes.topic,), 0, offsets, volumes)
            volumes.open()
        if any(TP(topic, 0) in offsets for topic in triggers.topics):
            triggers.open()
        if task.rollout.compares and any(TP(topic, 0) in offsets for topic in rollout.topics):
            rollout.open()

    def _restore_stage(
        stage: str, topics: tuple[str, ...], partition: int, offsets: Mapping[TP, int], run: object
    ) -> None:
        def apply(batch: RecordBatch) -> None:
            result = run(batch)  # type: ignore[operator]
            if result.after_commit is not None:
                result.after_commit()

        committed = {topic: offsets.get(TP(topic, partition), -1) for topic in topics}
        store = stores.get(stage, partition)
        replay(settings.librdkafka(), store, topics, partition, committed, apply)

    def close() -> None:
        feedback.close()
        metrics.close()
        cells.close()
        drifts.close()
        volumes.close()
        triggers.close()
        rollout.close()
        stores.close()

    # What a truth passes on its way to a served feature.
    prompt = {"truth": PROMPT, "outcomes": RELAYED} if definition.of_truths else {}
    app = App(
        group=f"{task.name}-worker",
        worker=settings.worker,
        client=settings.librdkafka(),
        mode=settings.delivery,
        batch_max=settings.batch_max,
        folder=settings.state / task.name / "faust",
        restore=restore,
        close=close,
        prompt={BY_NAME[name].topic(task.name): patience for name, patience in prompt.items()},
    )
    app.stage("serving", [BY_NAME["requests"].topic(task.name)], serving, by_partition=False)
    app.stage("feedback", feedback.topics, feedback, patient=True, by_partition=False)
    app.stage("tally", tally.topics, tally, patient=True)
    app.stage("metrics", [metrics.topic], metrics, patient=True)
    if task.drift.kinds:
        app.stage("profile", profiles.topics, profiles, patient=True)
        app.stage("drift", [drifts.topic], drifts, patient=True)
    app.stage("usage", [usage.topic], usage, patient=True)
    app.stage("volume", [volumes.topic], volumes, patient=True)
    app.stage("triggers", triggers.topics, triggers, patient=True)
    if task.rollout.compares:
        app.stage("compare", comparisons.topics, comparisons, patient=True)
        app.stage("rollout", rollout.topics, rollout, patient=True)
    if definition:
        app.stage("windowed", cells.topics, cells, patient=True, by_partition=False)

    @app.timer(1.0)
    async def tell_of_windows() -> None:
        result = metrics.tick()
        if result is not None:
            app.others.deliver(result)

    @app.timer(1.0)
    async def tell_of_refusals() -> None:
        result = refusals.tell()
        if result is not None:
            app.others.deliver(result)

    @app.on_before_shutdown.connect
    async def finish(_: object, **__: object) -> None:
        await app.drain()
        models.stop()
        windowed.stop()
        throttles.stop()

    def health() -> Health:
        ready = app.ready
        stuck_s = app.stuck_s
        current = models.current()
        return Health(
            ready and stuck_s < STUCK_S,
            {
                "task": task.name,
                "worker": settings.worker,
                "delivery": settings.delivery,
                "partitions": len(app.consumer.assignment()) if ready else 0,
                "stuck_s": round(stuck_s, 1),
                "version": current.version.id if current else "",
                "roles_as_of": models.as_of,
                "refused": ", ".join(refusals.versions),
                "retrain_waiting": ", ".join(triggers.waiting),
                **windowed.progress(),
            },
        )

    models.start()
    windowed.start()
    throttles.start()
    serve_observability(settings.health_port, health)
    return app


def main() -> None:
    """Run a worker until SIGTERM."""
    configure_logging("worker")
    settings = Settings()
    try:
        task = load_task(settings.task)
    except TaskError as error:
        log.error("%s", error)
        sys.exit(2)
    # Batches are small: a second thread of OpenMP costs a predict more in waiting than it saves
    # (histogram boosting, 1,000 rows, 2 busy cores: 72 µs a row with two threads, 11 with one).
    threadpool_limits(limits=1)
    # Fetching, agents and commits are threads that take turns in the interpreter. A commit takes it
    # some five times, and each time would wait for up to 5 ms, the default, while agents compute.
    sys.setswitchinterval(0.0005)
    app = build(task, settings)
    # What is here by now stays. To look through it for garbage took 160 ms every ten seconds, in
    # which nothing was answered; what comes later is little.
    gc.collect()
    gc.freeze()
    worker = faust.Worker(
        app, loglevel=None, redirect_stdouts=False, override_logging=False, quiet=True
    )
    worker.execute_from_commandline()


if __name__ == "__main__":
    main()
