"""Usage: how many requests of whom a batch of predictions answers; a stage without state."""

from __future__ import annotations

from schemas.codec import Codec
from schemas.columns import Columns
from schemas.topics import BY_NAME
from streams.event_time import to_number
from streams.task import Task
from streams.transport.batch import Output, RecordBatch, Result
from streams.volume.counts import count

STAGE = "usage"


class Usage:
    """The stage that counts. Every request has one prediction, whatever became of it, and so does
    one that was refused because its client has too many; what could not be read names no client."""

    def __init__(self, task: Task, codecs: dict[str, Codec]) -> None:
        self._prediction, self._usage = codecs["prediction"], codecs["usage"]
        self._topic = BY_NAME["usage"].topic(task.name)
        self.topic = BY_NAME["predictions"].topic(task.name)

    def __call__(self, batch: RecordBatch) -> Result:
        """Count one batch. (Of predictions that no schema reads the tally tells.)"""
        columns = batch.decoded(self._prediction).columns
        counts = count(columns)
        if counts is None:
            return Result(batch, [])
        source = f"{batch.topic}/{batch.partition}"
        record = {
            "source": source,
            "newest": to_number(counts.newest),
            "version": _champion(columns),
            "clients": counts.clients,
            "buckets": counts.buckets.tolist(),
            "requests": counts.requests.tolist(),
            "held": counts.held.tolist(),
        }
        return Result(batch, [Output(self._topic, [source.encode()], [self._usage.write(record)])])


def _champion(columns: Columns) -> str:
    """The champion that answered last; empty where none did."""
    rows = (columns["role"].values == "champion").nonzero()[0]
    return str(columns["version"].values[rows[-1]]) if len(rows) else ""
