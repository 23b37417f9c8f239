"""Which statements may run: readers' by lists of what is allowed, the writer's without files.

ClickHouse calls a function from many places: before parentheses, by its bare name where a lambda
may stand (``arrayMap(file, ...)``), in ``APPLY``, in the WHERE of a SHOW. So no single kind of node
of a parsed statement is looked at but every token, of two texts: the statement as it came, and as
the engine's parser writes it out again (which also proves that it is one statement). In both, a
name that the engine knows as a function or table function and that `allowed.txt` does not have is
refused wherever it can be called, and what a reader calls must be there.

This is the first of two locks. The second is the engine's: each session has the rights of a role
without any source (files, URLs, other servers) and, for readers, ``readonly = 1`` (`rights`).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from typing import NamedTuple

from services.store.allowed import ALLOWED
from services.store.engine import Session, escape
from services.store.errors import (
    ACCESS_DENIED,
    BAD_ARGUMENTS,
    QUERY_IS_TOO_LARGE,
    READONLY,
    Refused,
)
from services.store.statements import InsertWithData, keyword, tokens

MAX_READER_BYTES = 256 << 10
"""Of a reader's statement: ClickHouse's own ``max_query_size``."""

MAX_WRITER_BYTES = 4 << 20
"""Of a writer's statement without the rows behind it: a second of reading. More rows than that go
behind ``FORMAT``, where they are data and not SQL."""

MAX_DOLLARS = 1000
"""Of a statement: each may open a text that is looked for to the statement's end."""

# What a reader's statement may begin with, as the engine's parser writes it, and then be.
_READS = frozenset({"SELECT", "WITH", "FROM", "("})
_SIMPLE = {
    "SHOW": re.compile(
        r"SHOW (DATABASES|CREATE|SETTING|(CHANGED )?SETTINGS|ENGINES|FUNCTIONS"
        r"|(EXTENDED )?(FULL )?(TABLES|COLUMNS|INDEXES|INDEX|KEYS)|VIEWS) ?",
        re.IGNORECASE,
    ),
    "EXISTS": re.compile(r"EXISTS (DATABASE|TABLE|VIEW|TEMPORARY TABLE)? ?", re.IGNORECASE),
}
_EXPLAIN = re.compile(
    r"EXPLAIN(?: (?:AST|SYNTAX|QUERY TREE|PLAN|PIPELINE|ESTIMATE))?(?: [a-z_]+ = \d+,?)* *(\w+|\()",
    re.IGNORECASE,
)
# What the writer's may begin with: no ATTACH, which takes a folder from anywhere. USE, SET and
# SYSTEM are no business of a call's own session.
_WRITES = frozenset(
    {
        "INSERT",
        "CREATE",
        "ALTER",
        "DROP",
        "TRUNCATE",
        "OPTIMIZE",
        "DELETE",
        "UPDATE",
        "RENAME",
        "EXCHANGE",
        "UNDROP",
        "SELECT",
        "WITH",
        "FROM",
        "SHOW",
        "DESCRIBE",
        "DESC",
        "EXISTS",
        "EXPLAIN",
        "CHECK",
        "KILL",
    }
)
_ENGINES = re.compile(
    r"((Shared|Replicated)?(Replacing|Summing|Aggregating|Collapsing|VersionedCollapsing|Graphite"
    r"|Coalescing)?MergeTree|Memory|Log|TinyLog|StripeLog|Null|Set|Join|Merge|Buffer|View"
    r"|MaterializedView|Atomic|Ordinary)\Z",
    re.IGNORECASE,
)
FILE_SETTINGS = re.compile(
    r"(format_schema|format_template|format_avro_schema_registry)\w*|input_format_values_interpret_expressions"
    r"|table_disk|storage_policy|rename_files_after_processing",
    re.IGNORECASE,
)
"""Settings that name files or disks; ours of VALUES, so that the rows behind it are data."""


