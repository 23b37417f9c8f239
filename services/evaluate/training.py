"""``python -m services.evaluate.training [BUDGET]``: what a training of the demo's task is worth.

Trains the flights' first version (January and February), with a search of the trees' settings of
that budget (0, the default: none). Prints a line a step: its seconds, and what it found in JSON;
the last line has what the version's answers were worth on test.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from services.demo.flight_delay import FlightDelay
from streams.declaration import json_text
from streams.task import Search, Task, Training
from streams.training.run import Facts, Run
from streams.training.spaces import HISTOGRAM_BOOSTING
from streams.training.train import train

SHOWN = ("log_loss", "roc_auc", "accuracy", "calibration_error", "validation_log_loss")


class Printed(Run):
    """Prints each step as it ends; its clock counts."""

    @contextmanager
    def step(self, name: str, done: float) -> Iterator[Facts]:
        """See `streams.training.run.Run`."""
        began, facts = self.now(), Facts()
        yield facts
        print(f"{name:<12} {self.now() - began:7.1f} s  {one_line(facts)}", flush=True)

    def now(self) -> float:
        """Seconds of a clock that never goes back."""
        return time.monotonic()


def one_line(facts: Facts) -> str:
    """Facts as JSON on a line."""
    return " ".join(json_text(facts).split())


def task_with(budget: float) -> Task:
    """The demo's task with a search of its trees."""
    if budget == 0:
        return FlightDelay
    search = Search(spaces={"trees": HISTOGRAM_BOOSTING}, budget=budget)
    return replace(FlightDelay, training=Training(search=search))


def main(budget: float) -> None:
    """Train, and print how it went."""
    task = task_with(budget)
    assert task.history is not None
    contents = train(task, task.history(), "evaluation", run=Printed()).contents
    print(one_line({name: round(contents.metrics[name], 4) for name in SHOWN}))


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 0.0)
