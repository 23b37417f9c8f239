"""Sums of batches: those of one by one, whatever the cut, corrections taken back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.codecs import codecs
from streams.rollout.policy import CLIP
from streams.rollout.records import packed, unpacked
from streams.rollout.sums import About, Sums, add, of_latency, of_outcomes, of_predictions
from tests.streams.rollout.world import rollout_task
from tests.streams.tasks import KINDS, START

TRUTHS: dict[str, list[Any]] = {
    "binary": [False, True],
    "multiclass": ["a", "b", "c"],
    "regression": [1.0, 2.5],
}
TASKS = {kind: rollout_task(kind, strategy="canary", largest_loss=None) for kind in KINDS}
CODECS = {kind: codecs(task) for kind, task in TASKS.items()}
share = st.floats(0.0, 1.0)


@st.composite
def outcomes(draw: st.DrawFn, kind: str) -> dict[str, Any]:
    status = draw(st.sampled_from(["answered", "answered", "deferred"]))
    truth = draw(st.sampled_from(TRUTHS[kind]))
    previous = draw(st.sampled_from([None, *TRUTHS[kind]]))
    k = 3 if kind == "multiclass" else 1
    looked = draw(st.sampled_from(["", "v2", "v2,v3"]))
    values = [draw(share) for _ in range(k * (len(looked.split(",")) if looked else 0))]
    if values and draw(st.booleans()):
        values[:k] = [math.nan] * k
    own = [draw(share) for _ in range(k)]
    answered = status == "answered"
    features = {"size": 1.0, "age": 3, "fresh": draw(st.sampled_from([None, True, False]))}
    return {
        "request_id": "r",
        "event_time": START,
        "predicted_at": START,
        "known_at": START,
        "joined_at": START,
        "revision": 0,
        "truth": truth,
        "previous_truth": previous,
        "source": "system",
        "label": draw(st.sampled_from(["true", "true", "weak"])),
        "status": status,
        "gate_decision": "none",
        "answer": own[0] if kind == "regression" else TRUTHS[kind][0],
        "probability": own[0] if kind == "binary" and answered else None,
        "probabilities": own if kind == "multiclass" and answered else [],
        "version": "v1",
        "role": "champion",
        "dataset_id": "d",
        "experiment": draw(st.sampled_from(["", "e1", "e2"])),
        "arm_propensity": draw(st.sampled_from([None, 0.25, 1.0])),
        "shadow_versions": looked,
        "shadow_values": values,
        "features": {**features, "colour": draw(st.sampled_from(["red", "blue"])), "shop": "x"},
    }


def loss(kind: str, values: Sequence[float], truth: Any) -> float:
    if kind == "regression":
        return abs(values[0] - truth)
    if kind == "binary":
        return (values[0] - truth) ** 2
    half = sum((p - (c == truth)) ** 2 for c, p in zip("abc", values, strict=True)) / 2
    return min(half, 1.0)  # what is drawn here need not sum to 1


def by_hand(kind: str, records: Sequence[dict[str, Any]]) -> Sums:
    """The sums of all traffic, record by record."""
    sums: Sums = {}
    for one in records:
        if not one["experiment"] or one["label"] != "true":
            continue
        own = one["probabilities"] or [one["probability"] if kind == "binary" else one["answer"]]
        answered = one["status"] == "answered"
        others = one["shadow_versions"].split(",") if one["shadow_versions"] else []
        k = len(own) if kind == "multiclass" and answered else 3 if kind == "multiclass" else 1
        for truth, sign in ((one["truth"], 1), (one["previous_truth"], -1)):
            if truth is None:
                continue
            a = loss(kind, own, truth) if answered else math.nan
            for i, other in enumerate(others):
                b = loss(kind, one["shadow_values"][i * k : (i + 1) * k], truth)
                if math.isfinite(a + b):
                    about = About(one["experiment"], "pair", "loss", "v1", other)
                    add(sums, {about: [sign * v for v in (1, b - a, (b - a) ** 2, a, b)]})
            if not others and one["arm_propensity"]:
                w = 1 / one["arm_propensity"]
                about = About(one["experiment"], "arm", "loss", "v1")
                of = (1, w, w * w, w * a, w * w * a, w * w * a * a) if answered else (1, *[0] * 5)
                add(sums, {about: [sign * v for v in of]})
    return sums


def counted(kind: str, records: Sequence[dict[str, Any]]) -> Sums:
    codec = CODECS[kind]["outcome"]
    return of_outcomes(TASKS[kind], codec.decode([codec.write(one) for one in records]).columns)


def plain(sums: Sums) -> dict[About, Any]:
    found = {about: pytest.approx(values, abs=1e-9) for about, values in sums.items()}
    return {about: values for about, values in found.items() if not about.segment}


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_sums_are_those_of_each_outcome_whatever_the_cut(kind: str, data: st.DataObject) -> None:
    records = data.draw(st.lists(outcomes(kind), min_size=1, max_size=8))
    cut = data.draw(st.integers(0, len(records)))
    whole = counted(kind, records)
    assert plain(by_hand(kind, records)) == {a: v for a, v in whole.items() if not a.segment}
    parts: Sums = {}
    for part in (records[cut:], records[:cut]):
        if part:
            add(parts, counted(kind, part))
    assert {a: pytest.approx(v, abs=1e-9) for a, v in whole.items()} == parts
    again: Sums = {}
    for sums in unpacked(packed(whole)).values():
        again |= sums
    assert again == whole


def test_a_correction_takes_back_what_it_replaces() -> None:
    base = {"status": "answered", "probability": 0.9, "label": "true", "arm_propensity": None}
    first = {
        **example("binary"),
        **base,
        "experiment": "e1",
        "shadow_versions": "v2",
        "shadow_values": [0.2],
        "truth": True,
        "previous_truth": None,
    }
    second = {**first, "truth": False, "previous_truth": True}
    total = counted("binary", [first])
    add(total, counted("binary", [second]))
    only = counted("binary", [{**first, "truth": False}])
    assert {a: pytest.approx(v) for a, v in only.items()} == total


def example(kind: str) -> dict[str, Any]:
    features = {"size": 1.0, "age": 3, "fresh": None, "colour": "red", "shop": "x"}
    return {
        **dict.fromkeys(("event_time", "predicted_at", "known_at", "joined_at"), START),
        "request_id": "r",
        "revision": 0,
        "source": "system",
        "gate_decision": "none",
        "answer": TRUTHS[kind][0],
        "version": "v1",
        "role": "champion",
        "dataset_id": "d",
        "features": features,
    }


def predictions(*more: dict[str, Any]) -> Any:
    codec = CODECS["binary"]["prediction"]
    timings = dict.fromkeys(("wait_us", "decode_us", "validate_us", "gate_us", "infer_us"), 0)
    others = ("known_at", "joined_at", "revision", "source")
    base = {
        **{name: value for name, value in example("binary").items() if name not in others},
        "status": "answered",
        "app_version": "1",
        "experiment": "e1",
        "timings": {**timings, "batch_size": 1},
    }
    values = [codec.write({**base, **one}) for one in more]
    return codec.decode(values).columns


def test_inputs_that_a_model_leaves_unanswered_are_counted_side_by_side() -> None:
    beside = {"shadow_versions": "v2"}
    columns = predictions(
        {**beside, "shadow_values": [0.5]},
        {**beside, "shadow_values": [math.nan]},
        {**beside, "shadow_values": [0.5], "status": "deferred"},
        {**beside, "shadow_values": [0.5], "gate_decision": "defer", "explored": True},
        {"arm_propensity": 0.5, "status": "deferred"},
        {"experiment": ""},
    )
    assert of_predictions(TASKS["binary"], columns) == {
        About("e1", "pair", "unanswered", "v1", "v2"): [4, -1, 3, 2, 1],
        About("e1", "arm", "unanswered", "v1"): [1, 2, 4, 2, 4, 4],
    }


def test_a_slow_batch_counts_once() -> None:
    timings = dict.fromkeys(("wait_us", "decode_us", "validate_us", "gate_us", "infer_us"), 0)
    slow = {"timings": {**timings, "infer_us": 3000, "gate_us": 2500, "batch_size": 2}}
    columns = predictions(slow, slow, {"predicted_at": START + 1})
    assert of_latency(columns, 5.0) == {About("e1", "slow", "latency", "v1"): [2, 1]}


def test_the_log_loss_has_a_bound() -> None:
    policy = rollout_task(strategy="canary", loss="log_loss").rollout
    assert policy.largest("binary") == pytest.approx(-np.log(CLIP))
