"""A worker with the serving agent alone: what the other agents cost is the difference.

Not a product: nobody joins, counts or measures. `python -m tests.benchmarks.serving_only`.
"""

from __future__ import annotations

import sys
from importlib.metadata import version as installed_version

import faust
from threadpoolctl import threadpool_limits

from schemas.topics import BY_NAME
from streams.app import clock
from streams.codecs import codecs
from streams.following import Following
from streams.loading import Loader
from streams.observe import Health, configure_logging, serve_observability
from streams.refusals import Refusals
from streams.serving import Serving
from streams.settings import Settings
from streams.task import load_task
from streams.transport.app import App


def main() -> None:
    """Run it until SIGTERM."""
    configure_logging("worker")
    settings = Settings()  # type: ignore[call-arg]
    task = load_task(settings.task)
    threadpool_limits(limits=1)
    sys.setswitchinterval(0.0005)  # as streams.app
    by_record = codecs(task, settings.home)
    key = settings.signing_key.get_secret_value().encode()
    load = Loader(task, settings.artifacts, key, lambda: serving.recent())
    refusals = Refusals(task.name, by_record["alert"], settings.worker, clock)
    models = Following(task.name, by_record["model"], settings.librdkafka(), load, refusals)
    app = App(
        group=f"{task.name}-worker",
        worker=settings.worker,
        client=settings.librdkafka(),
        mode=settings.delivery,
        batch_max=settings.batch_max,
        folder=settings.state / task.name / "faust",
        restore=lambda offsets: None,
        close=lambda: None,
    )
    serving = Serving(task, by_record, models.current, installed_version("weir"), clock)
    app.stage("serving", [BY_NAME["requests"].topic(task.name)], serving, by_partition=False)
    models.start()
    serve_observability(settings.health_port, lambda: _health(app, models))
    faust.Worker(
        app, loglevel=None, redirect_stdouts=False, override_logging=False, quiet=True
    ).execute_from_commandline()


def _health(app: App, models: Following) -> Health:
    current = models.current()
    partitions = len(app.consumer.assignment()) if app.ready else 0
    return Health(
        app.ready, {"version": current.version.id if current else "", "partitions": partitions}
    )


if __name__ == "__main__":
    main()