class _Word(NamedTuple):
    text: str  # of names in quotes what is between them
    kind: str

    @property
    def named(self) -> bool:
        return self.kind in ("word", "name")


class Judge:
    """Judges statements; asks the engine for its functions once, and to parse each statement."""

    def __init__(self, session: Session) -> None:
        def column(query: str) -> frozenset[str]:
            return frozenset(session.run(query).body.decode().lower().split())

        self.known = column(
            "SELECT name FROM system.functions UNION ALL SELECT name FROM system.table_functions"
        )
        self.forbidden = self.known - ALLOWED.callable
        self._suffixes = tuple(column("SELECT name FROM system.aggregate_function_combinators"))
        # Types stand in placeholders only, {ids:Array(String)}: elsewhere they are strings.
        self._types = column("SELECT name FROM system.data_type_families")

    def reader(self, session: Session, statement: bytes, params: Mapping[str, str]) -> None:
        """Return if a reader may run ``statement``.

        Errors: EngineError (its syntax is wrong, or it is more than one statement), Refused
        (READONLY for a statement that does not read, ACCESS_DENIED for one that reaches out).
        """
        if keyword(statement) == b"INSERT":
            # Rows behind its text are no SQL that the parser could be shown.
            raise _read_only("INSERT")
        text = _text(statement, MAX_READER_BYTES)
        plain = _parsed(session, text)
        self._judge_kind(plain)
        words = _words(plain)
        self._judge_calls(words)
        for form in (words, _words(text)):
            self._judge_words(form)
            self._judge_tables(form)
        self._judge_names_in(params, plain)

    def writer(self, session: Session, statement: bytes, insert: InsertWithData | None) -> None:
        """Return if the writer may run ``statement``. Errors: as of `reader`."""
        if insert is not None:
            # An INSERT's head has names of columns and no expressions.
            words = _words(insert.table + " " + insert.settings)
            self._judge_words(words, listed=True)
            self._judge_definition(words)
            return
        text = _text(statement, MAX_WRITER_BYTES)
        first = keyword(statement).decode().upper()
        if first not in _WRITES:
            raise Refused(
                ACCESS_DENIED,
                f"Not enough privileges: {first or text[:20]!r} is no statement of the writer's: "
                "it reads, inserts, defines and changes tables",
            )
        words = _words(text)
        forms = [words]
        if not (
            first == "INSERT"
            and any(w.kind == "word" and w.text.upper() == "VALUES" for w in words)
        ):
            # Behind VALUES are rows, which the parser leaves out.
            forms.append(_words(_parsed(session, text)))
        for form in forms:
            self._judge_words(form)
            self._judge_definition(form)

    @staticmethod
    def _judge_kind(plain: str) -> None:
        first, _, _ = plain.partition(" ")
        first = "(" if plain.startswith("(") else first.upper()
        if first in _READS or first == "DESCRIBE":
            return
        if first in _SIMPLE:
            rest = _SIMPLE[first].match(plain)
            words = _words(plain)
            if rest and not any(
                (w.kind == "other" and w.text in "()") or w.text.upper() == "WHERE" for w in words
            ):
                return
            raise Refused(
                ACCESS_DENIED,
                f"Not enough privileges: a reader's {first} names databases, tables or columns, "
                "with LIKE and without WHERE; read system.tables or system.columns instead",
            )
        if first == "EXPLAIN":
            found = _EXPLAIN.match(plain)
            if found and found[1].upper() in _READS:
                return
        raise _read_only(first)

    def _judge_words(self, words: list[_Word], listed: bool = False) -> None:
        """Refuse files and names of functions that are not allowed, wherever they can be called.

        ``listed``: the brackets are lists of columns.
        """
        self._judge_no_files(words)
        brackets: list[bool] = []  # of each open one whether its elements may be called
        for i, word in enumerate(words):
            before, after = (
                words[i - 1] if i else _NONE,
                words[i + 1] if i + 1 < len(words) else _NONE,
            )
            if word.kind == "other":
                if word.text in "([":
                    brackets.append(not (listed or _begins_select(after, words[i + 2 : i + 3])))
                elif word.text in ")]" and brackets:
                    brackets.pop()
                continue
            if not word.named or word.text.lower() not in self.forbidden:
                continue
            called = after.text == "(" and after.kind == "other"
            column = before.text == "." and before.kind == "other"
            alone = (
                bool(brackets) and brackets[-1] and before.text in _LEFT and after.text in _RIGHT
            )
            applied = before.text.upper() == "APPLY"
            aliased = after.text.upper() == "AS" and after.kind == "word"
            if called or (not column and (alone or applied or aliased)):
                raise Refused(
                    ACCESS_DENIED,
                    f"Not enough privileges: {word.text}() is not allowed in this store: what "
                    "reaches out of it is for nobody. If it is a column or a table, write what it "
                    f"belongs to before it: t.{word.text}",
                )

    def _judge_calls(self, words: list[_Word]) -> None:
        for word, after in itertools.pairwise(words):
            if not (word.named and after.kind == "other" and after.text == "("):
                continue
            if word.kind == "word" and word.text.upper() in ALLOWED.words:
                continue
            name = word.text.lower()
            if not (name in self._types or self._callable(name)):
                raise Refused(
                    ACCESS_DENIED,
                    f"Not enough privileges: {word.text}() is not among the functions that readers "
                    "may call",
                )

    @staticmethod
    def _judge_tables(words: list[_Word]) -> None:
        """Refuse tables of the database ``system`` that are not for readers, which the engine's
        rights do not cover: every user of it may read them."""
        for i, word in enumerate(words):
            dot, name, end = (*words[i + 1 : i + 4], _NONE, _NONE, _NONE)[:3]
            text = word.text.lower()
            if word.named and text == "system" and dot.text == ".":
                if name.text.lower() not in ALLOWED.system_tables:
                    raise _no_table(f"system.{name.text}")
            elif word.named and text == "merge" and dot.text == "(":
                one = name.kind == "string" and end.text in (",", ")")
                if not one or not _DATABASE.match(name.text):
                    raise _no_table(f"merge({name.text} ...): name one database, in quotes;")

    def _callable(self, name: str) -> bool:
        while name not in ALLOWED.callable:
            suffix = next((s for s in self._suffixes if name.endswith(s) and name != s), None)
            if suffix is None:
                return False
            name = name.removesuffix(suffix)
            if name in ALLOWED.aggregates:
                return True
        return True

    def _judge_names_in(self, params: Mapping[str, str], plain: str) -> None:
        """Refuse names of functions and of ``system`` in parameters, which travel escaped."""
        names = set(_NAME_PLACEHOLDER.findall(plain))  # "": a name that is not to be told
        for name, value in params.items():
            if names.isdisjoint(("", name)):
                continue
            lower = value.strip().lower()
            if lower in self.forbidden or "system" in lower or "\\" in lower:
                raise _no_table(f"{name} = {value[:40]!r}")

    @staticmethod
    def _judge_no_files(words: list[_Word]) -> None:
        for word, after in itertools.pairwise(words):
            pair = (word.text.upper(), after.text.upper())
            if word.kind == after.kind == "word" and pair in (
                ("INTO", "OUTFILE"),
                ("FROM", "INFILE"),
            ):
                raise Refused(
                    ACCESS_DENIED,
                    f"{' '.join(pair)} is for nobody: the store reads and writes no files; send "
                    "rows in the request's body, take the result from the answer",
                )

    @staticmethod
    def _judge_definition(words: list[_Word]) -> None:
        """Refuse engines and disks that lie elsewhere, formats by files, and a second statement."""
        for i, word in enumerate(words):
            after = words[i + 1] if i + 1 < len(words) else _NONE
            value = words[i + 2] if i + 2 < len(words) else _NONE
            name = word.text.lower() if word.kind != "string" else ""
            if (
                (name == ";" and after is not _NONE)
                or (
                    (name == "engine" and after.text == "=" and value.named)
                    and not _ENGINES.match(value.text)
                )
                or (name == "disk" and after.text == "(")
                or (name == "disk" and after.text == "=" and value.named)
                or (after.text == "=" and FILE_SETTINGS.match(name))
            ):
                raise Refused(
                    ACCESS_DENIED,
                    f"Not enough privileges near {word.text} {after.text} {value.text}: one "
                    "statement a call; tables are of the MergeTree family or in memory, on the "
                    "store's own disk; nothing is read from a file",
                )


