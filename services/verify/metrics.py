"""Are the metrics what the topics say? Every window is recounted and compared, field by field."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from schemas.codec import Codec
from schemas.columns import Column, Columns
from schemas.topics import BY_NAME
from services.verify import recount
from services.verify.reading import Place, ends, read
from services.verify.recount import Key
from streams.codecs import codecs
from streams.event_time import latest
from streams.task import Task

Say = Callable[[str], None]
Passed = Callable[[int, int], object]


_SHARED = ("status", "version", "role", "gate_decision")
_ESTIMATED = (
    *("expected", "expected_spread", "outside_region"),
    *("answer", "probability", "probabilities"),
)


@dataclass(frozen=True)
class Findings:
    """windows: how many were compared. wrong: by window, what is wrong with it.

    too_old: windows that began before the oldest records that the topics still hold. wanted: of
    the others, the fields that their records are to have.
    """

    windows: int
    wrong: Mapping[Key, Sequence[str]]
    too_old: int
    wanted: Mapping[Key, Mapping[str, Any]]


def verify(task: Task, home: Path, kafka: Mapping[str, Any], say: Say, passed: Passed) -> Findings:
    """Recount all windows of a task from its topics and compare them with its metric records.

    home: of the deployment, whose ``schemas`` tell how older records were written. ReadError where
    the broker does not give the topics.
    """
    by_record = codecs(task, home)
    predictions = _Topic(task, "predictions", by_record["prediction"], kafka)
    outcomes = _Topic(task, "outcomes", by_record["outcome"], kafka)
    asked = pd.concat(predictions.read(_predictions, say), ignore_index=True)
    known = last_outcomes(pd.concat(outcomes.read(_outcomes, say), ignore_index=True))
    told = _told(_Topic(task, "metrics", by_record["metric"], kafka).read(_metrics, say))
    since = latest(predictions.complete_from("event_time"), outcomes.complete_from("known_at"))
    declared = {window.name for window in task.windows}
    told = {key: record for key, record in told.items() if key[0] in declared}
    wanted = recount.windows(asked, known, task, passed)
    keys = wanted.keys() | told.keys()
    old = {key for key in keys if since is not None and key[1] < since}
    wanted = {key: fields for key, fields in wanted.items() if key not in old}
    told = {key: record for key, record in told.items() if key not in old}
    wrong = recount.differences(wanted, told)
    return Findings(len(wanted.keys() | told.keys()), wrong, len(old), wanted)


def last_outcomes(outcomes: pd.DataFrame) -> pd.DataFrame:
    """Of all outcome records, those of a request and label in order, the last that counts.

    An outcome that replaces none (``corrects`` is False) is one more to be counted; one that
    replaces another takes its place.
    """
    one = ["request_id", "version", "role", "label"]
    number = (~outcomes["corrects"]).groupby([outcomes[name] for name in one]).cumsum()
    return outcomes.assign(_number=number).drop_duplicates([*one, "_number"], keep="last")


class _Topic:
    """One topic of the task, to be read as frames."""

    def __init__(self, task: Task, name: str, codec: Codec, kafka: Mapping[str, Any]) -> None:
        topic = BY_NAME[name]
        partitions = task.partitions if topic.partitioned else 1
        self._task, self._name, self._codec, self._kafka = task, name, codec, kafka
        self._places = [(topic.topic(task.name), number) for number in range(partitions)]
        self._first: dict[Place, Columns] = {}
        self._begins: dict[Place, int] = {}

    def read(
        self, frame: Callable[[Task, Columns], pd.DataFrame], say: Say
    ) -> Iterator[pd.DataFrame]:
        """The readable records, a batch after the other, each partition in order."""
        self._begins = ends(self._kafka, self._places, latest=False)
        yield frame(self._task, self._codec.decode([]).columns)
        n = 0
        for place, values in read(self._kafka, self._places):
            columns = self._codec.decode(values).columns
            n += len(values)
            if len(next(iter(columns.values()))):
                self._first.setdefault(place, {k: c.take(slice(1)) for k, c in columns.items()})
                yield frame(self._task, columns)
        say(f"read {n:,} {self._name}")

    def complete_from(self, time: str) -> int | None:
        """The event time from which on nothing has been deleted: see Findings.too_old.

        None: nothing has been deleted.

        What went before the oldest record that is left was about its time or earlier ones.
        """
        gone = [place for place, begin in self._begins.items() if begin > 0]
        times = [int(self._first[place][time].values[0]) for place in gone if place in self._first]
        return latest(*times)


def _predictions(task: Task, columns: Columns) -> pd.DataFrame:
    data = {"event_time": columns["event_time"].values, **_few(task, columns)}
    data |= {name: columns[name].values.astype(object) for name in _ESTIMATED}
    return pd.DataFrame(data)


def _outcomes(task: Task, columns: Columns) -> pd.DataFrame:
    n = len(columns["truth"])
    data = {name: columns[name].values for name in ("request_id", "event_time", "truth", "answer")}
    data |= _few(task, columns)
    valid = columns["previous_truth"].valid
    data["corrects"] = np.ones(n, bool) if valid is None else valid
    data |= {name: columns[name].values for name in ("label", "source", "weight")}
    if task.kind == "binary":
        data["probability"] = columns["probability"].values
    if task.kind == "multiclass":
        k = len(task.classes)
        told = np.full((n, k), 1 / k)
        for row, p in enumerate(columns["probabilities"].values):
            if len(p) == k:
                told[row] = p
        data |= {f"p{c}": told[:, c] for c in range(k)}
    return pd.DataFrame(data)


def _few(task: Task, columns: Columns) -> dict[str, Any]:
    """Columns of few different values: the segments, and what all records of a group share."""
    found = {name: columns[name].values for name in _SHARED}
    # An outcome always has features, and so no column that says so.
    there = columns["features"].values if "features" in columns else None
    for name in task.segments:
        column = columns[f"features.{name}"]
        found[name] = np.array([recount.text(v) for v in column.values.tolist()], object)
        for valid in (column.valid, there):
            if valid is not None:
                found[name][~valid] = None
    return {name: values.astype(object) for name, values in found.items()}


def _metrics(_: Task, columns: Columns) -> pd.DataFrame:
    frame = pd.DataFrame({name: _objects(column) for name, column in columns.items()}, dtype=object)
    frame = frame.sort_values("revision", kind="stable")
    return frame.drop_duplicates(list(recount.KEY), keep="last")


def _objects(column: Column) -> npt.NDArray[Any]:
    """Values as Python's own, None where they are null."""
    values = column.values.astype(object)
    if column.valid is not None:
        values[~column.valid] = None
    return values


def _told(frames: Iterator[pd.DataFrame]) -> dict[Key, dict[str, Any]]:
    found: dict[Key, dict[str, Any]] = {}
    for frame in frames:
        records: list[Any] = frame.to_dict("records")
        found = recount.latest([*found.values(), *records])
    return found
