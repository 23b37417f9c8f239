"""Event times that may not be known yet: None, which cannot be calculated with by mistake.

Times are milliseconds since 1970 UTC. Formats of a fixed width write a number for None; it is made
and read here alone.
"""

from __future__ import annotations

_NOT_KNOWN = -(1 << 62)
_FIRST, _LAST = -2_208_988_800_000, 32_503_680_000_000  # 1900 and 3000


def latest(*times: int | None) -> int | None:
    """The latest of the times that are known; None where none is."""
    return max((time for time in times if time is not None), default=None)


def earliest(*times: int | None) -> int | None:
    """The earliest of the times that are known; None where none is."""
    return min((time for time in times if time is not None), default=None)


def checked(time: int) -> int:
    """A time that a record tells; ValueError where it can be none, and no date could be made."""
    if not _FIRST <= time < _LAST:
        raise ValueError(f"{time} ms is no time between the years 1900 and 3000")
    return time


def to_number(time: int | None) -> int:
    """A time as 64 bits hold it."""
    return _NOT_KNOWN if time is None else time


def from_number(number: int) -> int | None:
    """What `to_number` made a number of."""
    return None if number == _NOT_KNOWN else number
