"""Replays: the same version changes nothing, another is compared with what was answered."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.replays.compare import Comparison
from services.replays.paired import HOUR_MS, LEAST_STRETCHES, Paired
from services.replays.recorded import from_kafka, query
from services.replays.run import replay
from services.replays.said import Said
from streams.codecs import codecs
from streams.serving import Served, Serving
from streams.version import Version
from tests.streams.tasks import KINDS, START, batch_of, by_topic, task_of
from tests.streams.versions import model_of, truth_of, version_of

NOW = START + 5000


@lru_cache
def version(kind: str, id_: str = "v1") -> Version:
    task = task_of(kind)
    if id_ == "v1":
        return version_of(task)
    model = model_of(task)
    flipped = "_baseline_prediction"  # another model: the same trees from another beginning
    setattr(model, flipped, getattr(model, flipped) + 1.0)
    return version_of(task, gated=False, model=model, id_=id_)


def served(kind: str, n: int) -> dict[str, list[bytes | None]]:
    """Recorded predictions and outcomes of n requests, one of which is refused."""
    task = task_of(kind, exploration=0.2)
    known = codecs(task)
    features = {"age": 3, "fresh": None, "colour": "red", "shop": "x"}
    sizes = [100.0 * i / n for i in range(n)]
    requests = [
        {"request_id": f"r{i}", "event_time": START + i * HOUR_MS // 4,
         "features": {**features, "size": size}}
        for i, size in enumerate([*sizes, 1e6])
    ]  # fmt: skip
    current = Served(version(kind), "champion")
    serving = Serving(task, known, lambda: current, "1", lambda: NOW)
    result = serving(batch_of("t.requests", known["request"].write_many(requests)))
    values = [value for _, value, _ in by_topic(result.outputs)["predictions"]]
    predictions = [known["prediction"].read(value) for value in values]
    fields = {field["name"] for field in known["outcome"].schema["fields"]}
    outcomes = []
    for record, size in zip(predictions[: n // 2], sizes, strict=False):
        common = {"known_at": NOW, "joined_at": NOW, "source": "system", "previous_truth": None}
        wrong = {"truth": task.fallback, "label": "weak", "revision": 3, **common}
        first = {"truth": task.fallback, "label": "true", "revision": 0, **common}
        last = {"truth": truth_of(kind, size), "label": "true", "revision": 1, **common}
        own = {name: value for name, value in record.items() if name in fields}
        outcomes += [{**own, **one} for one in (first, last, wrong)]
    return {"predictions": values, "outcomes": known["outcome"].write_many(outcomes)}


def replayed(kind: str, id_: str, n: int = 80, **bounds: int) -> dict[str, Any]:
    task, topics = task_of(kind, exploration=0.2), served(kind, n)
    begin, end = bounds.get("begin", START), bounds.get("end", START + 10**12)

    def values(name: str) -> Any:
        for first in range(0, len(topics[name]), 7):
            yield topics[name][first : first + 7]

    chunks = from_kafka(task, begin, end, codecs(task), values)
    return replay(task, version(kind, id_), chunks, NOW)


@pytest.mark.parametrize("kind", KINDS)
def test_the_version_that_answered_changes_nothing(kind: str) -> None:
    found = replayed(kind, "v1")
    assert (found["requests"], found["changed"]["count"]) == (80, 0)
    assert found["answered_by"] == {"v1": 80}
    assert found["moves"]["answered ► deferred"] == found["moves"]["deferred ► answered"] == 0
    assert found["deferred"]["then"]["count"] > 0
    assert found["deferred"]["then"] == found["deferred"]["now"]
    assert found["refused_now"]["count"] == 0
    for losses in found["losses"].values():
        assert losses
        for one in losses.values():
            assert (one["difference"], one["low"], one["high"]) == (0, 0, 0)
    assert found["losses"]["as_answered"].popitem()[1]["rows"] == 40


@pytest.mark.parametrize("kind", KINDS)
def test_another_version_is_told_apart(kind: str) -> None:
    found = replayed(kind, "v2")
    assert found["version"] == "v2"
    assert found["deferred"]["now"]["count"] == 0
    assert found["moves"]["deferred ► answered"] == found["deferred"]["then"]["count"] > 0
    if kind == "regression":
        error = found["losses"]["both_answered"]["absolute_error"]
        assert found["distribution"]["largest_change"] == pytest.approx(1.0)
        assert found["changed"]["share"] > 0.9
        assert error["difference"] != 0
    else:
        assert found["changed"]["count"] > 0 or kind == "multiclass"
        assert sum(found["distribution"]["probability"]["now"]) == 80
    low, high = found["changed"]["interval"]
    assert low - 1e-9 <= found["changed"]["share"] <= high + 1e-9  # but for rounding


def test_only_requests_between_the_bounds_count() -> None:
    hour = replayed("binary", "v1", begin=START + HOUR_MS, end=START + 3 * HOUR_MS)
    assert hour["requests"] == 8
    text = query(task_of(), 5, 7)
    assert "fromUnixTimestamp64Milli(5)" in text
    assert "`features.size`" in text


ROWS = st.lists(
    st.tuples(st.integers(0, 400), st.floats(0, 5), st.floats(0, 5)), min_size=2, max_size=60
)


@given(ROWS, st.integers(1, 10))
def test_a_paired_difference_does_not_depend_on_the_chunks(
    rows: Sequence[tuple[int, float, float]], size: int
) -> None:
    hours, then, now = (np.array(column) for column in zip(*rows, strict=True))
    whole, parts = Paired(), Paired()
    whole.take(hours * HOUR_MS, then, now)
    for at in range(0, len(rows), size):
        some = slice(at, at + size)
        parts.take(hours[some] * HOUR_MS, then[some], now[some])
    one, other = whole.plain(), parts.plain()
    assert one is not None
    assert other is not None
    assert one["by"] == other["by"]
    for name in ("rows", "then", "now", "difference", "low", "high"):
        assert one[name] == pytest.approx(other[name], abs=1e-6)
    assert one["difference"] == pytest.approx(float((now - then).mean()), abs=1e-9)
    assert one["low"] <= one["difference"] <= one["high"]


def test_the_interval_is_of_days_where_there_are_enough_and_wider_where_they_differ() -> None:
    rng = np.random.default_rng(5)
    days = 40
    hours = np.arange(days * 24).repeat(4)
    shifts = rng.normal(0, 1, days).repeat(24 * 4)  # of a whole day
    then = np.zeros(len(hours))
    now = shifts + rng.normal(0, 0.1, len(hours))
    by_day, by_row = Paired(), Paired()
    by_day.take(hours * HOUR_MS, then, now)
    few = np.zeros(len(hours), np.int64)  # all of one hour: rows are all there is
    by_row.take(few, then, now)
    wide, narrow = by_day.plain(), by_row.plain()
    assert wide is not None
    assert narrow is not None
    assert (wide["by"], wide["stretches"], narrow["by"]) == ("day", days, "row")
    assert days >= LEAST_STRETCHES
    # A mean of 40 days, not of 3,840 rows: about the root of 96 times as wide.
    ratio = (wide["high"] - wide["low"]) / (narrow["high"] - narrow["low"])
    assert 8 < ratio < 12


def test_a_class_of_probability_zero_is_a_large_loss_and_no_error() -> None:
    task = task_of("multiclass")
    sure = np.array([[1.0, 0.0, 0.0]])
    said = Said(np.array([False]), np.array(["a"], object), np.array([1.0]), sure)
    comparison = Comparison(task)
    comparison.take(
        np.array([START]), np.array(["v1"], object), said, said, np.array(["b"], object),
        np.array([True]),
    )  # fmt: skip
    losses = comparison.plain()["losses"]["both_answered"]
    assert losses["log_loss"]["now"] == pytest.approx(34.54, abs=0.01)
    assert losses["error"]["now"] == 1.0
