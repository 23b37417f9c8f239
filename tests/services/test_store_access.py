"""What readers may not do, and what they may not cost."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from tests.conftest import PATIENCE_S
from tests.services.running_store import PASSWORD, RunningStore

LONG = "SELECT count() FROM numbers(1000000000000) WHERE cityHash64(number) = 1"
SLOW = "SELECT sum(sleepEachRow(0.000001)) FROM numbers(1000000000000)"
"""Takes its turn for as long, and leaves the processor to others."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStore]:
    running = RunningStore(
        tmp_path_factory.mktemp("store"),
        max_execution_time_s=PATIENCE_S,
        max_memory_bytes=100_000_000,
        max_result_rows=10_000,
        max_body_bytes=1_000_000,
        readers=2,
        max_waiting=3,
    )
    writer = running.writer()
    writer.command("CREATE DATABASE x")
    writer.command("CREATE TABLE x.t (a Int64) ENGINE = MergeTree ORDER BY a")
    writer.command("INSERT INTO x.t VALUES (1), (2)")
    yield running
    running.stop()


def code_of(store: RunningStore, query: str, **params: str) -> int:
    answer = httpx.post(store.url, params=params, content=query, timeout=PATIENCE_S)
    assert answer.status_code != 200, answer.text[:200]
    return int(answer.headers["X-ClickHouse-Exception-Code"])


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO x.t VALUES (3)",
        "INSERT INTO x.t FORMAT CSV\n3",
        "INSERT INTO FUNCTION file('/tmp/out') SELECT 1",
        "DROP TABLE x.t",
        "CREATE TABLE x.u (a Int64) ENGINE = Log",
        "CREATE TEMPORARY TABLE u (a Int64)",
        "ALTER TABLE x.t ADD COLUMN b Int64",
        "ALTER TABLE x.t DELETE WHERE 1",
        "DELETE FROM x.t WHERE 1",
        "TRUNCATE TABLE x.t",
        "RENAME TABLE x.t TO x.u",
        "OPTIMIZE TABLE x.t FINAL",
        "KILL QUERY WHERE 1",
        "SYSTEM STOP MERGES",
        "SET readonly = 0",
        "USE x",
        "BACKUP TABLE x.t TO File('/tmp/backup')",
        "ATTACH TABLE x.u",
        "DETACH TABLE x.t",
        "CREATE USER me",
        "GRANT ALL ON *.* TO default",
        "CREATE FUNCTION f AS (x) -> x",
        "SELECT 1 SETTINGS readonly = 0",
        "SELECT 1 SETTINGS max_execution_time = 0",
        "EXPLAIN SELECT 1 SETTINGS max_memory_usage = 0",
    ],
)
def test_a_reader_cannot_change_anything(store: RunningStore, statement: str) -> None:
    assert code_of(store, statement) == 164
    assert store.reader().command("SELECT count() FROM x.t") == 2


def test_a_readers_rows_are_refused_as_readonly_in_every_format(store: RunningStore) -> None:
    """Binary rows are neither SQL nor UTF-8: the parser would call them a syntax error."""
    reader = store.reader()
    with pytest.raises(DatabaseError, match=r"(?s)164.*READONLY"):
        reader.insert("x.t", [[3], [4]], column_names=["a"])
    native = b"\x01\x01\x01a\x05Int64" + (200).to_bytes(8, "little")
    for text in (
        b"INSERT INTO x.t FORMAT Native\n",
        b"/* rows */ insert into x.t (a) FORMAT Native\n",
    ):
        answer = httpx.post(store.url, content=text + native, timeout=PATIENCE_S)
        assert answer.status_code == 403
        assert answer.headers["X-ClickHouse-Exception-Code"] == "164"
    assert reader.command("SELECT count() FROM x.t") == 2


