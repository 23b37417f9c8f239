"""The codecs of a task's records, able to read every version that a deployment has recorded."""

from __future__ import annotations

from pathlib import Path

from schemas.codec import Codec
from schemas.history import History
from schemas.registry import Registry
from streams.task import Task


def codecs(task: Task, home: Path | None = None) -> dict[str, Codec]:
    """A codec a record, by record name.

    home: of the deployment; its ``schemas/<task>`` holds the versions that writers may have
    used. None: the task's own versions only.
    """
    recorded = History(home / "schemas" / task.name).registry() if home else Registry()
    return {record: Codec(schema, recorded) for record, schema in task.schemas().items()}
