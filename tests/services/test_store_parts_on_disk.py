"""Which parts are damaged, which rows are then missing, and what a look at the disk leads to."""

from __future__ import annotations

import os
from pathlib import Path

import lz4.block
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.store import checksums, definitions, parts
from services.store.guard import Act, decide
from services.store.parts import Blocks, Listing, uncovered

SIZES = {"data.bin": 300, "count.txt": 1, "p.proj": 77, "primary.cidx": 0}


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _checksums(sizes: dict[str, int]) -> bytes:
    """As ClickHouse writes them: data.bin is a compressed file, the others are not."""
    data = _varint(len(sizes))
    for name, size in sizes.items():
        data += _varint(len(name)) + name.encode() + _varint(size) + bytes(16)
        inner = _varint(7 * size) + bytes(16)
        data += b"\1" + inner if name == "data.bin" else b"\0"
    body = lz4.block.compress(data, store_size=False)
    lengths = (len(body) + 9).to_bytes(4, "little") + len(data).to_bytes(4, "little")
    return b"checksums format version: 4\n" + bytes(16) + b"\x82" + lengths + body


def _part(folder: Path, name: str) -> Path:
    part = folder / name
    part.mkdir(parents=True)
    for file, size in SIZES.items():
        if file != "p.proj":
            (part / file).write_bytes(bytes(size))
    (part / "p.proj").mkdir()
    (part / "checksums.txt").write_bytes(_checksums(SIZES))
    (part / "columns.txt").write_text("columns format version: 1\n2 columns:\n`a` Int8\n`b` Int8\n")
    return part


def test_sizes_are_read_from_the_checksums() -> None:
    assert checksums.parse(_checksums(SIZES)) == SIZES


def test_checksums_that_are_cut_off_anywhere_are_unreadable() -> None:
    whole = _checksums(SIZES)
    for length in range(len(whole)):
        with pytest.raises(checksums.Unreadable):
            checksums.parse(whole[:length])


def test_a_whole_part_is_not_damaged(tmp_path: Path) -> None:
    assert parts.why_damaged(_part(tmp_path, "all_1_1_0")) == ""


@pytest.mark.parametrize(
    ("name", "left", "why"),
    [
        ("data.bin", 299, "data.bin has 299 of 300 bytes"),
        ("data.bin", 0, "data.bin has 0 of 300 bytes"),
        ("count.txt", None, "count.txt has 0 of 1 bytes"),
        ("checksums.txt", 0, "checksums.txt is empty"),
        ("checksums.txt", None, "checksums.txt is missing"),
        ("columns.txt", 0, "columns.txt is cut off"),
        ("columns.txt", 50, "columns.txt is cut off"),
        ("columns.txt", None, "columns.txt is missing"),
    ],
)
def test_a_file_that_is_too_short_is_damage(
    tmp_path: Path, name: str, left: int | None, why: str
) -> None:
    file = _part(tmp_path, "all_1_1_0") / name
    if left is None:
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:left])
    assert parts.why_damaged(file.parent) == why


def test_a_part_that_is_gone_is_not_damaged(tmp_path: Path) -> None:
    assert parts.why_damaged(tmp_path / "all_1_1_0") == ""


def test_names_that_are_no_parts() -> None:
    for name in ("tmp_merge_all_1_2_1", "delete_tmp_all_1_2_1", "detached", "all_1_2", ".ballast"):
        assert Blocks.of(name) is None
    assert Blocks.of("202611_1_2_3_9") == Blocks("202611", 1, 2, 3)


@given(
    st.integers(1, 30),
    st.integers(0, 30),
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 60), st.integers(0, 9))),
)
def test_uncovered_are_just_the_blocks_that_no_other_part_has(
    first: int, length: int, others: list[tuple[str, int, int]]
) -> None:
    ranges = uncovered(
        Blocks("a", first, first + length),
        [Blocks(partition, begin, begin + more) for partition, begin, more in others],
    )
    have = {n for p, begin, more in others if p == "a" for n in range(begin, begin + more + 1)}
    missing = [n for begin, end in ranges for n in range(begin, end + 1)]
    assert missing == [n for n in range(first, first + length + 1) if n not in have]


