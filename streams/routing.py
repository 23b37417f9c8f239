"""Routing: which version answers each request of a batch, and which look on.

Only while an experiment runs (`streams.rollout`): with one champion nothing is asked of a request.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from schemas.columns import Column, Columns, constant
from streams.rollout.assignment import drawn
from streams.rollout.policy import By
from streams.version import Version

Rows = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Served:
    """A version in service now, and as what."""

    version: Version
    role: str


@dataclass(frozen=True, slots=True)
class Arm:
    """A version that answers a share of the requests, above 0 to 1.

    served: None where this worker could not load it: the champion answers in its place.
    """

    version: str
    share: float
    served: Served | None


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of a batch that one version answers. propensity: with which probability it was drawn for
    each of them; None where it was not."""

    served: Served
    rows: Rows
    propensity: float | None


@dataclass(frozen=True, slots=True)
class Routing:
    """The versions of an experiment, as this worker has them.

    champion: answers what no arm does. arms: the others that answer. beside: those that look on at
    requests that they do not answer, so that versions are compared on the same ones.
    by: what a version is drawn by.
    """

    experiment: str
    champion: Served
    arms: tuple[Arm, ...]
    beside: tuple[Served, ...]
    by: By = "id"

    def parts(self, columns: Columns) -> list[Part]:
        """The rows of a batch of good requests by who answers them."""
        n = len(columns["request_id"])
        if not self.arms:
            return [Part(self.champion, np.arange(n), None)]
        shares = {"champion": max(0.0, 1.0 - sum(arm.share for arm in self.arms))}
        shares |= {arm.version: arm.share for arm in self.arms}
        chosen = drawn(self._keys(columns), self.experiment, shares)
        parts = []
        for position, share in enumerate(shares.values()):
            rows = np.flatnonzero(chosen == position)
            if not len(rows):
                continue
            served = self.arms[position - 1].served if position else self.champion
            if served is None:
                parts.append(Part(self.champion, rows, None))
            else:
                parts.append(Part(served, rows, share))
        return parts

    def onlookers(self, served: Served) -> Sequence[Served]:
        """Who looks on at the requests that a version answers."""
        return [one for one in self.beside if one.version.id != served.version.id]

    def _keys(self, columns: Columns) -> Sequence[str]:
        ids: list[str] = columns["request_id"].values.tolist()
        if self.by == "id":
            return ids
        entity = columns["entity"]
        there = np.ones(len(ids), bool) if entity.valid is None else entity.valid
        return [
            name if known else id_
            for name, known, id_ in zip(entity.values.tolist(), there.tolist(), ids, strict=True)
        ]


def undrawn(n: int, experiment: str = "") -> Columns:
    """What n predictions say of an experiment that did not decide who answers."""
    return {
        "experiment": constant(experiment, n),
        "arm_propensity": constant(None, n),
        "shadow_versions": constant("", n),
        "shadow_values": Column(np.zeros((n, 0))),
    }


def in_experiment(
    experiment: str, propensity: float | None, n: int, looked_on: Sequence[tuple[str, Floats]]
) -> Columns:
    """What n predictions of one version say of the experiment.

    looked_on: version ids, and what each would have answered, (n, k).
    """
    found = undrawn(n, experiment)
    found["arm_propensity"] = constant(propensity, n)
    if looked_on:
        found["shadow_versions"] = constant(",".join(version for version, _ in looked_on), n)
        values = np.concatenate([values for _, values in looked_on], axis=1)
        found["shadow_values"] = Column(np.ascontiguousarray(values))
    return found
