"""Error records in the logs of a home: what its processes said went wrong.

    found = errors_in(home, since=began)   # [LogError(log="worker.log", event="stage …", …)]

An error record is

- a structured line (`streams.observe`) of level error or critical,
- a line of log4j (the broker's) of level ERROR or FATAL,
- a traceback that stands in the log by itself: a process that ended before its logging began.

Lines of librdkafka are none: it reports each connection that the other end closes as an error and
connects again, and what matters of it Weir logs in lines of its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

LEVELS = ("error", "critical")
LAST_BYTES = 4 * 1024 * 1024
"""What `last_error` looks through at most, from a log's end."""
LONGEST_TEXT = 500
"""Characters of an error in words."""

_LOG4J = re.compile(r"(\S+Z) (?:ERROR|FATAL) (.*)")
_TRACEBACK = "Traceback (most recent call last):"
_CHAINED = ("During handling of the above exception", "The above exception was the direct cause")
_REASONS = ("error", "why", "reason")
"""Fields in which a structured line says why."""


@dataclass(frozen=True)
class LogError:
    """One error record.

    log: the file's name, such as ``worker.log``. event: what happened, as the log names it.
    detail: why, where the record says it: its error, or the last line of its traceback. at: when it
    was written; of a traceback by itself, the time of the record before it; None where there is
    none.
    """

    log: str
    event: str
    detail: str = ""
    at: datetime | None = None

    @property
    def text(self) -> str:
        """Event and detail in one line of bounded length."""
        text = " ".join(f"{self.event}: {self.detail}".split() if self.detail else [self.event])
        return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 1] + "…"


def errors_in(home: Path, since: datetime | None = None) -> list[LogError]:
    """Return the error records in ``<home>/logs``, by file and in each in the order of its lines.

    since: leave out what was written before. A record whose time is not known counts where its file
    was written to since then. Logs that were rotated (``worker.log.1``) are read as well.
    """
    folder = home / "logs"
    files = [*folder.glob("*.log"), *folder.glob("*.log.1"), *folder.glob("*.out")]
    found = []
    for path in sorted(files, key=_older_first):
        modified = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        if since is not None and modified < since:
            continue
        with path.open(errors="replace") as lines:
            found += [
                error
                for error in error_records(path.name, lines)
                if since is None or (error.at or modified) >= since
            ]
    return found


def last_error(path: Path, begin: int = 0) -> LogError | None:
    """Return the last error record of a log, from byte ``begin`` on.

    None where there is none in its last `LAST_BYTES`, or it cannot be read.
    """
    try:
        with path.open("rb") as file:
            file.seek(max(begin, path.stat().st_size - LAST_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return None
    return next(iter(list(error_records(path.name, lines))[-1:]), None)


def error_records(log: str, lines: Iterable[str]) -> Iterator[LogError]:
    """Yield the error records in the lines of one log, in their order."""
    told: dict[str, Any] = {}  # the structured line before: when a traceback was written
    unfinished: LogError | None = None  # a traceback whose last line has not come yet
    whole: LogError | None = None  # a traceback from which another may follow
    for raw in lines:
        line = raw.rstrip("\n")
        if unfinished is not None:
            if line and line[0] not in " \t":
                whole = replace(unfinished, event=line)
                unfinished = None
            continue
        if not line:
            continue
        if line.startswith(_CHAINED):  # what ended the process is the last of a chain
            whole = None
            continue
        if whole is not None:
            yield whole
            whole = None
        if line.startswith(_TRACEBACK):
            unfinished = LogError(log, _TRACEBACK, at=_time(told.get("timestamp")))
        elif (record := _structured(line)) is not None:
            told = record
            if record["level"] in LEVELS:
                at = _time(record.get("timestamp"))
                yield LogError(log, str(record.get("event", "")), _detail(record), at)
        elif found := _LOG4J.match(line):
            yield LogError(log, found[2], at=_time(found[1]))
    for rest in (whole, unfinished):
        if rest is not None:
            yield rest


def compact(errors: Iterable[LogError]) -> list[dict[str, Any]]:
    """Return errors as JSON data: one object for each log and event, with how often it came.

    ``detail`` is that of the last one.
    """
    grouped: dict[tuple[str, str], dict[str, Any]] = {}
    for error in errors:
        one = grouped.setdefault(
            (error.log, error.event), {"log": error.log, "event": error.event, "count": 0}
        )
        one["count"] += 1
        one["detail"] = error.detail
    return list(grouped.values())


def _older_first(path: Path) -> tuple[str, bool]:
    return path.name.removesuffix(".1"), not path.name.endswith(".1")


def _structured(line: str) -> dict[str, Any] | None:
    start = line.find("{")  # a terminal's control characters may stand before it
    if start < 0:
        return None
    try:
        record = json.loads(line[start:])
    except ValueError:
        return None
    return record if isinstance(record, dict) and "level" in record else None


def _detail(record: dict[str, Any]) -> str:
    if exception := str(record.get("exception") or "").rstrip():
        return exception.rpartition("\n")[2]
    return next((str(record[name]) for name in _REASONS if record.get(name)), "")


def _time(text: Any) -> datetime | None:
    try:
        time = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)
