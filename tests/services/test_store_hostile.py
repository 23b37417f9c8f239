"""Requests that are made to break the store: each is answered, and so is the next."""

from __future__ import annotations

import gzip
import os
import random
import socket
import time
import zlib
from collections.abc import Iterator

import httpx
import psutil
import pytest

from tests.conftest import PATIENCE_S
from tests.services.running_store import PASSWORD, RunningStore

READERS = 2
"""Turns: what a hostile request keeps is missed at the third of its kind."""

FUZZ_REQUESTS = int(os.environ.get("WEIR_FUZZ_REQUESTS", "300"))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStore]:
    running = RunningStore(
        tmp_path_factory.mktemp("store"),
        max_execution_time_s=20,
        max_memory_bytes=200_000_000,
        send_wait_s=0.2,
        readers=READERS,
        writers=READERS,
    )
    yield running
    assert running.stop() == 0


def still_answers(store: RunningStore) -> None:
    """Each turn of readers and writers is free again."""
    for auth in (None, ("weir", PASSWORD)):
        answer = httpx.post(store.url, content="SELECT 42", auth=auth, timeout=PATIENCE_S)
        assert answer.text == "42\n"


@pytest.mark.parametrize("role", [{}, {"user": "weir", "password": PASSWORD}])
@pytest.mark.parametrize(
    "params",
    [
        {"query_id": "\u00e9"},
        {"query_id": "a\r\nSet-Cookie: b"},
        {"query_id": "\x00"},
        {"query_id": "x" * 1000},
        {"default_format": "Nativ\u00e9"},
        {"default_format": "JSON\r\n"},
        {"query": "SELECT 1 FORMAT CSV\u00e9"},
        {"param_a": "\x00\r\n"},
        {"database": "\u00e9\r\n"},
        {"\u00e9": "1"},
    ],
)
def test_odd_parameters_cost_nobody_a_turn(
    store: RunningStore, params: dict[str, str], role: dict[str, str]
) -> None:
    for method in ("GET", "POST"):
        for _ in range(READERS + 1):
            answer = httpx.request(
                method,
                store.url,
                params={"query": "SELECT number FROM numbers(100000)", **params, **role},
                timeout=PATIENCE_S,
            )
            assert answer.status_code < 500
            assert "set-cookie" not in answer.headers
    still_answers(store)


def test_a_client_that_takes_nothing_of_its_answer_loses_its_turn(store: RunningStore) -> None:
    query = "SELECT toString(number) || repeat('x', 1000) FROM numbers(1000000) FORMAT TSV"
    request = f"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(query)}\r\n\r\n{query}"
    idle = []
    for _ in range(READERS + 1):
        connection = socket.create_connection(("127.0.0.1", store.port))
        connection.sendall(request.encode())
        idle.append(connection)
    still_answers(store)
    for connection in idle:
        connection.close()


def test_a_client_that_goes_loses_its_turn(store: RunningStore) -> None:
    query = "SELECT number FROM numbers(100000000) FORMAT TSV"
    request = f"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(query)}\r\n\r\n{query}"
    for _ in range(3 * READERS):
        with socket.create_connection(("127.0.0.1", store.port)) as connection:
            connection.sendall(request.encode())
    still_answers(store)


def test_a_bomb_costs_no_memory(store: RunningStore) -> None:
    before = psutil.Process(store.process.pid).memory_info().rss
    bomb = gzip.compress(b"SELECT '" + b"x" * (400 << 20), 1)
    answer = httpx.post(
        store.url, content=bomb, headers={"Content-Encoding": "gzip"}, timeout=PATIENCE_S
    )
    assert answer.status_code == 413
    assert psutil.Process(store.process.pid).memory_info().rss < before + (100 << 20)


def test_many_empty_members_cost_no_square(store: RunningStore) -> None:
    """Linear work for each size: what is asked of it doubles, and so does what it reads."""
    from services.store import encodings

    fed = 0

    class Counting:
        def __init__(self) -> None:
            self._inner = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)

        eof = property(lambda self: self._inner.eof)
        unused_data = property(lambda self: self._inner.unused_data)

        def decompress(self, data: memoryview, max_length: int) -> bytes:
            nonlocal fed
            fed += len(data)
            return self._inner.decompress(data, max_length)

    member = gzip.compress(b"")
    counts = []
    for members in (1000, 2000):
        fed = 0
        assert encodings._frames(member * members, Counting, 100) == b""
        counts.append(fed)
    assert counts[1] < 2.1 * counts[0]
    body = member * (500_000 // len(member)) + gzip.compress(b"SELECT 42")
    answer = httpx.post(
        store.url, content=body, headers={"Content-Encoding": "gzip"}, timeout=PATIENCE_S
    )
    assert answer.text == "42\n"


@pytest.mark.parametrize(
    "body",
    [
        b"--b\r\n" * 100_000,
        b'--b\r\nContent-Disposition: form-data; name="' + b"a" * 900_000,
        b"--b\r\nContent-Disposition: form-data" + b';a="b"' * 100_000 + b"\r\n\r\n--b--",
        b"--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n" * 10_000 + b"--b--",
        b'--b\r\nContent-Disposition: form-data; name="query"\r\n\r\n\xff\r\n--b--',
    ],
)
def test_odd_forms_are_refused(store: RunningStore, body: bytes) -> None:
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    answer = httpx.post(store.url, content=body, headers=kind, timeout=PATIENCE_S)
    assert answer.status_code == 400
    still_answers(store)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT length(range(1000000000))",
        "SELECT length(arrayWithConstant(1000000000, 1))",
        "SELECT length(repeat('x', 1000000000))",
        "SELECT arrayFold((a, x) -> a + x, range(1000000), toUInt64(0))",
        "SELECT 1 SETTINGS max_block_size = 1000000000",
        "SELECT sleep(3)",
        "SELECT 1" + "+1" * 100_000,
        "SELECT " + "(" * 50_000 + "1" + ")" * 50_000,
        "SELECT " + "[" * 50_000,
        "SELECT " + "'" * 99_999,
        "SELECT " + "/*" * 99_999,
        "SELECT " + ", ".join(f"$a{i}$" for i in range(20_000)),
        "SELECT * FROM " + "(SELECT * FROM " * 5_000 + "numbers(1)" + ")" * 5_000,
        "SELECT " + "x -> " * 20_000 + "1",
        "SELECT " + "CASE WHEN 1 THEN " * 10_000,
    ],
)
def test_what_costs_too_much_is_refused(store: RunningStore, query: str) -> None:
    began = time.monotonic()
    answer = httpx.post(store.url, content=query, timeout=PATIENCE_S)
    assert 400 <= answer.status_code <= 500
    assert answer.headers["X-ClickHouse-Exception-Code"]
    still_answers(store)
    print(f"{time.monotonic() - began:.2f} s {query[:40]}")


