"""Whether the files of a part are as long as the engine meant them to be.

A part is a folder, and its ``checksums.txt`` names each file with its size and hash. chDB 26.9
takes no notice when a write meets a full disk (`ENOSPC`): it goes on, renames the part to its
name and serves it. What was not written is missing, so a file is too short, or empty: sizes show
it, for the price of a ``stat`` a file. (A part whose files have the right sizes and wrong
contents is another fault, that of a disk; the engine's own checksums find it at the first read.)

The format is that of ClickHouse's ``MergeTreeDataPartChecksum.cpp``, version 4: a line of text,
then blocks of ClickHouse's own compression (16 bytes of hash, a byte for the method, the length
with these 9 bytes, the length decompressed), whose content is the number of files and for each
name, size, hash, and, of a compressed file, size and hash of what is in it.
"""

from __future__ import annotations

import os
from pathlib import Path

import lz4.block  # type: ignore[import-untyped]
from backports import zstd

NAME = "checksums.txt"
_HEAD = b"checksums format version: 4\n"
_HASH, _PROLOGUE = 16, 9  # bytes
_PROJECTION = ".proj"  # a folder of its own, with checksums of its own


class Unreadable(ValueError):
    """Not the checksums of a part: cut off, or of a format that is not known here."""


def parse(raw: bytes) -> dict[str, int]:
    """Sizes in bytes by name, from the content of ``checksums.txt``. Errors: Unreadable."""
    if not raw.startswith(_HEAD):
        raise Unreadable(f"{NAME} does not begin with {_HEAD!r}")
    try:
        return _entries(_decompress(raw[len(_HEAD) :]))
    except (IndexError, UnicodeDecodeError, RuntimeError, zstd.ZstdError) as error:
        raise Unreadable(f"{NAME} is cut off: {error}") from None


def damage(part: Path) -> str:
    """What is wrong with the files of a part, in words; empty where nothing is.

    Errors: FileNotFoundError where the part is not there any more.
    """
    with os.scandir(part) as entries:
        have = {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}
    if not have.get(NAME):
        return f"{NAME} is {'empty' if NAME in have else 'missing'}"
    try:
        meant = parse((part / NAME).read_bytes())
    except Unreadable as error:
        return str(error)
    for name, size in sorted(meant.items()):
        if not name.endswith(_PROJECTION) and have.get(name, 0) != size:
            return f"{name} has {have.get(name, 0)} of {size} bytes"
    return _damage_of_columns(part)


def _damage_of_columns(part: Path) -> str:
    """The list of columns has no checksum: it says itself how many lines it has."""
    try:
        lines = (part / "columns.txt").read_bytes().split(b"\n")
    except FileNotFoundError:
        return "columns.txt is missing"
    whole = (
        len(lines) >= 3 and lines[1].split(b" ")[0] == b"%d" % (len(lines) - 3) and not lines[-1]
    )
    return "" if whole else "columns.txt is cut off"


def _decompress(blocks: bytes) -> bytes:
    out = bytearray()
    while blocks:
        method = blocks[_HASH]
        length = int.from_bytes(blocks[_HASH + 1 : _HASH + 5], "little")
        size = int.from_bytes(blocks[_HASH + 5 : _HASH + _PROLOGUE], "little")
        body = blocks[_HASH + _PROLOGUE : _HASH + length]
        if len(body) != length - _PROLOGUE:
            raise Unreadable(f"{NAME} is cut off")
        match method:
            case 0x02:
                out += body
            case 0x82:
                out += lz4.block.decompress(body, uncompressed_size=size)
            case 0x90:
                out += zstd.decompress(body)
            case _:
                raise Unreadable(f"{NAME} is compressed in a way not known: {method:#x}")
        blocks = blocks[_HASH + length :]
    return bytes(out)


def _entries(data: bytes) -> dict[str, int]:
    sizes: dict[str, int] = {}
    files, at = _varint(data, 0)
    for _ in range(files):
        length, at = _varint(data, at)
        name = data[at : at + length].decode()
        size, at = _varint(data, at + length)
        at += _HASH
        compressed = data[at]
        at += 1
        if compressed:
            _, at = _varint(data, at)
            at += _HASH
        sizes[name] = size
    if at != len(data):
        raise Unreadable(f"{NAME} is cut off: {len(data)} bytes for {at}")
    return sizes


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at
