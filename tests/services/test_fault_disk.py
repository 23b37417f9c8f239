"""The full disk of the fault harness is a real one, and is empty again afterwards."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from services.faults.inject import full_disk, small_disk


def test_nothing_can_be_written_while_the_disk_is_full(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    with small_disk(folder, 8) as why:
        if why:
            pytest.skip(why)
        (folder / "before").write_bytes(b"kept")
        with full_disk(folder), pytest.raises(OSError, match="No space") as refused:
            (folder / "during").write_bytes(bytes(1 << 16))
        assert refused.value.errno == errno.ENOSPC
        (folder / "after").write_bytes(bytes(1 << 20))
        assert (folder / "before").read_bytes() == b"kept"
