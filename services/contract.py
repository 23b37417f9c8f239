"""What other programs need to know of a task, kept so that they need not run its file.

A task's file imports scikit-learn, which takes seconds; a command that only lists topics or
decodes records reads the contract that the last start recorded:

    <home>/schemas/<task>/task.json              names, numbers, the kind of target
    <home>/schemas/<task>/<record>/<n>.avsc      every version of each record's schema
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from schemas.history import History, backward_conflicts, forward_conflicts
from schemas.records import Kind, Schema
from schemas.registry import canonical
from schemas.topics import TOPICS, Topic

if TYPE_CHECKING:
    from schemas.codec import Codec
    from streams.task import Task


LABELLER = "labeller"
"""The source of truths that people gave through the labelling queue."""


class ContractError(RuntimeError):
    """The task's records cannot be what they are; the message says why and what to do."""


@dataclass(frozen=True)
class Contract:
    """A task as its producers and consumers see it; ``schemas`` by record name.

    labelling: what people are asked for: the target's ``doc`` and ``unit``, the task's ``seed``,
    whether truths of labellers are ``accepted``, and the fields of
    `streams.labelling.policy.Labelling`. alerts: the fields of `streams.alerts.policy.Alerts`.
    """

    task: str
    reference: str
    kind: Kind
    target: str
    partitions: int
    horizon_ms: int
    classes: list[str]
    signals: list[str]
    windows: list[str]
    doc: str = ""
    labelling: Mapping[str, Any] = field(default_factory=dict)
    alerts: Mapping[str, Any] = field(default_factory=dict)
    schemas: Mapping[str, Schema] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, task: Task, reference: str) -> Contract:
        """The contract of a loaded task; ``reference`` is what it was loaded from."""
        return cls(
            task=task.name,
            reference=reference,
            kind=task.kind,
            target=task.target.name,
            partitions=task.partitions,
            horizon_ms=task.horizon_ms,
            classes=task.classes,
            signals=list(task.signals),
            windows=[window.name for window in task.windows],
            doc=task.doc,
            labelling={
                "doc": task.target.doc,
                "unit": getattr(task.target, "unit", ""),
                "seed": task.seed,
                "accepted": LABELLER in task.truth_sources,
                **task.labelling.facts(),
            },
            alerts=task.alerts.facts(),
            schemas=task.schemas(),
        )

    @property
    def features(self) -> Schema:
        """The Avro record of the task's inputs."""
        fields: list[dict[str, Any]] = self.schemas["request"]["fields"]
        schema: Schema = next(f["type"] for f in fields if f["name"] == "features")
        return schema

    @property
    def inputs(self) -> list[dict[str, Any]]:
        """The Avro fields of what the model got: the features as predictions carry them."""
        fields: list[dict[str, Any]] = self.schemas["prediction"]["fields"]
        union = next(f["type"] for f in fields if f["name"] == "features")
        record: dict[str, Any] = next(t for t in union if t != "null")
        found: list[dict[str, Any]] = record["fields"]
        return found

    def topics(self) -> Iterator[tuple[str, Topic]]:
        """Every topic of the task, with its full name."""
        return ((topic.topic(self.task), topic) for topic in TOPICS)

    def topic(self, name: str) -> Topic:
        """The topic called ``predictions`` or ``<task>.predictions``; KeyError lists all."""
        short = name.removeprefix(f"{self.task}.")
        for topic in TOPICS:
            if topic.name == short:
                return topic
        raise KeyError(
            f"the task {self.task} has no topic {name}; its topics are "
            f"{', '.join(topic.name for topic in TOPICS)}"
        )

    def partitions_of(self, topic: Topic) -> int:
        """How many partitions the topic is created with."""
        return self.partitions if topic.partitioned else 1

    def codec(self, record: str, home: Path | None = None) -> Codec:
        """Reads and writes a record; with ``home``, also what older versions wrote."""
        from schemas.codec import Codec  # NumPy: not for those who only list

        registry = None if home is None else history(home, self.task).registry()
        return Codec(self.schemas[record], registry)


def history(home: Path, task: str) -> History:
    """The versions of a task's schemas in a deployment."""
    return History(home / "schemas" / task)


def check(contract: Contract, home: Path) -> None:
    """See that the task's records are still those of ``home``, or can be read as those.

    Raises ContractError where the records already written could not be read any more.
    """
    versions = history(home, contract.task)
    found = [
        f"- {record}, {conflict}"
        for record, schema in contract.schemas.items()
        for conflict in backward_conflicts(record, schema, versions)
    ]
    if found:
        raise ContractError(
            f"the task {contract.task} changed so that its older records cannot be read:\n"
            + "\n".join(found)
            + "\nUndo that change, or make it a compatible one (a new feature is nullable, a "
            "feature keeps its type), or give the task another name, or start in another home "
            "(WEIR_HOME)."
        )


def told_of_readers(contract: Contract, home: Path) -> list[str]:
    """What consumers that still read by an older version will not understand, a sentence each.

    No reason to refuse a task: a feature that goes or becomes nullable is an ordinary change,
    and consumers that take records as they were written are not concerned. But no secret
    either. Ask before `record`: what is recorded was told of.
    """
    versions = history(home, contract.task)
    return [
        f"{record}, {conflict}"
        for record, schema in contract.schemas.items()
        if (newest := versions.newest(record)) and canonical(newest) != canonical(schema)
        for conflict in forward_conflicts(record, schema, versions)
    ]


def record(contract: Contract, home: Path) -> list[Path]:
    """Keep the contract in ``home``; returns the schema versions that are new.

    Raises ContractError, and changes nothing, where `check` does.
    """
    check(contract, home)
    versions = history(home, contract.task)
    added = [versions.add(record, schema) for record, schema in contract.schemas.items()]
    facts = {name: value for name, value in asdict(contract).items() if name != "schemas"}
    path = versions.folder / "task.json"
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(facts, indent=2) + "\n", "utf-8")
    draft.replace(path)
    return [path for path in added if path is not None]


def recorded(home: Path, task: str) -> Contract | None:
    """The contract that was kept in ``home`` for a task of this name, or None."""
    versions = history(home, task)
    try:
        facts = json.loads((versions.folder / "task.json").read_text("utf-8"))
    except FileNotFoundError:
        return None
    newest = {name: versions.newest(name) for name in versions.records()}
    return Contract(**facts, schemas={n: schema for n, schema in newest.items() if schema})


def recorded_tasks(home: Path) -> list[str]:
    """Names of the tasks that have a contract in ``home``."""
    return sorted(path.parent.name for path in (home / "schemas").glob("*/task.json"))
