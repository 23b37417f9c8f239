"""The recorded schemas in the form of Confluent's registry, read-only.

Unmodified Confluent clients in any language can then read and write Weir's records: subject
`<task>.<topic>-value` has the schema of that topic's values. Nothing is registered here: a task's
schemas are recorded when it starts. Keys are plain UTF-8 text and have no subject.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from schemas.compatibility import conflicts
from schemas.records import Schema
from schemas.registry import canonical, same_structure, schema_id
from schemas.topics import TOPICS
from services.contract import history, recorded_tasks

MEDIA = "application/vnd.schemaregistry.v1+json"
BODY_MAX_BYTES = 1 << 20
LEVEL = "BACKWARD_TRANSITIVE"


class Refusal(Exception):
    """An answer that is an error, with Confluent's code (its first three digits: the status)."""

    def __init__(self, code: int, message: str) -> None:
        self.code = code
        super().__init__(message)

    def response(self) -> Response:
        """As clients of the registry know it."""
        status = int(str(self.code)[:3])
        return _json({"error_code": self.code, "message": str(self)}, status)


class SchemaApi:
    """The routes over the schemas in `home`; read anew for each request, they are few."""

    def __init__(self, home: Path) -> None:
        self._home = home

    def routes(self) -> list[Route]:
        """To be served from the root, as clients expect."""
        subject, version = "/subjects/{subject}", "{version}"
        return [
            Route("/subjects", _answer(self.subjects)),
            Route(subject, _answer(self.look_up), methods=["POST"]),
            Route(subject, _answer(self.refuse), methods=["DELETE"]),
            Route(f"{subject}/versions", _answer(self.versions), methods=["GET"]),
            Route(f"{subject}/versions", _answer(self.register), methods=["POST"]),
            Route(f"{subject}/versions/{version}", _answer(self.version), methods=["GET"]),
            Route(f"{subject}/versions/{version}", _answer(self.refuse), methods=["DELETE"]),
            Route(f"{subject}/versions/{version}/schema", _answer(self.version_schema)),
            Route("/schemas/types", _answer(self.types)),
            Route("/schemas/ids/{id:int}", _answer(self.by_id)),
            Route("/schemas/ids/{id:int}/schema", _answer(self.schema_by_id)),
            Route("/schemas/ids/{id:int}/versions", _answer(self.uses)),
            Route("/config", _answer(self.config), methods=["GET"]),
            Route("/config/{subject}", _answer(self.config), methods=["GET"]),
            Route("/config", _answer(self.refuse), methods=["PUT", "DELETE"]),
            Route("/config/{subject}", _answer(self.refuse), methods=["PUT", "DELETE"]),
            Route("/mode", _answer(self.mode), methods=["GET"]),
            Route("/mode/{subject}", _answer(self.mode), methods=["GET"]),
        ]

    def subjects(self, request: Request, _: Any) -> Any:
        """Names of all subjects."""
        return sorted(self._subjects())

    def versions(self, request: Request, _: Any) -> Any:
        """Numbers of a subject's versions."""
        return list(range(1, len(self._versions(request)) + 1))

    def version(self, request: Request, _: Any) -> Any:
        """One version of a subject; `latest` is the one in use."""
        number, schema = self._version(request)
        return _described(request.path_params["subject"], number, schema)

    def version_schema(self, request: Request, _: Any) -> Any:
        """The schema alone."""
        return self._version(request)[1]

    def by_id(self, request: Request, _: Any) -> Any:
        """The schema of an id, as text: what a reader of records asks for."""
        return {"schema": json.dumps(self._by_id(request))}

    def schema_by_id(self, request: Request, _: Any) -> Any:
        """The same, as the schema alone."""
        return self._by_id(request)

    def uses(self, request: Request, _: Any) -> Any:
        """Subjects and versions that have the schema of an id."""
        id_ = request.path_params["id"]
        self._by_id(request)
        return [
            {"subject": subject, "version": number}
            for subject, versions in self._subjects().items()
            for number, schema in enumerate(versions, 1)
            if schema_id(schema) == id_
        ]

    def look_up(self, request: Request, body: Any) -> Any:
        """The version that has this schema."""
        found = _find(_schema_of(body), self._versions(request))
        if found is None:
            raise Refusal(40403, "Schema not found")
        return _described(request.path_params["subject"], *found)

    def register(self, request: Request, body: Any) -> Any:
        """The id of a schema that is there; one that is new is not taken."""
        schema = _schema_of(body)
        versions = self._versions(request)
        found = _find(schema, versions)
        if found is not None:
            return {"id": schema_id(found[1])}
        problems = [
            f"version {number}: {conflict}"
            for number, old in enumerate(versions, 1)
            for conflict in conflicts(schema, old)
        ]
        if problems:
            raise Refusal(409, "it would not read older records: " + "; ".join(problems))
        raise self._read_only()

    def types(self, request: Request, _: Any) -> Any:
        """Kinds of schemas."""
        return ["AVRO"]

    def config(self, request: Request, _: Any) -> Any:
        """How schemas may change."""
        return {"compatibilityLevel": LEVEL}

    def mode(self, request: Request, _: Any) -> Any:
        """Nothing can be changed here."""
        return {"mode": "READONLY"}

    def refuse(self, request: Request, _: Any) -> Any:
        """Nothing can be changed here."""
        raise self._read_only()

    def _read_only(self) -> Refusal:
        return Refusal(
            42205,
            "this registry is read-only: a task's schemas come from its declaration and are "
            "recorded when it starts (weir up --task FILE.py:NAME)",
        )

    def _subjects(self) -> dict[str, list[Schema]]:
        return dict(self._all())

    def _all(self) -> Iterator[tuple[str, list[Schema]]]:
        for task in recorded_tasks(self._home):
            versions = history(self._home, task)
            for topic in TOPICS:
                if schemas := versions.versions(topic.record):
                    yield f"{topic.topic(task)}-value", schemas

    def _versions(self, request: Request) -> list[Schema]:
        subject = request.path_params["subject"]
        try:
            return self._subjects()[subject]
        except KeyError:
            raise Refusal(40401, f"Subject '{subject}' not found.") from None

    def _version(self, request: Request) -> tuple[int, Schema]:
        versions, wanted = self._versions(request), request.path_params["version"]
        if wanted in ("latest", "-1"):
            return len(versions), versions[-1]
        if not wanted.isascii() or not wanted.isdigit():
            raise Refusal(42202, f"'{wanted}' is no version: a number from 1, or latest")
        if not 1 <= int(wanted) <= len(versions):
            raise Refusal(40402, f"Version {wanted} not found.")
        return int(wanted), versions[int(wanted) - 1]

    def _by_id(self, request: Request) -> Schema:
        id_ = request.path_params["id"]
        for versions in self._subjects().values():
            for schema in versions:
                if schema_id(schema) == id_:
                    return schema
        raise Refusal(40403, f"Schema {id_} not found")


