"""Tallies and windows: the last word on each window is what one would compute with all at hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from schemas.features import Category
from streams import metrics as metrics_module
from streams.codecs import codecs
from streams.horizon import IDLE_MS
from streams.metrics import EMIT_EVERY_MS, Metrics
from streams.store import Stores
from streams.tally import Tally
from streams.task import RESERVED_SEGMENTS, LastN, Task, Window
from streams.transport.batch import Output, RecordBatch, Result
from tests.streams.joining import FEATURES, prediction
from tests.streams.orders import JUNK, Fed, Play, Row, Step, histories, lives
from tests.streams.tasks import DAY_MS, HOUR_MS, START, batch_of, by_topic, task_of
from tests.streams.test_quality import CLASSES, reference

PARTITIONS = 2
TASKS = {
    kind: task_of(kind, partitions=PARTITIONS) for kind in ("binary", "multiclass", "regression")
}
QUALITY = metrics_module._QUALITY


class Measuring:
    """The tally and the metrics of a task, from records to windows, without Kafka."""

    def __init__(self, folder: Path, task: Task) -> None:
        self.task = task
        self.codecs = codecs(task)
        self.now = START
        self.folder = folder
        self.tally = Tally(task, self.codecs, lambda: self.now)
        self.offset = 0
        self.told: list[dict[str, Any]] = []
        self.outputs: list[Output] = []
        self.begin()

    def begin(self) -> None:
        self.stores = Stores(self.folder)
        self.metrics = Metrics(self.task, self.codecs, self.stores, lambda: self.now)

    def restart(self) -> None:
        """As after a stop of the worker."""
        self.metrics.close()
        self.stores.close()
        self.begin()
        self.metrics.open()

    def empty(self) -> None:
        """Start anew with nothing, on the same store."""
        store = self.stores.get("metrics", 0)
        for key, _ in store.scan(b"\x01", b"\xff"):
            store.delete(key)
        store.seal({})()
        self.told.clear()
        self.outputs.clear()
        self.metrics.open()

    def batch(
        self, topic: str, records: Sequence[dict[str, Any]], partition: int = 0
    ) -> RecordBatch:
        codec = self.codecs[{"predictions": "prediction", "outcomes": "outcome"}[topic]]
        values = [codec.write(record) for record in records]
        return batch_of(f"{self.task.name}.{topic}", values, partition=partition)

    def sum(self, *batches: RecordBatch) -> list[bytes]:
        """The tallies of some batches."""
        found = []
        for batch in batches:
            outputs = by_topic(self.tally(batch).outputs)
            found += [value for _, value, _ in outputs.get("tallies", [])]
        return found

    def add(self, tallies: Sequence[bytes | None]) -> None:
        batch = batch_of(self.metrics.topic, tallies, first=self.offset)
        self.offset += len(tallies)
        result = self.metrics(batch)
        assert result.after_commit is not None
        result.after_commit()
        self._keep(result.outputs)

    def tick(self) -> None:
        self.now += EMIT_EVERY_MS
        result = self.metrics.tick()
        if result is not None:
            assert result.batch is None
            self._keep(result.outputs)

    def measure(self, *batches: RecordBatch) -> None:
        self.add(self.sum(*batches))

    def _keep(self, outputs: list[Output]) -> None:
        self.outputs += outputs
        for _, value, _ in by_topic(outputs).get("metrics", []):
            self.told.append(self.codecs["metric"].read(value))

    def last(self) -> dict[tuple[Any, ...], dict[str, Any]]:
        """The last record of each window and group, each a higher revision than the one before."""
        found: dict[tuple[Any, ...], dict[str, Any]] = {}
        names = ("window", "window_start", "version", "role", "segment", "value")
        for record in self.told:
            key = tuple(record[name] for name in names)
            if key in found:
                assert record["revision"] >= found[key]["revision"]
            found[key] = record
        return found

    def window(self, start: int, window: str = "tumbling_1d", **group: str) -> dict[str, Any]:
        who = {"version": "v1", "role": "champion", "segment": "", "value": "", **group}
        return self.last()[(window, start, *who.values())]


@pytest.fixture
def measuring(tmp_path: Path) -> Iterator[Measuring]:
    measuring = Measuring(tmp_path, task_of("binary"))
    yield measuring
    measuring.stores.close()


def outcome(said: dict[str, Any], truth: Any, previous: Any = None, **more: Any) -> dict[str, Any]:
    names = (
        *("request_id", "event_time", "predicted_at", "status", "answer", "probability"),
        *("probabilities", "gate_decision", "gate_score", "version", "role", "dataset_id"),
        "features",
    )
    return {
        **{name: said[name] for name in names},
        "entity": None,
        "known_at": said["event_time"],
        "joined_at": said["event_time"],
        "revision": 0,
        "truth": truth,
        "previous_truth": previous,
        "source": "system",
        **more,
    }


# One group, by hand.


def test_a_window_counts_predictions_and_outcomes(measuring: Measuring) -> None:
    said = [
        prediction("a", START, probability=0.75),
        prediction("b", START + 1, probability=0.25, answer=False),
        prediction("c", START + 2, status="deferred", answer=False, probability=None),
        prediction("d", START + 3, status="rejected", answer=None, features=None),
    ]
    measuring.measure(measuring.batch("predictions", said))
    measuring.measure(measuring.batch("outcomes", [outcome(said[0], True), outcome(said[2], True)]))
    measuring.tick()
    found = measuring.window(START)
    assert {name: found[name] for name in ("predictions", "deferred", "rejected")} == {
        "predictions": 3,
        "deferred": 1,
        "rejected": 1,
    }
    assert (found["outcomes"], found["scored"]) == (2, 1)
    assert found["share_deferred"] == pytest.approx(1 / 3)
    assert found["share_labelled"] == pytest.approx(2 / 3)
    assert (found["accuracy"], found["recall"], found["roc_auc"]) == (1.0, 1.0, None)
    assert found["window_end"] == START + DAY_MS
    assert not found["complete"]
    assert (found["watermark"], found["classes"]) == (START + 2, {"true": 1, "false": 0})
    keys = [key for key, _, _ in by_topic(measuring.outputs)["metrics"]]
    assert f"tumbling_1d|{START}|v1|champion||".encode() in keys


def test_a_correction_takes_back_what_the_first_truth_added(measuring: Measuring) -> None:
    said = prediction("a", START)
    measuring.measure(
        measuring.batch("predictions", [said]),
        measuring.batch("outcomes", [outcome(said, True), outcome(said, False, True)]),
    )
    measuring.tick()
    found = measuring.window(START)
    assert (found["outcomes"], found["scored"], found["accuracy"]) == (1, 1, 0.0)
    assert found["base_rate"] == 0.0


def test_segments_are_told_apart_and_missing_values_are_in_none(measuring: Measuring) -> None:
    def with_features(id_: str, **features: Any) -> dict[str, Any]:
        return prediction(id_, START, features={**FEATURES, **features})

    said = [
        with_features("a", fresh=True, colour="red"),
        with_features("b", fresh=False, colour="red"),
        with_features("c", fresh=None, colour=None),
    ]
    measuring.measure(measuring.batch("predictions", said))
    measuring.measure(measuring.batch("outcomes", [outcome(x, True) for x in said]))
    measuring.tick()
    groups = {
        (key[4], key[5]): record["predictions"]
        for key, record in measuring.last().items()
        if key[0] == "tumbling_1d" and key[4] not in RESERVED_SEGMENTS
    }
    assert groups == {
        ("", ""): 3,
        ("fresh", "true"): 1,
        ("fresh", "false"): 1,
        ("colour", "red"): 2,
    }
    assert measuring.window(START, segment="colour", value="red")["outcomes"] == 2


def test_sliding_windows_are_unions_of_panes(measuring: Measuring) -> None:
    days = [prediction(f"d{d}", START + d * DAY_MS) for d in range(4)]
    measuring.measure(measuring.batch("predictions", days))
    measuring.tick()
    counts = {
        (key[1] - START) // DAY_MS: record["predictions"]
        for key, record in measuring.last().items()
        if key[:1] == ("sliding_3d_1d",) and key[4] == ""
    }
    # By the start of the window; those whose last day has not begun are not told of.
    assert counts == {-2: 1, -1: 2, 0: 3, 1: 3}


def test_a_window_is_complete_once_event_time_has_passed_its_end(measuring: Measuring) -> None:
    measuring.measure(measuring.batch("predictions", [prediction("a", START)]))
    measuring.tick()
    assert not measuring.window(START)["complete"]
    measuring.measure(measuring.batch("predictions", [prediction("b", START + DAY_MS - 1)]))
    measuring.tick()
    assert not measuring.window(START)["complete"]
    # Another version's record moves event time on; the first one's window is told of once more.
    other = prediction("c", START + DAY_MS, version="v2")
    measuring.measure(measuring.batch("predictions", [other]))
    measuring.tick()
    assert measuring.window(START)["complete"]
    assert not measuring.window(START + DAY_MS, version="v2")["complete"]
    # What comes later amends it.
    measuring.measure(measuring.batch("predictions", [prediction("d", START)]))
    measuring.tick()
    assert measuring.window(START)["complete"]
    assert measuring.window(START)["predictions"] == 3


def test_a_leap_of_event_time_completes_every_window_before_it(measuring: Measuring) -> None:
    days = [prediction(f"d{d}", START + d * DAY_MS) for d in range(5)]
    for day in days:
        measuring.measure(measuring.batch("predictions", [day]))
    measuring.measure(measuring.batch("predictions", [prediction("far", START + 5000 * DAY_MS)]))
    measuring.measure(
        measuring.batch("outcomes", [outcome(prediction("far", START + 5000 * DAY_MS), True)])
    )
    measuring.tick()
    assert all(measuring.window(START + d * DAY_MS)["complete"] for d in range(5))
    for d in range(5):
        assert measuring.window(START + d * DAY_MS, "sliding_3d_1d")["complete"]


def test_a_window_that_keeps_changing_is_told_of_once_a_second(measuring: Measuring) -> None:
    measuring.now += EMIT_EVERY_MS
    for i in range(10):
        measuring.measure(measuring.batch("predictions", [prediction(f"r{i}", START)]))
        measuring.now += EMIT_EVERY_MS // 5
    told = [
        x["predictions"]
        for x in measuring.told
        if x["window"] == "tumbling_1d" and not x["segment"]
    ]
    assert told == [1, 6]
    measuring.tick()
    assert measuring.window(START)["predictions"] == 10
    before = len(measuring.told)
    measuring.tick()
    assert len(measuring.told) == before


def test_after_a_restart_windows_are_told_of_again(measuring: Measuring) -> None:
    said = [prediction(f"r{d}", START + d * DAY_MS) for d in range(4)]
    measuring.measure(measuring.batch("predictions", said))
    measuring.tick()
    told = measuring.last()
    measuring.told.clear()
    measuring.restart()
    measuring.tick()
    again = measuring.last()
    for record in (*told.values(), *again.values()):
        record.pop("computed_at")
    assert again == told
    # And they go on from there.
    measuring.measure(measuring.batch("predictions", [prediction("more", START)]))
    measuring.tick()
    assert measuring.window(START)["predictions"] == 2
    assert measuring.window(START)["revision"] == told[next(iter(told))]["revision"] + 1


def kept(measuring: Measuring) -> list[int]:
    """The panes in the store, in days after START."""
    store = measuring.stores.get("metrics", 0)
    found = {int.from_bytes(key[1:9], "big") - (1 << 62) for key, _ in store.scan(b"g", b"h")}
    return sorted((pane - START) // DAY_MS for pane in found)


def day(measuring: Measuring, d: int) -> None:
    said = prediction(f"d{d}", START + d * DAY_MS)
    measuring.measure(
        measuring.batch("predictions", [said]), measuring.batch("outcomes", [outcome(said, True)])
    )


def test_panes_that_no_late_truth_can_change_leave_the_store(measuring: Measuring) -> None:
    for d in range(60):
        day(measuring, d)
    # Two days of horizon and twice the longest window.
    assert kept(measuring) == list(range(51, 60))
    assert sorted(measuring.metrics._panes) == [START + d * DAY_MS for d in range(51, 60)]
    measuring.tick()
    for d in range(60):
        assert measuring.window(START + d * DAY_MS)["predictions"] == 1
    assert measuring.window(START + 20 * DAY_MS)["complete"]


def test_after_a_restart_windows_whose_panes_have_left_are_not_told_of_in_part(
    measuring: Measuring,
) -> None:
    for d in range(60):
        day(measuring, d)
    measuring.tick()
    told = measuring.last()
    measuring.restart()
    measuring.tick()
    for key, record in measuring.last().items():
        assert record["predictions"] == told[key]["predictions"], key
    # Nor where something late arrives for one of the last panes kept.
    late = prediction("late", START + 51 * DAY_MS)
    measuring.measure(measuring.batch("predictions", [late]))
    measuring.tick()
    assert measuring.window(START + 51 * DAY_MS)["predictions"] == 2
    assert measuring.window(START + 49 * DAY_MS, "sliding_3d_1d")["predictions"] == 3


def test_a_window_that_began_before_all_panes_is_told_of_before_a_restart_forgets_it(
    measuring: Measuring,
) -> None:
    said = prediction("first", START)
    measuring.measure(measuring.batch("predictions", [said]))  # told of at once
    measuring.measure(measuring.batch("outcomes", [outcome(said, True)]))  # a second later
    day(measuring, 7)  # 8 days before it nothing is kept: from a day before the first pane on
    assert kept(measuring) == [0, 7]
    measuring.restart()
    measuring.tick()
    assert measuring.window(START - 2 * DAY_MS, "sliding_3d_1d")["outcomes"] == 1


def uncounted(why: str) -> float:
    return metrics_module.UNCOUNTED.labels(why)._value.get()


def test_what_comes_too_late_for_its_pane_is_counted_and_changes_nothing(
    measuring: Measuring,
) -> None:
    for d in range(60):
        day(measuring, d)
    measuring.tick()
    told, before = measuring.last(), uncounted("late")
    late = [prediction(f"late{i}", START + 3 * DAY_MS) for i in range(3)]
    measuring.measure(measuring.batch("predictions", late))
    measuring.tick()
    assert uncounted("late") - before == 3
    assert measuring.last() == told
    assert kept(measuring) == list(range(51, 60))


def test_a_partition_that_is_read_far_ahead_does_not_drop_what_another_has_to_say(
    tmp_path: Path,
) -> None:
    """As after a stop: weeks of one partition are read before the first record of another."""
    measuring = Measuring(tmp_path, task_of("binary", partitions=2))
    said = {p: [prediction(f"p{p}-{d}", START + d * DAY_MS) for d in range(60)] for p in (0, 1)}
    for p in (0, 1):
        for d in range(60):
            measuring.measure(measuring.batch("predictions", [said[p][d]], p))
            measuring.now += 10
    for p in (0, 1):
        for d in range(60):
            measuring.measure(measuring.batch("outcomes", [outcome(said[p][d], True)], p))
            measuring.now += 10
    measuring.tick()
    for d in range(60):
        found = measuring.window(START + d * DAY_MS)
        assert (found["predictions"], found["outcomes"]) == (2, 2)
    assert kept(measuring) == list(range(51, 60))
    measuring.stores.close()


def test_a_source_that_falls_silent_does_not_keep_panes_for_ever(measuring: Measuring) -> None:
    day(measuring, 0)
    for d in range(1, 60):
        measuring.measure(measuring.batch("predictions", [prediction(f"d{d}", START + d * DAY_MS)]))
    assert len(kept(measuring)) == 60  # the outcomes are at day 0
    measuring.now += IDLE_MS
    measuring.measure(measuring.batch("predictions", [prediction("d60", START + 60 * DAY_MS)]))
    assert kept(measuring) == list(range(52, 61))


def test_how_far_the_sources_are_is_known_after_a_restart(measuring: Measuring) -> None:
    day(measuring, 0)
    measuring.restart()
    for d in range(1, 30):
        measuring.measure(measuring.batch("predictions", [prediction(f"d{d}", START + d * DAY_MS)]))
    assert len(kept(measuring)) == 30


def test_an_open_category_does_not_make_groups_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics_module, "MOST_GROUPS", 6)
    task = task_of("binary", features=[Category("shop")], segments=["shop"])
    measuring = Measuring(tmp_path, task)
    before = uncounted("groups")
    for i in range(9):
        said = prediction(f"r{i}", START, features={"shop": f"s{i}"})
        measuring.measure(measuring.batch("predictions", [said]))
    measuring.tick()
    assert measuring.window(START)["predictions"] == 9
    # All traffic, four shops, and that the gate admitted them.
    assert len([key for key in measuring.last() if key[0] == "tumbling_1d"]) == 6
    assert uncounted("groups") - before == 5
    measuring.stores.close()


def test_a_tally_that_weir_did_not_write_does_not_stop_the_metrics(measuring: Measuring) -> None:
    features = {**FEATURES, "fresh": None, "colour": None}
    ungated = prediction("a", START, features=features, gate_decision="none")
    (good,) = measuring.sum(measuring.batch("predictions", [ungated]))
    tally = measuring.codecs["tally"].read(good)
    strange = [
        {**tally, "cells": [1], "weights": []},
        {**tally, "cells": [-1], "weights": [1]},
        {**tally, "cells": [10**6], "weights": [1]},
    ]
    values = [b"?", None, *(measuring.codecs["tally"].write(x) for x in strange), good]
    measuring.add(values)
    measuring.tick()
    assert measuring.window(START)["predictions"] == 1
    letters = [
        measuring.codecs["dead_letter"].read(value)
        for _, value, _ in by_topic(measuring.outputs)["dead-letters"]
    ]
    assert [(x["offset"], x["reason"], x["stage"]) for x in letters] == [
        (i, "undecodable", "metrics") for i in range(5)
    ]
    assert letters[0]["value"] == b"?"


def test_records_that_cannot_be_summed_are_set_aside(measuring: Measuring) -> None:
    batch = measuring.batch("predictions", [prediction("a", START)])
    batch.values.insert(0, b"?")
    batch.keys.insert(0, b"k")
    batch.offsets, batch.timestamps = np.arange(2), np.full(2, START)
    outputs = by_topic(measuring.tally(batch).outputs)
    ((_, value, _),) = outputs["dead-letters"]
    letter = measuring.codecs["dead_letter"].read(value)
    assert (letter["offset"], letter["reason"], letter["stage"]) == (0, "undecodable", "metrics")
    assert len(outputs["tallies"]) == 4  # all traffic, two segments, the gate's decision
    alone = batch_of(batch.topic, [b"?"])
    assert list(by_topic(measuring.tally(alone).outputs)) == ["dead-letters"]


def test_the_rejected_do_not_move_event_time(measuring: Measuring) -> None:
    far = START + 300 * DAY_MS
    rejected = prediction("x", far, status="rejected", answer=None, features=None)
    measuring.measure(measuring.batch("predictions", [prediction("a", START)]))
    measuring.measure(measuring.batch("predictions", [rejected]))
    measuring.tick()
    assert not measuring.window(START)["complete"]
    assert all(key[1] < far - 5 * DAY_MS for key in measuring.last())


# All kinds, at random, against pandas and scikit-learn.


def traffic(
    kind: str, seed: int, days: int = 5, most: int = 80
) -> tuple[pd.DataFrame, dict[Any, list[Any]]]:
    """What was said and what was true: as a table, and as records by topic and partition."""
    draw = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    records: dict[Any, list[Any]] = {}
    n = int(draw.integers(1, most))
    # One version and one role as often as two: groups cost, rows tell.
    versions, roles = (int(draw.integers(1, 3)) for _ in range(2))
    times = np.sort(draw.integers(0, days * DAY_MS, n))
    strays = bool(draw.random() < 0.3)
    times[-1] += 2 * DAY_MS * strays
    for i, at in enumerate(times):
        partition = int(draw.integers(PARTITIONS))
        status = str(draw.choice(["answered", "deferred", "rejected"], p=[0.8, 0.1, 0.1]))
        if strays and i == n - 1:  # a time that cannot be right moves no window on
            status = "rejected"
        features = {
            **FEATURES,
            "fresh": [True, False, None][draw.integers(3)],
            "colour": ["red", "blue", None][draw.integers(3)],
        }
        said: Any = None
        given: dict[str, Any] = {"probability": None}
        if status == "answered":
            said, given = answer_of(kind, draw)
            if draw.random() < 0.8:
                given |= expectation(kind, draw)
        elif status == "deferred":
            given["answer"] = TASKS[kind].fallback
        else:
            given |= {"answer": None}
        record = prediction(
            f"r{i}",
            START + int(at),
            status=status,
            version=["v1", "v2"][draw.integers(versions)],
            role=["champion", "canary"][draw.integers(roles)],
            gate_decision=decision_of(status, draw),
            features=None if status == "rejected" else features,
            **given,
        )
        row = {**record, **(features if status != "rejected" else {}), "said": said, "truth": None}
        records.setdefault(("predictions", partition), []).append((at, record))
        if status != "rejected" and draw.random() < 0.7:
            first, second = (truth_of(kind, draw) for _ in range(2))
            known = at + int(draw.integers(0, 2 * DAY_MS))
            outcomes = records.setdefault(("outcomes", partition), [])
            outcomes.append((known, outcome(record, first)))
            row["truth"] = first
            source, other = (["system", "labeller", "user"][draw.integers(3)] for _ in range(2))
            outcomes[-1][1]["source"] = source
            if draw.random() < 0.3 and (second != first or source != other):
                corrected = outcome(record, second, first, source=other, previous_source=source)
                outcomes.append((known + HOUR_MS, corrected))
                row["truth"] = second
        if status != "rejected" and draw.random() < 0.3:
            weak = records.setdefault(("outcomes", partition), [])
            weak += weak_labels(kind, record, at, draw)
        rows.append(row)
    ordered = {
        key: [record for _, record in sorted(pairs, key=lambda pair: pair[0])]
        for key, pairs in records.items()
    }
    return pd.DataFrame(rows), ordered


def decision_of(status: str, draw: Any) -> str:
    """Some are answered by the model though the gate would have held them back."""
    if status == "rejected":
        return "none"
    return "defer" if status == "deferred" or draw.random() < 0.1 else "admit"


def weak_labels(kind: str, record: Any, at: int, draw: Any) -> list[tuple[int, Any]]:
    """What signals say of an answer: once, or another thing later, or nothing any more."""
    found: list[tuple[int, Any]] = []
    before: dict[str, Any] = {"previous_truth": None, "previous_weight": None}
    for revision in range(int(draw.integers(1, 4))):
        truth, weight = truth_of(kind, draw), float(draw.choice([0.0, 0.3, 1.0, 2.5]))
        fields = {"label": "weak", "source": "signals", "weight": weight, "revision": revision}
        label = outcome(record, truth, **fields, previous_weight=before["previous_weight"])
        label["previous_truth"] = before["previous_truth"]
        found.append((at + revision * HOUR_MS, label))
        before = {"previous_truth": truth, "previous_weight": weight}
    return found


def answer_of(kind: str, draw: Any) -> tuple[Any, dict[str, Any]]:
    if kind == "regression":
        number = round(float(draw.normal(5, 10)), 2)
        return number, {"answer": number, "probability": None}
    if kind == "binary":
        p = float(draw.beta(1, 1))
        return p, {"answer": p >= 0.5, "probability": p}
    p = draw.dirichlet([1, 1, 1])
    best = int(p.argmax())
    return p, {"answer": CLASSES[best], "probability": float(p[best]), "probabilities": p.tolist()}


def expectation(kind: str, draw: Any) -> dict[str, Any]:
    """What an estimator may say of a prediction."""
    if kind == "regression":
        absolute = float(draw.gamma(2, 4))
        expected = [absolute, absolute**2 * (1 + float(draw.random()))]
    else:
        expected = draw.dirichlet([1, 1, 1]).tolist() if kind == "multiclass" else [draw.random()]
    return {
        "expected": expected,
        "expected_spread": [0.01, 0.02, 0.5],
        "outside_region": bool(draw.random() < 0.2),
    }


def truth_of(kind: str, draw: Any) -> Any:
    if kind == "regression":
        return round(float(draw.normal(5, 10)), 2)
    return bool(draw.integers(2)) if kind == "binary" else CLASSES[draw.integers(3)]


def offline(kind: str, table: pd.DataFrame, windows: Sequence[Window]) -> dict[Any, dict[str, Any]]:
    """Every window and group, the plain way: choose its rows, ask scikit-learn."""
    found = {}
    measured: dict[Any, dict[str, Any]] = {}  # by rows: many windows and groups hold the same
    newest = table.loc[table["status"] != "rejected", "event_time"].max()
    for window in windows:
        length, slide = (int(t.total_seconds() * 1000) for t in (window.length, window.slide))
        first = START // slide * slide - length
        for start in range(first, int(table["event_time"].max()) + 1, slide):
            if not start + length - slide <= newest:
                continue  # event time has not come to its last slide
            times = table["event_time"]
            within = table[(times >= start) & (times < start + length)]
            groups = [("", lambda rows: [""] * len(rows))]
            for segment in ("fresh", "colour"):
                groups.append((segment, lambda rows, s=segment: rows[s]))
            for segment, values in groups:
                rows = within.assign(value=list(values(within)) if len(within) else [])
                rows = rows[rows["value"].notna()] if segment else rows
                rows = rows.assign(value=[text(v) for v in rows["value"]])
                for (version, role, value), group in rows.groupby(["version", "role", "value"]):
                    key = (window.name, start, version, role, segment, value)
                    same = tuple(group.index)
                    if same not in measured:
                        measured[same] = metrics_of(kind, group)
                    found[key] = measured[same]
    return found


def text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def metrics_of(kind: str, rows: pd.DataFrame) -> dict[str, Any]:
    alive = rows[rows["status"] != "rejected"]
    labelled = alive[alive["truth"].notna()]
    scored = labelled[labelled["status"] == "answered"]
    quality = {}
    if len(scored):
        said = (
            np.stack(list(scored["said"]))
            if kind == "multiclass"
            else scored["said"].to_numpy(float)
        )
        truth = scored["truth"].to_numpy(object if kind == "multiclass" else float)
        quality = reference(kind, truth.astype(bool) if kind == "binary" else truth, said)
    deferred = int((alive["status"] == "deferred").sum())
    return {
        "predictions": len(alive),
        "deferred": deferred,
        "rejected": len(rows) - len(alive),
        "outcomes": len(labelled),
        "scored": len(scored),
        "share_deferred": deferred / len(alive) if len(alive) else 0.0,
        "share_labelled": len(labelled) / len(alive) if len(alive) else 0.0,
        **{name: quality.get(name) for name in QUALITY},
        "classes": {} if kind == "regression" else Counter(map(text, scored["truth"])),
    }


@pytest.fixture(scope="module", params=sorted(TASKS))
def reused(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Measuring]:
    measuring = Measuring(tmp_path_factory.mktemp("metrics"), TASKS[request.param])
    yield measuring
    measuring.stores.close()


@settings(
    max_examples=8,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
)
@given(seed=st.integers(0, 2**32 - 1), days=st.sampled_from([2, 5, 30]), chunks=st.integers(1, 12))
def test_the_last_word_on_every_window_is_what_all_at_hand_would_give(
    seed: int, days: int, chunks: int, reused: Measuring
) -> None:
    kind = reused.task.kind
    table, records = traffic(kind, seed, days)
    if (table["status"] == "rejected").all():
        return
    reused.empty()
    # Each source is cut into batches; the batches of all sources come in any order that keeps
    # each source's own; and so do the tallies' batches.
    draw = np.random.default_rng(seed)
    waiting = {}
    for (topic, partition), rows in records.items():
        cuts = np.sort(draw.integers(0, len(rows) + 1, chunks))
        parts = [part for part in np.split(np.arange(len(rows)), cuts) if len(part)]
        waiting[topic, partition] = [
            reused.batch(topic, [rows[i] for i in part], partition) for part in parts
        ]
    tallies: list[bytes] = []
    while waiting:
        key = list(waiting)[draw.integers(len(waiting))]
        tallies += reused.sum(waiting[key].pop(0))
        if not waiting[key]:
            del waiting[key]
    while tallies:
        size = int(draw.integers(1, 16))
        reused.add(tallies[:size])
        tallies = tallies[size:]
        reused.now += int(draw.integers(0, EMIT_EVERY_MS))
        if draw.random() < 0.1:
            reused.metrics.open()  # as after a restart
    reused.tick()

    # Those by gate decision, source and label are in tests/services/test_verify.py.
    last = {key: record for key, record in reused.last().items() if key[4] not in RESERVED_SEGMENTS}
    wanted = offline(kind, table, reused.task.windows)
    assert set(last) == set(wanted)
    newest = table.loc[table["status"] != "rejected", "event_time"].max()
    for key, record in last.items():
        assert record["complete"] == (record["window_end"] <= newest), key
        for name, value in wanted[key].items():
            if name == "r2" and record[name] is None:
                continue
            if name == "classes":
                there = {class_: n for class_, n in record[name].items() if n}
                assert there == ({} if key[4] else value), key
                continue
            assert record[name] == (
                None if value is None else pytest.approx(value, rel=1e-6, abs=1e-9)
            ), (key, name)


def test_windows_of_hours_work_as_well(tmp_path: Path) -> None:
    windows = [Window(timedelta(hours=2)), Window(timedelta(hours=3), timedelta(hours=1))]
    measuring = Measuring(tmp_path, task_of("binary", windows=windows))
    said = [prediction(f"r{h}", START + h * HOUR_MS) for h in range(6)]
    measuring.measure(measuring.batch("predictions", said))
    measuring.tick()
    assert measuring.window(START, "tumbling_2h")["predictions"] == 2
    assert measuring.window(START + HOUR_MS, "sliding_3h_1h")["predictions"] == 3
    measuring.stores.close()


COUNTED = task_of("binary", partitions=PARTITIONS, windows=[*task_of().windows, LastN(2)])
COUNTED_CODECS = codecs(COUNTED)


class Chain:
    """The tally and the metrics as one stage: the store is of the metrics."""

    def __init__(self, stores: Stores) -> None:
        self.now = START
        self.tally = Tally(COUNTED, COUNTED_CODECS, lambda: self.now)
        self.metrics = Metrics(COUNTED, COUNTED_CODECS, stores, lambda: self.now)

    def close(self) -> None:
        self.metrics.close()

    def __call__(self, batch: RecordBatch) -> Result:
        self.now += EMIT_EVERY_MS
        if batch.topic == self.metrics.topic:  # what nobody has to write there
            return self.metrics(batch)
        summed = self.tally(batch)
        (found, *_) = [o for o in summed.outputs if o.topic == self.metrics.topic] or [None]
        others = [output for output in summed.outputs if output is not found]
        if found is None:
            return Result(batch, others)
        made = self.metrics(batch_of(self.metrics.topic, found.values))
        return Result(batch, [*others, *made.outputs], made.after_commit)


said = st.builds(
    lambda id_, day, changes: prediction(id_, START + day * DAY_MS, **changes),
    st.sampled_from(["a", "b", "c"]),
    st.integers(0, 12),
    st.sampled_from(
        [
            {},
            {},
            {"status": "deferred", "version": "", "role": "none"},
            {"status": "rejected", "features": None, "answer": None, "version": "", "role": "none"},
        ]
    ),
)
answered = said.filter(lambda one: one["status"] == "answered")
outcomes = st.builds(outcome, answered, st.booleans(), st.sampled_from([None, None, True]))
COUNTED_FIRST = {
    "predictions": said.map(lambda one: Row(COUNTED_CODECS["prediction"].write(one))),
    "outcomes": outcomes.map(lambda one: Row(COUNTED_CODECS["outcome"].write(one))),
    "tallies": JUNK,
}


def last_words(play: Play) -> dict[tuple[Any, ...], dict[str, Any]]:
    """The last record of each window; event time never goes back, and ends windows."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    watermark = 0
    for record in map(COUNTED_CODECS["metric"].read, play.of("metrics")):
        assert record["watermark"] >= watermark
        watermark = record["watermark"]
        assert record["complete"] == (watermark >= record["window_end"])
        key = tuple(record[name] for name in ("window", "window_start", "version", "role"))
        key += tuple(record[name] for name in ("segment", "value"))
        assert record["revision"] >= found.get(key, record)["revision"]
        found[key] = record
    return found


@settings(max_examples=30)
@given(histories(COUNTED_FIRST, partitions=PARTITIONS))
def test_whatever_comes_first_windows_are_the_same_after_restarts(history: list[Step]) -> None:
    # What a restart makes the stage say again, it says with the next record.
    end = Fed("predictions", (Row(COUNTED_CODECS["prediction"].write(prediction("z", START))),))
    whole, once = lives([*history, end, end], COUNTED.name, COUNTED_CODECS["dead_letter"], Chain)
    told = {"computed_at": 0, "watermark": 0, "complete": True}
    found, expected = (last_words(play) for play in (whole, once))
    assert {k: v | told for k, v in found.items()} == {k: v | told for k, v in expected.items()}
