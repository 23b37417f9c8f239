"""Exploration: who is chosen, and that the gate holds none of them back."""

from __future__ import annotations

import numpy as np
import pytest

from streams.exploration import explored
from streams.partitioner import partitions_of
from streams.routing import Served
from streams.serving import Serving
from tests.streams.tasks import KINDS, START, task_of
from tests.streams.test_serving import Bench
from tests.streams.versions import Odd, version_of

IDS = [f"request-{i}" for i in range(40_000)]


@pytest.mark.parametrize("share", [0.0, 0.01, 0.25, 1.0])
def test_about_the_share_is_chosen_in_every_partition(share: float) -> None:
    chosen = explored(IDS, "task", share)
    partitions = partitions_of([id_.encode() for id_ in IDS], 4)
    for partition in range(4):
        some = chosen[partitions == partition]
        deviation = np.sqrt(share * (1 - share) / len(some))
        assert abs(some.mean() - share) <= 5 * deviation


def test_the_same_requests_are_chosen_again_and_others_by_another_task() -> None:
    once = explored(IDS, "task", 0.1)
    assert (explored(IDS[::-1], "task", 0.1)[::-1] == once).all()
    assert (once & explored(IDS, "other", 0.1)).mean() == pytest.approx(0.01, abs=0.003)
    # More are those of a smaller share, and others besides.
    assert (explored(IDS, "task", 0.2) >= once).all()


class Exploring(Bench):
    """A serving stage whose task explores."""

    def __init__(self, kind: str, share: float, version: object = version_of) -> None:
        super().__init__(kind)
        self.task = task_of(kind, exploration=share)
        served = Served(version(self.task), "champion")  # type: ignore[operator]
        self.serving = Serving(self.task, self.codecs, lambda: served, "1.2.3", lambda: START)


@pytest.mark.parametrize("kind", KINDS)
def test_the_model_answers_what_is_explored_and_the_gate_still_says_what_it_thinks(
    kind: str,
) -> None:
    bench = Exploring(kind, 0.5)
    ids = [f"r{i}" for i in range(40)]
    chosen = explored(ids, bench.task.name, 0.5)
    assert 0 < chosen.sum() < len(ids)
    sizes = [99.0 if i % 2 else 20.0 for i in range(len(ids))]  # the gate doubts the large ones
    found = bench.read(bench.serve([bench.request(*one) for one in zip(ids, sizes, strict=True)]))
    for free, size, prediction in zip(chosen, sizes, found["predictions"], strict=True):
        doubted = size > 80
        assert prediction["explored"] == free
        assert prediction["gate_decision"] == ("defer" if doubted else "admit")
        assert prediction["status"] == ("deferred" if doubted and not free else "answered")
        assert (prediction["reason"] is None) == (prediction["status"] == "answered")
        assert prediction["model_propensity"] == (0.5 if doubted else 1.0)
    deferred = [one["request_id"] for one in found["deferred"]]
    assert deferred == [ids[i] for i in range(40) if sizes[i] > 80 and not chosen[i]]


def test_without_exploration_the_gate_leaves_the_model_no_chance() -> None:
    bench = Bench("binary")
    predictions = bench.read(bench.serve([bench.request("a", 20.0), bench.request("b", 99.0)]))
    told = [(one["explored"], one["model_propensity"]) for one in predictions["predictions"]]
    assert told == [(False, 1.0), (False, 0.0)]


def test_what_the_model_cannot_answer_has_no_propensity() -> None:
    bench = Exploring("binary", 1.0, lambda task: version_of(task, model=Odd()))
    found = bench.read(bench.serve([bench.request("a", 20.0), bench.request("b", 99.0)]))
    told = [
        (one["status"], one["explored"], one["model_propensity"]) for one in found["predictions"]
    ]
    assert told == [("answered", True, 1.0), ("deferred", True, None)]
