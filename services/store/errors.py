"""Errors of the store, in ClickHouse's words.

StoreError                 has ClickHouse's code; the HTTP status follows from it
├── EngineError            the engine refused or failed; its own text
├── Refused                the store refused before the engine saw it (rights, limits, form)
└── StoreLocked            at start: another process owns the folder
"""

from __future__ import annotations

import re

# ClickHouse's ErrorCodes.cpp; the names are what clients show.
NAMES = {
    36: "BAD_ARGUMENTS",
    48: "NOT_IMPLEMENTED",
    62: "SYNTAX_ERROR",
    73: "UNKNOWN_FORMAT",
    115: "UNKNOWN_SETTING",
    164: "READONLY",
    202: "TOO_MANY_SIMULTANEOUS_QUERIES",
    236: "ABORTED",
    243: "NOT_ENOUGH_SPACE",
    354: "CANNOT_DECOMPRESS",
    452: "SETTING_CONSTRAINT_VIOLATION",
    497: "ACCESS_DENIED",
    516: "AUTHENTICATION_FAILED",
    678: "QUERY_IS_TOO_LARGE",
    1002: "UNKNOWN_EXCEPTION",
}
BAD_ARGUMENTS = 36
NOT_IMPLEMENTED = 48
UNKNOWN_FORMAT = 73
READONLY = 164
TOO_MANY_SIMULTANEOUS_QUERIES = 202
ABORTED = 236
NOT_ENOUGH_SPACE = 243
CANNOT_DECOMPRESS = 354
SETTING_CONSTRAINT_VIOLATION = 452
ACCESS_DENIED = 497
AUTHENTICATION_FAILED = 516
QUERY_IS_TOO_LARGE = 678
UNKNOWN_EXCEPTION = 1002

# After ClickHouse's exceptionCodeToHTTPStatus; what is not here is 500 as there. 503 tells a
# client that trying again helps, so it is only for calls that the store never began.
_BAD_REQUEST = "6 26 27 33 36 38 41 42 43 44 53 62 69 70 72 117 179 215 349 354 386 395 403 407"
_STATUS = {
    400: [*map(int, _BAD_REQUEST.split()), 452, 456, 457],
    403: [164, 192, 193, 497, 516],
    404: [46, 47, 50, 56, 60, 63, 73, 81, 115],
    408: [159],
    413: [678],
    501: [48],
    503: [202, 236],
}
_STATUS_OF = {code: status for status, codes in _STATUS.items() for code in codes}

_CODE = re.compile(r"Code: (\d+)\. ")


class StoreError(Exception):
    """A call that failed; ``str`` is the whole text that the client gets."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code

    @property
    def status(self) -> int:
        """HTTP status, as ClickHouse would answer."""
        return _STATUS_OF.get(self.code, 500)


class EngineError(StoreError):
    """The engine's own error: code and text as it gave them."""

    @classmethod
    def of(cls, error: Exception) -> EngineError:
        """From what chDB raised (``Streaming query failed: Code: 396. DB::Exception: ...``)."""
        text = str(error)
        found = _CODE.search(text)
        if not found:
            return cls(UNKNOWN_EXCEPTION, f"Code: 1002. DB::Exception: {text} (UNKNOWN_EXCEPTION)")
        return cls(int(found.group(1)), text[found.start() :].strip())


class Refused(StoreError):
    """The store's own refusal; says what to do instead."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, f"Code: {code}. DB::Exception: {reason} ({NAMES[code]})")


class StoreLocked(StoreError):
    """Another process owns the folder."""
