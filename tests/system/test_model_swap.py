"""What the worker does with the versions that the models topic names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.bundle import save_bundle
from streams.training.train import train
from tests.conftest import RunningBroker
from tests.system.worker import KEY, ROOT, Bench, Worker, wait_for

pytestmark = pytest.mark.system


@pytest.fixture
def bench(broker: RunningBroker, tmp_path: Path) -> Iterator[Bench]:
    # Topics are one a task: a name of its own keeps this test apart from the others.
    text = (
        (ROOT / "tests/tasks/wine.py").read_text("utf-8").replace('name="wine"', 'name="swapped"')
    )
    (tmp_path / "swapped.py").write_text(text, "utf-8")
    bench = Bench(f"{tmp_path}/swapped.py:Wine", broker.bootstrap, tmp_path)
    yield bench
    bench.close()


def version_of(bench: Bench, id_: str) -> str:
    """The version that answers a request that is sent now."""
    assert bench.task.history is not None
    row = bench.task.history().iloc[0]
    features = {f.name: float(row[f.name]) for f in bench.task.features}
    at = int(row["event_time"].timestamp() * 1000)
    bench.send("requests", {"request_id": id_, "event_time": at, "features": features})
    bench.flush()

    def answer() -> list[str]:
        return [
            p["version"] or p["status"]
            for p in bench.records("predictions")
            if p["request_id"] == id_
        ]

    (version,) = wait_for(answer, f"the answer to {id_}")
    return str(version)


def second_version(bench: Bench) -> tuple[str, Path]:
    assert bench.task.history is not None
    trained = train(bench.task, bench.task.history().iloc[:150], "second")
    info = save_bundle(bench.home / "artifacts", bench.task, trained.contents, KEY)
    return info.id, info.folder


def swaps(worker: Worker) -> float:
    return worker.metric("weir_model_swaps_total")


@pytest.mark.expect_error("is refused, (version|none)", why="that is what is tested")
@pytest.mark.expect_error("no drift is looked for", why="the bundle is away for a while")
def test_versions_are_swapped_refused_and_rolled_back(bench: Bench) -> None:
    worker = bench.worker()
    worker.wait_until_ready()
    assert version_of(bench, "before-any") == "deferred"  # with the fallback

    first = bench.train()
    wait_for(lambda: swaps(worker) == 1, "the first version is in service")
    assert version_of(bench, "first") == first

    second, folder = second_version(bench)
    model = folder / "model.skops"
    whole = model.read_bytes()
    model.write_bytes(whole[:-1] + b"?")
    bench.announce(second, folder.name)
    wait_for(
        lambda: worker.metric("weir_bundles_refused_total") == 1, "the spoilt bundle is refused"
    )
    assert version_of(bench, "refused") == first
    (alert,) = wait_for(lambda: bench.records("alerts"), "the refusal is told")
    assert (alert["kind"], alert["evidence"]) == ("refused", second)
    assert "model.skops" in alert["message"]
    assert f"version {first} goes on" in alert["message"]
    model.write_bytes(whole)

    bench.announce(second, folder.name, role="shadow")
    wait_for(
        lambda: worker.metric(f'weir_model_in_service{{role="shadow",version="{second}"}}') == 1,
        "the second version looks on",
    )
    assert version_of(bench, "looked-on") == first
    shadow = wait_for(lambda: bench.records("shadows"), "what the shadow would have answered")
    assert [(s["request_id"], s["version"], s["role"]) for s in shadow] == [
        ("looked-on", second, "shadow")
    ]

    bench.announce(second, folder.name)
    wait_for(lambda: swaps(worker) == 2, "the second version is in service")
    assert version_of(bench, "second") == second
    assert len(bench.records("shadows")) == 1

    # Rejected afterwards, without a new champion: the one before it answers again.
    bench.announce(second, folder.name, role="rejected")
    wait_for(lambda: swaps(worker) == 3, "the first version is back")
    assert version_of(bench, "back") == first

    bench.announce(second, folder.name)
    wait_for(lambda: swaps(worker) == 4, "the second version is in service again")
    worker.kill()
    away = folder.with_name("away")
    folder.rename(away)
    worker = bench.worker()
    worker.wait_until_ready()
    assert version_of(bench, "restarted") == first  # better than none
    away.rename(folder)  # the store is back: nobody asks for the version again
    wait_for(
        lambda: worker.metric(f'weir_model_in_service{{role="champion",version="{second}"}}') == 1,
        "the second version is in service as soon as it can be",
    )
    assert version_of(bench, "healed") == second
