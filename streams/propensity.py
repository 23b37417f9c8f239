"""Weights by inverse propensity: what was seen stands for what might have been.

People click on what they were shown, and what they were shown a model chose. Where the probability
of having been shown is known, weighing each observation by its inverse makes a mean over what was
seen an estimate of the mean over all.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

CLIP = 20.0
"""Largest weight of one observation before normalising: more than that is noise of one row."""


def inverse_propensity_weights(
    propensity: npt.NDArray[np.float64], clip: float = CLIP
) -> npt.NDArray[np.float64]:
    """Clipped, self-normalised weights of observations, float64 (n,), their mean is 1.

    propensity: the probability, above 0 to 1, with which each was to be seen; NaN where it is not
    known, which counts as 1. ``(weights * x).mean()`` is then the self-normalised estimate of x:
    sum(w x) / sum(w) with w = min(1/p, clip). It is biased for few observations, and of far lower
    variance than the plain one; clipping adds bias where propensities are small.

    Swaminathan, Joachims: The Self-Normalized Estimator for Counterfactual Learning, NIPS 2015,
    section 4; clipping as in their Batch Learning from Logged Bandit Feedback, JMLR 16, 2015,
    section 3. Of implicit feedback: Schnabel et al., Recommendations as Treatments, ICML 2016,
    section 3. ValueError where a propensity is not above 0 to 1.

    >>> inverse_propensity_weights(np.array([0.5, 0.25, np.nan])).round(3).tolist()
    [0.857, 1.714, 0.429]
    """
    known = np.where(np.isnan(propensity), 1.0, propensity)
    if not ((known > 0) & (known <= 1)).all():
        raise ValueError("a propensity is a probability above 0 to 1")
    weights = np.minimum(1 / known, clip)
    return weights / weights.mean() if len(weights) else weights
