"""The little SQL that the store itself must read.

The engine takes an INSERT's data apart from its text, and over HTTP they arrive as one body; and
a client is told by a header whether a statement has a result. Nothing here decides about rights
(``access`` asks the engine's own parser for that).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

# One token of ClickHouse SQL, as its own Lexer.cpp has it: what is between quotes or in a comment
# is one, so that no keyword is found in there. Possessive: a text without an end costs one look.
_TOKEN = re.compile(
    rb"""
      (?P<blank>\s+|--[^\n]*+|\#[!\ ][^\n]*+)
    | (?P<comment>/\*)
    | (?P<string>'(?:[^'\\]++|\\.|'')*+'|\xe2\x80\x98.*?\xe2\x80\x99)
    | (?P<heredoc>\$\w*+\$)
    | (?P<name>`(?:[^`\\]++|\\.|``)*+`|"(?:[^"\\]++|\\.|"")*+"|\xe2\x80\x9c.*?\xe2\x80\x9d)
    | (?P<word>[A-Za-z_$][\w$]*+)
    | (?P<number>\d[\w$]*+)
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_WORD_TAIL = re.compile(rb"[\w$]*+")
_COMMENT_EDGE = re.compile(rb"/\*|\*/")  # comments nest
_RESULT = frozenset(
    b"SELECT WITH FROM SHOW DESCRIBE DESC EXPLAIN EXISTS CHECK KILL BACKUP RESTORE VALUES".split()
)
# Statements that write nothing, or make room.
_WRITES_NOTHING = frozenset(
    b"SELECT WITH FROM SHOW DESCRIBE DESC EXPLAIN EXISTS CHECK KILL USE SET SYSTEM".split()
    + b"DROP TRUNCATE".split()
)
_TRAILING_FORMAT = re.compile(
    r"\bFORMAT\s+([A-Za-z]\w*)\s*(?:SETTINGS\s[^;']*)?;?\s*\Z",
    re.IGNORECASE | re.ASCII,
)
# The head of an INSERT is short; a longer one would only make us scan data for nothing.
_HEAD_BYTES = 1 << 20


class Token(NamedTuple):
    """A piece of a statement: ``kind`` is string, name (quoted), word, number or other."""

    kind: str
    start: int
    end: int
    depth: int  # of parentheses around it


@dataclass(frozen=True)
class InsertWithData:
    """An INSERT whose rows follow its text: ``INSERT INTO t (a, b) FORMAT Native`` + bytes."""

    table: str  # INSERT INTO t (a, b)
    settings: str  # SETTINGS x = 1, or nothing
    format: str
    data_at: int  # where in the body the rows begin


def keyword(text: bytes) -> bytes:
    """The first word of a statement, upper case; empty where there is none.

    >>> keyword(b"/* a comment */ (select 1)")
    b'SELECT'
    """
    for token in tokens(text):
        if token.kind == "word":
            return text[token.start : token.end].upper()
        if text[token.start : token.end] != b"(":
            return b""
    return b""


def has_result(text: bytes) -> bool:
    """Whether the statement answers with rows, be it none of them."""
    return keyword(text) in _RESULT


def writes(text: bytes) -> bool:
    """Whether the statement needs room on the disk.

    >>> writes(b"ALTER TABLE t ADD COLUMN a Int8"), writes(b"DROP TABLE t")
    (True, False)
    """
    return keyword(text) not in _WRITES_NOTHING


def explicit_format(text: str) -> str | None:
    """The format that the query's own FORMAT clause names, if it ends with one.

    >>> explicit_format("SELECT 1 FORMAT JSON;")
    'JSON'
    """
    found = _TRAILING_FORMAT.search(text)
    return found.group(1) if found else None


def insert_with_data(body: bytes) -> InsertWithData | None:
    """Split an INSERT from its rows; None where the engine can take the text as it stands
    (no INSERT, or one with VALUES, SELECT or FROM INFILE).

    >>> insert_with_data(b"INSERT INTO t (format) FORMAT CSV\\n1,2").data_at
    34
    """
    words = (
        (body[t.start : t.end].upper(), t)
        for t in tokens(body[:_HEAD_BYTES])
        if t.kind == "word" and t.depth == 0
    )
    first = next(words, None)
    if first is None or first[0] != b"INSERT":
        return None
    settings_at: int | None = None
    for word, token in words:
        if word in (b"VALUES", b"SELECT", b"WITH", b"INFILE"):
            return None
        if word == b"SETTINGS":
            settings_at = token.start
        if word == b"FORMAT":
            named = next(words, None)
            if named is None:
                return None
            if settings_at is None:
                settings_at = token.start
            return InsertWithData(
                table=body[:settings_at].decode().rstrip(),
                settings=body[settings_at : token.start].decode().rstrip(),
                format=body[named[1].start : named[1].end].decode(),
                data_at=_data_at(body, named[1].end),
            )
    return None


def _data_at(body: bytes, end: int) -> int:
    """Rows begin after the first line break, else after the blanks: as ClickHouse has it. No
    more than one break is skipped: binary data may begin with a byte that looks like one."""
    while body[end : end + 1] in (b" ", b"\t", b"\f"):
        end += 1
    if body[end : end + 1] == b"\r":
        end += 1
    return end + 1 if body[end : end + 1] == b"\n" else end


def tokens(text: bytes) -> Iterator[Token]:
    """The tokens of a statement, without blanks and comments."""
    depth = at = 0
    while found := _TOKEN.match(text, at):
        kind = found.lastgroup or "other"
        at = found.end()
        if kind == "comment":
            at = _end_of_comment(text, at)
        elif kind == "heredoc":
            end = text.find(found.group(), at)
            kind = "string" if end >= 0 else "word"
            at = end + len(found.group()) if end >= 0 else _rest_of_word(text, at)
        if kind in ("blank", "comment"):
            continue
        symbol = found.group() if kind == "other" else b""
        if symbol == b")":
            depth -= 1
        yield Token(kind, found.start(), at, depth)
        if symbol == b"(":
            depth += 1


def _rest_of_word(text: bytes, at: int) -> int:
    found = _WORD_TAIL.match(text, at)
    return found.end() if found else at


def _end_of_comment(text: bytes, at: int) -> int:
    open_ = 1
    for edge in _COMMENT_EDGE.finditer(text, at):
        open_ += 1 if edge.group() == b"/*" else -1
        if not open_:
            return edge.end()
    return len(text)
