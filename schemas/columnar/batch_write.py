"""Writes a batch of records from columns, field by field, all records at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from schemas.columnar.cells import Cell, Sizes, pack, varint_cell
from schemas.columnar.checks import Mask, Ready
from schemas.columnar.scalar_write import join_pieces, long_bytes, value_pieces
from schemas.columnar.types import Field, Kind

# A cell is as wide as the longest value of the batch. A few values far longer than the others
# would blow up the whole batch's matrix, so their records are written one by one.
_ALWAYS_FITS_BYTES = 256
_TIMES_MEAN = 4


class BatchWriter:
    """Writes records that all start with the same prefix."""

    def __init__(self, top: Field, prefix: bytes) -> None:
        self._top = top
        self._prefix = prefix

    def write(self, ready: Sequence[Ready], n: int) -> list[bytes]:
        """n ≥ 1 records from the leaves' values, in the order of `Field.leaves`."""
        layout = _Layout(n)
        cells = [Cell(len(self._prefix), self._prefix)]
        cells += layout.record(self._top, iter(ready), None)
        records = pack(cells, n)
        rows = np.flatnonzero(layout.outsized)
        if len(rows):
            some = [leaf.take(rows) for leaf in ready]
            singly = join_pieces(self._top, some, self._prefix, len(rows))
            for row, record in zip(rows.tolist(), singly, strict=True):
                records[row] = record
        return records


class _Layout:
    """The cells of a batch. `active` and `needed` are the rows to write, None for all."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.outsized = np.zeros(n, np.bool_)

    def record(self, record: Field, ready: Iterator[Ready], active: Mask | None) -> Iterator[Cell]:
        for field in record.fields:
            if field.kind is not Kind.RECORD:
                yield from self._leaf(field, next(ready), active)
            elif field.null_branch is None:
                yield from self.record(field, ready, active)
            else:
                here = next(ready).values
                assert isinstance(here, np.ndarray)
                yield from self._branch(field, here, active)
                yield from self.record(field, ready, None if here.all() else here)

    def _branch(self, field: Field, valid: Mask | None, active: Mask | None) -> Iterator[Cell]:
        sizes = None if active is None else active.astype(np.int64)
        if valid is None:
            yield Cell(1, bytes([field.value_byte]), sizes)
        else:
            has_value = valid if field.null_branch == 0 else ~valid
            yield Cell(1, has_value.view(np.uint8) << 1, sizes)

    def _leaf(self, field: Field, ready: Ready, active: Mask | None) -> Iterator[Cell]:
        if ready.constant and ready.valid is not None:
            yield Cell(1, bytes([field.null_byte]), _sizes(1, active))
            return
        if field.null_branch is not None:
            yield from self._branch(field, ready.valid, active)
        needed = active
        if ready.valid is not None:
            needed = ready.valid if active is None else ready.valid & active
        if ready.constant:
            piece = value_pieces(field, ready)[0]
            yield Cell(len(piece), piece, _sizes(len(piece), needed))
        elif field.kind in _NUMBERS:
            values = np.asarray(ready.values)
            if field.kind in (Kind.INT, Kind.LONG, Kind.ENUM):
                yield varint_cell(values, needed)
            else:
                values = values.astype(values.dtype.newbyteorder("<"), copy=False)
                width = values.dtype.itemsize
                yield Cell(width, values, _sizes(width, needed))
        elif field.kind in (Kind.STRING, Kind.BYTES):
            sizes, blob = _joined(field.kind, list(ready.values))
            if needed is None and sizes.min() == sizes.max():
                prefix = long_bytes(int(sizes[0]))
                yield Cell(len(prefix), prefix)
            else:
                yield varint_cell(sizes, needed)
            yield from self._ragged(sizes, blob)
        elif (table := _table(field.kind, ready)) is not None:
            k = table.shape[1]
            if k:
                count = long_bytes(k)
                yield Cell(len(count), count, _sizes(len(count), needed))
                yield Cell(8 * k, table.view(f"V{8 * k}")[:, 0], _sizes(8 * k, needed))
            yield Cell(1, b"\0", _sizes(1, needed))
        else:
            pieces = value_pieces(field, ready)
            if needed is not None:
                pieces = [p if use else b"" for p, use in zip(pieces, needed.tolist(), strict=True)]
            yield from self._ragged(*_joined(Kind.BYTES, pieces))

    def _ragged(self, sizes: Sizes, blob: bytes) -> Iterator[Cell]:
        """A cell for byte strings that stand one after the other in `blob`."""
        width = int(sizes.max())
        if width == 0:
            return
        starts = sizes.cumsum() - sizes
        if width > _ALWAYS_FITS_BYTES:
            limit = max(_ALWAYS_FITS_BYTES, _TIMES_MEAN * len(blob) // self.n)
            if width > limit:
                self.outsized |= sizes > limit
                sizes = np.minimum(sizes, limit)
                width = limit
        padded = blob + bytes(width)
        windows = np.ndarray((len(blob) + 1,), f"V{width}", padded, 0, (1,))
        same = bool((sizes == width).all())
        yield Cell(width, windows[starts], None if same else sizes)


_NUMBERS = frozenset({Kind.DOUBLE, Kind.FLOAT, Kind.INT, Kind.LONG, Kind.BOOLEAN, Kind.ENUM})


def _sizes(width: int, needed: Mask | None) -> Sizes | None:
    return None if needed is None else needed.astype(np.int64) * width


def _table(kind: Kind, ready: Ready) -> npt.NDArray[np.float64] | None:
    """Arrays of doubles of one length as (n, k); None for other kinds and ragged arrays."""
    if kind is not Kind.DOUBLES:
        return None
    if isinstance(ready.values, np.ndarray):
        return np.ascontiguousarray(ready.values, "<f8")
    lengths = _lengths(ready.values)
    if lengths.min() != lengths.max():
        return None
    return np.concatenate(ready.values).reshape(len(lengths), -1)


def _joined(kind: Kind, values: list[str] | list[bytes]) -> tuple[Sizes, bytes]:
    """Sizes in bytes, and the bytes of all values one after the other."""
    if kind is Kind.STRING:
        joined: str = "".join(values)  # type: ignore[arg-type]
        if joined.isascii():
            return _lengths(values), joined.encode()
        values = [value.encode() for value in values]  # type: ignore[union-attr]
    return _lengths(values), b"".join(values)  # type: ignore[arg-type]


def _lengths(values: Sequence[str] | Sequence[bytes]) -> npt.NDArray[np.int64]:
    return np.fromiter(map(len, values), np.int64, len(values))