def _find(wanted: Schema, versions: list[Schema]) -> tuple[int, Schema] | None:
    """The newest version that is this schema: the same text, else one that writes the same."""
    numbered = list(enumerate(versions, 1))[::-1]
    for number, schema in numbered:
        if canonical(schema) == canonical(wanted):
            return number, schema
    return next((found for found in numbered if same_structure(found[1], wanted)), None)


def _described(subject: str, number: int, schema: Schema) -> dict[str, Any]:
    return {
        "subject": subject,
        "version": number,
        "id": schema_id(schema),
        "schema": json.dumps(schema),
    }


def _schema_of(body: Any) -> Schema:
    """The Avro record in a request's body. Refusal 42201 where there is none."""
    try:
        if body.get("schemaType", "AVRO") != "AVRO":
            raise Refusal(42201, "only Avro schemas are kept here")
        schema: Schema = json.loads(body["schema"])
        same_structure(schema, schema)  # Avro's own parser looks at it
        if schema["type"] != "record":
            raise ValueError("not a record")
    except Refusal:
        raise
    except Exception as error:
        raise Refusal(42201, f"no Avro record in `schema`: {error}") from error
    return schema


def _answer(method: Any) -> Any:
    """A handler of Starlette's from a method that gives JSON values or raises Refusal."""

    async def handle(request: Request) -> Response:
        try:
            body = await _body(request) if request.method == "POST" else None
            return _json(method(request, body))
        except Refusal as refusal:
            return refusal.response()

    return handle


async def _body(request: Request) -> Any:
    raw = b""
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > BODY_MAX_BYTES:
            raise Refusal(413, f"a body has at most {BODY_MAX_BYTES} bytes")
    try:
        return json.loads(raw)
    except ValueError as error:
        raise Refusal(42201, f"the body is not JSON: {error}") from error


def _json(value: Any, status: int = 200) -> Response:
    return JSONResponse(value, status, media_type=MEDIA)
