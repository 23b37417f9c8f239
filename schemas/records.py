"""The Avro schema of every record, fitted to a task.

The files in ``schemas/avro`` name two types that a task decides: ``Features``, the record of
its inputs, and ``Answer``, the type of its target. ``record_schemas`` puts them in.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from schemas.features import Feature, record_schema

Kind = Literal["binary", "multiclass", "regression"]
Schema = dict[str, Any]

ANSWER_TYPE: dict[str, str] = {"binary": "boolean", "multiclass": "string", "regression": "double"}
DIRECTORY = Path(__file__).parent / "avro"
RECORDS = tuple(sorted(path.stem for path in DIRECTORY.glob("*.avsc")))


@lru_cache
def template(record: str) -> str:
    """The committed text of ``schemas/avro/<record>.avsc``."""
    return (DIRECTORY / f"{record}.avsc").read_text("utf-8")


def fit(text: str, kind: Kind, features: Schema) -> Schema:
    """Put a task's types into a template: the answer's type and the features' record.

    Avro defines a named type where it first stands and names it afterwards; so does this.
    """
    defined = False

    def put(node: Any) -> Any:
        nonlocal defined
        if node == "Answer":
            return ANSWER_TYPE[kind]
        if node == "Features":
            if defined:
                return features["name"]
            defined = True
            return features
        if isinstance(node, dict):
            # Only types are replaced: a default or a doc may hold the same word.
            return {
                name: put(value) if name in ("type", "items", "values", "fields") else value
                for name, value in node.items()
            }
        if isinstance(node, list):
            return [put(value) for value in node]
        return node

    schema: Schema = put(json.loads(text))
    return schema


def record_schemas(
    task: str, kind: Kind, features: Sequence[Feature], inputs: Sequence[Feature] = ()
) -> dict[str, Schema]:
    """Every record's schema for one task, by record name (``request``, ``prediction``, …).

    features: what a request carries. inputs: what the model gets, which the other records carry:
    the features and what Weir adds to them; where there is nothing to add it may be left out.

    Records get the task as their namespace, so that two tasks' requests are two types.
    """
    name = "".join(part.title() for part in task.split("_")) + "Features"
    fitted = {}
    for record in RECORDS:
        carried = features if record == "request" or not inputs else inputs
        schema = fit(template(record), kind, record_schema(name, carried))
        schema["namespace"] = f"weir.{task}"
        fitted[record] = schema
    return fitted
