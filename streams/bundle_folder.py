"""Where a version's bundle is: a name that comes from a record becomes a path here alone."""

from __future__ import annotations

import re
from pathlib import Path

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}")


def bundle_folder(artifacts: Path, name: str) -> Path:
    """The folder of a bundle, right in `artifacts`.

    Whoever may write to ``models`` names it. ValueError where the name is no version's: where it
    could lead anywhere else.

    >>> bundle_folder(Path("artifacts"), "flight_delay-0a1b").name
    'flight_delay-0a1b'
    >>> bundle_folder(Path("artifacts"), "../keys")
    Traceback (most recent call last):
    ValueError: '../keys' is no name of a version
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name[:200]!r} is no name of a version")
    return artifacts / name
