"""Applies the numbered SQL files of ``infra/clickhouse`` to a task's database, each once.

A file ``0002_traffic.sql`` has version 2. What was applied is kept, with its checksum, in the
database's table ``_migrations``; a file that was changed after it was applied is refused, since
some databases have the old text and would never get the new one. Every statement can be run
twice (CREATE ... IF NOT EXISTS, CREATE OR REPLACE, ...): so a migration that died half-way is
just run again, and two processes that migrate at once do each other no harm.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from clickhouse_connect.driver.client import Client

FOLDER = Path(__file__).parent.parent / "infra" / "clickhouse"

_FILE = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql\Z")
_COMMENT = re.compile(r"^\s*--[^\n]*\n?", re.MULTILINE)
_REPEATABLE = re.compile(
    r"CREATE\s+OR\s+REPLACE\s|CREATE\s+\w+\s+IF\s+NOT\s+EXISTS\s|DROP\s+\w+\s+IF\s+EXISTS\s"
    r"|ALTER\s+TABLE\s+\S+\s+(ADD|DROP|MODIFY|CLEAR)\s+\w+\s+IF\s+(NOT\s+)?EXISTS\s"
    r"|ALTER\s+TABLE\s+\S+\s+MODIFY\s",
    re.IGNORECASE,
)
_TABLE = """
CREATE TABLE IF NOT EXISTS {database:Identifier}._migrations
(
    version UInt32,
    name String,
    checksum String,
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree ORDER BY version
"""


class MigrationError(RuntimeError):
    """The database cannot be brought to this version of Weir; the message says what to do."""


@dataclass(frozen=True)
class Migration:
    """One file: its number, name, statements, and the SHA-256 of its text."""

    version: int
    name: str
    statements: tuple[str, ...]
    checksum: str

    @classmethod
    def read(cls, path: Path) -> Migration:
        """A file. MigrationError where its name or a statement is not as it must be."""
        named = _FILE.match(path.name)
        if not named:
            raise MigrationError(f"{path}: a migration is named like 0002_what_it_does.sql")
        # Line ends differ between checkouts; the text does not.
        text = path.read_text("utf-8").replace("\r\n", "\n")
        statements = tuple(_statements(text))
        for statement in statements:
            if not _REPEATABLE.match(statement):
                raise MigrationError(
                    f"{path}: {statement[:60]!r}... cannot be run twice; write CREATE ... IF NOT "
                    "EXISTS, CREATE OR REPLACE, ALTER ... IF [NOT] EXISTS or DROP ... IF EXISTS"
                )
        checksum = hashlib.sha256(text.encode()).hexdigest()
        return cls(int(named.group(1)), path.name, statements, checksum)


def load(folder: Path = FOLDER) -> list[Migration]:
    """All files in order. MigrationError where two have one number."""
    found = [Migration.read(path) for path in sorted(folder.glob("*.sql"))]
    for one, other in pairwise(found):
        if one.version == other.version:
            raise MigrationError(f"{one.name} and {other.name} have the same number: rename one")
    return found


def migrate(client: Client, database: str, migrations: Sequence[Migration]) -> list[str]:
    """Bring ``database`` (which exists) up to date; returns the names that were applied now.

    MigrationError where an applied file was edited or is missing; then nothing is applied.
    """
    client.command(_TABLE, parameters={"database": database})
    applied = _applied(client, database)
    _check(applied, migrations, database)
    done = []
    for migration in migrations:
        if migration.version in applied:
            continue
        for statement in migration.statements:
            client.command(statement, settings={"database": database}, use_database=False)
        # Recorded last: a crash before this runs the file again, which changes nothing.
        client.insert(
            "_migrations",
            [[migration.version, migration.name, migration.checksum]],
            column_names=["version", "name", "checksum"],
            database=database,
        )
        done.append(migration.name)
    return done


def _applied(client: Client, database: str) -> dict[int, tuple[str, str]]:
    rows = client.query(
        "SELECT version, name, checksum FROM {database:Identifier}._migrations FINAL",
        parameters={"database": database},
    ).result_rows
    return {version: (name, checksum) for version, name, checksum in rows}


def _check(
    applied: dict[int, tuple[str, str]], migrations: Sequence[Migration], database: str
) -> None:
    files = {migration.version: migration for migration in migrations}
    for version, (name, checksum) in applied.items():
        if version not in files:
            raise MigrationError(
                f"the database {database} has migration {name}, which this version of Weir does "
                "not know: it was used by a newer one; use that"
            )
        if files[version].checksum != checksum:
            raise MigrationError(
                f"{files[version].name} was changed after it was applied to the database "
                f"{database} (as {name}, SHA-256 {checksum[:12]}...): put the old text back and "
                f"write the change as a new file {max(files) + 1:04d}_<name>.sql"
            )


def _statements(text: str) -> Iterator[str]:
    """The statements of a file, without the comments between them; one ends at ``;`` and a
    line break."""
    for part in re.split(r";[ \t]*(?:\n|\Z)", text):
        statement = _COMMENT.sub("", part).strip()
        if statement:
            yield statement
