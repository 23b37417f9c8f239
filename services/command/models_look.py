"""``weir models show`` and ``diff``: all that is known of a version, and how two differ."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.command.context import Context, JsonOption, TaskOption, open_context
from services.command.output import note, out, print_json, print_table, table, time_text
from services.command.versions import VersionArgument
from services.leaves import leaves
from streams.bundle_folder import bundle_folder

if TYPE_CHECKING:
    from streams.roles import ModelRecord

BULKY = (
    *("samples", "files", "vocabularies", "schema_version", "id", "task", "metrics", "dataset"),
    "created_from",
)
"""Parts of a manifest that `show` leaves out, or tells in its own way."""
LISTED = 12
"""Items of a list that are shown; --json has all."""


def show(version: VersionArgument, task: TaskOption = None, as_json: JsonOption = False) -> None:
    """Show all that is known of a version: roles and who gave them, data, metrics, verdict, gate,
    search, checks, libraries, the steps of its training, the decisions about it."""
    from services.command.registry import read_topic
    from services.moves import find
    from services.projection.places import read_manifest
    from services.trainer.journal import read_journal
    from streams.training.verdict_words import explained

    context = open_context(task)
    told = read_topic(context)
    record = find(told.roles, version)
    manifest = read_manifest(context.settings.artifacts, record.bundle)
    steps = read_journal(context.settings.home, record.event_id)
    acts = [each for each in told.records if each.version == record.version]
    decisions = _decisions(context, record.version)
    role = told.roles.role(record.version)
    folder, bundle = _bundle(context.settings.artifacts, record)
    if as_json:
        print_json(
            {
                **record.record(),
                "role": role,
                "acts": [each.record() for each in acts],
                "bundle_state": bundle,
                "manifest": {k: v for k, v in manifest.items() if k != "samples"},
                "steps": steps,
                "decisions": decisions,
            }
        )
        return
    out.print(f"{record.version}  {role}")
    _section("Record")
    _lines(
        {
            "why": record.reason,
            "since": f"{time_text(record.changed_at)} by {record.changed_by or 'unknown'}",
            "share": f"{record.share:.1%}" if record.share else "",
            "experiment": record.experiment,
            "trained for": record.event_id,
            "replaces": record.replaces,
            "data": f"{record.dataset_id}, {record.rows:,} rows, "
            f"{time_text(record.data_from)} – {time_text(record.data_to)}",
            "bundle": f"{folder} ({bundle})",
        }
    )
    _section("Metrics on held-out time")
    _lines({name: f"{value:.6g}" for name, value in sorted(record.metrics.items())})
    parts = {name: value for name, value in manifest.items() if name not in BULKY}
    _section("Training")
    _lines({k: _scalar(v) for k, v in parts.items() if not isinstance(v, Mapping | list)})
    for part, value in parts.items():
        if isinstance(value, Mapping | list) and value:
            _section(part)
            if part == "verdict" and isinstance(value, Mapping):
                for line in explained(value):
                    out.print(f"  {line}", soft_wrap=True, markup=False, highlight=False)
            else:
                _tell(value)
    if steps:
        _section("Steps of its training")
        shown = table("step", "began", "seconds", right=("seconds",))
        for step in steps:
            shown.add_row(step["step"], time_text(step["began_at"]), f"{step['seconds']:.3f}")
        print_table(shown)
    _section("Roles given")
    shown = table("when", "role", "share", "by", "why")
    for each in acts:
        share = f"{each.share:.1%}" if each.share else ""
        shown.add_row(time_text(each.changed_at), each.role, share, each.changed_by, each.reason)
    print_table(shown)
    if decisions:
        _section("Decisions")
        for decision in decisions:
            _tell(decision)


def diff(
    first: VersionArgument,
    second: VersionArgument,
    task: TaskOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show how two versions differ: declaration, data, model, metrics, segments, gate, verdict."""
    from services.command.registry import read_versions
    from services.contrast import Side, contrast, told_words
    from services.moves import find
    from services.projection.places import read_manifest

    context = open_context(task)
    roles = read_versions(context)
    sides = []
    for asked in (first, second):
        record = find(roles, asked)
        manifest = read_manifest(context.settings.artifacts, record.bundle)
        if not manifest:
            note(f"the bundle of {record.version} is not here: only its record is compared")
        sides.append(Side(record, roles.role(record.version), manifest))
    found = contrast(*sides)
    if as_json:
        print_json([each.plain() for each in found])
        return
    if not found:
        note("they do not differ")
        return
    out.print(f"{sides[0].record.version} → {sides[1].record.version}")
    for section in dict.fromkeys(each.section for each in found):
        _section(section)
        for each in found:
            if each.section == section:
                out.print(f"  {told_words(each)}", soft_wrap=True)


def _bundle(artifacts: Path, record: ModelRecord) -> tuple[str, str]:
    """Where the bundle is, and whether it is there and is the one that was recorded."""
    try:
        folder = bundle_folder(artifacts, record.bundle)
        data = (folder / "manifest.json").read_bytes()
    except ValueError as error:
        return record.bundle, f"refused: {error}"
    except OSError:
        return str(folder), "missing"
    if record.sha256 and hashlib.sha256(data).hexdigest() != record.sha256:
        return str(folder), "not the one that was recorded"
    return str(folder), "as recorded"


def _decisions(context: Context, version: str) -> list[dict[str, Any]]:
    """The rollout's decisions that name a version, oldest first; none where there is no such
    topic yet."""
    from services.command.reading import partitions, read_all, readable, reader

    try:
        topic = context.contract.topic("decisions")
        codec = context.contract.codec(topic.record, context.settings.home)
    except KeyError:  # a task that last ran before there were any
        return []
    name = topic.topic(context.contract.task)
    with reader(context.kafka) as consumer:
        stored = list(read_all(consumer, name, partitions(consumer, name)))
    records = [record for _, record in readable(stored, codec)]
    return [r for r in records if version == r["version"] or version in r["moves"]]


def _section(title: str) -> None:
    out.print(f"\n{title.capitalize()}", style="bold")


def _lines(facts: Mapping[str, str]) -> None:
    for name, value in facts.items():
        if value:
            out.print(f"  {name}: {value}", soft_wrap=True)


def _tell(value: Any, name: str = "") -> None:
    """JSON data, a line a scalar; lists of records as tables; what is empty is left out."""
    if value in ("", [], {}):
        return
    if isinstance(value, Mapping):
        for key, inner in value.items():
            _tell(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list) and value and all(isinstance(each, Mapping) for each in value):
        _table(name, value)
    elif isinstance(value, list) and value and isinstance(value[0], list):
        for path, leaf in leaves(name, value):
            _tell(leaf, path)
    elif isinstance(value, list):
        more = f" and {len(value) - LISTED} more" if len(value) > LISTED else ""
        out.print(f"  {name}: {', '.join(map(_scalar, value[:LISTED]))}{more}", soft_wrap=True)
    elif value is not None:
        out.print(f"  {name}: {_scalar(value)}" if name else f"  {value}", soft_wrap=True)


def _table(name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    keys = list(dict.fromkeys(key for row in rows for key in row))
    shown = table(*keys)
    for row in rows[:LISTED]:
        shown.add_row(*(_scalar(row.get(key)) for key in keys))
    out.print(f"  {name}:")
    print_table(shown)
    if len(rows) > LISTED:
        note(f"and {len(rows) - LISTED} more; --json has all")


def _scalar(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
