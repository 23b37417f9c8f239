"""How many requests a labelled one stands for.

What is learned from was chosen: by the gate, which holds inputs back whose truth then may never
come, by the labelling queue, by what users were shown. Where the probability of that choice was
logged, its inverse is the weight with which the chosen stand for all (Horvitz and Thompson 1952).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streams.training.policy import Training
from streams.weak_labels import USER

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Told:
    """How n labels came to be known, as their outcomes say; each (n,), NaN where unknown.

    weak: whether it is a weak label. source: who gave it. propensity: of its answer having been
    shown. held_back: whether the gate decided to hold the input back. explored, and
    model_propensity: the probability with which the model was to answer. selection: the
    probability with which the labelling queue chose it.
    """

    weak: Mask
    source: npt.NDArray[np.object_]
    propensity: Floats
    held_back: Mask
    explored: Mask
    model_propensity: Floats
    selection: Floats


def stands_for(policy: Training, told: Told) -> Floats:
    """(n,) above 0: how many requests each label stands for, beside the others.

    A label that follows from what a user saw (a weak one, or a truth of the source ``user``) has
    the inverse of its exposure's propensity; of the others

    - ``truths_of="all"``: 1, since their truth comes whatever was decided;
    - ``"labelled"``: the inverse of the queue's probability;
    - ``"answered"``: 1 where the gate admitted the input. Those that it held back are known from
      two samples of them, the explored and the labelled, each of which stands for all of them by
      its own inverse probabilities; their weights are mixed in the proportion of what the samples
      are worth (`_two_samples`).

    Inverses are clipped at ``policy.clip``; what is not known counts as certain.
    """
    inverse = np.ones(len(told.weak))
    if not policy.propensity:
        return inverse
    seen = told.weak | (told.source == USER)
    inverse[seen] = _inverse(told.propensity[seen])
    if policy.truths_of == "labelled":
        inverse[~seen] = _inverse(told.selection[~seen])
    elif policy.truths_of == "answered":
        held_back = ~seen & told.held_back
        inverse[held_back] = _two_samples(
            np.where(told.explored, told.model_propensity, np.nan)[held_back],
            told.selection[held_back],
        )
    clipped: Floats = np.minimum(inverse, policy.clip)
    return clipped


def effective(weights: Floats) -> float:
    """How many rows of one weight say as much as these (Kish 1965, section 8.2)."""
    square = float((weights**2).sum())
    return float(weights.sum()) ** 2 / square if square else 0.0


def _two_samples(explored: Floats, selection: Floats) -> Floats:
    """Weights of rows that are in the sample of the explored, in that of the labelled, or in both.

    Each argument has the probability of having come into that sample, NaN where a row is not in
    it. With shares λ and 1 - λ of the two a row weighs λ / explored + (1 - λ) / selection, so the
    total of all weights estimates the population's, whatever λ (Hartley 1962, dual frames). λ is
    the explored rows' share of both samples' effective sizes. A row in neither weighs 1.
    """
    first, second = np.isfinite(explored), np.isfinite(selection)
    sizes = [effective(_inverse(p[there])) for p, there in ((explored, first), (selection, second))]
    share = sizes[0] / sum(sizes) if any(sizes) else 0.0
    weights = share * np.where(first, _inverse(explored), 0.0)
    weights += (1 - share) * np.where(second, _inverse(selection), 0.0)
    return np.where(first | second, weights, 1.0)


def _inverse(probability: Floats) -> Floats:
    known = np.where(np.isnan(probability), 1.0, probability)
    if not ((known > 0) & (known <= 1)).all():
        raise ValueError("a propensity is a probability above 0 to 1")
    inverse: Floats = 1 / known
    return inverse
