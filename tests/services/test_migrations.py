"""Migrations: each file once, edited ones refused, whoever runs them and however often."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from services.migrations import FOLDER, Migration, MigrationError, load, migrate
from tests.services.running_store import RunningStore


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStore]:
    running = RunningStore(tmp_path_factory.mktemp("store"))
    yield running
    running.stop()


@pytest.fixture
def database(store: RunningStore, request: pytest.FixtureRequest) -> str:
    name: str = request.node.name
    store.writer().command(f"CREATE DATABASE {name}")
    return name


def write(folder: Path, **files: str) -> list[Migration]:
    for name, text in files.items():
        (folder / f"{name.lstrip('_')}.sql").write_text(text)
    return load(folder)


ONE = "-- A table;\nCREATE TABLE IF NOT EXISTS one (a Int64)\nENGINE = MergeTree ORDER BY a;\n"
TWO = (
    "CREATE OR REPLACE VIEW two AS SELECT a, ';' AS b FROM one;\n"
    "CREATE OR REPLACE VIEW three AS SELECT 1 AS x;"
)


def test_files_are_applied_in_order_and_once(
    store: RunningStore, database: str, tmp_path: Path
) -> None:
    migrations = write(tmp_path, _0002_two=TWO, _0001_one=ONE)
    client = store.writer()
    assert migrate(client, database, migrations) == ["0001_one.sql", "0002_two.sql"]
    assert migrate(client, database, migrations) == []
    assert client.command(f"SELECT count() FROM {database}.two") == 0
    assert client.command(f"SELECT x FROM {database}.three") == 1
    later = write(tmp_path, _0003_more="DROP VIEW IF EXISTS three;")
    assert migrate(client, database, later) == ["0003_more.sql"]
    assert client.command(f"EXISTS {database}.three") == 0


def test_a_file_that_was_edited_after_it_was_applied_is_refused(
    store: RunningStore, database: str, tmp_path: Path
) -> None:
    client = store.writer()
    migrate(client, database, write(tmp_path, _0001_one=ONE))
    edited = write(tmp_path, _0001_one=ONE.replace("Int64", "Int32"), _0002_two=TWO)
    with pytest.raises(MigrationError, match=r"0001_one.sql was changed .* 0003_<name>.sql"):
        migrate(client, database, edited)
    assert client.command(f"EXISTS {database}.two") == 0


def test_a_database_of_a_newer_weir_is_refused(
    store: RunningStore, database: str, tmp_path: Path
) -> None:
    client = store.writer()
    migrations = write(tmp_path, _0001_one=ONE, _0002_two=TWO)
    migrate(client, database, migrations)
    with pytest.raises(MigrationError, match="newer"):
        migrate(client, database, migrations[:1])


def test_a_migration_that_died_halfway_is_run_again(
    store: RunningStore, database: str, tmp_path: Path
) -> None:
    client = store.writer()
    broken = write(tmp_path, _0001_one=ONE, _0002_two=TWO.replace("SELECT 1", "SELECT y"))
    with pytest.raises(Exception, match="UNKNOWN_IDENTIFIER"):
        migrate(client, database, broken)
    mended = write(tmp_path, _0002_two=TWO)
    assert migrate(client, database, mended) == ["0002_two.sql"]


def test_many_at_once_do_each_other_no_harm(
    store: RunningStore, database: str, tmp_path: Path
) -> None:
    migrations = write(tmp_path, _0001_one=ONE, _0002_two=TWO)
    with ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(migrate, store.writer(), database, migrations) for _ in range(4)]
    assert all(set(run.result()) <= {"0001_one.sql", "0002_two.sql"} for run in runs)
    assert migrate(store.writer(), database, migrations) == []
    assert store.writer().command(f"EXISTS {database}.two") == 1


@pytest.mark.parametrize(
    "statement",
    ["CREATE TABLE t (a Int64) ENGINE = Log", "INSERT INTO t VALUES (1)", "DROP TABLE t"],
)
def test_a_statement_that_cannot_be_run_twice_is_refused(tmp_path: Path, statement: str) -> None:
    with pytest.raises(MigrationError, match="cannot be run twice"):
        write(tmp_path, _0001_one=statement)


def test_names_and_numbers_are_checked(tmp_path: Path) -> None:
    with pytest.raises(MigrationError, match="same number"):
        write(tmp_path, _0001_one=ONE, _0001_other=TWO)
    (tmp_path / "0001_other.sql").unlink()
    with pytest.raises(MigrationError, match="is named like"):
        write(tmp_path, views=TWO)


def test_the_committed_files_are_good() -> None:
    found = load(FOLDER)
    assert [migration.version for migration in found] == list(range(1, len(found) + 1))


def test_line_ends_do_not_change_a_checksum(tmp_path: Path) -> None:
    (tmp_path / "0001_a.sql").write_bytes(ONE.encode())
    (one,) = load(tmp_path)
    (tmp_path / "0001_a.sql").write_bytes(ONE.replace("\n", "\r\n").encode())
    assert load(tmp_path) == [one]
