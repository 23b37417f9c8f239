"""The store as its clients see it: unmodified clickhouse-connect, and plain HTTP."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import clickhouse_connect
import httpx
import lz4.frame
import pandas as pd
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError, StreamFailureError

from tests.conftest import PATIENCE_S
from tests.services.running_store import PASSWORD, RunningStore


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStore]:
    running = RunningStore(tmp_path_factory.mktemp("store"))
    writer = running.writer()
    writer.command("CREATE DATABASE flights")
    writer.command(
        "CREATE TABLE flights.t (id Int64, name LowCardinality(String), delay Nullable(Float64),"
        " at DateTime64(3, 'UTC')) ENGINE = MergeTree ORDER BY id"
    )
    writer.insert(
        "flights.t",
        [[1, "a", None, datetime(2013, 3, 1, tzinfo=UTC)], [2, "b", 2.5, datetime(2013, 3, 2)]],
        column_names=["id", "name", "delay", "at"],
    )
    yield running
    running.stop()


@pytest.fixture
def table(store: RunningStore) -> Iterator[str]:
    writer = store.writer()
    writer.command("CREATE OR REPLACE TABLE flights.w (id Int64, s String) ENGINE = Log")
    yield "flights.w"
    writer.command("DROP TABLE flights.w")


def test_a_query_gives_typed_values(store: RunningStore) -> None:
    reader = store.reader(tz_mode="aware")
    rows = reader.query("SELECT * FROM flights.t ORDER BY id").result_rows
    assert rows == [
        (1, "a", None, datetime(2013, 3, 1, tzinfo=UTC)),
        (2, "b", 2.5, datetime(2013, 3, 2, tzinfo=UTC)),
    ]


def test_a_data_frame_gives_columns(store: RunningStore) -> None:
    frame = store.reader().query_df("SELECT id, delay FROM flights.t ORDER BY id")
    assert frame["id"].tolist() == [1, 2]
    assert pd.isna(frame["delay"][0])


@pytest.mark.parametrize("compress", [False, "lz4", "zstd", "gzip", True])
def test_inserts_and_answers_in_every_encoding(
    store: RunningStore, table: str, compress: bool | str
) -> None:
    writer = store.writer(compress=compress)
    rows = [[i, f"row {i} " * 10] for i in range(5000)]
    assert writer.insert(table, rows, column_names=["id", "s"]).written_rows == 5000
    assert writer.query(f"SELECT id, s FROM {table} ORDER BY id").result_rows == list(
        map(tuple, rows)
    )


def test_an_insert_of_a_data_frame(store: RunningStore, table: str) -> None:
    frame = pd.DataFrame({"id": [1, 2], "s": ["x", "y"]})
    store.writer().insert_df(table, frame)
    assert (
        store.reader()
        .query_df(f"SELECT * FROM {table}")
        .equals(
            store.reader().query_df(
                "SELECT toInt64(1 + number) id, ['x','y'][id] s FROM numbers(2)"
            )
        )
    )


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO flights.w VALUES (1, 'FORMAT CSV'), (2, 'b')",
        "INSERT INTO flights.w (id, s) SELECT number + 1, 'x' FROM numbers(2)",
        'INSERT INTO flights.w FORMAT JSONEachRow {"id": 1, "s": "("}\n{"id": 2, "s": "y"}',
        "INSERT INTO flights.w (id, s) SETTINGS max_threads = 1 FORMAT CSV\n1,x\n2,y",
        "/* FORMAT Native */ INSERT INTO flights.w (id, s) FORMAT CSV\n1,x\n2,y",
    ],
)
def test_inserts_in_the_text_of_the_statement(
    store: RunningStore, table: str, statement: str
) -> None:
    store.writer().command(statement)
    assert store.reader().command(f"SELECT sum(id) FROM {table}") == 3


def test_a_raw_insert_in_another_format(store: RunningStore, table: str) -> None:
    writer = store.writer()
    writer.raw_insert(table, ["id", "s"], b"1\tx\n2\ty\n", fmt="TabSeparated")
    writer.raw_insert(
        table, ["id", "s"], lz4.frame.compress(b"3,x\n"), fmt="CSV", compression="lz4"
    )
    assert store.reader().command(f"SELECT sum(id) FROM {table}") == 6


def test_a_bad_insert_is_an_error_and_inserts_nothing(store: RunningStore, table: str) -> None:
    with pytest.raises(DatabaseError) as caught:
        store.writer().raw_insert(table, None, b"1,x\nno number,y\n", fmt="CSV")
    assert caught.value.code == 27
    assert store.reader().command(f"SELECT count() FROM {table}") == 0


def test_an_insert_that_fails_after_its_rows_were_read_is_an_error(
    store: RunningStore,
) -> None:
    writer = store.writer()
    writer.command(
        "CREATE TABLE flights.checked (id Int64, CONSTRAINT small CHECK id < 10) ENGINE = Memory"
    )
    with pytest.raises(DatabaseError) as caught:
        writer.insert("flights.checked", [[11]], column_names=["id"])
    assert caught.value.name == "VIOLATED_CONSTRAINT"
    assert writer.command("SELECT count() FROM flights.checked") == 0


def test_binary_data_with_line_breaks_arrives_whole(store: RunningStore, table: str) -> None:
    rows = [[i, f"{i}\n;\n"] for i in range(30_000)]
    assert store.writer().insert(table, rows, column_names=["id", "s"]).written_rows == 30_000
    assert store.reader().command(f"SELECT uniqExact(s) FROM {table}") == 30_000


def test_server_side_parameters_keep_every_character(store: RunningStore) -> None:
    text = "tab\t newline\n quote' backslash\\ unicode é {x:String}"
    query = "SELECT {s:String}, {n:Int64}, {d:DateTime64(3)}, {a:Array(String)}, {i:Identifier}"
    parameters = {"s": text, "n": -5, "d": datetime(2013, 1, 1), "a": ["x'", "\\"], "i": "id"}
    row = store.reader().query(f"{query} FROM flights.t LIMIT 1", parameters=parameters)
    assert row.first_row[:2] == (text, -5)
    assert row.first_row[3] == ["x'", "\\"]


def test_parameters_in_a_form(store: RunningStore) -> None:
    client = store.reader(form_encode_query_params=True)
    assert client.query("SELECT {x:String}", parameters={"x": "é\t"}).first_row == ("é\t",)


def test_the_database_of_the_client_is_the_default(store: RunningStore) -> None:
    assert store.reader(database="flights").command("SELECT count() FROM t") == 2
    with pytest.raises(DatabaseError) as caught:
        store.reader(database="nowhere").command("SELECT 1")
    assert caught.value.name == "UNKNOWN_DATABASE"


def test_settings_in_the_url_hold_for_one_call(store: RunningStore) -> None:
    query = "SELECT getSetting('max_block_size')"
    with httpx.Client(base_url=store.url, timeout=PATIENCE_S) as client:
        asked = client.post("/", params={"max_block_size": "7"}, content=query)
        after = client.post("/", content=query)
    assert asked.text == "7\n"
    assert after.text != "7\n"


def test_a_session_id_is_ignored(store: RunningStore) -> None:
    client = store.reader(session_id="mine")
    assert client.command("SELECT 1") == 1


def test_a_result_without_rows_names_its_columns(store: RunningStore) -> None:
    reader = store.reader()
    for query in ("SELECT * FROM flights.t WHERE id > 9", "SELECT * FROM flights.t LIMIT 0"):
        result = reader.query(query)
        assert result.result_rows == []
        assert result.column_names == ("id", "name", "delay", "at")


def test_a_stream_gives_every_block(store: RunningStore) -> None:
    query = "SELECT number FROM numbers(1000000)"
    with store.reader().query_df_stream(query) as frames:
        sizes = [len(frame) for frame in frames]
    assert sum(sizes) == 1_000_000
    assert len(sizes) > 1


def test_a_stream_that_fails_midway_raises_the_engines_error(store: RunningStore) -> None:
    query = "SELECT number, throwIf(number = 900000) FROM numbers(1000000)"
    with (
        pytest.raises(StreamFailureError, match="900000"),
        store.reader().query_row_block_stream(query) as blocks,
    ):
        for _ in blocks:
            pass


def test_a_stream_that_is_left_frees_its_turn(tmp_path_factory: pytest.TempPathFactory) -> None:
    store = RunningStore(tmp_path_factory.mktemp("one_reader"), readers=1)
    for _ in range(3):
        with httpx.stream(
            "POST",
            store.url,
            content="SELECT number FROM numbers(1000000000) FORMAT CSV",
            timeout=PATIENCE_S,
        ) as response:
            next(response.iter_bytes())
    assert store.reader().command("SELECT 1") == 1
    store.stop()


@pytest.mark.parametrize(
    ("query", "code", "name"),
    [
        ("SELECT * FROM flights.nope", 60, "UNKNOWN_TABLE"),
        ("SELECT nope FROM flights.t", 47, "UNKNOWN_IDENTIFIER"),
        ("SELEC 1", 62, "SYNTAX_ERROR"),
        ("SELECT toInt8('x')", 6, "CANNOT_PARSE_TEXT"),
        ("SELECT 1; SELECT 2", 62, "SYNTAX_ERROR"),
        ("SELECT {x:Int64}", 456, "UNKNOWN_QUERY_PARAMETER"),
    ],
)
def test_errors_keep_the_engines_code_and_name(
    store: RunningStore, query: str, code: int, name: str
) -> None:
    with pytest.raises(DatabaseError) as caught:
        store.reader().query(query)
    assert (caught.value.code, caught.value.name) == (code, name)


def test_http_status_and_text_of_an_error(store: RunningStore) -> None:
    answer = httpx.post(store.url, content="SELECT * FROM flights.nope", timeout=PATIENCE_S)
    assert answer.status_code == 404
    assert answer.headers["X-ClickHouse-Exception-Code"] == "60"
    assert answer.text.startswith("Code: 60. DB::Exception: ")
    assert "(version 26." in answer.text
    unknown = httpx.post(
        store.url, params={"no_such": "1"}, content="SELECT 1", auth=WRITER, timeout=PATIENCE_S
    )
    assert unknown.headers["X-ClickHouse-Exception-Code"] == "115"
    assert httpx.post(store.url, content="", timeout=PATIENCE_S).status_code == 400


WRITER = ("weir", PASSWORD)


def test_plain_http_as_curl_would_use_it(store: RunningStore) -> None:
    with httpx.Client(base_url=store.url, timeout=PATIENCE_S) as client:
        assert client.get("/").text == "Ok.\n"
        assert client.get("/ping").text == "Ok.\n"
        assert client.get("/", params={"query": "SELECT 1 + 1"}).text == "2\n"
        both = client.post("/", params={"query": "SELECT 1"}, content="+ 2 FORMAT CSV")
        assert both.text == "3\n"
        assert both.headers["X-ClickHouse-Format"] == "CSV"
        named = client.post("/", params={"default_format": "JSONEachRow"}, content="SELECT 1 AS x")
        assert named.json() == {"x": 1}
        body = gzip.compress(b"SELECT 4")
        assert client.post("/", content=body, headers={"Content-Encoding": "gzip"}).text == "4\n"


def test_what_cannot_be_done_is_said(store: RunningStore) -> None:
    with httpx.Client(base_url=store.url, timeout=PATIENCE_S) as client:
        broken = client.post("/", content=b"junk", headers={"Content-Encoding": "lz4"})
        assert broken.headers["X-ClickHouse-Exception-Code"] == "354"
        assert client.post("/", params={"decompress": "1"}, content=b"x").status_code == 501
        python = client.post("/", params={"default_format": "dataframe"}, content="SELECT 1")
        assert python.headers["X-ClickHouse-Exception-Code"] == "73"


def test_many_clients_at_once_get_their_own_answers(store: RunningStore) -> None:
    def ask(number: int) -> int:
        client = store.writer() if number % 2 else store.reader()
        return int(
            client.command("SELECT {x:Int64} + sleepEachRow(0.01)", parameters={"x": number})
        )

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(ask, range(64))) == list(range(64))


def test_the_asynchronous_client_works_too(store: RunningStore) -> None:
    async def ask() -> list[int]:
        client = await clickhouse_connect.get_async_client(host="127.0.0.1", port=store.port)
        async with client:
            return [int(await client.command(f"SELECT {i}")) for i in range(5)]

    try:
        assert asyncio.run(ask()) == [0, 1, 2, 3, 4]
    except ImportError as error:
        pytest.skip(str(error))


def test_metrics_count_calls_and_rows(store: RunningStore, table: str) -> None:
    store.writer().insert(table, [[1, "x"]], column_names=["id", "s"])
    page = httpx.get(f"{store.url}/metrics", timeout=PATIENCE_S).text
    assert 'weir_store_calls_total{code="0",role="writer"}' in page
    assert "weir_store_rows_written_total" in page
