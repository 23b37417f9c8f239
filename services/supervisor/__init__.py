"""Keeps child processes running: what they are, who runs, how they are stopped."""

from services.supervisor.ends import UnplannedEnd, restarts, unplanned_ends
from services.supervisor.spec import ProcessSpec
from services.supervisor.state import (
    HomeBusyError,
    ProcessState,
    RunState,
    SupervisorError,
    read_run_state,
    stop_home,
)
from services.supervisor.supervisor import StartError, Supervisor

__all__ = [
    "HomeBusyError",
    "ProcessSpec",
    "ProcessState",
    "RunState",
    "StartError",
    "Supervisor",
    "SupervisorError",
    "UnplannedEnd",
    "read_run_state",
    "restarts",
    "stop_home",
    "unplanned_ends",
]
