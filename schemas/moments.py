"""Times of records as datetimes: whatever number a record has for one."""

from __future__ import annotations

from datetime import UTC, datetime

# What a datetime, pandas' timestamp and ClickHouse's DateTime64 can all hold, a day added or not:
# 1900 to 2261, in ms since 1970 UTC.
EARLIEST_MS, LATEST_MS = -2_208_988_800_000, 9_214_646_399_999


def bounded(millis: float) -> int:
    """A time in milliseconds since 1970 UTC that every calendar has: the nearest to the given.

    >>> bounded(2**62) == LATEST_MS, bounded(5)
    (True, 5)
    """
    return int(min(max(millis, EARLIEST_MS), LATEST_MS))


def moment(millis: float) -> datetime:
    """Milliseconds since 1970 as a datetime in UTC; one out of bounds is the nearest bound.

    >>> moment(0).isoformat(), moment(-(2**62)).year
    ('1970-01-01T00:00:00+00:00', 1900)
    """
    return datetime.fromtimestamp(bounded(millis) / 1000, UTC)


def minute_text(millis: float) -> str:
    """A time for people: ``2013-04-01 04:00 UTC``.

    >>> minute_text(0)
    '1970-01-01 00:00 UTC'
    """
    return f"{moment(millis):%Y-%m-%d %H:%M} UTC"