def _begins_select(word: _Word, after: list[_Word]) -> bool:
    """Whether a bracket before ``word`` is a subquery's: with columns in it, no arguments."""
    return (
        word.kind == "word"
        and word.text.upper() in ("SELECT", "WITH", "FROM")
        and bool(after)
        and after[0].text not in (",", ")", ".", "(", "[")
    )


_NONE = _Word("", "none")
_LEFT = frozenset("([,")
_RIGHT = frozenset(")],")
_DATABASE = re.compile(r"'(?!system'|information_schema')\w+'\Z", re.IGNORECASE)
_NAME_PLACEHOLDER = re.compile(r"(?:\{\s*(\w+)\s*)?:\s*Identifier\s*\}", re.IGNORECASE)
_ESCAPES = re.compile(r"\\(x[0-9a-fA-F]{2}|.)", re.DOTALL)
_ESCAPED = dict(zip("ntr0abefv", "\n\t\r\0\a\b\x1b\f\v", strict=True))


def _words(text: str) -> list[_Word]:
    raw = text.encode()
    return [_word(raw[t.start : t.end].decode(errors="replace"), t.kind) for t in tokens(raw)]


def _word(text: str, kind: str) -> _Word:
    """A token; of a quoted name what it names: `fil\\x65` is file."""
    if kind != "name":
        return _Word(text, kind)
    quote, inner = text[0], text[1:-1]

    def one(found: re.Match[str]) -> str:
        code = found[1]
        return (
            chr(int(code[1:], 16))
            if code[0] == "x" and len(code) == 3
            else _ESCAPED.get(code, code)
        )

    return _Word(_ESCAPES.sub(one, inner.replace(quote * 2, quote)), kind)


