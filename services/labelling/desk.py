"""Who looks at which input now, who could not tell, and what was answered lately.

One SQLite file in the home, shared by the page and every `weir label` on this machine: two people
are not asked the same. It is a notebook and no record: answers are in the truth topic, and without
the file nothing is lost but that two people may once look at the same input.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streams.labelling.answers import Answer
from streams.labelling.ranking import Lane

WAIT_S = 10.0
"""Longest wait for another process's change, which takes a millisecond."""

TABLES = """
CREATE TABLE IF NOT EXISTS leases (
    request_id TEXT PRIMARY KEY, person TEXT NOT NULL, until INTEGER NOT NULL,
    event_time INTEGER NOT NULL, probability REAL, lane TEXT
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS skips (
    request_id TEXT NOT NULL, person TEXT NOT NULL, at INTEGER NOT NULL,
    event_time INTEGER NOT NULL, probability REAL, lane TEXT, PRIMARY KEY (request_id, person)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS answers (
    request_id TEXT PRIMARY KEY, person TEXT NOT NULL, at INTEGER NOT NULL,
    event_time INTEGER NOT NULL, known_at INTEGER NOT NULL, answer TEXT NOT NULL,
    probability REAL, lane TEXT, reopened INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
"""


_FIELDS = "request_id, person, at, event_time, known_at, answer, probability, lane"
_SKIPPED = "SELECT request_id FROM skips GROUP BY request_id HAVING count(*) >= ?"
_Do = Callable[..., sqlite3.Cursor]


class DeskError(RuntimeError):
    """What a person wants to do with an input cannot be done any more; the message says why."""