@pytest.mark.parametrize(
    "query",
    [
        "SELECT file('/etc/passwd')",
        "SELECT `file`('/etc/passwd')",
        "SELECT FILE('/etc/passwd')",
        "SELECT * FROM file('/etc/passwd', 'LineAsString')",
        'SELECT * FROM "/etc/passwd"',
        "SELECT * FROM default.`/etc/passwd`",
        "DESCRIBE TABLE file('/etc/passwd', 'LineAsString')",
        "DESCRIBE (SELECT * FROM file('/etc/passwd', 'LineAsString'))",
        "EXPLAIN SELECT * FROM file('/etc/passwd', 'LineAsString')",
        "EXPLAIN AST SELECT file('/etc/passwd')",
        "SELECT * FROM x.t WHERE a IN (SELECT length(file('/etc/passwd')))",
        "WITH y AS (SELECT file('/etc/passwd') AS z) SELECT z FROM y",
        "SELECT arrayMap(p -> file(p), ['/etc/passwd'])",
        "SELECT sum(a) OVER (PARTITION BY file('/etc/passwd')) FROM x.t",
        "SELECT 1 UNION ALL SELECT length(file('/etc/passwd'))",
        "SELECT * FROM view(SELECT file('/etc/passwd'))",
        "SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')",
        "SELECT * FROM s3('http://127.0.0.1:1/b/k')",
        "SELECT * FROM remote('127.0.0.1:1', 'system', 'one')",
        "SELECT * FROM mysql('127.0.0.1:1', 'a', 'b', 'c', 'd')",
        "SELECT * FROM executable('id', 'TSV', 'a String')",
        "SELECT * FROM python('os')",
        "SELECT * FROM Python(os)",
        "SELECT * FROM sqlite('/etc/passwd', 't')",
        "SELECT * FROM eval('SELECT 1')",
        "SELECT * FROM filesystem('/etc')",
        "SELECT arrayMap(file, ['/etc/passwd'])",
        "SELECT arrayMap((file), ['/etc/passwd'])",
        "SELECT arrayMap(`fil\\x65`, ['/etc/passwd'])",
        "WITH file AS f SELECT arrayMap(f, ['/etc/passwd'])",
        "SELECT * APPLY file FROM (SELECT '/etc/passwd')",
        "SELECT * APPLY(x -> file(x)) FROM (SELECT '/etc/passwd')",
        "SELECT COLUMNS('a') REPLACE (file(a) AS a) FROM (SELECT '/etc/passwd' AS a)",
        "SELECT a FROM x.t ORDER BY a WITH FILL INTERPOLATE (a AS length(file('/etc/passwd')))",
        "SELECT count() FILTER (WHERE file('/etc/passwd') = '') FROM x.t",
        "SELECT a FROM x.t QUALIFY file('/etc/passwd') = ''",
        "SHOW TABLES FROM system WHERE throwIf(1, file('/etc/passwd'))",
        "SHOW TABLES FROM system WHERE 1 IN (SELECT 1 FROM python('os'))",
        "SHOW COLUMNS FROM t FROM x WHERE file('/etc/passwd') = ''",
        "SELECT 1 /* /* */ ' */, file('/etc/passwd') -- '",
        "SELECT 1 AS \u201c'\u201d, file('/etc/passwd'), 2 AS \u201c'\u201d",
        "SELECT * FROM (EXPLAIN SELECT file('/etc/passwd'))",
        "SELECT * FROM system.processes",
        "SELECT * FROM system.users",
        "SELECT * FROM merge('system', 'processes')",
        "SELECT query FROM merge(REGEXP('.*'), 'processes')",
        "SELECT * FROM merge(concat('sys', 'tem'), 'processes')",
        "SELECT * FROM `system` . `processes`",
        "DESCRIBE TABLE system.processes",
        "SHOW PROCESSLIST",
        "DESCRIBE TABLE (SELECT arrayMap(file, ['/etc/passwd']))",
        "EXISTS (SELECT file('/etc/passwd'))",
        "SELECT dictGet('x', 'a', 1)",
        "SELECT showCertificate()",
        "SELECT unheard_of(1)",
        "SELECT * FROM merge('x', 't') JOIN file('/etc/passwd', 'LineAsString') f ON 1 = 1",
        "SELECT 1 INTO OUTFILE '{out}'",
        "SELECT 1 INTO/**/OUTFILE '{out}' FORMAT CSV",
        "SELECT 'a''b' AS x, \"x\" INTO OUTFILE '{out}'",
        "SHOW TABLES INTO OUTFILE '{out}'",
        "DESCRIBE TABLE x.t INTO OUTFILE '{out}'",
    ],
)
def test_a_reader_cannot_reach_out_of_the_store(
    store: RunningStore, query: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert code_of(store, query.replace("{out}", str(out))) in (164, 497)
    assert not out.exists()


def test_a_reader_cannot_name_a_file_in_a_parameter(store: RunningStore) -> None:
    answer = httpx.post(
        store.url,
        params={"param_t": "/etc/passwd"},
        content="SELECT * FROM {t:Identifier}",
        timeout=PATIENCE_S,
    )
    assert answer.headers["X-ClickHouse-Exception-Code"] in ("60", "497")


def test_a_reader_cannot_name_a_function_in_a_parameter(store: RunningStore) -> None:
    query = "SELECT arrayMap({f:Identifier}, ['/etc/passwd'])"
    assert code_of(store, query, param_f="file") == 497
    assert code_of(store, query, param_f="FILE ") == 497
    assert code_of(store, query, param_f="fil\\x65") == 497
    assert code_of(store, query.replace("{f:", "{`f`:"), param_f="file") in (62, 497)
    query = "SELECT * FROM {d:Identifier}.processes"
    assert code_of(store, query, param_d="system") == 497
    assert code_of(store, "SELECT * FROM processes", database="system") == 497


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO x.t SELECT length(file('/etc/passwd'))",
        "INSERT INTO x.t VALUES (length(file('/etc/passwd')))",
        "INSERT INTO x.t FORMAT Values\n(length(file('/etc/passwd')))",
        "INSERT INTO x.t SETTINGS input_format_values_interpret_expressions = 1 FORMAT Values\n(1)",
        "INSERT INTO x.t SETTINGS format_template_row = '/etc/passwd' FORMAT Template\n1",
        "INSERT INTO x.t FROM INFILE '/etc/passwd' FORMAT CSV",
        "INSERT INTO FUNCTION file('{out}', 'CSV', 'a Int64') SELECT 1",
        "INSERT INTO FUNCTION file('{out}', 'CSV', 'a Int64') FORMAT CSV\n1",
        "INSERT INTO TABLE FUNCTION file('{out}', 'CSV', 'a Int64') VALUES (1)",
        "SELECT 1 INTO OUTFILE '{out}'",
        "SELECT file('/etc/passwd')",
        "SELECT arrayMap(file, ['/etc/passwd'])",
        "SELECT * FROM file('/etc/passwd', 'LineAsString')",
        "SELECT * FROM `/etc/passwd`",
        "SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')",
        "SELECT * FROM python('os')",
        "SELECT 1; SELECT file('/etc/passwd')",
        "CREATE TABLE x.f (a String) ENGINE = File(CSV, '{out}')",
        "CREATE TABLE x.f (a String) ENGINE = URL('http://127.0.0.1:1/', CSV)",
        "CREATE TABLE x.f (a String DEFAULT file('/etc/passwd')) ENGINE = Memory",
        "CREATE TABLE x.f (a Int8) ENGINE = MergeTree ORDER BY a"
        " SETTINGS disk = disk(type = 'local', path = '{out}/')",
        "CREATE TABLE x.f AS file('/etc/passwd', 'LineAsString')",
        "CREATE VIEW x.f AS SELECT file('/etc/passwd')",
        "CREATE DATABASE f ENGINE = Filesystem('/etc')",
        "CREATE DATABASE f ENGINE = SQLite('{out}')",
        "CREATE DICTIONARY x.d (a String) PRIMARY KEY a SOURCE(FILE(path '/etc/passwd' format CSV))"
        " LIFETIME(0) LAYOUT(FLAT())",
        "CREATE FUNCTION f AS (x) -> 1",
        "CREATE USER me",
        "CREATE NAMED COLLECTION c AS a = 1",
        "ALTER TABLE x.t UPDATE a = length(file('/etc/passwd')) WHERE 1",
        "ALTER TABLE x.t DELETE WHERE file('/etc/passwd') != ''",
        "BACKUP TABLE x.t TO File('{out}')",
        "RESTORE TABLE x.t FROM File('{out}')",
        "ATTACH TABLE x.f FROM '/etc' (a Int8) ENGINE = MergeTree ORDER BY a",
        "SELECT 1\0, file('/etc/passwd')",
        "SET ROLE ALL",
        "SYSTEM SHUTDOWN",
        "DROP TABLE system.one",
    ],
)
def test_the_writer_reaches_no_files(store: RunningStore, statement: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    answer = httpx.post(
        store.url,
        content=statement.replace("{out}", str(out)),
        auth=("weir", PASSWORD),
        timeout=PATIENCE_S,
    )
    assert answer.status_code != 200
    assert "root:" not in answer.text
    assert not out.exists()
    assert store.reader().command("SELECT count() FROM x.t") == 2


@pytest.mark.parametrize(
    "query",
    [
        "SELECT url, file FROM x.names WHERE url = 'u' AND (file = 'f') GROUP BY url, file",
        "SELECT lower(n.url), n.file AS f FROM x.names AS n",
        "SELECT n.url IN ('u') FROM x.names AS n",
    ],
)
def test_columns_may_have_the_names_of_functions(store: RunningStore, query: str) -> None:
    writer = store.writer()
    writer.command(
        "CREATE TABLE IF NOT EXISTS x.names (`url` String, file String) ENGINE = MergeTree "
        "ORDER BY tuple()"
    )
    writer.insert("x.names", [["u", "f"]], column_names=["url", "file"])
    assert store.reader().query(query).row_count > 0


@pytest.mark.parametrize(
    "query",
    [
        "SELECT arrayMap(lower, ['A']), sumIf(a, a > 0), uniqExactMergeIf(s, a > 0)"
        " FROM (SELECT a, uniqExactState(a) AS s FROM x.t GROUP BY a)",
        "SELECT * APPLY(sum) FROM x.t",
        "SELECT CAST(a AS Nullable(Decimal(9, 2))), [a]::Array(Int64), {p:Array(String)} FROM x.t",
        "SELECT a, row_number() OVER (PARTITION BY a ORDER BY a ROWS BETWEEN 1 PRECEDING AND"
        " CURRENT ROW) FROM x.t",
        "SELECT CASE a WHEN 1 THEN 'x' ELSE 'y' END, extract(year FROM today()), INTERVAL 1 DAY,"
        " date_add(day, 1, today()), a BETWEEN 1 AND 2, trim(BOTH 'x' FROM 'y'), NOT (a = 1)"
        " FROM x.t",
        "SELECT grouping(a), count() FROM x.t GROUP BY GROUPING SETS ((a), ())",
        "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 3)"
        " SELECT * FROM r",
        "SELECT * FROM x.t AS l LEFT JOIN (SELECT a FROM x.t) AS r USING (a)",
        "SELECT database, table, name FROM system.columns LIMIT 1",
        "SHOW FULL TABLES FROM x LIKE 't'",
        "SELECT displayName(), version(), revision(), timezone()",  # Grafana's data source
        "SHOW COLUMNS FROM t FROM x",
        "SELECT table_name FROM information_schema.tables LIMIT 1",
        "SELECT * FROM x.t",
        "WITH 1 AS y SELECT y",
        "FROM x.t SELECT a",
        "(SELECT 1) UNION ALL (SELECT 2)",
        "SELECT 1 INTERSECT SELECT 1",
        "SELECT * FROM numbers(3)",
        "SELECT * FROM merge('x', 't')",
        "SELECT format('{} {}', 'INTO OUTFILE', 'file(') AS file",
        "SHOW DATABASES",
        "SHOW TABLES FROM x",
        "SHOW CREATE TABLE x.t",
        "DESCRIBE TABLE x.t",
        "EXISTS TABLE x.t",
        "EXPLAIN SELECT * FROM x.t",
        "EXPLAIN PIPELINE SELECT * FROM x.t",
        "SELECT name FROM system.tables WHERE database = 'x' -- a comment; with a semicolon",
    ],
)
def test_a_reader_can_read(store: RunningStore, query: str) -> None:
    assert store.reader().query(query, parameters={"p": ["a"]}).row_count > 0


def test_going_over_the_time_limit_is_a_typed_error(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    hasty = RunningStore(tmp_path_factory.mktemp("hasty"), max_execution_time_s=0.5)
    assert code_of(hasty, LONG) == 159  # TIMEOUT_EXCEEDED
    hasty.stop()


def test_going_over_the_memory_limit_is_a_typed_error(store: RunningStore) -> None:
    with pytest.raises(DatabaseError) as caught:
        store.reader().query("SELECT length(groupArray(number)) FROM numbers(100000000)")
    assert caught.value.name == "MEMORY_LIMIT_EXCEEDED"


def test_a_result_over_the_row_limit_is_a_typed_error_and_no_shorter_result(
    store: RunningStore,
) -> None:
    with pytest.raises(DatabaseError) as caught:
        store.reader().query("SELECT number FROM numbers(100000)")
    assert caught.value.name == "TOO_MANY_ROWS_OR_BYTES"


def test_limits_can_be_made_tighter_and_not_wider(store: RunningStore) -> None:
    assert code_of(store, "SELECT * FROM x.t", max_result_rows="1") == 396
    assert (
        code_of(store, "SELECT toString(number) FROM numbers(9000)", max_result_bytes="100") == 396
    )
    assert code_of(store, "SELECT 1", max_execution_time="1000") == 452
    assert code_of(store, "SELECT 1", max_result_bytes="0") == 452
    assert code_of(store, "SELECT 1", max_result_rows="0") == 452
    assert code_of(store, "SELECT 1", dialect="prql") == 164
    assert code_of(store, "SELECT 1", format_schema_path="/etc") == 164


def test_writers_are_not_limited(store: RunningStore) -> None:
    assert store.writer().query("SELECT number FROM numbers(50000)").row_count == 50000


@pytest.mark.parametrize(
    "auth",
    [("weir", "wrong"), ("weir", ""), ("somebody", ""), ("default", "guess"), ("", "x")],
)
def test_wrong_credentials_are_refused(store: RunningStore, auth: tuple[str, str]) -> None:
    answer = httpx.post(store.url, content="SELECT 1", auth=auth, timeout=PATIENCE_S)
    assert answer.status_code == 403
    assert answer.headers["X-ClickHouse-Exception-Code"] == "516"
    assert PASSWORD not in store.log.read_text()


def test_the_writer_may_say_who_it_is_in_every_way(store: RunningStore) -> None:
    query = "CREATE DATABASE IF NOT EXISTS y"
    headers = {"X-ClickHouse-User": "weir", "X-ClickHouse-Key": PASSWORD}
    assert (
        httpx.post(store.url, content=query, headers=headers, timeout=PATIENCE_S).status_code == 200
    )
    params = {"user": "weir", "password": PASSWORD}
    assert (
        httpx.post(store.url, content=query, params=params, timeout=PATIENCE_S).status_code == 200
    )
    assert (
        httpx.post(
            store.url, content=query, auth=("weir", PASSWORD), timeout=PATIENCE_S
        ).status_code
        == 200
    )


def test_a_link_cannot_write(store: RunningStore) -> None:
    params = {"query": "DROP TABLE x.t"}
    answer = httpx.get(store.url, params=params, auth=("weir", PASSWORD), timeout=PATIENCE_S)
    assert answer.headers["X-ClickHouse-Exception-Code"] == "164"


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},  # another port of this machine
        {
            "Sec-Fetch-Site": "cross-site",
            "Sec-Fetch-Mode": "navigate",
            "Sec-Fetch-Dest": "document",
        },
        {"Sec-Fetch-Site": "?1"},
    ],
)
@pytest.mark.parametrize("path", ["/", "/ping", "/health", "/metrics", "/nothing-here"])
def test_web_pages_are_refused(store: RunningStore, headers: dict[str, str], path: str) -> None:
    auth = ("weir", PASSWORD)
    for method in ("GET", "POST"):
        answer = httpx.request(
            method,
            f"{store.url}{path}",
            params={"query": "SELECT 42"},
            headers=headers,
            auth=auth,
            timeout=PATIENCE_S,
        )
        assert answer.status_code == 403
        assert "42" not in answer.text
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("path", "query"),
    [("/", "SELECT 1"), ("/", "SELECT"), ("/", "SELECT number FROM numbers(9000)"), ("/no", "")],
)
def test_no_answer_can_be_embedded(store: RunningStore, path: str, query: str) -> None:
    answer = httpx.get(f"{store.url}{path}", params={"query": query}, timeout=PATIENCE_S)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


