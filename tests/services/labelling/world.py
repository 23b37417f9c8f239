"""A task's tables in a real store, filled by hand, and a queue over them."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sklearn.linear_model import LogisticRegression

from schemas.features import Boolean, Category, Integer, Number
from services.contract import Contract
from services.labelling.desk import Desk
from services.labelling.queue import Queue
from services.sink.database import prepare, tables_of
from streams.task import Binary, Labelling, Task
from tests.services.running_store import RunningStore

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
NOW_MS = 1_362_139_200_000  # 2013-03-01 12:00 UTC

FEATURES = [
    Number("price", unit="EUR", low=0, doc="with tax"),
    Integer("visits"),
    Boolean("member", nullable=True),
    Category("colour", nullable=True),
]


def make_task(**changes: Any) -> Task:
    """A task whose name follows from its schemas: tasks of one name can share their tables."""
    target = changes.get("target", Binary("buys", doc="within a week"))
    given: dict[str, Any] = {
        "name": f"label_{zlib.crc32(repr((target, changes.get('truth_sources'))).encode()):08x}",
        "features": FEATURES,
        "target": target,
        "candidates": {"logistic": LogisticRegression()},
        "fallback": False,
        "labelling": Labelling(budget=20),
    }
    return Task(**given | changes)


class Tables:
    """One task's tables, empty. `predict` and `tell` put rows there as the sink would."""

    def __init__(self, store: RunningStore, home: Path, task: Task) -> None:
        self.store, self.home = store, home
        self.contract = Contract.of(task, "nowhere.py:Task")
        self.writer = store.writer()
        # To make all tables and views takes a second; those of the test before are emptied.
        if self.writer.command(f"EXISTS DATABASE {task.name}"):
            for table in ("predictions", "shadows", "truth", "models"):
                self.writer.command(f"TRUNCATE TABLE IF EXISTS {task.name}.{table}")
        else:
            prepare(self.writer, task.name, tables_of(self.contract.schemas))
        self.reader = store.reader(database=task.name)
        self._rows = 0
        self.sent: list[Mapping[str, Any]] = []
        self.clock = NOW_MS

    def predict(self, *rows: Mapping[str, Any]) -> None:
        """Predictions; what a row leaves out is that of an ordinary one."""
        self._insert("predictions", self._filled(rows))

    def look_on(self, *rows: Mapping[str, Any]) -> None:
        """The same by a version that only looks on: it has a topic of the same schema."""
        name = self.contract.task
        self.writer.command(f"CREATE TABLE IF NOT EXISTS {name}.shadows AS {name}.predictions")
        self._insert("shadows", self._filled(rows))

    def _filled(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        filled = []
        for row in rows:
            features = {"price": 10.0, "visits": 2, "member": True, "colour": "red"}
            features |= row.get("features", {})
            filled.append(
                {
                    "event_time": NOW_MS,
                    "status": "answered",
                    "answer": False,
                    "probability": 0.1,
                    "probabilities": [],
                    "gate_score": 0.1,
                    "version": "v1",
                    "role": "champion",
                    **{name: value for name, value in row.items() if name != "features"},
                    **{f"features.{name}": value for name, value in features.items()},
                }
            )
        return filled

    def tell(self, request_id: str, source: str = "system", known_at: int = NOW_MS) -> None:
        """A truth."""
        row = {"request_id": request_id, "known_at": known_at, "truth": True, "source": source}
        self._insert("truth", [row])

    def champion(self, version: str, profile: Mapping[str, Any]) -> None:
        """A version in service, with its bundle's profile."""
        self._insert("models", [{"version": version, "role": "champion", "bundle": version}])
        folder = self.home / "artifacts" / version
        folder.mkdir(parents=True)
        (folder / "profile.json").write_text(json.dumps(profile))

    def queue(self, name: str = "desk") -> Queue:
        """A queue over these tables; answers are kept in ``sent``."""
        return Queue(
            self.contract,
            lambda: self.reader,
            Desk(self.home / f"{name}.sqlite"),
            self,
            self.home / "artifacts",
            lambda: self.clock,
        )

    def publish(self, answers: Sequence[Mapping[str, Any]]) -> None:
        self.sent += answers

    def _insert(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        lines = []
        for row in rows:
            self._rows += 1
            origin = {"_partition": 0, "_offset": self._rows, "_timestamp": NOW_MS, "_sink": 0}
            times = {k: row[k] / 1000 for k in ("event_time", "known_at") if k in row}
            lines.append(json.dumps({**origin, **row, **times, "_timestamp": NOW_MS / 1000}))
        self.writer.raw_insert(
            f"{self.contract.task}.{table}", insert_block="\n".join(lines), fmt="JSONEachRow"
        )