def test_the_next_request_is_answered_after_any(store: RunningStore) -> None:
    """Mangled parameters, headers, bodies and connections, from a seed that is printed."""
    seed = int(os.environ.get("WEIR_FUZZ_SEED", random.randrange(1 << 32)))
    print(f"WEIR_FUZZ_SEED={seed}")
    dice = random.Random(seed)
    for number in range(FUZZ_REQUESTS):
        with socket.create_connection(("127.0.0.1", store.port), timeout=PATIENCE_S) as connection:
            connection.sendall(_mangled(dice))
            if dice.random() < 0.7:
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):
                    pass
        if number % 10 == 0:
            still_answers(store)
            assert not store.process.has_ended()
    still_answers(store)
    answer = httpx.get(f"{store.url}/health", timeout=PATIENCE_S).json()
    assert answer["running"] == {"reader": 0, "writer": 0}


_QUERIES = [
    b"SELECT 1",
    b"SELECT number FROM numbers(200000) FORMAT TSV",
    b"SELECT number FROM numbers(1000) FORMAT JSON",
    b"SELECT throwIf(number = 70000) FROM numbers(100000) FORMAT CSV",
    b"SHOW DATABASES",
    b"INSERT INTO x FORMAT Native\n\x01\x02",
    b"CREATE DATABASE IF NOT EXISTS y",
    b"SELECT {a:String}",
    b"",
]
_NAMES = (
    b"query query_id database default_format param_a user password max_threads max_block_size "
    b"enable_http_compression wait_end_of_query session_id limit offset extremes readonly "
    b"max_execution_time log_queries compress decompress role output_format_json_quote_denormals"
).split()
_HEADERS = (
    b"Accept-Encoding Content-Encoding Content-Type Authorization X-ClickHouse-User "
    b"X-ClickHouse-Key X-ClickHouse-Database X-ClickHouse-Format Host Origin Content-Length "
    b"Transfer-Encoding Expect Connection Upgrade Sec-Fetch-Site"
).split()
_VALUES = [
    *(b"1", b"0", b"-1", b"1e99", b"nan", b"", b"a" * 300, b"\xff\xfe", b"%00", b"%0d%0aX: y"),
    *(b"gzip", b"lz4", b"zstd", b"deflate", b"identity", b"Native", b"TSV", b"JSON", b"system"),
    *(b"weir", b"the-writers-password", b"Basic d2Vpcjp0aGUtd3JpdGVycy1wYXNzd29yZA==", b"Basic !"),
    *(b"multipart/form-data; boundary=b", b"multipart/form-data", b"text/plain", b"chunked"),
    *(b"127.0.0.1", b"localhost", b"100-continue", b"close", b"websocket", b"5", b"none"),
]


def _mangled(dice: random.Random) -> bytes:
    """A request with some of it wrong."""
    body = dice.choice(_QUERIES)
    if dice.random() < 0.3:
        body = dice.choice([gzip.compress, zlib.compress])(body)
    if dice.random() < 0.3:
        cut = bytearray(body or b"x")
        for _ in range(dice.randrange(1, 4)):
            cut[dice.randrange(len(cut))] = dice.randrange(256)
        body = bytes(cut[: dice.randrange(len(cut) + 1)])
    pairs = [
        dice.choice(_NAMES) + b"=" + _quoted(dice.choice([*_VALUES, *_QUERIES]))
        for _ in range(dice.randrange(4))
    ]
    path = dice.choice([b"/", b"/", b"/", b"/ping", b"/health", b"/metrics", b"//x", b"*"])
    method = dice.choice([b"GET", b"POST", b"POST", b"POST", b"PUT", b"OPTIONS", b"HEAD"])
    lines = [method + b" " + path + b"?" + b"&".join(pairs) + b" HTTP/1.1"]
    if dice.random() < 0.95:
        lines.append(b"Host: 127.0.0.1")
    if dice.random() < 0.9:
        lines.append(b"Content-Length: %d" % len(body))
    if dice.random() < 0.3:
        lines += [b"X-ClickHouse-User: weir", b"X-ClickHouse-Key: " + PASSWORD.encode()]
    for _ in range(dice.randrange(3)):
        lines.append(dice.choice(_HEADERS) + b": " + dice.choice(_VALUES))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def _quoted(value: bytes) -> bytes:
    return b"".join(b"%c" % b if 32 < b < 127 and b not in b"&#+" else b"%%%02x" % b for b in value)
