"""Both sides on the same chunks, judged by the mean absolute error of their estimates."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from services.evaluate import peer
from services.evaluate.flights import flights, flights_delay
from services.evaluate.sets import BUNDLED, Predicted
from services.evaluate.weir import Chunk, estimate
from streams.training.fitting import one_thread

FLIGHTS: Mapping[str, Callable[[], Predicted]] = {
    "flights": flights,
    "flights_delay": flights_delay,
}
NAMES = (*BUNDLED, *FLIGHTS)


@dataclass(frozen=True)
class Compared:
    """One metric of one data set, over the chunks where it is defined and both sides gave it.

    covered: share of chunks whose realised value was within Weir's bar; trusted: of the chunks
    without an objection, their number and the mean absolute error, NaN where there is none.
    """

    chunks: int
    realised: float
    weir_mae: float
    nannyml_mae: float
    covered: float
    trusted: int
    trusted_mae: float


def compare(names: Sequence[str], say: Callable[[str], None]) -> dict[str, dict[str, Compared]]:
    """Every named set. Raises EnvironmentFailed, and FlightsError without the flights."""
    say("NannyML's environment (made once, 1 GB)")
    python = peer.environment()
    found: dict[str, dict[str, Compared]] = {}
    with tempfile.TemporaryDirectory(prefix="weir-evaluate-") as folder:
        if any(name in BUNDLED for name in names):
            say("NannyML's data sets")
            peer.export(python, Path(folder))
        for name in names:
            data = BUNDLED[name].read(name, Path(folder)) if name in BUNDLED else FLIGHTS[name]()
            known, unknown = len(data.reference), len(data.analysis)
            say(f"{name}: {known:,} rows of reference, {unknown:,} to judge")
            with one_thread():
                ours = estimate(data)
            say(f"{name}: NannyML")
            found[name] = _judge(ours, peer.estimate(python, data, Path(folder) / f"{name}-peer"))
    return found


def _judge(
    ours: Mapping[str, Chunk], theirs: Mapping[str, Mapping[str, float | None]]
) -> dict[str, Compared]:
    metrics = list(dict.fromkeys(name for chunk in ours.values() for name in chunk.estimates))
    return {metric: _compared(metric, ours, theirs) for metric in sorted(metrics)}


def _compared(
    metric: str, ours: Mapping[str, Chunk], theirs: Mapping[str, Mapping[str, float | None]]
) -> Compared:
    rows = []
    for name, chunk in ours.items():
        other = theirs[name].get(metric)
        if metric in chunk.realised and metric in chunk.estimates and other is not None:
            bar, real = chunk.estimates[metric], chunk.realised[metric]
            off = abs(bar.value - real)
            rows.append((real, off, abs(other - real), bar.holds(real), chunk.distrust == ""))
    table = np.array(rows, np.float64)
    trusted = table[table[:, 4] == 1, 1]
    realised, weir, nannyml, covered = table[:, :4].mean(axis=0).tolist()
    return Compared(
        len(table),
        realised,
        weir,
        nannyml,
        covered,
        len(trusted),
        float(trusted.mean()) if len(trusted) else float("nan"),
    )
