from __future__ import annotations

import numpy as np

from streams.transport.batch import RecordBatch, joined


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
