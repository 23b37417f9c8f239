"""What a request asks, however it says it.

ClickHouse's HTTP interface takes the statement from the URL, the body, both (the URL's first) or
a multipart form; parameters as ``param_<name>``; and everything in the URL that is not its own
word is a setting. Sessions, quotas and progress headers are accepted and mean nothing here.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

from services.store import encodings
from services.store.errors import BAD_ARGUMENTS, NOT_IMPLEMENTED, UNKNOWN_FORMAT, Refused
from services.store.statements import explicit_format

# Words of the interface itself: not settings.
_OWN = frozenset(
    {"query", "database", "user", "password", "quota_key", "query_id", "default_format", "role"}
    | {"session_id", "session_timeout", "session_check", "session_timezone_from_client"}
    | {"wait_end_of_query", "buffer_size", "client_protocol_version", "stacktrace"}
    | {"enable_http_compression", "http_zlib_compression_level", "compress", "decompress"}
    | {"send_progress_in_http_headers", "http_headers_progress_interval_ms"}
    | {"cancel_http_readonly_queries_on_client_close", "add_http_cors_header"}
)
_FORMAT = re.compile(r"[A-Za-z]\w*\Z", re.ASCII)
# It goes into a header of the answer and into the engine's list of queries.
_QUERY_ID = re.compile(r"[!-~](?:[ -~]{0,126}[!-~])?\Z")
_BOUNDARY = re.compile(r';\s*boundary="?([!-~ ]{1,70}?)"?\s*(?:;|\Z)')
_DISPOSITION = re.compile(
    rb'content-disposition:\s*form-data((?:;\s*\w+\*?=(?:"[^"]*+"|[^;"\s]*+))*+)\s*\Z',
    re.IGNORECASE,
)
_ATTRIBUTE = re.compile(rb';\s*(\w+\*?)=(?:"([^"]*+)"|([^;"\s]*+))')
_HEAD_BYTES = 4096  # of one part of a form
# Formats whose blocks can be sent one after the other; the others have a head or a foot.
STREAMED = frozenset({"Native", "TabSeparated", "TSV", "CSV", "RowBinary", "JSONEachRow"})
# Not formats of ClickHouse but of chDB's Python: they would give objects, not bytes.
_PYTHON_ONLY = frozenset({"dataframe", "datastore", "arrowtable"})


@dataclass(frozen=True)
class Call:
    """One statement with all that belongs to it."""

    statement: bytes  # text, and after it the rows where it is an INSERT that brings them
    params: Mapping[str, str] = field(default_factory=dict)  # in TSV escaping
    settings: Mapping[str, str] = field(default_factory=dict)
    database: str = ""
    format: str = "TabSeparated"  # where the statement itself names none
    query_id: str = ""
    wait_end: bool = False  # the caller wants the whole answer or an error, no stream
    encoding: str | None = None  # of the answer

    def output(self) -> str:
        """The format of the answer."""
        # A FORMAT clause is at the end: no need to look at the whole of a long statement.
        tail = self.statement[-2048:].decode(errors="replace")
        return explicit_format(tail) or self.format


def read_call(
    url: Mapping[str, str], headers: Mapping[str, str], body: bytes, max_body_bytes: int
) -> Call:
    """The call that a request makes.

    Errors: Refused (what the store does not do; a body that cannot be decompressed, or is over
    ``max_body_bytes``).
    """
    if url.get("decompress") == "1" or url.get("compress") == "1":
        raise Refused(
            NOT_IMPLEMENTED,
            "compress/decompress in the URL (ClickHouse's own block framing); use the headers "
            "Accept-Encoding and Content-Encoding",
        )
    body = encodings.decompress(body, headers.get("content-encoding", ""), max_body_bytes)
    fields = dict(url)
    kind = headers.get("content-type", "")
    if kind.startswith("multipart/form-data"):
        fields |= _form(kind, body)
        body = b""
    # A body that calls itself a form of the other kind is the statement: curl says so of all that
    # it sends with --data, and ClickHouse looks at no more than "multipart" either.
    query = fields.get("query", "").encode()
    statement = query + b"\n" + body if query and body else query or body
    if not statement.strip():
        raise Refused(BAD_ARGUMENTS, "Empty query; send it in the body or as ?query=")
    name = fields.get("default_format") or headers.get("x-clickhouse-format") or "TabSeparated"
    if not _FORMAT.match(name) or name.lower() in _PYTHON_ONLY:
        raise Refused(UNKNOWN_FORMAT, f"Unknown format {name[:40]!r}")
    query_id = fields.get("query_id") or str(uuid.uuid4())
    if not _QUERY_ID.match(query_id):
        raise Refused(BAD_ARGUMENTS, "query_id: at most 128 printable characters of ASCII")
    # ClickHouse compresses if it is asked to by setting and header both.
    compressed = fields.get("enable_http_compression", "1") == "1"
    return Call(
        statement=statement,
        params={k[6:]: v for k, v in fields.items() if k.startswith("param_")},
        settings={k: v for k, v in fields.items() if k not in _OWN and not k.startswith("param_")},
        database=fields.get("database") or headers.get("x-clickhouse-database", ""),
        format=name,
        query_id=query_id,
        wait_end=fields.get("wait_end_of_query") == "1",
        encoding=encodings.accepted(headers.get("accept-encoding", "")) if compressed else None,
    )


def _form(content_type: str, body: bytes) -> dict[str, str]:
    """The text fields of a multipart form. Errors: Refused for files (external tables), or if it is
    no form."""
    found = _BOUNDARY.search(content_type)
    if found is None:
        raise Refused(BAD_ARGUMENTS, "the form's boundary is missing")
    # Every part begins on a line of its own: one line break more makes the first like the others.
    _, *parts = (b"\r\n" + body).split(b"\r\n--" + found[1].encode())
    if not parts or not parts[-1].startswith(b"--"):
        raise Refused(BAD_ARGUMENTS, "the form ends too early")
    fields = {}
    for part in parts[:-1]:
        head, _, value = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        names = _attributes(head)
        if b"filename" in names or b"filename*" in names:
            raise Refused(NOT_IMPLEMENTED, "external tables; write the rows into a table first")
        try:
            fields[names.get(b"name", b"").decode()] = value.decode()
        except UnicodeDecodeError as error:
            raise Refused(BAD_ARGUMENTS, f"a form's field is not UTF-8: {error}") from None
    return fields


def _attributes(head: bytes) -> dict[bytes, bytes]:
    """Of a part's Content-Disposition."""
    for line in head[:_HEAD_BYTES].split(b"\r\n"):
        if said := _DISPOSITION.match(line):
            return {name.lower(): a or b for name, a, b in _ATTRIBUTE.findall(said[1])}
    raise Refused(BAD_ARGUMENTS, "a part of the form has no name")
