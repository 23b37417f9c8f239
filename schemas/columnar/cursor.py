"""A position in each record of a batch, moved forward in step."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.columnar.types import Field

Positions = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_ONE_BYTE = np.arange(256)
_ONE_BYTE = (_ONE_BYTE >> 1) ^ -(_ONE_BYTE & 1)  # zigzag of every one-byte varint


class Batch:
    """The bodies of a batch, joined, and the zeros after them.

    A record found odd is parked: its position moves to the zeros, past every record's end, where
    any field reads as something harmless. `slack` is the most bytes that fields of fixed or
    varint size can take together, so no read leaves the buffer: fields with a declared length
    are checked against the record's end before they are read. `skip`: bytes before each record.
    """

    def __init__(self, bodies: Sequence[bytes], slack: int, skip: int = 0) -> None:
        self.raw = b"".join([*bodies, bytes(2 * slack + 32)])
        self.data = np.frombuffer(self.raw, np.uint8)
        sizes = np.fromiter(map(len, bodies), np.int64, len(bodies))
        self.ends: Positions = np.cumsum(sizes)
        self.starts: Positions = self.ends - sizes + skip
        self.parking = int(self.ends[-1]) + 1

    def windows(self, dtype: str) -> np.ndarray:
        """Item i: the bytes of `dtype` from byte i on. Void types gather as plain copies."""
        size = np.dtype(dtype).itemsize
        return np.ndarray((len(self.data) - size + 1,), dtype, self.raw, 0, (1,))

    @cached_property
    def text(self) -> str:
        """Each byte as a character, so that cutting out a string of ASCII is one slice."""
        return self.raw.decode("latin-1")


class Cursor:
    """Where some of the batch's records stand.

    pos, end: (m,) the next byte to read of each record and the byte after its last.
    A parked record has pos > end for good, which is how it is told at the end.
    """

    __slots__ = ("batch", "end", "pos")

    def __init__(self, batch: Batch, pos: Positions, end: Positions) -> None:
        self.batch = batch
        self.pos = pos
        self.end = end

    def __len__(self) -> int:
        return len(self.pos)

    def at(self, rows: Positions) -> Cursor:
        """A cursor over some of these records; write its `pos` back when it is done."""
        return Cursor(self.batch, self.pos[rows], self.end[rows])

    def park(self, odd: Mask) -> None:
        """Set the odd records aside for the scalar reader."""
        self.pos[odd] = self.batch.parking

    def byte(self) -> npt.NDArray[np.uint8]:
        """The next byte of each record."""
        values = self.batch.data.take(self.pos)
        self.pos += 1
        return values

    def varint(self) -> Positions:
        """The next zigzag varint of each record; those over ten bytes are parked and read 0."""
        first = self.batch.data.take(self.pos)
        if first.max() < 0x80:
            self.pos += 1
            return _ONE_BYTE.take(first)
        words = self.batch.windows("V8")[self.pos].view("<u8")
        stop = ~words & np.uint64(0x8080808080808080)  # bytes that may end a varint
        # All bits up to the lowest one of `stop`; all 64 where there is none.
        keep = stop ^ (stop - np.uint64(1))
        words &= keep & np.uint64(0x7F7F7F7F7F7F7F7F)
        # Close the gaps: 8 groups of 7 bits, 4 of 14, 2 of 28, one of 56.
        for mask, shift in (
            (0x007F007F007F007F, 1),
            (0x00003FFF00003FFF, 2),
            (0x000000000FFFFFFF, 4),
        ):
            low = words & np.uint64(mask)
            words ^= low
            words >>= np.uint64(shift)
            words |= low
        sizes = np.bitwise_count(keep) >> 3
        if not stop.all():
            self._long_varint(words, sizes, np.flatnonzero(stop == 0))
        self.pos += sizes
        sign = words & np.uint64(1)
        words >>= np.uint64(1)
        return words.view(np.int64) ^ -sign.view(np.int64)

    def _long_varint(
        self, words: npt.NDArray[np.uint64], sizes: npt.NDArray[Any], rows: Positions
    ) -> None:
        """Bytes 9 and 10 of the varints that have them."""
        ninth = self.batch.data.take(self.pos[rows] + 8).astype(np.uint64)
        tenth = self.batch.data.take(self.pos[rows] + 9).astype(np.uint64)
        more = ninth >= 0x80
        words[rows] |= (ninth & np.uint64(0x7F)) << np.uint64(56)
        words[rows[more]] |= tenth[more] << np.uint64(63)
        sizes[rows] = np.where(more, 10, 9)
        long = rows[more & (tenth > 1)]
        self.pos[long] = self.batch.parking
        words[long] = 0

    def present(self, field: Field) -> Mask | None:
        """Read a union's branch: which records have a value, None for all of them."""
        branch = self.byte()
        present: Mask = branch == field.value_byte
        if present.all():
            return None
        odd = ~present & (branch != field.null_byte)
        if odd.any():
            self.park(odd)
        return present

    def lengths(self) -> Positions:
        """Read a declared length; records whose bytes are not there are parked and read 0."""
        sizes = self.varint()
        wrong = (sizes < 0) | (sizes > self.end - self.pos)
        if wrong.any():
            self.park(wrong)
            sizes[wrong] = 0
        return sizes