def _table(store: Path) -> Path:
    table = store / "store" / "abc" / "abc-uuid"
    (table / "detached").mkdir(parents=True)
    (table / "format_version.txt").write_text("1")
    (table / "deduplication_logs").mkdir()
    (table / "deduplication_logs" / "deduplication_log_1.txt").write_text("1\tall_1_1_0\tall_7\n")
    return table


def test_a_damaged_merge_gives_way_to_the_parts_it_was_made_of(tmp_path: Path) -> None:
    table = _table(tmp_path)
    for name in ("all_1_1_0", "all_2_2_0", "all_1_2_1"):
        _part(table, name)
    (table / "all_1_2_1" / "data.bin").write_bytes(b"")
    (found,) = parts.heal(tmp_path)
    assert (found.part.name, found.missing) == ("all_1_2_1", ())
    assert {"all_1_1_0", "all_2_2_0"} == {n.name for n in table.glob("all_*")}
    assert not list((table / "detached").iterdir())
    assert list(table.glob("deduplication_logs/*"))
    assert parts.heal(tmp_path) == []


def test_rows_that_no_other_part_has_are_set_aside_and_named(tmp_path: Path) -> None:
    table = _table(tmp_path)
    _part(table, "all_1_1_0")
    (_part(table, "all_1_3_1") / "data.bin").unlink()
    (found,) = parts.heal(tmp_path)
    assert found.missing == ((2, 3),)
    assert [n.name for n in (table / "detached").iterdir()] == ["broken_all_1_3_1"]
    # The same insert, sent again, is not a repetition: its rows are not there.
    assert not list(table.glob("deduplication_logs/*"))


def test_a_listing_sees_every_change_however_quick_it_comes(tmp_path: Path) -> None:
    listing = Listing()
    for number in range(500):
        (tmp_path / f"all_{number}_{number}_0").mkdir()
        listing = Listing.of(str(tmp_path), listing)
        assert len(listing.names) == number + 1


def test_a_listing_of_what_is_as_it_was_long_ago_is_the_one_before(tmp_path: Path) -> None:
    (tmp_path / "all_1_1_0").mkdir()
    os.utime(tmp_path, (1.0, 1.0))
    first = Listing.of(str(tmp_path), Listing())
    assert Listing.of(str(tmp_path), first) is first
    tmp_path.rename(tmp_path.with_name("elsewhere"))
    assert Listing.of(str(tmp_path), first) == Listing()


def test_a_definition_that_is_cut_off_is_the_one_before_again(tmp_path: Path) -> None:
    folder = tmp_path / "store" / "def" / "def-uuid"
    folder.mkdir(parents=True)
    one, dropped = folder / "one.sql", folder / "dropped.sql"
    one.write_text("ATTACH TABLE _ UUID 'a' (x Int8)\n")
    dropped.write_text("ATTACH TABLE _ UUID 'b' (x Int8)\n")
    definitions.copy(tmp_path)
    one.write_text("")
    definitions.copy(tmp_path)  # nothing whole to copy: the one before stays
    assert definitions.mend(tmp_path) == [one]
    assert one.read_text() == "ATTACH TABLE _ UUID 'a' (x Int8)\n"
    dropped.unlink()
    definitions.copy(tmp_path)
    dropped.write_text("")  # another one of its name has nothing to do with it
    assert definitions.mend(tmp_path) == []


def test_a_line_that_is_cut_off_is_taken_out_of_the_list_of_inserts(tmp_path: Path) -> None:
    log = _table(tmp_path) / "deduplication_logs" / "deduplication_log_1.txt"
    log.write_text("1\tall_1_1_0\tall_7\n1\tall_21\tall_3_3_0\tall_9\n1\tall_4_4_0\tall_10\n")
    assert definitions.mend(tmp_path) == [log]
    assert log.read_text() == "1\tall_1_1_0\tall_7\n1\tall_4_4_0\tall_10\n"
    assert definitions.mend(tmp_path) == []


@pytest.mark.parametrize(
    ("free", "stopped", "damaged", "act"),
    [
        (100, False, False, Act.NONE),
        (99, False, False, Act.STOP_MERGES),
        (99, True, False, Act.NONE),
        (100, True, False, Act.START_MERGES),
        (0, True, True, Act.RESTART),
    ],
)
def test_what_a_look_leads_to(free: int, stopped: bool, damaged: bool, act: Act) -> None:
    assert decide(free, 100, stopped, damaged) is act
