"""Which sums each batch publishes again, and under which key, so that compaction leaves all sums.

A batch publishes the sums that it changed. Under a key a sum, that is a record a sum; under a key
a batch, compaction would keep every batch for ever. So the keys are a ring, and each sum is
published again, changed or not, before the record that held it leaves the ring.

Both follow from the source's offsets alone. Offset by offset the source goes round `REFRESHED`
homes; every sum has one, by a hash of what it is, and a batch publishes again the sums of the
homes that its offsets pass. A batch's record has one of its own offsets, modulo `SLOTS`, as the
slot in the ring. Nothing has to be remembered, and it does not matter how the records were cut
into batches, on which worker, or whether its state was replayed in between.

Why all sums are there, whatever compaction has removed: let a batch of the offsets up to b be the
last one that changed a sum, and x its slot's offset, b - REFRESHED < x <= b. Its record is replaced
by a batch that passes x + SLOTS at the earliest. By then the source has passed b + REFRESHED, so
that the sum was published again since, in the last of such records at o, which is no more than
REFRESHED behind; and that one's slot comes again only after another REFRESHED. Records before the
last one that holds a sum may still be there with an older value; the later one replaces it.

Offsets are counted from 1 here: a batch that begins after `first` and ends at `end` (both as
Kafka's next offset) has the numbers first + 1 to end.
"""

from __future__ import annotations

from zlib import crc32

REFRESHED = 16_384
"""Within so many records of its source each sum is published again: `sums / REFRESHED` more for
each record. A larger number makes less work of that, and a worker that starts read more records, up
to `SLOTS` a source. This one adds a tenth to what a source with 10,000 sums publishes, and some
seconds to a start at the worst."""
SLOTS = 2 * REFRESHED


def home(identity: bytes) -> int:
    """The home of a sum, 0 to before `REFRESHED`: the same in every process."""
    return crc32(identity) % REFRESHED


def passed(first: int, end: int) -> list[tuple[int, int]]:
    """The homes that a batch passes: one or two ranges, from the first to before the last."""
    if end - first >= REFRESHED:
        return [(0, REFRESHED)]
    low, high = (first + 1) % REFRESHED, (end + 1) % REFRESHED
    if first == end:
        return []
    return [(low, high)] if low < high else [(low, REFRESHED), (0, high)]


def slot(first: int, end: int) -> int:
    """The slot of a batch's record: of its last numbers the one with the highest power of two.

    No other batch has that number. And batches of many records use few slots, so that few records
    stay: a slot whose number no later batch chooses keeps its record.
    """
    low = max(first, end - REFRESHED)
    shift = (low ^ end).bit_length() - 1
    return (end >> shift << shift) % SLOTS
