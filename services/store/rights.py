"""What the engine itself lets a session do: the second lock behind `judge`.

All sessions are of one user of the engine, whose rights are those of its roles; a call takes one
role before its statement runs. No role may read or write a file, a URL or another server, create
users, functions, dictionaries or named collections, or run SYSTEM (but the store itself, merges).
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum


class Role(StrEnum):
    """What a caller may do."""

    WRITER = "writer"
    READER = "reader"


_READER = ("GRANT SHOW, SELECT ON *.*",)
_WRITER = (
    "GRANT SHOW, SELECT, INSERT, ALTER, CREATE DATABASE, CREATE TABLE, CREATE VIEW, DROP, "
    "UNDROP TABLE, TRUNCATE, OPTIMIZE, CHECK, KILL QUERY ON *.*",
    "REVOKE INSERT, ALTER, CREATE DATABASE, CREATE TABLE, CREATE VIEW, DROP, TRUNCATE ON system.*",
)
_STORE = ("GRANT SHOW, SELECT, KILL QUERY, SYSTEM MERGES ON *.*",)


def users_xml() -> str:
    """The engine's users and roles, in ClickHouse's XML."""
    roles = "".join(
        f"<{name}>{_grants(grants)}</{name}>"
        for name, grants in (("reader", _READER), ("writer", _WRITER), ("store", _STORE))
    )
    return (
        "<clickhouse><profiles><default/></profiles><quotas><default/></quotas><users><default>"
        "<password/><networks><ip>::/0</ip></networks><profile>default</profile>"
        "<quota>default</quota>"
        + _grants(("GRANT reader", "GRANT writer", "GRANT store"))
        + f"</default></users><roles>{roles}</roles></clickhouse>\n"
    )


def _grants(statements: Sequence[str]) -> str:
    return "<grants>" + "".join(f"<query>{each}</query>" for each in statements) + "</grants>"
