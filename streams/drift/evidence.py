"""Findings in words and numbers: what a detector's alarm says to a person."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from streams.drift import words
from streams.drift.concept import Alarm
from streams.drift.finding import Finding, Kind
from streams.drift.levels import Passed
from streams.drift.reference import Block, Reference

Floats = npt.NDArray[np.float64]

KIND: dict[str, Kind] = {
    "data": "data",
    "joint": "data",
    "prediction": "prediction",
    "score": "score",
    "target": "target",
}


def shift(
    version: str,
    block: Block,
    told: tuple[float, int, Floats, Floats],
    threshold: float,
    last: int,
    from_start: bool,
    wild: int,
    looks: float,
) -> Finding:
    """Bins that are filled otherwise. told: as `Shares.told` gives it."""
    value, since, window, usual = told
    window, usual = window[: block.bins], usual[: block.bins]
    size = float(window.sum())
    seen = (window / max(size, 1.0)).tolist()
    before = (usual / max(float(usual.sum()), 1e-300)).tolist()
    effect = effect_of(block, before, seen)
    if from_start:
        effect = f"another than in training from the version's first record on: {effect}"
    if wild:
        effect = f"{effect}; {wild} wild values set apart"
    return Finding(
        detector="e-detector",
        kind="skew" if from_start else KIND[block.kind],
        subject=block.subject,
        version=version,
        statistic="log likelihood ratio of the shares",
        value=value,
        threshold=threshold,
        e_value=e_value(value, looks),
        since=since,
        window_from=since,
        window_to=last,
        window_size=round(size),
        reference_size=block.size,
        effect=effect,
        distributions=drawn(block, before, seen),
    )


def nulls(
    version: str, block: Block, unknown: bool, passed: Passed, last: int, looks: float
) -> Finding:
    """More missing values, or more names that training had not, than may be."""
    share = passed.hits / max(passed.trials, 1.0)
    before = 0.0 if unknown else block.missing
    what = "names that training had not" if unknown else "missing values"
    return Finding(
        detector="cusum",
        kind="schema",
        subject=block.subject,
        version=version,
        statistic=f"log likelihood ratio of the share of {what}",
        value=passed.value,
        threshold=passed.threshold,
        e_value=e_value(passed.value, looks),
        since=passed.since,
        window_from=passed.since,
        window_to=last,
        window_size=round(passed.trials),
        reference_size=block.size,
        effect=words.rate(f"share of {what} of {block.subject}", before, share),
        distributions={
            "names": [what, "others"],
            "reference": [before, 1 - before],
            "window": [share, 1 - share],
        },
    )


def estimate(reference: Reference, passed: Passed, last: int, looks: float) -> Finding:
    """More errors expected, without labels, than the reference's and what is tolerated."""
    share, before = passed.hits / max(passed.trials, 1.0), reference.expected_error or 0.0
    return Finding(
        detector="cusum",
        kind="estimate",
        subject="",
        version=reference.version,
        statistic="log likelihood ratio of the errors expected",
        value=passed.value,
        threshold=passed.threshold,
        e_value=e_value(passed.value, looks),
        since=passed.since,
        window_from=passed.since,
        window_to=last,
        window_size=round(passed.trials),
        reference_size=reference.expected_size,
        effect=words.rate("errors expected before labels", before, share),
        hurts=True,
        distributions={
            "names": ["wrong", "right"],
            "reference": [before, 1 - before],
            "window": [share, 1 - share],
        },
    )


def concept(version: str, subject: str, alarm: Alarm, last: int, harm: float) -> Finding:
    """More, or fewer, errors among labels than were to be expected."""
    n = max(alarm.labels, 1)
    rate, usual = alarm.errors / n, alarm.usual / n
    where = f" where {subject}" if subject else ""
    return Finding(
        detector="cusum",
        kind="concept",
        subject=subject,
        version=version,
        statistic="log likelihood ratio of the errors",
        value=alarm.value,
        threshold=alarm.threshold,
        since=alarm.since,
        window_from=alarm.since,
        window_to=last,
        window_size=alarm.labels,
        reference_size=alarm.known,
        effect=words.rate(f"error rate{where}", usual, rate),
        hurts=rate - usual > harm,
        distributions={
            "names": ["wrong", "right"],
            "reference": [usual, 1 - usual],
            "window": [rate, 1 - rate],
        },
    )


def e_value(value: float, looks: float) -> float:
    """Evidence of all detectors together at any time, of one CUSUM's value.

    Each start of a CUSUM, at look l of k detectors, is an e-process; weighed by 1 / (k l (l + 1))
    their sum is one too (Shin, Ramdas and Rinaldo 2023, section 4), and no less than this.
    ``looks``: k l (l + 1), with the last look for the start's.
    """
    return float(np.exp(np.clip(value - np.log(max(looks, 1.0)), -700.0, 700.0)))


def effect_of(block: Block, before: list[float], seen: list[float]) -> str:
    """What changed the most, with its unit."""
    if block.kind == "joint":
        far = 0.5 * float(np.abs(np.array(seen) - before).sum())
        return f"{block.subject} go together otherwise than in training, {words.percent(far)} apart"
    if block.names is not None:
        return f"{block.subject}: {words.shares(block.names, before, seen)}"
    low, high = median(block, before), median(block, seen)
    if low is None or high is None or low == high:
        at = int(np.argmax(np.abs(np.array(seen) - before)))
        return words.rate(f"share of {block.subject} {_range(block, at)}", before[at], seen[at])
    return words.numbers(f"median of {block.subject}", block.unit, low, high)


def _range(block: Block, at: int) -> str:
    edges, unit = block.edges, f" {block.unit}" if block.unit else ""
    if at == 0:
        return f"below {words.number(edges[0])}{unit}" if len(edges) else "of any value"
    if at == len(edges):
        return f"of {words.number(edges[-1])}{unit} or more"
    return f"from {words.number(edges[at - 1])} to {words.number(edges[at])}{unit}"


def median(block: Block, given: list[float]) -> float | None:
    """By interpolation in its bin; of the outer bins the range of training is the end."""
    total = np.cumsum(given)
    at = int(np.searchsorted(total, 0.5))
    edges = np.concatenate([[block.least], block.edges, [block.most]])
    if at + 1 >= len(edges) or not np.isfinite(edges).all():
        return None
    inside = (0.5 - (total[at - 1] if at else 0.0)) / max(given[at], 1e-12)
    return float(edges[at] + inside * (edges[at + 1] - edges[at]))


def drawn(block: Block, before: list[float], seen: list[float]) -> dict[str, Any]:
    """What draws both distributions again."""
    bins: dict[str, Any] = (
        {"names": list(block.names)} if block.names is not None else {"edges": block.edges.tolist()}
    )
    return {**bins, "unit": block.unit, "reference": before, "window": seen}
