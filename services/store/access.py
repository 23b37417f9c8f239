"""Who asks, and what a reader may cost.

The writer (one name, one password) inserts, defines and changes tables. Everybody else on this
machine may read, within limits on time, memory and rows: these are set for the session first, the
engine's ``readonly = 1`` last, so that a query can change none of them. Which statements may run
is in `judge`, what the engine itself allows in `rights`.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass

from services.store.errors import (
    ACCESS_DENIED,
    AUTHENTICATION_FAILED,
    READONLY,
    SETTING_CONSTRAINT_VIOLATION,
    Refused,
)
from services.store.judge import FILE_SETTINGS, MAX_READER_BYTES
from services.store.rights import Role

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

    def parsing(self) -> dict[str, str]:
        """Of these what holds for the parsing of a statement."""
        settings = self.settings()
        return {name: settings[name] for name in ("max_execution_time", "max_memory_usage")}


# What a reader may set besides tighter limits: how a result looks, how much work runs at once.
_READER_SETTINGS = re.compile(
    r"(output_format_(?!schema)\w+|extremes|join_use_nulls|final"
    r"|date_time_output_format|date_time_input_format|session_timezone|union_default_mode"
    r"|(select|except|intersect)_\w*mode|group_by_use_nulls|prefer_column_name_to_alias"
    r"|max_(rows|bytes)_to_read|limit|offset|log_queries"
    r"|format_csv_\w+|bool_(true|false)_representation)\Z"
)
_LIMITS = {"max_execution_time", "max_memory_usage", "max_result_rows", "max_result_bytes"}
MAX_THREADS = 16
"""That one query of a reader may ask for; without asking it gets one for each core."""

# Of the engine's own limits, those that bound what it does between two looks at the clock.
_BOUNDS = {
    "max_block_size": "65409",
    "function_range_max_elements_in_block": "10000000",
    "function_sleep_max_microseconds_per_block": "3000000",
    "max_parser_backtracks": "100000",
    "max_query_size": str(MAX_READER_BYTES),
}


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
    settings = limits.settings() | _BOUNDS
    most = {**settings, "max_threads": str(MAX_THREADS)}
    for name, value in asked.items():
        if name == "readonly":
            continue
        if name in _LIMITS or name in _BOUNDS or name == "max_threads":
            settings[name] = _tighter(name, value, most[name])
        elif _READER_SETTINGS.match(name):
            settings[name] = value
        else:
            raise Refused(READONLY, f"Cannot modify '{name}' setting in readonly mode.")
    return {**settings, "readonly": "1"}


def writer_settings(asked: Mapping[str, str]) -> dict[str, str]:
    """The settings of the writer's session. Errors: Refused for those that name files."""
    for name in asked:
        if FILE_SETTINGS.match(name):
            raise Refused(ACCESS_DENIED, f"'{name}' is for nobody: the store reads no files")
    # An acknowledged insert must be in a part, not in a buffer.
    return {"async_insert": "0", **asked}


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
