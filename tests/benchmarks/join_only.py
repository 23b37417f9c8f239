"""A worker with the feedback agent alone: what the join costs by itself.

Not a product: nobody serves or measures. `python -m tests.benchmarks.join_only`.
"""

from __future__ import annotations

import sys

import faust
from threadpoolctl import threadpool_limits

from streams.app import clock
from streams.codecs import codecs
from streams.feedback import Feedback
from streams.observe import Health, configure_logging, serve_observability
from streams.settings import Settings
from streams.store import Stores
from streams.task import load_task
from streams.transport.app import App


def main() -> None:
    """Run it until SIGTERM."""
    configure_logging("worker")
    settings = Settings()  # type: ignore[call-arg]
    task = load_task(settings.task)
    threadpool_limits(limits=1)
    sys.setswitchinterval(0.0005)  # as streams.app
    stores = Stores(settings.state / task.name / settings.worker)
    app = App(
        group=f"{task.name}-worker",
        worker=settings.worker,
        client=settings.librdkafka(),
        mode=settings.delivery,
        batch_max=settings.batch_max,
        folder=settings.state / task.name / "faust",
        restore=lambda offsets: None,
        close=stores.close,
    )
    feedback = Feedback(task, codecs(task, settings.home), stores, clock)
    app.stage("feedback", feedback.topics, feedback, patient=True)
    serve_observability(settings.health_port, lambda: _health(app))
    faust.Worker(
        app, loglevel=None, redirect_stdouts=False, override_logging=False, quiet=True
    ).execute_from_commandline()


def _health(app: App) -> Health:
    partitions = len(app.consumer.assignment()) if app.ready else 0
    return Health(app.ready, {"version": "none is needed", "partitions": partitions})


if __name__ == "__main__":
    main()