def _parsed(session: Session, text: str) -> str:
    """The statement as the engine's parser writes it. Errors: EngineError, if it is not one."""
    made = session.run(
        "SELECT formatQuerySingleLine({text:String})", "TSVRaw", {"text": escape(text)}
    )
    return made.body.decode(errors="replace").strip()


def _text(statement: bytes, most: int) -> str:
    if len(statement) > most:
        raise Refused(
            QUERY_IS_TOO_LARGE,
            f"the statement has more than {most} bytes; rows go behind INSERT ... FORMAT, values "
            "into parameters",
        )
    if statement.count(b"$") > MAX_DOLLARS:
        raise Refused(BAD_ARGUMENTS, f"the statement has more than {MAX_DOLLARS} dollar signs")
    if b"\0" in statement:
        raise Refused(BAD_ARGUMENTS, "the statement has a NUL")
    try:
        return statement.decode()
    except UnicodeDecodeError as error:
        raise Refused(BAD_ARGUMENTS, f"a statement must be UTF-8: {error}") from None


def _no_table(what: str) -> Refused:
    return Refused(
        ACCESS_DENIED,
        f"Not enough privileges: {what} is not for readers; of the database system they see "
        + ", ".join(sorted(ALLOWED.system_tables)),
    )


def _read_only(kind: str) -> Refused:
    return Refused(
        READONLY,
        f"Cannot execute query in readonly mode: {kind[:40]} is not a statement that reads; "
        "connect as the writer",
    )
