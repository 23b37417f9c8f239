"""What MLflow is to say of each version: from the topic's records and the bundles' manifests."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from schemas.moments import moment
from services.leaves import leaves
from services.projection.plan import ROLE, VERSION, Data, Entry, Run, Wanted
from streams.roles import ModelRecord, Roles

SETTINGS = (
    *("candidate", "recipe", "decision_threshold", "seeds", "gate.defer_budget"),
    *("selection.chosen", "selection.setting", "selection.estimator", "selection.measure"),
    *("calibrated.kept", "runtime"),
)
"""Parts of a manifest that a training was given or chose: parameters of its run."""
MEASURES = ("dataset", "gate", "verdict", "selection", "checks", "calibrated", "runtime")
"""Parts whose numbers were measured: metrics of its run."""
GIVEN = ("selection.estimator", "selection.setting", "dataset.from", "dataset.to", "dataset.rows")
"""Numbers among them that nobody measured."""
TEXT_MAX = 5000
"""Characters of a parameter or a run's tag; MLflow takes 6,000 and 8,000."""
_TYPES = {"Number": "double", "Integer": "long", "Boolean": "boolean", "Category": "string"}
_KEY = str.maketrans({bad: "_" for bad in "[](){}<>=!?*'\"|,;&%$#@+~^`\\"})


@dataclass(frozen=True)
class Found:
    """What is known of a version beside its record: its manifest, the folder of its bundle ("":
    not there), and the file of its training's journal ("": not there) with the steps in it."""

    manifest: Mapping[str, Any]
    bundle: str = ""
    journal: str = ""
    steps: Sequence[Mapping[str, Any]] = ()


def wanted(roles: Roles, as_of: int, describe: Callable[[ModelRecord], Run]) -> Wanted:
    """What MLflow is to say when the records of the topic before offset ``as_of`` hold."""
    entries = {
        version: Entry(version, tags(record, roles), describe(record))
        for version, record in roles.records.items()
    }
    return Wanted(entries, as_of)


def tags(record: ModelRecord, roles: Roles) -> dict[str, str]:
    """The tags of a model version: what it does, since when, by whom and why; none is empty."""
    told = {
        VERSION: record.version,
        ROLE: roles.role(record.version),
        "weir.reason": record.reason,
        "weir.changed_by": record.changed_by,
        "weir.changed_at": time_text(record.changed_at),
        "weir.event_id": record.event_id,
        "weir.replaces": record.replaces,
        "weir.dataset": record.dataset_id,
        "weir.manifest_sha256": record.sha256,
    }
    said = record.record()
    if said.get("share"):
        told["weir.share"] = f"{said['share']:g}"
    told |= {f"weir.{name}": said.get(name, "") for name in ("experiment", "decision")}
    return {key: _text(value) for key, value in told.items() if value}


def run(record: ModelRecord, found: Found) -> Run:
    """The run of a version's training; without a manifest, what the record says of it."""
    manifest = found.manifest
    params = {
        _key(name): _text(value)
        for part in SETTINGS
        for name, value in leaves(part, _part(manifest, part))
    }
    params |= {
        "dataset.id": record.dataset_id,
        "dataset.rows": str(record.rows),
        "dataset.from": time_text(record.data_from),
        "dataset.to": time_text(record.data_to),
    }
    metrics = {_key(name): float(value) for name, value in record.metrics.items()}
    metrics |= {
        _key(name): float(value)
        for part in MEASURES
        for name, value in leaves(part, manifest.get(part))
        if isinstance(value, int | float)
        and not isinstance(value, bool)
        and not name.startswith(GIVEN)
    }
    metrics |= {_key(f"seconds.{s['step']}"): float(s["seconds"]) for s in found.steps}
    return Run(
        params={key: value for key, value in params.items() if value},
        metrics={key: value for key, value in metrics.items() if math.isfinite(value)},
        tags=_run_tags(record, manifest),
        data=_data(record, manifest),
        started_at=found.steps[0]["began_at"] if found.steps else record.data_to,
        bundle=found.bundle,
        journal=found.journal,
    )


def _run_tags(record: ModelRecord, manifest: Mapping[str, Any]) -> dict[str, str]:
    task = manifest.get("task", {})
    told = {
        VERSION: record.version,
        "weir.event_id": record.event_id,
        "weir.manifest_sha256": record.sha256,
        "weir.declaration_sha256": task.get("declaration_sha256", ""),
        "weir.kind": task.get("kind", ""),
    }
    told |= {f"weir.library.{n}": v for n, v in manifest.get("libraries", {}).items()}
    verdict = manifest.get("verdict", "")
    told["weir.verdict"] = verdict.get("reason", "") if isinstance(verdict, Mapping) else verdict
    return {_key(key): _text(value) for key, value in told.items() if value}


def _data(record: ModelRecord, manifest: Mapping[str, Any]) -> Data:
    """As MLflow tells a data set: where it is from, its columns, its size."""
    features = manifest.get("task", {}).get("features", [])
    columns = [
        {"name": f["name"], "type": _TYPES.get(f["type"], "string"), "required": False}
        for f in features
    ]
    times = {"from": time_text(record.data_from), "to": time_text(record.data_to)}
    return Data(
        id=record.dataset_id,
        source=json.dumps({"event_id": record.event_id, **times}),
        schema=json.dumps({"mlflow_colspec": columns}),
        profile=json.dumps({"num_rows": record.rows, **times}),
    )


def time_text(millis: int) -> str:
    """Milliseconds since 1970 as ISO 8601 in UTC."""
    at = moment(millis)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _part(manifest: Mapping[str, Any], path: str) -> Any:
    """What is at a path such as ``selection.setting``; None where there is nothing."""
    found: Any = manifest
    for key in path.split("."):
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def _text(value: Any) -> str:
    return (value if isinstance(value, str) else json.dumps(value))[:TEXT_MAX]


def _key(name: str) -> str:
    """A name as MLflow takes it: letters, digits, _ - . / : and spaces."""
    return name.translate(_KEY)[:250]
