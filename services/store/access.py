"""Who asks, and what a reader may do.

The writer (one name, one password) may do everything. Everybody else on this machine may read,
within limits on time, memory and rows. What keeps a reader from writing is the engine's own
``readonly = 1``, set for the session after the limits, so that a query can change neither. It
does not cover everything: with it chDB 26.9 still reads files (``SELECT file('/etc/passwd')``,
``DESCRIBE file(...)``), writes files (``INTO OUTFILE``) and kills others' queries. So a reader's
statement is first shown to the engine's own parser, and runs only if it is one statement, of a
kind that reads, without INTO OUTFILE and without a function that reaches out of the store.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from services.store.engine import Session, escape
from services.store.errors import (
    ACCESS_DENIED,
    AUTHENTICATION_FAILED,
    READONLY,
    SETTING_CONSTRAINT_VIOLATION,
    Refused,
)
from services.store.statements import keyword


class Role(StrEnum):
    """What a caller may do."""

    WRITER = "writer"
    READER = "reader"


READER_NAMES = frozenset({"", "default", "reader"})


@dataclass(frozen=True)
class Limits:
    """What one query of a reader may cost."""

    max_execution_time_s: float = 60.0
    max_memory_bytes: int = 2 << 30
    max_result_rows: int = 5_000_000
    max_result_bytes: int = 1 << 30  # what the store itself may have to hold of a result

    def settings(self) -> dict[str, str]:
        """The same as ClickHouse's settings; going over is an error, never a shorter answer."""
        return {
            "max_execution_time": str(self.max_execution_time_s),
            "max_memory_usage": str(self.max_memory_bytes),
            "max_result_rows": str(self.max_result_rows),
            "max_result_bytes": str(self.max_result_bytes),
            "timeout_overflow_mode": "throw",
            "result_overflow_mode": "throw",
        }


# What a reader may set besides tighter limits: how a result looks, how much work runs at once.
_READER_SETTINGS = re.compile(
    r"(output_format_(?!schema)\w+|max_threads|max_block_size|extremes|join_use_nulls|final"
    r"|date_time_output_format|date_time_input_format|session_timezone|union_default_mode"
    r"|(select|except|intersect)_\w*mode|group_by_use_nulls|prefer_column_name_to_alias"
    r"|max_(rows|bytes)_to_read|limit|offset|use_query_cache|log_queries"
    r"|format_csv_\w+|bool_(true|false)_representation)\Z"
)
_LIMITS = {"max_execution_time", "max_memory_usage", "max_result_rows", "max_result_bytes"}

# Root nodes of statements that only read, in EXPLAIN AST's words.
_READING = re.compile(
    r"(Select\w*Query|Explain|DescribeQuery|Show(Tables|Columns|Indexes|Functions|Setting)\w*"
    r"|Show(Create\w*|Processlist|Engine\w*)Query|Exists\w*Query)\Z"
)
# The table functions that stay within the store. Every other one of the engine is refused.
_TABLE_FUNCTIONS = frozenset(
    {"numbers", "numbers_mt", "zeros", "zeros_mt", "primes", "generaterandom", "generateseries"}
    | {"generate_series", "values", "sqlstandardvalues", "view", "null", "merge", "format"}
)
# Ordinary functions that reach out of the store: files, certificates, language models, the log.
_FUNCTIONS = frozenset(
    {"file", "catboostevaluate", "showcertificate", "logtrace", "getclienthttpheader"}
    | {"addresstoline", "addresstolinewithinlines", "addresstosymbol", "filesystemavailable"}
)
_FUNCTION_NODE = re.compile(r"^ *Function (\S+)", re.MULTILINE)
_QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'|`(?:[^`\\]|\\.)*`|\"(?:[^\"\\]|\\.)*\"", re.DOTALL)


@dataclass(frozen=True)
class Credentials:
    """Name and password as the request gave them."""

    user: str
    password: str

    @classmethod
    def of(cls, headers: Mapping[str, str], query: Mapping[str, str]) -> Credentials:
        """From the X-ClickHouse headers, basic authorization or the URL, in this order."""
        if "x-clickhouse-user" in headers or "x-clickhouse-key" in headers:
            return cls(headers.get("x-clickhouse-user", ""), headers.get("x-clickhouse-key", ""))
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "basic":
            try:
                user, _, password = base64.b64decode(token, validate=True).decode().partition(":")
            except (binascii.Error, UnicodeDecodeError):
                raise _failed("?") from None
            return cls(user, password)
        if scheme:
            raise Refused(AUTHENTICATION_FAILED, f"the store does not know {scheme!r} tokens")
        return cls(query.get("user", ""), query.get("password", ""))

    def role(self, writer: str, password: str) -> Role:
        """Errors: Refused (AUTHENTICATION_FAILED) for anybody but the writer and the readers."""
        if self.user == writer:
            if password and hmac.compare_digest(self.password.encode(), password.encode()):
                return Role.WRITER
        elif self.user in READER_NAMES and not self.password:
            return Role.READER
        raise _failed(self.user)