@dataclass(frozen=True, slots=True)
class Place:
    """An input's place in the queue: its event time in milliseconds, and how it was chosen.

    probability, lane: None where the queue did not choose it.
    """

    request_id: str
    event_time: int
    probability: float | None = None
    lane: Lane | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer that was sent; times in milliseconds: ``at`` is the clock's, the others events'.

    probability, lane: as the queue chose the input; None where it did not.
    """

    request_id: str
    person: str
    at: int
    event_time: int
    known_at: int
    answer: Answer
    probability: float | None
    lane: Lane | None


class Desk:
    """The notebook of one task; may be used by several threads and processes."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._file = sqlite3.connect(
            path, timeout=WAIT_S, isolation_level=None, check_same_thread=False
        )
        self._file.execute("PRAGMA journal_mode = WAL")
        self._file.executescript(TABLES)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def lease(
        self,
        places: Sequence[Place],
        person: str,
        n: int,
        now: int,
        until: int,
        most_skips: int,
    ) -> list[Place]:
        """The first n of ``places`` that this person may look at; they are theirs until then.

        now, until: clock, milliseconds. Left out are inputs that others look at, that this person
        or ``most_skips`` people could not tell, and those that were answered.
        """
        with self._change() as do:
            late = "SELECT request_id FROM leases WHERE until <= ?"
            do(f"UPDATE answers SET reopened = 0 WHERE request_id IN ({late})", (now,))
            do("DELETE FROM leases WHERE until <= ?", (now,))
            ids = {place.request_id for place in places}
            taken = self._among(do, ids, "SELECT request_id FROM leases WHERE person != ?", person)
            taken |= self._among(do, ids, "SELECT request_id FROM answers WHERE reopened = 0")
            taken |= self._among(do, ids, "SELECT request_id FROM skips WHERE person = ?", person)
            taken |= self._among(do, ids, _SKIPPED, most_skips)
            given = [place for place in places if place.request_id not in taken][:n]
            for place in given:
                _put_lease(do, place, person, until)
            return given

    def claim(self, request_id: str, person: str, now: int) -> tuple[Place | None, Answered | None]:
        """Make sure that this person may answer now: their place, and the answer to be corrected.

        DeskError where somebody else looks at it or has answered it.
        """
        with self._change() as do:
            row = do(
                "SELECT person FROM leases WHERE request_id = ? AND until > ?", (request_id, now)
            ).fetchone()
            if row and row[0] != person:
                raise DeskError(f"{row[0]} looks at {request_id} now; your answer was not sent")
            before = self._answer(do, request_id)
            if before and not before[1]:
                raise DeskError(
                    f"{before[0].person} has answered {request_id}; your answer was not sent"
                )
            mine = do(
                "SELECT request_id, event_time, probability, lane FROM leases "
                "WHERE request_id = ? AND person = ?",
                (request_id, person),
            ).fetchone()
            return Place(*mine) if mine else None, before[0] if before else None

    def answered(self, answers: Iterable[Answered]) -> None:
        """Note answers that are in the truth topic."""
        with self._change() as do:
            for one in answers:
                do("DELETE FROM leases WHERE request_id = ?", (one.request_id,))
                do(
                    "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0)",
                    (
                        one.request_id,
                        one.person,
                        one.at,
                        one.event_time,
                        one.known_at,
                        json.dumps(one.answer),
                        one.probability,
                        one.lane,
                    ),
                )

    def skip(self, place: Place, person: str, now: int) -> None:
        """This person cannot tell."""
        with self._change() as do:
            id_ = place.request_id
            do("DELETE FROM leases WHERE request_id = ? AND person = ?", (id_, person))
            row = (id_, person, now, place.event_time, place.probability, place.lane)
            do("INSERT OR REPLACE INTO skips VALUES (?, ?, ?, ?, ?, ?)", row)

    def undo(self, person: str, until: int) -> Place | None:
        """Take back what this person did last: the input is theirs again. None: nothing to undo.

        A skip is gone. An answer stays in the topic until another one corrects it.
        """
        with self._change() as do:
            last = do(
                """
                SELECT request_id, event_time, probability, lane FROM (
                    SELECT request_id, event_time, probability, lane, at FROM skips
                    WHERE person = :person
                    UNION ALL
                    SELECT request_id, event_time, probability, lane, at FROM answers
                    WHERE person = :person AND reopened = 0
                ) ORDER BY at DESC, request_id DESC LIMIT 1
                """,
                {"person": person},
            ).fetchone()
            if last is None:
                return None
            place = Place(*last)
            row = place.request_id, person
            do("DELETE FROM skips WHERE request_id = ? AND person = ?", row)
            do("UPDATE answers SET reopened = 1 WHERE request_id = ? AND person = ?", row)
            _put_lease(do, place, person, until)
            return place

    def release(self, person: str) -> None:
        """This person stops: what they look at is free, what they reopened is answered again."""
        with self._change() as do:
            mine = "SELECT request_id FROM leases WHERE person = ?"
            do(f"UPDATE answers SET reopened = 0 WHERE request_id IN ({mine})", (person,))
            do("DELETE FROM leases WHERE person = ?", (person,))

    def answers(self, known_from: int, known_to: int) -> list[Answered]:
        """The answers that became known between two event times, from inclusive to exclusive."""
        with self._change() as do:
            found = do(
                f"SELECT {_FIELDS} FROM answers WHERE known_at >= ? AND known_at < ?",
                (known_from, known_to),
            ).fetchall()
        return [_answered(row) for row in found]

    def settled(self, ids: Iterable[str], most_skips: int) -> set[str]:
        """Those of some inputs that nobody is asked of any more, though no truth may be seen yet:
        answered, or skipped by so many people."""
        wanted = set(ids)
        with self._change() as do:
            return self._among(
                do, wanted, "SELECT request_id FROM answers WHERE reopened = 0"
            ) | self._among(do, wanted, _SKIPPED, most_skips)

    def looked_at(self, now: int) -> int:
        """How many inputs somebody looks at."""
        with self._change() as do:
            row = do("SELECT count(*) FROM leases WHERE until > ?", (now,)).fetchone()
        return int(row[0])

    def forget(self, before: int) -> None:
        """Let go of what is about requests from before an event time."""
        with self._change() as do:
            do("DELETE FROM skips WHERE event_time < ?", (before,))
            do("DELETE FROM answers WHERE event_time < ?", (before,))

    @contextmanager
    def _change(self) -> Iterator[_Do]:
        """One transaction: of two people who want the same input, one gets it."""
        with self._lock:
            self._file.execute("BEGIN IMMEDIATE")
            try:
                yield self._file.execute
            except BaseException:
                self._file.execute("ROLLBACK")
                raise
            self._file.execute("COMMIT")

    def _among(self, do: _Do, ids: set[str], query: str, *given: Any) -> set[str]:
        return ids.intersection(id_ for (id_,) in do(query, given))

    def _answer(self, do: _Do, request_id: str) -> tuple[Answered, bool] | None:
        """The answer to a request, and whether it was reopened."""
        row = do(
            f"SELECT {_FIELDS}, reopened FROM answers WHERE request_id = ?", (request_id,)
        ).fetchone()
        return (_answered(row[:-1]), bool(row[-1])) if row else None


def _put_lease(do: _Do, place: Place, person: str, until: int) -> None:
    row = (place.request_id, person, until, place.event_time, place.probability, place.lane)
    do("INSERT OR REPLACE INTO leases VALUES (?, ?, ?, ?, ?, ?)", row)


def _answered(row: Sequence[Any]) -> Answered:
    request_id, person, at, event_time, known_at, answer, probability, lane = row
    return Answered(
        request_id, person, at, event_time, known_at, json.loads(answer), probability, lane
    )
