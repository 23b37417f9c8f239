"""The recount: what the stages tell stands up to it, and what is wrong does not."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from services.verify import recount
from services.verify.metrics import _metrics, _outcomes, _predictions, _told, last_outcomes
from streams.task import LastN
from tests.streams.tasks import task_of
from tests.streams.test_metrics import PARTITIONS, TASKS, Measuring, traffic

Told = dict[recount.Key, dict[str, Any]]


@pytest.fixture(scope="module", params=sorted(TASKS))
def measuring(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Measuring]:
    windows = [*TASKS[request.param].windows, LastN(2), LastN(7, every=timedelta(days=2))]
    task = task_of(request.param, partitions=PARTITIONS, windows=windows)
    measuring = Measuring(tmp_path_factory.mktemp("verify"), task)
    yield measuring
    measuring.stores.close()


def told_and_recounted(
    measuring: Measuring, seed: int, days: int, most: int = 80
) -> tuple[Told, Told]:
    """What the stages tell of some traffic, and what its records recount to."""
    measuring.empty()
    task, codecs = measuring.task, measuring.codecs
    frames: dict[str, list[pd.DataFrame]] = {
        "predictions": [_predictions(task, codecs["prediction"].decode([]).columns)],
        "outcomes": [_outcomes(task, codecs["outcome"].decode([]).columns)],
    }
    of = {"predictions": ("prediction", _predictions), "outcomes": ("outcome", _outcomes)}
    draw = np.random.default_rng(seed)
    waiting = {}
    for (topic, partition), records in traffic(task.kind, seed, days, most)[1].items():
        cuts = np.sort(draw.integers(0, len(records) + 1, 3))
        parts = [part for part in np.split(np.arange(len(records)), cuts) if len(part)]
        waiting[topic, partition] = [
            measuring.batch(topic, [records[i] for i in part], partition) for part in parts
        ]
    while waiting:  # batches in any order that keeps each partition's own
        key = list(waiting)[draw.integers(len(waiting))]
        batch = waiting[key].pop(0)
        measuring.measure(batch)
        record, frame = of[key[0]]
        frames[key[0]].append(frame(task, codecs[record].decode(batch.values).columns))
        if not waiting[key]:
            del waiting[key]
        if draw.random() < 0.2:
            measuring.metrics.open()  # as after a restart
    measuring.tick()
    metrics = codecs["metric"]
    values = [metrics.write(record) for record in measuring.told]
    whole = {topic: pd.concat(parts, ignore_index=True) for topic, parts in frames.items()}
    wanted = recount.windows(whole["predictions"], last_outcomes(whole["outcomes"]), task)
    return _told(iter([_metrics(task, metrics.decode(values).columns)])), wanted


@settings(
    max_examples=6,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
)
@given(seed=st.integers(0, 2**32 - 1), days=st.sampled_from([2, 12]))
def test_what_the_stages_tell_is_what_a_recount_gives(
    seed: int, days: int, measuring: Measuring
) -> None:
    told, wanted = told_and_recounted(measuring, seed, days)
    assert recount.differences(wanted, told) == {}


def test_estimates_that_can_be_trusted_and_not_are_recounted(measuring: Measuring) -> None:
    told, wanted = told_and_recounted(measuring, 4, 2, 1500)
    assert recount.differences(wanted, told) == {}
    said = {str(record["estimate_doubt"]).split(":")[0] for record in told.values()}
    assert said >= {"None", "too few"}
    assert said & {"outside the training region", "concept drift suspected"}


@pytest.fixture(scope="module")
def both(measuring: Measuring) -> tuple[Told, Told]:
    """What the stages tell of one traffic and its recount, for tests that change neither."""
    return told_and_recounted(measuring, 1, 2)


def test_a_field_that_is_off_is_found_wherever_it_is(both: tuple[Told, Told]) -> None:
    told, wanted = both
    key = max(told, key=lambda one: told[one]["scored"])
    fields = [name for name in told[key] if name not in (*recount.KEY, *recount.OF_TELLING)]
    for name in fields:
        value = told[key][name]
        if isinstance(value, str):
            off: Any = f"{value}?"
        elif isinstance(value, dict):
            off = {**value, "another": 1}
        else:
            off = (
                not value if isinstance(value, bool) else 1 if value is None else value * 1.001 + 1
            )
        wrong = recount.differences(wanted, {**told, key: {**told[key], name: off}})
        assert list(wrong) == [key], name
        assert name in wrong[key][0]


def test_a_window_too_many_and_one_too_few_are_found(both: tuple[Told, Told]) -> None:
    told, wanted = both
    # Not one of which all has been corrected away: that may be told of or not.
    key = next(one for one in told if told[one]["outcomes"])
    without = {one: record for one, record in told.items() if one != key}
    assert recount.differences(wanted, without) == {key: ["there is no such record"]}
    assert list(recount.differences({k: w for k, w in wanted.items() if k != key}, told)) == [key]


def outcomes(*rows: tuple[str, bool, bool]) -> pd.DataFrame:
    """Outcome records of one partition: whose, whether it corrects one, its truth."""
    frame = pd.DataFrame(rows, columns=["request_id", "corrects", "truth"])
    return frame.assign(version="v", role="champion", label="true")


def test_a_correction_takes_the_place_of_what_it_corrects() -> None:
    rows = outcomes(("a", False, True), ("b", False, True), ("a", True, False), ("b", True, False))
    assert last_outcomes(rows)["truth"].tolist() == [False, False]


def test_an_outcome_that_replaces_none_is_one_more() -> None:
    """As of an id that comes again after its horizon, or of an outcome that was told twice."""
    rows = outcomes(("a", False, True), ("a", True, False), ("a", False, True))
    assert last_outcomes(rows)["truth"].tolist() == [False, True]


def test_the_last_revision_is_the_one_to_believe() -> None:
    one = {**dict.fromkeys(recount.KEY, ""), "window_start": 0}
    records = [{**one, "revision": r, "at": i} for i, r in enumerate([1, 3, 2, 3])]
    assert [r["at"] for r in recount.latest(records).values()] == [3]
