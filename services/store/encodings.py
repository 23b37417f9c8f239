"""Compressed bodies, in and out, in the encodings that ClickHouse's HTTP interface knows."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from typing import Any, Protocol

import lz4.frame  # type: ignore[import-untyped]
from backports import zstd

from services.store.errors import CANNOT_DECOMPRESS, NOT_IMPLEMENTED, QUERY_IS_TOO_LARGE, Refused

# In the order of preference: lz4 costs the least of the cores that everybody shares.
SUPPORTED = ("lz4", "zstd", "gzip", "deflate")


class Compressor(Protocol):
    """Compresses a stream, chunk by chunk."""

    def compress(self, data: bytes, /) -> bytes:
        """The bytes that are ready."""

    def flush(self) -> bytes:
        """The rest."""


def accepted(header: str) -> str | None:
    """The encoding to answer in, given ``Accept-Encoding``; None for no compression.

    >>> accepted("gzip, zstd;q=0")
    'gzip'
    """
    offered = set()
    for part in header.split(","):
        name, _, quality = part.partition(";")
        if quality.replace(" ", "") not in ("q=0", "q=0.0"):
            offered.add(name.strip().lower())
    return next((name for name in SUPPORTED if name in offered), None)


def decompress(data: bytes, encoding: str, limit: int) -> bytes:
    """A request's body as it was before ``encoding``; at most ``limit`` bytes.

    Errors: Refused (CANNOT_DECOMPRESS, QUERY_IS_TOO_LARGE, NOT_IMPLEMENTED).
    """
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return data
    decompressor = _DECOMPRESSORS.get(name)
    if decompressor is None:
        raise Refused(NOT_IMPLEMENTED, f"Content-Encoding {name!r}: use one of {SUPPORTED}")
    try:
        return _frames(data, decompressor, limit)
    except (RuntimeError, EOFError, zlib.error, zstd.ZstdError) as error:
        raise Refused(
            CANNOT_DECOMPRESS, f"the body is not valid {name} ({error}); nothing was done"
        ) from error


def too_large(limit: int) -> Refused:
    """The refusal of a body over the limit."""
    return Refused(
        QUERY_IS_TOO_LARGE,
        f"the body is larger than {limit} bytes (WEIR_STORE_MAX_BODY_BYTES, of readers "
        "WEIR_STORE_MAX_READER_BODY_BYTES); send smaller batches",
    )


_FIRST_STEP_BYTES = 256
_STEP_BYTES = 1 << 20

# 32: zlib finds out by itself whether the header is gzip's or zlib's.
_DECOMPRESSORS: dict[str, Callable[[], Any]] = {
    "lz4": lz4.frame.LZ4FrameDecompressor,
    "zstd": zstd.ZstdDecompressor,
    "gzip": lambda: zlib.decompressobj(wbits=zlib.MAX_WBITS | 32),
    "deflate": lambda: zlib.decompressobj(wbits=zlib.MAX_WBITS | 32),
}


def _frames(data: bytes, new: Callable[[], Any], limit: int) -> bytes:
    """All frames of a body: clickhouse-connect makes each block of an insert a frame.

    What is behind a frame's end is copied once for each step of reading: so the steps begin small,
    or a body of many small frames would cost its square.
    """
    plain, size, at = [], 0, 0
    body = memoryview(data)
    while at < len(data):
        frame, step = new(), _FIRST_STEP_BYTES
        while not frame.eof:
            if at >= len(data):
                raise EOFError("it ends too early")
            piece = body[at : at + step]
            # One byte more than is allowed tells "too large" from "just fits".
            plain.append(frame.decompress(piece, max_length=limit + 1 - size))
            size += len(plain[-1])
            if size > limit:
                raise too_large(limit)
            at += len(piece) - len(frame.unused_data or b"")
            step = min(step * 4, _STEP_BYTES)
    return b"".join(plain)


def compress(data: bytes, encoding: str) -> bytes:
    """A whole answer in one of ``SUPPORTED``."""
    if encoding == "lz4":
        return bytes(lz4.frame.compress(data))
    if encoding == "zstd":
        return bytes(zstd.compress(data, level=1))
    if encoding == "gzip":
        return gzip.compress(data, compresslevel=1)
    return zlib.compress(data, level=1)


def compressor(encoding: str) -> Compressor:
    """A compressor for an answer that is sent in chunks."""
    if encoding == "lz4":
        return _Lz4()
    if encoding == "zstd":
        made: Compressor = zstd.ZstdCompressor(level=1)
        return made
    wbits = zlib.MAX_WBITS | 16 if encoding == "gzip" else zlib.MAX_WBITS
    return zlib.compressobj(level=1, wbits=wbits)


class _Lz4:
    def __init__(self) -> None:
        self._frame = lz4.frame.LZ4FrameCompressor()
        self._head = self._frame.begin()

    def compress(self, data: bytes, /) -> bytes:
        head, self._head = self._head, b""
        return bytes(head + self._frame.compress(data))

    def flush(self) -> bytes:
        head, self._head = self._head, b""
        return bytes(head + self._frame.flush())
