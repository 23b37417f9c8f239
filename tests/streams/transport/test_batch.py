from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import Batch
from schemas.columns import Column
from streams.codecs import codecs
from streams.transport.app import _by_partition
from streams.transport.batch import Output, RecordBatch, Result, joined
from tests.small_tasks import TUMOUR


def batch(first: int, n: int, headers: dict[int, list[tuple[str, bytes]]]) -> RecordBatch:
    offsets = np.arange(first, first + n)
    values: list[bytes | None] = [b"v%d" % offset for offset in offsets]
    return RecordBatch("t.truth", 3, offsets, offsets * 10, [None] * n, values, headers, 7)


def test_batches_of_one_partition_join_in_order_and_keep_each_records_headers() -> None:
    whole = joined([batch(5, 2, {1: [("a", b"1")]}), batch(8, 3, {0: [("b", b"2")]})])

    assert whole.tp == ("t.truth", 3)
    assert whole.generation == 7
    assert whole.offsets.tolist() == [5, 6, 8, 9, 10]
    assert whole.timestamps.tolist() == [50, 60, 80, 90, 100]
    assert whole.values == [b"v5", b"v6", b"v8", b"v9", b"v10"]
    assert len(whole.keys) == 5
    assert whole.headers == {1: [("a", b"1")], 2: [("b", b"2")]}
    assert whole.next_offset == 11


def test_one_batch_joins_to_itself() -> None:
    one = batch(0, 2, {})
    assert joined([one]) is one


TRUTHS = codecs(TUMOUR)["truth"]
MOST_BYTES = 60
GOOD = [
    TRUTHS.write({"request_id": id_, "known_at": at, "truth": at % 2 == 0})
    for at, id_ in enumerate(["a", "b" * 20, "c" * MOST_BYTES])
]
VALUES = st.sampled_from([None, b"", b"nothing of ours", GOOD[0][:-1], *GOOD])


def of_partition(partition: int, first: int, values: list[bytes | None]) -> RecordBatch:
    offsets = np.arange(first, first + len(values))
    headers = {i: [("p", b"%d" % partition)] for i in range(len(values)) if (first + i) % 2}
    return RecordBatch(
        "t.truth",
        partition,
        offsets,
        offsets * 10,
        [b"%d" % partition] * len(values),
        values,
        headers,
        size=sum(len(value or b"") for value in values),
    )


def present(column: Column) -> list[object]:
    valid = [True] * len(column) if column.valid is None else column.valid.tolist()
    pairs = zip(column.values.tolist(), valid, strict=True)
    return [one if there else None for one, there in pairs]


def plain(batch: Batch) -> object:
    columns = {path: present(column) for path, column in batch.columns.items()}
    return columns, batch.index.tolist(), batch.failures


@given(st.lists(st.tuples(st.integers(0, 3), st.lists(VALUES, min_size=1)), min_size=1))
def test_the_parts_of_a_batch_are_what_each_partition_sent(
    fetched: list[tuple[int, list[bytes | None]]],
) -> None:
    sent: dict[int, list[bytes | None]] = {}
    batches = []
    for partition, values in fetched:
        before = sent.setdefault(partition, [])
        batches.append(of_partition(partition, len(before), values))
        before += values
    parts = joined(batches).parts()
    assert [part.partition for part in parts] == sorted(sent)
    for part in parts:
        alone = of_partition(part.partition, 0, sent[part.partition])
        assert part.values == alone.values
        assert part.keys == alone.keys
        assert part.offsets.tolist() == alone.offsets.tolist()
        assert part.timestamps.tolist() == alone.timestamps.tolist()
        assert part.headers == alone.headers
        assert part.size == alone.size
        assert part.next_offsets == alone.next_offsets
        for most in (None, MOST_BYTES):
            assert plain(part.decoded(TRUTHS, most)) == plain(TRUTHS.decode(alone.values, most))


def test_a_stage_with_state_gets_each_partition_by_itself_and_its_results_are_one() -> None:
    whole = joined([of_partition(2, 7, [GOOD[0]]), of_partition(0, 3, [GOOD[0], GOOD[1]])])
    written: list[int] = []

    def stage(part: RecordBatch) -> Result:
        output = Output("t.outcomes", part.keys, part.values)
        return Result(part, [output], lambda: written.append(part.partition))

    result = _by_partition(stage, whole)
    assert result.batch is whole
    assert [list(output.keys) for output in result.outputs] == [[b"0", b"0"], [b"2"]]
    assert whole.next_offsets == {("t.truth", 0): 5, ("t.truth", 2): 8}
    assert written == []
    assert result.after_commit is not None
    result.after_commit()
    assert written == [0, 2]