def _failed(user: str) -> Refused:
    return Refused(
        AUTHENTICATION_FAILED,
        f"{user}: Authentication failed: password is incorrect, or there is no user with such name",
    )


def reader_settings(asked: Mapping[str, str], limits: Limits) -> dict[str, str]:
    """The settings of a reader's session: what was asked, within the limits, then read only.

    Errors: Refused (READONLY for a setting that is not a reader's, SETTING_CONSTRAINT_VIOLATION
    for a limit wider than the store's).
    """
    settings = limits.settings()
    for name, value in asked.items():
        if name == "readonly":
            continue
        if name in _LIMITS:
            settings[name] = _tighter(name, value, settings[name])
        elif _READER_SETTINGS.match(name):
            settings[name] = value
        else:
            raise Refused(READONLY, f"Cannot modify '{name}' setting in readonly mode.")
    return {**settings, "readonly": "1"}


def _tighter(name: str, asked: str, most: str) -> str:
    try:
        value = float(asked)
    except ValueError:
        value = 0.0
    # Zero is ClickHouse's word for "no limit".
    if not 0 < value <= float(most):
        raise Refused(
            SETTING_CONSTRAINT_VIOLATION,
            f"Setting {name} shouldn't be greater than {most} for readers of this store, "
            f"{asked} was asked",
        )
    return asked


def _read_only(kind: str) -> Refused:
    return Refused(
        READONLY,
        f"Cannot execute query in readonly mode: {kind} is not a statement that reads; "
        "connect as the writer",
    )


class Gatekeeper:
    """Judges readers' statements with the engine's own parser."""

    def __init__(self, session: Session) -> None:
        table_functions = session.run("SELECT lower(name) FROM system.table_functions").body
        known = frozenset(table_functions.decode().split())
        models = session.run("SELECT lower(name) FROM system.functions WHERE categories = 'AI'")
        self.forbidden = (
            (known - _TABLE_FUNCTIONS) | _FUNCTIONS | frozenset(models.body.decode().split())
        )

    @staticmethod
    def judge_keyword(statement: bytes) -> None:
        """Return unless the first word of a statement alone says that it writes rows.

        An INSERT with rows behind its text is no SQL that the parser could be shown: it would
        say SYNTAX_ERROR (or that binary rows are no UTF-8) where the truth is that a reader may
        not write. Errors: Refused (READONLY).
        """
        if keyword(statement) == b"INSERT":
            raise _read_only("INSERT")

    def judge(self, session: Session, sql: str, params: Mapping[str, str]) -> None:
        """Return if a reader may run ``sql``.

        Errors: EngineError (its syntax is wrong, or it is more than one statement), Refused
        (READONLY for a statement that does not read, ACCESS_DENIED for one that reaches out).
        """
        # 1. A parse without running anything: after it we know that it is one statement, so that
        #    putting EXPLAIN AST before it covers all of it.
        plain = session.run(
            "SELECT formatQuerySingleLine({text:String})", "TSVRaw", {"text": escape(sql)}
        ).body.decode(errors="replace")
        # 2. The tree.
        tree = session.run(f"EXPLAIN AST {sql}", "TabSeparated", params).body.decode(
            errors="replace"
        )
        kind = tree.split(maxsplit=1)[0] if tree.strip() else ""
        if not _READING.match(kind):
            raise _read_only(kind)
        if "INTO OUTFILE" in _QUOTED.sub("", plain).upper():
            raise Refused(ACCESS_DENIED, "INTO OUTFILE is not for readers; take the result home")
        named = (found.group(1).strip('`"').lower() for found in _FUNCTION_NODE.finditer(tree))
        reached = sorted(self.forbidden.intersection(named))
        if reached:
            raise Refused(
                ACCESS_DENIED,
                f"Not enough privileges: {', '.join(reached)}() reaches out of the store; "
                "readers see the store's tables only",
            )
