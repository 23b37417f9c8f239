"""Recorded requests to another version, and both sides compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pyarrow as pa

from services.replays.compare import Comparison
from services.replays.recorded import Recorded
from services.replays.said import Said, truths
from services.scoring.inputs import Read
from services.scoring.run import MOST_EXAMPLES, answers_table, schema_of
from streams.offline import score
from streams.task import Task
from streams.version import Version

ROLE = "shadow"
"""What a replayed version is: it says what it would have answered, and nobody is told."""


def replay(
    task: Task,
    version: Version,
    chunks: Iterable[Recorded],
    now_ms: int,
    write: Callable[[pa.Table], None] | None = None,
    progress: Callable[[int], None] = lambda requests: None,
) -> dict[str, Any]:
    """Answer recorded requests by a version as serving would, and compare; a report as JSON data.

    write: gets the answers as tables of `services.scoring.run.schema_of`. progress: is told how
    many requests are done.
    """
    comparison, done = Comparison(task), 0
    refused = 0
    examples: list[dict[str, Any]] = []
    schema = schema_of(task.kind)
    classes = len(task.classes)
    for chunk in chunks:
        ids = chunk.inputs["request_id"].values
        scored = score(task, version, ROLE, chunk.inputs, now_ms)
        rows = scored.rows
        if len(rows):
            truth, known = truths(task.kind, chunk.truth.take(rows))
            then = {name: column.take(rows) for name, column in chunk.said.items()}
            comparison.take(
                chunk.inputs["event_time"].values[rows],
                then["version"].values,
                Said.of(task.kind, classes, then),
                Said.of(task.kind, classes, scored.columns),
                truth,
                known,
            )
        refused += len(scored.refused)
        for row in sorted(scored.refused)[: MOST_EXAMPLES - len(examples)]:
            examples.append({"request_id": ids[row], "reason": scored.refused[row]})
        if write is not None:
            every = Read(np.asarray(ids, object), np.arange(len(ids)), chunk.inputs, {})
            write(answers_table(schema, done + 1, every, scored))
        done += len(chunk)
        progress(done)
    return {
        "version": version.id,
        **comparison.plain(),
        "refused_now": {"count": refused, "examples": examples},
    }
