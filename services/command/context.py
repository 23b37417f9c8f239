"""What every command starts from: the settings and the task's contract."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import typer

from services.command.output import CommandError
from services.contract import Contract
from services.deployment import current, current_contract
from streams.settings import Settings

TaskOption = Annotated[
    str | None,
    typer.Option(
        "--task",
        metavar="FILE.py:NAME",
        help="The task: its file and its name there, or the name of one that ran in this home. "
        "Without it: the one that ran last.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


DEMO_TASK = "services.demo.flight_delay:FlightDelay"
"""The task that Weir comes with."""


@dataclass(frozen=True)
class Context:
    """The deployment that a command is about."""

    settings: Settings
    contract: Contract

    @property
    def kafka(self) -> dict[str, Any]:
        """Connection settings for confluent-kafka; its own complaints are ours to phrase."""
        return {**self.settings.librdkafka(), "log_level": 0}


def open_context(task: str | None = None) -> Context:
    """The deployment in WEIR_HOME. A task that never ran here is loaded from its file."""
    settings = current()
    if task and ":" not in task:
        contract = current_contract(settings, task)
        if contract is None:
            raise CommandError(
                f"no task called {task} has run in {settings.home}; give its file, as in "
                f"--task path/to/{task}.py:Name",
                code=2,
            )
        return Context(settings.model_copy(update={"task": contract.reference}), contract)
    if task:
        settings = settings.model_copy(update={"task": task})
        return Context(settings, load_contract(task))
    found = current_contract(settings)
    if found is None and "task" not in settings.model_fields_set:
        # Nothing has run here yet, and the default's path is good in Weir's own folder only.
        settings = settings.model_copy(update={"task": DEMO_TASK})
    return Context(settings, found or load_contract(settings.task))


def load_contract(reference: str) -> Contract:
    """The contract of the task that a file declares; TaskError lists its problems."""
    from streams.task import load_task  # the file imports scikit-learn: seconds

    return Contract.of(load_task(reference), reference)
