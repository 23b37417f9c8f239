"""The store's pure parts: the SQL it reads itself, encodings, errors, calls, credentials."""

from __future__ import annotations

import base64
import gzip
import zlib

import lz4.frame
import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from services.store import encodings, statements
from services.store.access import Credentials, Limits, reader_settings
from services.store.calls import read_call
from services.store.errors import EngineError, Refused
from services.store.rights import Role

LIMIT = 1_000_000


@pytest.mark.parametrize(
    ("body", "table", "settings", "format_", "rows"),
    [
        (b"INSERT INTO t FORMAT CSV\n1,2", "INSERT INTO t", "", "CSV", b"1,2"),
        (b"insert into t(a) format Native\n\n\x01", "insert into t(a)", "", "Native", b"\n\x01"),
        (b"INSERT INTO t FORMAT TSV 1\t2", "INSERT INTO t", "", "TSV", b"1\t2"),
        (
            b'/* FORMAT X */ INSERT INTO `format` (`a\\`b`, "values") -- VALUES\n'
            b"SETTINGS x = 'FORMAT' FORMAT JSONEachRow\r\n{}",
            '/* FORMAT X */ INSERT INTO `format` (`a\\`b`, "values") -- VALUES',
            "SETTINGS x = 'FORMAT'",
            "JSONEachRow",
            b"{}",
        ),
    ],
)
def test_an_insert_is_split_from_its_rows(
    body: bytes, table: str, settings: str, format_: str, rows: bytes
) -> None:
    found = statements.insert_with_data(body)
    assert found is not None
    assert (found.table, found.settings, found.format) == (table, settings, format_)
    assert body[found.data_at :] == rows


@pytest.mark.parametrize(
    "body",
    [
        b"INSERT INTO t VALUES (1) -- FORMAT CSV",
        b"INSERT INTO t SELECT 1 FORMAT CSV",
        b"INSERT INTO t FROM INFILE 'x' FORMAT CSV",
        b"SELECT 1 FORMAT CSV",
        b"INSERT INTO t",
        b"",
    ],
)
def test_other_statements_are_left_whole(body: bytes) -> None:
    assert statements.insert_with_data(body) is None


def test_whether_a_statement_has_a_result() -> None:
    for text in (b"SELECT 1", b" -- x\n(select 1)", b"WITH 1 AS x SELECT x", b"/**/SHOW TABLES"):
        assert statements.has_result(text)
    for text in (b"CREATE TABLE t", b"INSERT INTO t SELECT 1", b"", b"'SELECT'"):
        assert not statements.has_result(text)


def test_the_format_a_query_names() -> None:
    assert statements.explicit_format("SELECT 1\nFORMAT JSON ;") == "JSON"
    assert statements.explicit_format("SELECT 1 FORMAT CSV SETTINGS a = 1") == "CSV"
    assert statements.explicit_format("SELECT format('x')") is None


@given(st.binary(max_size=5000), st.integers(1, 4))
def test_every_encoding_gives_back_what_went_in(data: bytes, frames: int) -> None:
    compressors = {
        "lz4": lz4.frame.compress,
        "zstd": zstd.compress,
        "gzip": gzip.compress,
        "deflate": zlib.compress,
    }
    for name, compress in compressors.items():
        # An insert of several blocks comes as several frames.
        body = b"".join(compress(data) for _ in range(frames))
        assert encodings.decompress(body, name, LIMIT) == data * frames
        assert encodings.decompress(encodings.compress(data, name), name, LIMIT) == data
        stream = encodings.compressor(name)
        chunks = [stream.compress(data), stream.compress(data), stream.flush()]
        assert encodings.decompress(b"".join(chunks), name, LIMIT) == data * 2


@pytest.mark.parametrize("name", encodings.SUPPORTED)
def test_what_is_no_whole_frame_is_refused(name: str) -> None:
    whole = encodings.compress(bytes(range(256)) * 100, name)
    for body in (whole[: len(whole) // 2], b"junk" * 10, whole + b"junk"):
        with pytest.raises(Refused) as caught:
            encodings.decompress(body, name, LIMIT)
        assert caught.value.code == 354


@pytest.mark.parametrize("name", encodings.SUPPORTED)
def test_a_small_body_that_grows_huge_is_refused(name: str) -> None:
    bomb = encodings.compress(bytes(50_000_000), name)
    with pytest.raises(Refused) as caught:
        encodings.decompress(bomb, name, LIMIT)
    assert caught.value.status == 413


def test_the_encoding_of_the_answer() -> None:
    assert encodings.accepted("lz4,zstd,gzip,deflate") == "lz4"
    assert encodings.accepted("GZIP, lz4;q=0") == "gzip"
    assert encodings.accepted("br") is None
    assert encodings.accepted("") is None


def test_the_engines_code_and_text_are_kept() -> None:
    error = EngineError.of(RuntimeError("Streaming query failed: Code: 60. DB::Exception: No."))
    assert (error.code, error.status, str(error)) == (60, 404, "Code: 60. DB::Exception: No.")
    assert EngineError.of(RuntimeError("?")).status == 500


def test_what_the_url_holds_besides_settings() -> None:
    url = {"query": "SELECT 1", "param_x": "1", "database": "d", "max_threads": "2"}
    call = read_call(url | {"session_id": "s", "wait_end_of_query": "1"}, {}, b"", LIMIT)
    assert call.statement == b"SELECT 1"
    assert (call.params, call.settings, call.database) == ({"x": "1"}, {"max_threads": "2"}, "d")
    assert call.wait_end
    assert call.query_id


def test_what_curl_sends_with_data_is_the_statement() -> None:
    kind = {"content-type": "application/x-www-form-urlencoded"}
    statement = b"SELECT count() FROM t WHERE a = 1 AND b = '%41&c=2'"
    assert read_call({}, kind, statement, LIMIT).statement == statement


def test_a_reader_gets_the_limits_and_then_readonly() -> None:
    limits = Limits(10, 1000, 100)
    settings = reader_settings(
        {"max_result_rows": "5", "readonly": "0", "max_threads": "1"}, limits
    )
    assert list(settings)[-1] == "readonly"
    assert settings["readonly"] == "1"
    assert settings["max_result_rows"] == "5"
    for name, value in {"max_execution_time": "11", "max_memory_usage": "-1"}.items():
        with pytest.raises(Refused):
            reader_settings({name: value}, limits)


def test_who_asks() -> None:
    token = base64.b64encode(b"weir:a:b").decode()
    assert Credentials.of({"authorization": f"Basic {token}"}, {}) == Credentials("weir", "a:b")
    assert Credentials("weir", "a:b").role("weir", "a:b") is Role.WRITER
    assert Credentials("default", "").role("weir", "x") is Role.READER
    assert Credentials.of({}, {}).role("weir", "x") is Role.READER
    for user, password in (("weir", ""), ("weir", "y"), ("default", "x"), ("root", "")):
        with pytest.raises(Refused):
            Credentials(user, password).role("weir", "x")
    # No password is set: then nobody writes, least of all with an empty one.
    with pytest.raises(Refused):
        Credentials("weir", "").role("weir", "")
    for header in ("Basic !!!", "Bearer x"):
        with pytest.raises(Refused):
            Credentials.of({"authorization": header}, {})
