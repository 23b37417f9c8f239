"""Values of one topic to Arrow columns, without a Python object a value.

What is good, and what is wrong with the rest, is exactly what `schemas.codec` says: the batch
reader only notices that a record is odd, and the same scalar reader then decides. Text is copied
once, by Arrow, from the records into its column. Arrays of anything but doubles, and maps, are
read one by one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.codec import Codec, Failure
from schemas.columnar.batch_read import BatchReader
from schemas.columnar.cursor import Batch
from schemas.columnar.record_read import RecordReader
from schemas.columnar.spans import MOST_BYTES, SPANS, Spans, sizes, starts
from schemas.columnar.types import Field, Kind, plan
from schemas.columns import Column
from schemas.registry import HEADER_BYTES

_INLINE_BYTES = 12  # a text of at most so many bytes lies in Arrow's view of it itself
_SCALARS: dict[Kind, Any] = {
    Kind.DOUBLE: pa.float64(),
    Kind.FLOAT: pa.float32(),
    Kind.INT: pa.int32(),
    Kind.LONG: pa.int64(),
    Kind.BOOLEAN: pa.bool_(),
    Kind.STRING: pa.string(),
    Kind.BYTES: pa.binary(),
}


@dataclass(frozen=True, slots=True)
class ArrowBatch:
    """Decoded values, as `schemas.codec.Batch` has them, in Arrow.

    columns: leaf path to array, of the good records only, in order. Text is string, bytes are
    binary, enums dictionaries; a null array or map is an empty one, since no table has such nulls.
    index: each good record's position in the batch that was decoded; failures in order of theirs.
    """

    columns: Mapping[str, Any]
    index: npt.NDArray[np.int64]
    failures: list[Failure]

    def __len__(self) -> int:
        return len(self.index)


class ArrowReader:
    """Reads the values of a codec's topic into Arrow columns."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._header = np.frombuffer(codec.header, np.uint8)
        top = plan(codec.schema)
        self._leaves = list(top.leaves())
        self._batch = BatchReader(top, SPANS)
        self._scalar = RecordReader(top)

    def decode(self, values: Sequence[bytes | None]) -> ArrowBatch:
        """Framed values to columns; what cannot be read becomes a failure, nothing raises.

        ValueError where there are more than 2 GiB of them.
        """
        framed, index, failures = self._framed(values)
        if not framed:
            empty = {leaf.path: pa.nulls(0, _type(leaf)) for leaf in self._columns()}
            return ArrowBatch(empty, index, failures)
        batch, columns, ok = self._read(framed)
        arrays: dict[str, Any] = {}
        for leaf, column in zip(self._leaves, columns, strict=True):
            if not leaf.presence:
                arrays[leaf.path], not_text = _array(leaf, column, batch)
                ok[not_text] = False
        if not ok.all():
            wrong = np.flatnonzero(~ok).tolist()
            failures += [self._failure(int(index[row]), framed[row]) for row in wrong]
            failures.sort(key=lambda failure: failure.position)
            mask = pa.array(ok)
            arrays, index = {path: a.filter(mask) for path, a in arrays.items()}, index[ok]
        return ArrowBatch(arrays, index, failures)

    def _columns(self) -> Iterator[Field]:
        return (leaf for leaf in self._leaves if not leaf.presence)

    def _framed(
        self, values: Sequence[bytes | None]
    ) -> tuple[list[bytes], npt.NDArray[np.int64], list[Failure]]:
        """The values as our own schema frames them, their positions; and what cannot be."""
        listed = [value or b"" for value in values] if None in values else list(values)
        own = self._own(listed)  # type: ignore[arg-type]
        failures: list[Failure] = []
        for at in np.flatnonzero(~own).tolist():
            body, failure = self._codec.translate(at, values[at])
            if failure is not None:
                failures.append(failure)
            else:
                listed[at], own[at] = self._codec.header + body, True
        return list(compress(listed, own)), np.flatnonzero(own), failures  # type: ignore[arg-type]

    def _own(self, values: Sequence[bytes]) -> npt.NDArray[np.bool_]:
        """Which values begin as our own schema's do."""
        if not values:
            return np.zeros(0, np.bool_)
        batch = Batch(values, HEADER_BYTES)
        heads = batch.windows(f"V{HEADER_BYTES}")[batch.starts].view(np.uint8)
        same: npt.NDArray[np.bool_] = (heads.reshape(-1, HEADER_BYTES) == self._header).all(axis=1)
        return same & (batch.ends - batch.starts >= HEADER_BYTES)

    def _read(self, framed: list[bytes]) -> tuple[Batch, list[Column], npt.NDArray[np.bool_]]:
        """The spans of a batch, and which of its records are good so far."""
        batch = self._batch.batch(framed, HEADER_BYTES)
        if len(batch.data) > MOST_BYTES:
            raise ValueError(f"{len(batch.data)} bytes in a batch; at most {MOST_BYTES} are read")
        columns, odd = self._batch.read_batch(batch)
        unusual = [row for row in odd.tolist() if self._why(framed[row]) is None]
        if unusual:
            # Good, but written in an uncommon way: read once more, as we would write them.
            for row in unusual:
                framed[row] = self._codec.write(self._codec.read(framed[row]))
            batch = self._batch.batch(framed, HEADER_BYTES)
            columns, odd = self._batch.read_batch(batch)
        ok = np.ones(len(framed), np.bool_)
        ok[odd] = False
        return batch, columns, ok

    def _why(self, value: bytes) -> str | None:
        """What is wrong with a value; None where nothing is."""
        try:
            self._scalar.read(value[HEADER_BYTES:])
        except ValueError as error:
            return str(error)
        return None

    def _failure(self, position: int, value: bytes) -> Failure:
        message = self._why(value) or "its bytes are not read in a batch"
        return Failure(position, "undecodable", message, self._codec.partial_id(value))