def test_a_body_over_the_limit_is_refused(store: RunningStore) -> None:
    big = "SELECT '" + "x" * 1_000_000 + "'"
    assert httpx.post(store.url, content=big, timeout=PATIENCE_S).status_code == 413


def keep_asking(store: RunningStore, stop: threading.Event, statuses: list[int]) -> None:
    """A reader with one query of a second after the other."""
    while not stop.is_set():
        answer = httpx.post(
            store.url, params={"max_execution_time": "1"}, content=SLOW, timeout=PATIENCE_S
        )
        statuses.append(answer.status_code)


def test_long_queries_do_not_keep_others_from_being_answered(store: RunningStore) -> None:
    stop, statuses = threading.Event(), list[int]()
    threads = [threading.Thread(target=keep_asking, args=(store, stop, statuses)) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        while running_readers(store) < 2:
            assert all(thread.is_alive() for thread in threads)
        # Both turns of the readers are taken; writers have their own, and health needs none.
        assert store.writer().command("SELECT 1") == 1
        # A third reader waits for its turn and gets it.
        assert store.reader().command("SELECT 2") == 2
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert set(statuses) == {408}


def running_readers(store: RunningStore) -> int:
    health = httpx.get(f"{store.url}/health", timeout=PATIENCE_S)
    assert health.status_code == 200
    return int(health.json()["running"]["reader"])


def test_a_full_line_is_told_to_try_again(store: RunningStore) -> None:
    # Two run and three wait: of eight that ask again and again, some find the line full.
    stop, statuses = threading.Event(), list[int]()
    threads = [threading.Thread(target=keep_asking, args=(store, stop, statuses)) for _ in range(8)]
    for thread in threads:
        thread.start()
    try:
        deadline = time.monotonic() + PATIENCE_S
        while 503 not in statuses:
            assert time.monotonic() < deadline, statuses
            time.sleep(0.01)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert set(statuses) <= {408, 503}
