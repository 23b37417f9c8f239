"""``python -m services.learner``: learn from outcomes until SIGTERM."""

from __future__ import annotations

import os
import sys
import threading

import stamina
import structlog

from services.deployment import current
from services.learner.service import LearnerService
from streams.observe import configure_logging, serve_observability, stop_on_signals
from streams.task import TaskError, load_task

log = structlog.get_logger("learner")

NICENESS = 10
"""Added to the process's: where cores are scarce, serving comes before learning."""


def main() -> int:
    """Run the learner. Returns the process's exit code."""
    configure_logging("learner")
    stamina.instrumentation.set_on_retry_hooks([])  # each retry is logged where it is decided
    os.nice(NICENESS)
    settings = current()
    if not settings.signing_key.get_secret_value():
        log.error("WEIR_SIGNING_KEY is not set: bundles could not be signed; set it and try again")
        return 2
    try:
        task = load_task(settings.task)
    except TaskError as error:
        log.error("no task", error=str(error))
        return 2
    if task.continual is None:
        log.error("the task declares no learner: Task(continual=Continual(...))", task=task.name)
        return 2
    stop = threading.Event()
    stop_on_signals(stop)
    service = LearnerService(task, settings, stop)
    port = serve_observability(settings.health_port, service.health)
    log.info("started", task=task.name, health_port=port)
    service.run()
    log.info("ended in order")
    return 0


if __name__ == "__main__":
    sys.exit(main())