def _type(leaf: Field) -> Any:
    """The Arrow type of a leaf's column."""
    if leaf.kind is Kind.DOUBLES:
        return pa.list_(pa.float64())
    if leaf.kind is Kind.ENUM:
        return pa.dictionary(pa.int32(), pa.string())
    if leaf.item is not None:
        item = _SCALARS[leaf.item]
        return pa.list_(item) if leaf.kind is Kind.ARRAY else pa.map_(pa.string(), item)
    return _SCALARS[leaf.kind]


def _array(leaf: Field, column: Column, batch: Batch) -> tuple[Any, list[int]]:
    """A leaf's column in Arrow, and the rows whose text is no UTF-8 (theirs is anything)."""
    values, kind = column.values, leaf.kind
    nulls = None if column.valid is None else ~column.valid
    if kind in (Kind.STRING, Kind.BYTES):
        return _text(values, nulls, batch, kind is Kind.STRING)
    if kind is Kind.DOUBLES:
        return _doubles(values, batch), []
    if kind is Kind.ENUM:
        index = pa.array(values.astype(np.int32), mask=nulls)
        return pa.DictionaryArray.from_arrays(index, pa.array(leaf.symbols, pa.string())), []
    if leaf.item is not None:
        none: Any = [] if kind is Kind.ARRAY else {}
        items = [none if item is None else item for item in values.tolist()]
        if kind is Kind.MAP:
            items = [list(item.items()) for item in map(dict, items)]
        return pa.array(items, _type(leaf)), []
    if kind is Kind.INT:  # what bad records leave there may be longer
        values = values.astype(np.int32)
    return pa.array(values, _type(leaf), mask=nulls, from_pandas=False), []


def _text(
    spans: Spans, nulls: npt.NDArray[np.bool_] | None, batch: Batch, utf8: bool
) -> tuple[Any, list[int]]:
    """Text or bytes, copied by Arrow from views of the batch."""
    n, begins, lengths = len(spans), starts(spans), sizes(spans)
    views = np.empty((n, 4), np.int32)  # of each: size, then 12 bytes of it or (start, buffer)
    views[:, 0] = lengths
    views[:, 1:] = batch.windows(f"V{_INLINE_BYTES}")[begins].view(np.int32).reshape(n, 3)
    long = np.flatnonzero(lengths > _INLINE_BYTES)
    views[long, 2] = 0
    views[long, 3] = begins[long]
    valid = None if nulls is None else pa.array(~nulls).buffers()[1]
    view = pa.Array.from_buffers(
        pa.binary_view(), n, [valid, pa.py_buffer(views), pa.py_buffer(batch.raw)]
    )
    array = view.cast(pa.binary())
    if not utf8:
        return array, []
    try:
        return array.cast(pa.string()), []
    except pa.ArrowInvalid:
        return _utf8(array.to_pylist())


def _utf8(values: list[bytes | None]) -> tuple[Any, list[int]]:
    """Those of the values that are UTF-8; the others are null, and told."""
    texts: list[str | None] = []
    wrong = []
    for row, value in enumerate(values):
        try:
            texts.append(None if value is None else value.decode())
        except UnicodeDecodeError:
            texts.append(None)
            wrong.append(row)
    return pa.array(texts, pa.string()), wrong


def _doubles(spans: Spans, batch: Batch) -> Any:
    """Arrays of doubles, gathered at once."""
    counts = sizes(spans)
    offsets = np.zeros(len(spans) + 1, np.int32)
    np.cumsum(counts, out=offsets[1:])
    within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], counts)
    places = np.repeat(starts(spans), counts) + 8 * within
    flat = batch.windows("V8")[places].view("<f8")
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat))
