"""Serving while an experiment runs: every request one answer, by the version that its key draws."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streams.codecs import codecs
from streams.following import Following
from streams.refusals import Refusals
from streams.roles import ModelRecord
from streams.routing import Arm, Routing, Served
from streams.serving import Serving
from streams.task import Task
from streams.version import Version
from tests.streams.rollout.world import record
from tests.streams.tasks import KINDS, START, batch_of, by_topic, task_of
from tests.streams.versions import version_of

N = 200
SAID = ("answer", "probability", "probabilities", "status", "gate_decision")


class Bench:
    """A serving stage and two versions: the first holds large inputs back, the second none."""

    def __init__(self, kind: str) -> None:
        self.task: Task = task_of(kind)
        self.codecs = codecs(self.task)
        self.first: Version = version_of(self.task)
        self.second: Version = version_of(self.task, gated=False, id_="v2")
        self.topic = f"{self.task.name}.requests"
        self.values = [self.request(i) for i in range(N)]

    def request(self, i: int) -> bytes:
        features = {"size": 100.0 * i / N, "age": 3, "fresh": None, "colour": "red", "shop": "x"}
        record = {"request_id": f"r{i}", "event_time": START, "features": features}
        return self.codecs["request"].write({**record, "entity": f"client-{i % 7}"})

    def serve(self, champion: Version, routing: Routing | None = None, **more: Any) -> Any:
        served = Served(champion, "champion")
        stage = Serving(
            self.task,
            self.codecs,
            lambda: served,
            "1",
            lambda: START,
            routing=lambda: routing,
            **more,
        )
        found = by_topic(stage(batch_of(self.topic, list(self.values))).outputs)
        codec = self.codecs["prediction"]
        return {
            name: {key.decode(): codec.read(value) for key, value, _ in rows if key}
            for name, rows in found.items()
            if name in ("predictions", "shadows")
        }

    def canary(self, share: float = 0.3, **more: Any) -> Routing:
        champion, canary = Served(self.first, "champion"), Served(self.second, "canary")
        arm = Arm("v2", share, canary)
        return Routing("e1", champion, (arm,), (canary, champion), **more)


@pytest.fixture(scope="module", params=KINDS)
def bench(request: pytest.FixtureRequest) -> Bench:
    return Bench(request.param)


def test_each_request_has_one_answer_by_the_version_that_it_draws(bench: Bench) -> None:
    alone = {v.id: bench.serve(v)["predictions"] for v in (bench.first, bench.second)}
    found = bench.serve(bench.first, bench.canary())["predictions"]
    assert set(found) == {f"r{i}" for i in range(N)}
    by = [p["version"] for p in found.values()]
    assert 0.2 * N < by.count("v2") < 0.4 * N
    again = bench.serve(bench.first, bench.canary())["predictions"]
    for id_, one in found.items():
        version = one["version"]
        assert one["role"] == {"v1": "champion", "v2": "canary"}[version]
        assert (one["experiment"], again[id_]["version"]) == ("e1", version)
        assert one["arm_propensity"] == pytest.approx(0.3 if version == "v2" else 0.7)
        assert {n: one[n] for n in SAID} == {n: alone[version][id_][n] for n in SAID}
        # What the other one would have answered is what it answers alone.
        other = "v1" if version == "v2" else "v2"
        assert one["shadow_versions"] == other
        told = alone[other][id_]
        values = {
            "binary": [told["probability"]],
            "multiclass": told["probabilities"],
            "regression": [told["answer"]],
        }[bench.task.kind]
        if told["status"] == "answered":
            assert one["shadow_values"] == pytest.approx(values)
        else:
            assert np.isnan(one["shadow_values"]).all()


def test_a_client_meets_one_version_where_the_task_draws_by_entity(bench: Bench) -> None:
    found = bench.serve(bench.first, bench.canary(0.5, by="entity"))["predictions"]
    met: dict[str, set[str]] = {}
    for one in found.values():
        met.setdefault(one["entity"], set()).add(one["version"])
    assert all(len(versions) == 1 for versions in met.values())
    assert set.union(*met.values()) == {"v1", "v2"}


def test_the_champion_answers_for_an_arm_that_could_not_be_loaded(bench: Bench) -> None:
    champion = Served(bench.first, "champion")
    routing = Routing("e1", champion, (Arm("v2", 0.3, None),), ())
    found = bench.serve(bench.first, routing)["predictions"]
    assert {p["version"] for p in found.values()} == {"v1"}
    drawn = [p["arm_propensity"] for p in found.values()]
    assert 0.2 * N < drawn.count(None) < 0.4 * N  # and it says so: nobody drew it for these
    assert {round(p, 9) for p in drawn if p is not None} == {0.7}


def test_a_shadow_in_an_experiment_is_asked_once_and_told_twice(bench: Bench) -> None:
    shadow = Served(bench.second, "shadow")
    routing = Routing("e1", Served(bench.first, "champion"), (), (shadow,))
    found = bench.serve(bench.first, routing, shadows=lambda: [shadow])
    for id_, one in found["predictions"].items():
        assert (one["version"], one["arm_propensity"]) == ("v1", None)
        told = found["shadows"][id_]
        assert (told["experiment"], told["role"]) == ("e1", "shadow")
        assert one["shadow_versions"] == told["version"] == "v2"
        if bench.task.kind == "binary":
            assert one["shadow_values"] == [told["probability"]]


def test_without_an_experiment_answers_say_nothing_of_one(bench: Bench) -> None:
    for one in bench.serve(bench.first)["predictions"].values():
        assert (one["experiment"], one["arm_propensity"], one["shadow_versions"]) == ("", None, "")
        assert one["shadow_values"] == []


def following(bench: Bench, *records: ModelRecord) -> Following:
    """What a worker obeys, without the topic that tells it."""
    versions = {"v1": bench.first, "v2": bench.second}

    def load(one: ModelRecord) -> Version:
        return versions[one.version]

    refusals = Refusals(bench.task.name, bench.codecs["alert"], "0", lambda: START)
    found = Following(bench.task.name, bench.codecs["model"], {}, load, refusals)
    found.obey(records)
    return found


def test_a_worker_routes_by_the_roles_of_the_experiment(bench: Bench) -> None:
    champion = record("v1")
    assert following(bench, champion).routing() is None
    canary = record("v2", "canary", share=0.2, experiment="e1")
    routing = following(bench, champion, canary).routing()
    assert routing is not None
    assert (routing.experiment, routing.champion.version.id) == ("e1", "v1")
    assert [(arm.version, arm.share) for arm in routing.arms] == [("v2", 0.2)]
    assert {served.version.id for served in routing.beside} == {"v1", "v2"}

    shadow = following(bench, champion, record("v2", "shadow", experiment="e1")).routing()
    assert shadow is not None
    assert not shadow.arms
    assert [served.version.id for served in shadow.beside] == ["v2"]
    assert following(bench, champion, record("v2", "shadow")).routing() is None


def test_a_share_by_hand_is_answered_and_one_that_cannot_be_loaded_is_the_champions(
    bench: Bench,
) -> None:
    by_hand = following(bench, record("v1"), record("v2", "canary", by="ann", share=0.3)).routing()
    assert by_hand is not None
    assert by_hand.arms[0].served is not None
    assert (by_hand.experiment, by_hand.beside) == ("", ())
    lost = following(
        bench, record("v1"), record("v3", "candidate", share=0.3, experiment="e1")
    ).routing()
    assert lost is not None
    assert [(arm.version, arm.served) for arm in lost.arms] == [("v3", None)]
