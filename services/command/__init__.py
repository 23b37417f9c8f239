"""The ``weir`` command: one module a group of commands, wired here.

Modules import what is heavy (NumPy, scikit-learn, the Kafka client) inside their functions:
``weir --help`` and ``weir topics`` are there in half a second.
"""

from __future__ import annotations

import typer

from services.command import (
    alerts,
    bench,
    contracts,
    demo,
    drift,
    evaluate,
    export,
    faults,
    init,
    label,
    lifecycle,
    models,
    replay,
    retraining,
    rollout,
    score,
    send,
    sql,
    status,
    tail,
    trace,
    verify,
)
from services.command.output import CommandError, print_error

USAGE = 2
"""Exit code of a configuration or a request that cannot be; failures exit with 1."""


COMMANDS = (
    demo.demo,
    faults.faults,
    init.init,
    lifecycle.up,
    lifecycle.down,
    status.status,
    contracts.topics,
    contracts.schemas,
    send.send,
    score.score,
    replay.replay,
    export.export,
    tail.tail,
    trace.trace,
    sql.sql,
    label.label,
    retraining.retrain,
    retraining.triggers,
    bench.bench,
)


def build() -> typer.Typer:
    """The application with all its commands."""
    app = typer.Typer(
        name="weir",
        help="Closes the loop around a machine-learning model on Kafka.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    for command in COMMANDS:
        app.command()(command)
    app.add_typer(models.app, name="models")
    app.add_typer(drift.app, name="drift")
    app.add_typer(rollout.app, name="rollout")
    app.add_typer(alerts.app, name="alerts")
    app.add_typer(verify.app, name="verify")
    app.add_typer(evaluate.app, name="evaluate")
    return app


def main() -> int:
    """Run a command; errors that a person can do something about are told without a traceback."""
    try:
        build()()
    except Exception as error:
        said = explain(error)
        if said is None:
            raise
        message, code = said
        print_error(message)
        return code
    return 0


def explain(error: Exception) -> tuple[str, int] | None:
    """Message and exit code of an error that is no bug of ours; None for one that is.

    Classes are told by name, so that no module is imported to learn that it raised nothing.
    """
    names = {f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__}
    if isinstance(error, CommandError):
        return str(error), error.code
    if names & CONFIGURATION_ERRORS:
        return _validation(error) if hasattr(error, "errors") else str(error), USAGE
    if names & FAILURES:
        return str(error), 1
    return None


CONFIGURATION_ERRORS = {
    "streams.task.TaskError",
    "pydantic_core._pydantic_core.ValidationError",
    "services.contract.ContractError",
    "services.deployment.DeploymentError",
    "services.moves.MoveError",
    "services.command.starting.ConfigurationError",
}
FAILURES = {
    "services.admin.AdminError",
    "services.broker.BrokerError",
    "services.registry.RegistryError",
    "services.moving.Refused",
    "services.labelling.desk.DeskError",
    "services.labelling.sheets.SheetError",
    "services.labelling.truths.TruthError",
    "services.demo.flights.FlightsError",
    "services.demo.ledger.LedgerError",
    "services.demo.resume.ReplayError",
    "services.supervisor.state.SupervisorError",
    "cimpl.KafkaException",
}


def _validation(error: Exception) -> str:
    """Every wrong setting, a line each, by the variable that holds it."""
    lines = [
        f"- WEIR_{'_'.join(str(part) for part in wrong['loc']).upper()}: {wrong['msg']}"
        for wrong in getattr(error, "errors")()  # noqa: B009
    ]
    return "the settings are wrong:\n" + "\n".join(lines)
