"""Is what the demo shows what the model is worth? Live answers beside the same version offline.

Offline means: the version's own bundle on the same rows, with windowed features as of each
request's event time, as if every truth had reached them in no time. What differs is what the live
system makes worse: features that lag, a model that is not the one it should be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.metrics import roc_auc_score

from schemas.columns import Column
from services.demo.flights import load_flights
from streams.frame import columns_of
from streams.loading import Loader
from streams.roles import ModelRecord
from streams.settings import Settings
from streams.task import Task
from streams.version import Version
from streams.windowed.history import with_windowed

Floats = npt.NDArray[np.float64]

SCORED = """
SELECT request_id, event_time, version, probability, truth FROM `{task}`.labelled
WHERE status = 'answered' AND probability IS NOT NULL
"""


def quality(
    task: Task, settings: Settings, client: Any, records: Mapping[str, ModelRecord]
) -> dict[str, Any]:
    """Return live and offline ROC AUC of what models answered and whose truth is known, as JSON.

    client: of ClickHouse. records: the versions.

    scored: rows. auc_by_day: mean over days (UTC, by version) weighted by rows, of the logged
    answers; auc_by_day_offline: of the same versions offline. versions: the same for each, with
    ``first_version_offline``: what the first version would have given on the same rows.
    """
    scored = client.query_df(SCORED.format(task=task.name))
    order = sorted(records, key=lambda version: records[version].data_to)
    return compare(scored, _offline(task, settings, scored, records), order)


def compare(
    scored: pd.DataFrame, offline: Mapping[str, Floats], order: Sequence[str]
) -> dict[str, Any]:
    """Compare the live answers with those of versions offline.

    scored: one row a request with event_time, version, probability, truth. offline: by version the
    probability of true of every row. order: the versions, the first one first.
    """
    live = scored["probability"].to_numpy(np.float64)
    versions = scored["version"].to_numpy(object)
    own = np.full(len(scored), np.nan)
    for version, probability in offline.items():
        own = np.where(versions == version, probability, own)
    found: dict[str, Any] = {
        "scored": len(scored),
        "auc_by_day": auc_by_day(scored, live),
        "auc_by_day_offline": auc_by_day(scored, own),
        "versions": [],
    }
    first = offline.get(order[0]) if order else None
    for version in order:
        rows = versions == version
        if not rows.any():
            continue
        part = scored[rows]
        found["versions"].append(
            {
                "version": version,
                "scored": int(rows.sum()),
                "auc_by_day": auc_by_day(part, live[rows]),
                "auc_by_day_offline": auc_by_day(part, own[rows]),
                "first_version_offline": None if first is None else auc_by_day(part, first[rows]),
            }
        )
    return found


def auc_by_day(scored: pd.DataFrame, probability: Floats) -> float | None:
    """Return the mean ROC AUC of each day (UTC) and version, weighted by rows.

    A day on which all truths are alike, or with an answer that is missing, has none; None if no day
    has.
    """
    frame = pd.DataFrame(
        {
            "day": scored["event_time"].dt.floor("D").to_numpy(),
            "version": scored["version"].to_numpy(object),
            "truth": scored["truth"].to_numpy(bool),
            "p": probability,
        }
    )
    total = rows = 0.0
    for _, day in frame.groupby(["day", "version"], sort=False):
        if day["truth"].nunique() == 2 and day["p"].notna().all():
            total += float(roc_auc_score(day["truth"], day["p"])) * len(day)
            rows += len(day)
    return round(total / rows, 4) if rows else None


def _offline(
    task: Task, settings: Settings, scored: pd.DataFrame, records: Mapping[str, ModelRecord]
) -> dict[str, Floats]:
    """By version the probability of true of every scored row."""
    flights = with_windowed(task, load_flights()).set_index("request_id")
    rows = flights.loc[scored["request_id"]].reset_index()
    key = settings.signing_key.get_secret_value().encode()
    load = Loader(task, settings.artifacts, key, lambda: None)
    return {id_: _probability(load(record), task, rows) for id_, record in records.items()}


def _probability(version: Version, task: Task, rows: pd.DataFrame) -> Floats:
    columns = columns_of(task.inputs, rows)
    columns["request_id"] = Column(rows["request_id"].to_numpy(object))
    found = version.predict(version.frame(columns)).probability
    assert found is not None  # the demo's task is binary
    return found
