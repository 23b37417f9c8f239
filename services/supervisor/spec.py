"""What the supervisor is told of a process."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter

Ready = Callable[[], bool] | str | None
"""How to see that a process does its work: a function that says so within seconds, or the URL of a
health page that answers 200, or None: it is ready as soon as it runs."""


@dataclass(frozen=True)
class ProcessSpec:
    """One process to be kept running.

    `env` is added to the supervisor's own environment; None takes a variable out of it. `after`
    names the processes that must be ready before this one starts. `addresses` is what others need
    to find it (`{"http": "http://…"}`); it lands in its run file. It is asked to end by SIGTERM and
    killed after `stop_timeout_s`. With `restart`, it is started again whenever it ends.
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str | None] = field(default_factory=dict)
    ready: Ready = None
    after: tuple[str, ...] = ()
    addresses: Mapping[str, str] = field(default_factory=dict)
    ready_timeout_s: float = 60
    stop_timeout_s: float = 15
    restart: bool = True


def problems_of(specs: Sequence[ProcessSpec], known: Collection[str] = ()) -> list[str]:
    """All that is wrong with `specs`, to be started beside the processes named in `known`."""
    names = [spec.name for spec in specs]
    problems = [f"{name}: declared twice" for name in {n for n in names if names.count(n) > 1}]
    problems += [f"{name}: runs already" for name in names if name in known]
    for spec in specs:
        problems += [
            f"{spec.name}: starts after {other}, which is not declared"
            for other in spec.after
            if other not in names and other not in known
        ]
        if not spec.argv:
            problems.append(f"{spec.name}: has no command")
    try:
        TopologicalSorter({spec.name: set(spec.after) for spec in specs}).prepare()
    except CycleError as error:
        problems.append(f"each waits for the next: {' > '.join(error.args[1])}")
    return problems
