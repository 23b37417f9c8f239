"""Does the gate find June's errors before the model has looked? Beside the model's own confidence.

The demo's boosted trees are fitted on the flights of January to May whose truth was known when June
began, and both forms of the gate on their out-of-fold errors. Then a share of June's flights is
deferred: those with the highest scores of a gate, or those whose answer the model itself is least
sure of, for which it must have been asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from services.demo.flights import NEW_YORK
from streams.frame import columns_of, frame
from streams.task import Task
from streams.training import cost
from streams.training.data import prepare
from streams.training.fitting import answers, bare_version, fit
from streams.training.gate import Gate, out_of_fold, train_gate
from streams.training.gating import unsure
from streams.training.imitation import imitate
from streams.windowed.history import with_windowed

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

SHARES = (0.05, 0.1, 0.2, 0.3)
CURVE = tuple(round(0.02 * i, 2) for i in range(31))
"""Shares deferred at which the plot's risk is told."""
FROM, TO = (pd.Timestamp(2013, month, 1, tz=NEW_YORK) for month in (6, 7))
CANDIDATE = "trees"
DRAWS = 200


@dataclass(frozen=True, eq=False)
class Judged:
    """What was found of one set of inputs.

    errors: (n,), which of June's answers are wrong. scores: of each way to defer, by name:
    ``imitation`` and ``errors``, the gate's forms, and ``confidence``. days: (n,), of the flights.
    costs: by form, ``f`` and ``i`` in microseconds a row, and their ratio.
    """

    errors: Mask
    scores: Mapping[str, Floats]
    days: npt.NDArray[np.int64]
    trained_on: int
    costs: Mapping[str, Mapping[str, float]]

    def error(self, way: str, share: float) -> float:
        """The share of errors among what is admitted when a share is deferred."""
        return error_admitted(self.errors, self.scores[way], share)

    def plain(self) -> dict[str, Any]:
        """{share deferred: {gate_error, confidence_error}, none}."""
        told: dict[str, Any] = {
            f"{share:g}": {
                "gate_error": round(self.error("imitation", share), 4),
                "confidence_error": round(self.error("confidence", share), 4),
            }
            for share in SHARES
        }
        return told | {"none": round(float(self.errors.mean()), 4)}

    def lead(self, share: float) -> tuple[float, float, float]:
        """How much smaller the gate's error is than confidence's, and where 95 % of bootstraps by
        day are."""
        draw = np.random.default_rng(0)
        known, at = np.unique(self.days, return_inverse=True)
        rows = [np.flatnonzero(at == day) for day in range(len(known))]
        found = []
        for _ in range(DRAWS):
            some = np.concatenate([rows[day] for day in draw.integers(0, len(known), len(known))])
            both = [
                error_admitted(self.errors[some], self.scores[way][some], share)
                for way in ("confidence", "imitation")
            ]
            found.append(both[0] - both[1])
        low, high = np.quantile(found, (0.025, 0.975))
        mine = self.error("confidence", share) - self.error("imitation", share)
        return mine, float(low), float(high)


def error_admitted(errors: Mask, scores: Floats, share: float) -> float:
    """The share of errors among those that are left when a share with the highest scores is
    deferred; of equal scores the later rows."""
    order = np.argsort(scores, kind="stable")
    return float(errors[order[: round((1 - share) * len(order))]].mean())


def judge(task: Task, flights: pd.DataFrame) -> Judged:
    """flights: as `services.demo.flights.load_flights`, with the task's inputs."""
    known, asked = flights["known_at"] < FROM, flights["event_time"].between(FROM, TO, "left")
    data = prepare(task, flights[known].reset_index(drop=True))
    june = flights[asked].reset_index(drop=True)
    columns = columns_of(task.inputs, june, prefix="")
    later = frame(task, columns, data.vocabularies, prefix="")
    candidate = task.candidates[CANDIDATE]
    model = fit(task, candidate, data.frame, data.target)
    models = [model]

    def kept(fold: int, fitted: Callable[[], Any]) -> Any:
        models.append(fitted())
        return models[-1]

    held = out_of_fold(task, candidate, data.frame, data.target, fitted=kept)
    errors = held.answer != data.target
    newest = data.rows(slice(data.validation.start, None))[0]
    gates = {
        "imitation": train_gate(
            task, data.frame, errors, newest, network=imitate(task, models, data.frame)
        ),
        "errors": train_gate(task, data.frame, errors, newest),
    }
    given = answers(task, model, later)
    confidence = unsure(given)
    assert confidence is not None
    return Judged(
        given.answer != june[task.target.name].to_numpy(bool),
        {name: gate.score(task, later) for name, gate in gates.items()}
        | {"confidence": confidence},
        june["event_time"].dt.tz_convert(NEW_YORK).dt.day.to_numpy(np.int64),
        len(data),
        {name: _cost(task, model, gate, data.frame) for name, gate in gates.items()},
    )


def _cost(task: Task, model: Any, gate: Gate, rows: pd.DataFrame) -> dict[str, float]:
    samples = rows.iloc[np.linspace(0, len(rows) - 1, 16).astype(int)]
    version = bare_version(task, model, gate.estimator, samples, scale=gate.scale)
    found = cost.measure(version, rows)
    return {"f": found["gate_us"], "i": found["model_us"], "ratio": found["ratio"]}


def evaluate(told: Callable[[str], object]) -> dict[str, Judged]:
    """``without`` windowed features and ``with`` them."""
    from services.demo.flight_delay import FlightDelay
    from services.demo.flights import load_flights

    # What a version must pass is of no matter here, and names features that one set lacks.
    whole = replace(FlightDelay, training=replace(FlightDelay.training, behaviour=()))
    flights = load_flights()
    flights = with_windowed(whole, flights[flights["event_time"] < TO].reset_index(drop=True))
    found = {}
    for name, task in (("without", replace(whole, windowed=())), ("with", whole)):
        told(name)
        found[name] = judge(task, flights)
    return found
