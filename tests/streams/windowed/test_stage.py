"""From records to values: each is what one would count with all records at hand."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.verify.features import Logged, Source, check
from streams.windowed import ring, updates
from streams.windowed.declare import Of
from streams.windowed.definition import AHEAD_MS, SLACK_MS
from streams.windowed.table import AS_OF, Table
from tests.streams.tasks import START
from tests.streams.windowed.counting import MINUTE_MS, Counting, asked, feed, known

TOPICS: tuple[tuple[str, Of], ...] = (("outcomes", "truth"), ("predictions", "requests"))
GRID = 5 * MINUTE_MS


def naive(counting: Counting, as_of: dict[tuple[str, int], int], request: Any) -> list[Any]:
    """The values of a request by their definition, record by record."""
    asked_at = request["event_time"]
    values: list[Any] = []
    for windowed in counting.task.windowed:
        topic = "outcomes" if windowed.of == "truth" else "predictions"
        time = "known_at" if windowed.of == "truth" else "event_time"
        seen = [
            record
            for partition in range(counting.task.partitions)
            for record in counting.records.get((topic, partition), [])[
                : as_of.get((topic, partition), 0)
            ]
        ]
        before = [record[time] for record in seen if record[time] < asked_at // GRID * GRID]
        end = max(before) // GRID * GRID + GRID if before else 0
        length = round(windowed.over.total_seconds() * 1000)
        mine = [request["features"][name] for name in windowed.keys]
        rows = [
            record
            for record in seen
            if end - length <= record[time] < end
            and [record["features"][name] for name in windowed.keys] == mine
        ]
        count = len(rows)
        kept = max((record[time] for record in seen), default=0) - length - 2 * SLACK_MS
        earliest = asked_at - SLACK_MS - length - GRID
        if None in mine or earliest < kept or asked_at - end > SLACK_MS:
            values.append(None)
        elif windowed.aggregate == "share":
            values.append(sum(r["truth"] for r in rows) / count if count else None)
        else:
            hours = windowed.over.total_seconds() / 3600
            values.append(count / hours if windowed.aggregate == "rate" else float(count))
    return values


shops = st.sampled_from(["x", "y"])
whens = st.integers(0, 60).map(lambda minute: START + minute * MINUTE_MS + 1)
far = st.one_of(
    whens,
    st.just(START + SLACK_MS + 45 * MINUTE_MS),
    st.just(START + 2 * SLACK_MS + 45 * MINUTE_MS),
)
given_features = st.fixed_dictionaries(
    {"shop": shops, "age": st.sampled_from([1, 2, None]), "fresh": st.sampled_from([True, None])}
)
outcomes = st.builds(
    lambda at, truth, f: known(at, truth, features=f), far, st.booleans(), given_features
)
predictions = st.builds(lambda at, f: asked(at, features=f), whens, given_features)
batches = st.lists(
    st.one_of(
        st.tuples(
            st.just("outcomes"), st.integers(0, 1), st.lists(outcomes, min_size=1, max_size=4)
        ),
        st.tuples(
            st.just("predictions"), st.integers(0, 1), st.lists(predictions, min_size=1, max_size=4)
        ),
        st.just("restart"),
    ),
    max_size=12,
)


@settings(max_examples=50, deadline=None)
@given(batches, st.lists(predictions, min_size=1, max_size=5), st.booleans())
def test_values_are_what_their_definition_says(
    steps: list[Any], requests: list[Any], compacted: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        counting = Counting(Path(folder))
        for step in steps:
            if step == "restart":
                counting.restart()
            else:
                counting.take(*step)
        snapshot = counting.table(compacted).snapshot()
        as_of = {
            (source.partition(".")[2].partition("/")[0], int(source[-1])): offset
            for source, offset in zip(counting.definition.sources, snapshot.as_of, strict=True)
        }
        found = counting.values(snapshot, requests)
        assert found == [naive(counting, as_of, request) for request in requests]
        assert not differences(counting, snapshot.as_of, requests, found)
        counting.stores.close()


def differences(
    counting: Counting, as_of: tuple[int, ...], requests: list[Any], found: list[list[Any]]
) -> list[str]:
    """What ``weir verify features`` says of these values."""
    names = [windowed.name for windowed in counting.task.windowed]
    logged = [
        {**request, "features": {**request["features"], **dict(zip(names, row, strict=True))}}
        for request, row in zip(requests, found, strict=True)
    ]
    sources = {}
    for topic, kind in TOPICS:
        codec = counting.codecs[topic.rstrip("s")]
        for partition in range(counting.task.partitions):
            records = counting.records.get((topic, partition), [])
            columns = codec.decode(codec.write_many(records)).columns
            name = f"{counting.task.name}.{topic}/{partition}"
            sources[name] = Source.of(kind, columns, np.arange(len(records)))
    marks = np.array([as_of] * len(logged), np.int64)
    report = check(counting.definition, sources, Logged(counting.requests(logged), marks))
    assert report.values == len(names) * len(logged)
    assert report.differences == len(report.examples)
    return report.examples


def sums_of(updates: list[dict[str, Any]]) -> list[Any]:
    """Whose sums they are, how far they go, and the sums in an order of their own."""
    parts = ("sum_series", "keys", "bucket_ends", "counts", "totals")
    return [
        (
            *(one[name] for name in ("source", "through", "newest", "series_names")),
            sorted(zip(*(one[part] for part in parts), strict=True)),
        )
        for one in updates
    ]


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.lists(outcomes, max_size=4), st.lists(outcomes, max_size=4)), max_size=4)
)
def test_partitions_in_one_batch_are_summed_as_apart(rounds: list[tuple[list[Any], ...]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        apart, together = Counting(Path(folder) / "apart"), Counting(Path(folder) / "together")
        for parts in rounds:
            published = [
                apart.take("outcomes", p, records) for p, records in enumerate(parts) if records
            ]
            one = together.take_together("outcomes", parts)
            flat = [output for some in published for output in some]
            assert sums_of(apart.updates(flat)) == sums_of(together.updates(one))
        for partition in (0, 1):
            states = [
                dict(one.stores.get(one.cells.stage, partition).scan(b"", b"\xff" * 99))
                for one in (apart, together)
            ]
            assert states[0] == states[1]


def test_a_wrong_value_is_found(tmp_path: Path) -> None:
    counting = Counting(tmp_path)
    counting.take("outcomes", 0, [known(START), known(START + 1, False)])
    snapshot = counting.table().snapshot()
    request = asked(START + GRID)
    (right,) = counting.values(snapshot, [request])
    assert right == [0.5, 0.5, 2.0, None]
    assert not differences(counting, snapshot.as_of, [request], [right])
    told = differences(counting, snapshot.as_of, [request], [[0.25, None, 2.0, None]])
    assert told == ["r: shop_late is 0.25, not 0.5", "r: late_10 is None, not 0.5"]


def test_nothing_after_the_request_is_used_though_it_is_there(tmp_path: Path) -> None:
    counting = Counting(tmp_path)
    counting.take("outcomes", 0, [known(START + GRID - 1), known(START + GRID, False)])
    snapshot = counting.table().snapshot()
    at = [START + GRID - 1, START + GRID, START + 2 * GRID - 1, START + 2 * GRID]
    shares = [row[0] for row in counting.values(snapshot, [asked(time) for time in at])]
    assert shares == [None, 1.0, 1.0, 0.5]


def test_corrections_weak_labels_and_times_to_come_do_not_count(tmp_path: Path) -> None:
    counting = Counting(tmp_path)
    counting.take(
        "outcomes",
        0,
        [
            known(START),
            known(START + 1, False, revision=1, previous_truth=True),
            known(START + 2, False, label="weak"),
            known(START + 3, False, joined_at=START + 2 - AHEAD_MS),
        ],
    )
    counting.take("predictions", 1, [asked(START, status="rejected"), asked(START, features={})])
    (row,) = counting.values(counting.table().snapshot(), [asked(START + GRID)])
    assert row == [1.0, 1.0, 1.0, 3.0]


def test_a_batch_is_one_record_that_says_how_far_it_goes(tmp_path: Path) -> None:
    counting = Counting(tmp_path)
    outputs = counting.take("outcomes", 0, [known(START), known(START + GRID, False)])
    (update,) = counting.updates(outputs)
    assert (update["through"], update["newest"]) == (2, START + GRID)
    assert len(update["keys"]) == 6  # two spans of three series
    # Nothing that counts: the offset goes on, so that nobody waits for it.
    (update,) = counting.updates(counting.take("outcomes", 0, [known(START, label="weak")]))
    assert (update["through"], update["keys"]) == (3, [])
    (update,) = counting.updates(counting.take("outcomes", 1, [known(START, label="weak")]))
    assert (update["through"], update["newest"]) == (1, None)


def test_a_part_of_a_batch_is_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(updates, "MOST_CELLS", 2)
    counting = Counting(tmp_path)
    first, last = counting.take("outcomes", 0, [known(START)])
    assert {first.keys[0], last.keys[0]} == {first.keys[0], (first.keys[0] or b"") + b".1"}
    table = Table(counting.definition)
    feed(table, counting, [first])
    before = table.snapshot()
    assert before.as_of == (0, 0, 0, 0)
    assert counting.values(before, [asked(START + GRID)])[0][0] is None
    feed(table, counting, [last])
    assert table.changed
    assert table.snapshot().as_of == (1, 0, 0, 0)


def test_cells_leave_when_no_window_can_hold_them(tmp_path: Path) -> None:
    counting = Counting(tmp_path)
    counting.take("outcomes", 0, [known(START)])
    store = counting.stores.get(counting.cells.stage, 0)
    assert len(store.scan(b"c", b"d")) == 3
    # Once round all homes.
    counting.records["outcomes", 0] += [known(START)] * ring.REFRESHED
    outputs = counting.take("outcomes", 0, [known(START + 4 * SLACK_MS)])
    assert len(store.scan(b"c", b"d")) == 3
    assert {end for update in counting.updates(outputs) for end in update["bucket_ends"]} == {
        START + 4 * SLACK_MS + GRID
    }
    table = counting.table()
    assert counting.values(table.snapshot(), [asked(START + GRID)])[0][0] is None


def test_what_was_replayed_and_never_published_is_published_whole(tmp_path: Path) -> None:
    counting = Counting(tmp_path)
    counting.cells.close()  # as while a state is restored
    assert counting.take("outcomes", 0, [known(START), known(START, False)]) == []
    counting.cells.open(0)
    counting.take("outcomes", 0, [known(START + MINUTE_MS)])
    snapshot = counting.table().snapshot()
    assert snapshot.as_of[0] == 3
    assert counting.values(snapshot, [asked(START + GRID)])[0][0] == 2 / 3


def test_records_of_another_definition_are_not_read(tmp_path: Path) -> None:
    counting = Counting(tmp_path)
    (update,) = counting.updates(counting.take("outcomes", 0, [known(START)]))
    table = Table(counting.definition)
    table.take({**update, "definition": "00000000"})
    table.take({**update, "source": "binary_task.outcomes/9"})
    assert table.snapshot().as_of == (0, 0, 0, 0)


@pytest.mark.parametrize("wrong", [{"counts": [1]}, {"series_names": ["a", "b", "c"]}])
def test_a_record_that_cannot_be_is_refused_whole(tmp_path: Path, wrong: dict[str, Any]) -> None:
    counting = Counting(tmp_path)
    (update,) = counting.updates(counting.take("outcomes", 0, [known(START)]))
    table = Table(counting.definition)
    with pytest.raises(ValueError, match="sums"):
        table.take({**update, **wrong})
    table.take(update)
    assert table.snapshot().as_of == (1, 0, 0, 0)


def test_a_prediction_says_as_of_what_its_values_are(tmp_path: Path) -> None:
    counting = Counting(tmp_path)
    counting.take("outcomes", 1, [known(START)])
    columns = counting.table().snapshot().columns(counting.requests([asked(START)] * 2), 2)
    assert columns[AS_OF].values.tolist() == ["0,1,0,0"] * 2
