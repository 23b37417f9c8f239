"""Drift on a real broker: what is found is what the topics give, whatever was killed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from streams.app import clock
from streams.drifts import Drifts
from streams.references import References
from streams.store import Stores
from streams.transport.batch import RecordBatch
from tests.conftest import RunningBroker
from tests.system.worker import KEY, ROOT, Bench, wait_for
from tests.tasks.springs import draw

pytestmark = pytest.mark.system

START = 1_710_000_000_000 // 3_600_000 * 3_600_000
STEP_MS = 1_000
CHUNK = 300
"""Requests that are sent at once; the next ones are sent when these are counted."""
BEFORE, AFTER = 8 * CHUNK, 5 * CHUNK
"""Requests before the shift, and after it."""
KILLS = (4 * CHUNK, BEFORE + CHUNK)
"""Requests after which a worker is killed with half a chunk to do."""


@pytest.fixture
def bench(broker: RunningBroker, tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(f"{ROOT}/tests/tasks/springs.py:Springs", broker.bootstrap, tmp_path)
    bench.train()
    yield bench
    bench.close()


def springs() -> pd.DataFrame:
    """As in training; then wider ones."""
    return pd.concat([draw(BEFORE, seed=2), draw(AFTER, seed=3, wider=1.5)], ignore_index=True)


def at(i: int) -> int:
    return START + i * STEP_MS


def send(bench: Bench, table: pd.DataFrame, first: int, last: int) -> None:
    """Requests and their truths."""
    for i, row in enumerate(table.iloc[first:last].itertuples(), first):
        features = {"load": row.load, "width": row.width, "maker": row.maker}
        bench.send("requests", {"request_id": f"s{i}", "event_time": at(i), "features": features})
        bench.send("truth", {"request_id": f"s{i}", "known_at": at(i + 60), "truth": row.breaks})
    bench.flush()


def counted(bench: Bench, topic: str) -> int:
    """Records of a topic that the profiles count."""
    source = f"{bench.topic(topic)}/"
    profiles = bench.records("profiles")
    return sum(one["records"] for one in profiles if one["source"].startswith(source))


def is_counted(bench: Bench, n: int) -> bool:
    return min(counted(bench, "predictions"), counted(bench, "outcomes")) >= n


def replayed(bench: Bench, folder: Path) -> list[dict[str, Any]]:
    """The drifts that another stage finds in the same profiles."""
    references = References(bench.task, bench.home / "artifacts", KEY, clock)
    stores = Stores(folder)
    drifts = Drifts(bench.task, bench.codecs, references, stores, clock)
    messages = bench.read("profiles")
    result = drifts(
        RecordBatch(
            drifts.topic,
            0,
            np.array([m.offset() for m in messages], np.int64),
            np.array([m.timestamp()[1] for m in messages], np.int64),
            [m.key() for m in messages],
            [m.value() for m in messages],
        )
    )
    stores.close()
    assert all(output.topic == bench.topic("drifts") for output in result.outputs)
    found = [bench.codec("drifts").read(v) for output in result.outputs for v in output.values]
    return [{**one, "detected_at": 0} for one in found]


def test_what_shifted_is_found_once_though_workers_are_killed(bench: Bench, tmp_path: Path) -> None:
    table = springs()
    worker = bench.worker()
    worker.wait_until_ready()
    for first in range(0, len(table), CHUNK):
        last = first + CHUNK
        send(bench, table, first, last)
        if first in KILLS:
            wait_for(partial(is_counted, bench, first + CHUNK // 2), "half of them are counted")
            worker.kill()
            worker = bench.worker()
        wait_for(partial(is_counted, bench, last), "they are counted")
    folders = (tmp_path / f"replayed-{i}" for i in count())

    def told() -> list[dict[str, Any]] | None:
        """The worker's drifts, once they are those of a replay."""
        found = [{**one, "detected_at": 0} for one in bench.records("drifts")]
        return found if found == replayed(bench, next(folders)) else None

    everything = wait_for(told, "the worker tells what a replay of the profiles tells")
    # Wider springs break less: answers, scores and truths may be told of as well, no other input.
    (found,) = [one for one in everything if one["kind"] in ("data", "skew", "schema")]
    assert (found["kind"], found["subject"], found["feature"]) == ("data", "width", "width")
    assert at(BEFORE - 2 * CHUNK) <= found["since"] <= at(BEFORE + 3 * CHUNK)
    assert found["value"] >= found["threshold"]
    evidence = json.loads(found["evidence"])
    for shares in (evidence["reference"], evidence["window"]):
        assert sum(shares) == pytest.approx(1, abs=0.01)
    assert counted(bench, "predictions") == counted(bench, "outcomes") == len(table)
