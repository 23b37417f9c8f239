"""Two looks at a process, and what it did between them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

Labels = Mapping[str, str]
Samples = Mapping[str, Sequence[tuple[Labels, float]]]
"""Of a page of metrics: by name of the sample its values, each with its labels."""

WORK = {
    "worker": ("weir_predictions_total", "weir_stage_seconds", {"stage": "serving"}),
    "sink": ("weir_sink_rows_total", "weir_sink_insert_seconds", {}),
    "store": ("weir_store_rows_written_total", "weir_store_call_seconds", {}),
    "console": ("weir_console_queries_total", "weir_console_query_seconds", {}),
    "trainer": ("weir_trainings_total", "", {}),
}
"""By process: what it counts its work by, how long a piece of it takes, and whose pieces."""

ERRORS: Sequence[tuple[str, str, Sequence[str]]] = (
    ("weir_sink_retries_total", "", ()),
    ("weir_store_calls_total", "code", ("0",)),
    ("weir_console_queries_total", "result", ("ok",)),
)
"""Counters of what went wrong: by name, the label that says so, and its values that are well."""


@dataclass(frozen=True)
class Look:
    """What is seen of a process at one moment.

    at_s: seconds, of any clock that only goes on. cpu_s: processor time that it has used so far.
    """

    process: str
    pid: int
    at_s: float
    cpu_s: float
    memory_bytes: int
    samples: Samples = field(default_factory=dict)


@dataclass(frozen=True)
class Figures:
    """What a process did in a window. None where it does not say, or did nothing.

    cpu: processors in use. records_per_s: of its own work. p50_ms, p99_ms: of a piece of it, a
    batch of requests, an insert, a call. errors, dead_letters: that came in the window.
    """

    process: str
    seconds: float
    cpu: float
    memory_mb: float
    records_per_s: float | None
    p50_ms: float | None
    p99_ms: float | None
    errors: int
    dead_letters: int


def parse(text: str) -> Samples:
    """A page of metrics in Prometheus' text format. ValueError where it is none."""
    found: dict[str, list[tuple[Labels, float]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def between(before: Look, after: Look) -> Figures | None:
    """What the process did from one look to the next; None where it is not the same process."""
    seconds = after.at_s - before.at_s
    if seconds <= 0 or before.pid != after.pid:
        return None
    counter, pieces, whose = WORK.get(after.process, ("", "", {}))
    known = counter in after.samples
    work = _grown(before.samples, after.samples, counter) if known else 0.0
    buckets = _buckets(before.samples, after.samples, f"{pieces}_bucket", whose)
    errors = sum(
        _grown(before.samples, after.samples, name, label, well) for name, label, well in ERRORS
    )
    return Figures(
        after.process,
        seconds,
        max(after.cpu_s - before.cpu_s, 0.0) / seconds,
        after.memory_bytes / 1e6,
        work / seconds if known else None,
        _milliseconds(quantile(buckets, 0.5)),
        _milliseconds(quantile(buckets, 0.99)),
        int(errors),
        int(_grown(before.samples, after.samples, "weir_dead_letters_total")),
    )


def _grown(
    before: Samples, after: Samples, name: str, label: str = "", well: Sequence[str] = ()
) -> float:
    """How much a counter has grown, over all its labels but those that are well."""

    def total(samples: Samples) -> float:
        return sum(
            value
            for labels, value in samples.get(name, ())
            if not label or labels.get(label) not in well
        )

    return max(total(after) - total(before), 0.0)


def _buckets(before: Samples, after: Samples, name: str, whose: Labels) -> dict[float, float]:
    """How much each bucket of a histogram has grown, by its upper bound."""
    grown: dict[float, float] = {}
    for samples, sign in ((after, 1), (before, -1)):
        for labels, value in samples.get(name, ()):
            if all(labels.get(label) == wanted for label, wanted in whose.items()):
                bound = float(labels["le"])
                grown[bound] = grown.get(bound, 0.0) + sign * value
    return dict(sorted(grown.items()))


def quantile(buckets: Mapping[float, float], share: float) -> float | None:
    """A quantile of cumulative counts by upper bound, as Prometheus' ``histogram_quantile``: even
    within a bucket; in the last one its lower bound. None where nothing was counted."""
    total = max(buckets.values(), default=0.0)
    if total <= 0:
        return None
    rank, low, below = share * total, 0.0, 0.0
    for bound, count in buckets.items():
        if count >= rank:
            if math.isinf(bound) or count <= below:
                return low
            return low + (bound - low) * (rank - below) / (count - below)
        low, below = bound, count
    return low


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000
