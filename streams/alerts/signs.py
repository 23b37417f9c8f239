"""Records ► signs: what of a metric, a refusal, a role or a client's volume is worth an alert.
(Of other drift `episodes` says it.)"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from streams.alerts.policy import Bound
from streams.alerts.sign import Sign, State
from streams.roles import ModelRecord, Roles, fold

Record = Mapping[str, Any]

VOLUME = "volume"
"""The kind of drift that is abuse: far more requests than usual, of one client or of all."""


def of_volume(record: Record, at_ms: int, origin: str) -> Sign:
    """A ``drifts`` record of the kind `VOLUME`: also what is over is recorded, as no reason to
    alert."""
    subject = record["subject"]
    who = f"client {subject}" if subject else "all requests"
    return Sign(
        kind="abuse",
        about=who,
        state="bad" if record["alerting"] else "well",
        at_ms=at_ms,
        title=f"unusual volume: {who}",
        message=record["message"],
        evidence=record["drift_id"],
        origin=origin,
        event_time=record["window_to"],
    )


ORDINARY = ("cool-down", "budget")
"""Reasons of a refusal that its task's declaration foresees: nobody has anything to do."""


def of_retrain(record: Record, at_ms: int, origin: str) -> Sign | None:
    """A ``retrain`` record: a trigger that was refused. (Of an event that gave no version the
    record of that version tells.)"""
    if record["status"] != "refused" or record["why"] in ORDINARY:
        return None
    who = f"trigger {record['policy']}"
    return Sign(
        kind="refused",
        about=f"{who}: {record['why']}",
        state="happened",
        at_ms=at_ms,
        title=f"retraining by {who} was refused",
        message=f"Retraining by {who} was refused: {record['reason']}",
        evidence=record["event_id"],
        version=record["champion"],
        origin=origin,
    )


def of_metric(
    record: Record, bounds: Sequence[Bound], windows: Sequence[str], at_ms: int, origin: str
) -> list[Sign]:
    """A ``metrics`` record against the bounds. windows: names of the task's, in its order.

    Whole windows of the champion count. A window that can tell neither way gives no sign.
    """
    if not record["complete"] or record["role"] != "champion":
        return []
    return [
        sign
        for bound in bounds
        if record["window"] == (bound.window or windows[0])
        and (record["segment"], record["value"]) == (bound.segment, bound.value)
        for sign in [_against(record, bound, at_ms, origin)]
        if sign is not None
    ]


def _against(record: Record, bound: Bound, at_ms: int, origin: str) -> Sign | None:
    value = record[bound.metric]
    if value is None or not math.isfinite(value):
        return None
    if bound.metric.startswith("estimated_") and record.get("estimate_trusted") is False:
        return None
    low, high = (_end(record, bound, name, value) for name in ("low", "high"))
    too_low = bound.at_least is not None and high < bound.at_least
    too_high = bound.at_most is not None and low > bound.at_most
    well = (bound.at_least is None or value >= bound.at_least) and (
        bound.at_most is None or value <= bound.at_most
    )
    if not (too_low or too_high or well):
        return None
    state: State = "well" if well else "bad"
    should = " and ".join(
        f"{words} {limit:g}"
        for words, limit in (("at least", bound.at_least), ("at most", bound.at_most))
        if limit is not None
    )
    interval = f" (95 %: {low:.4g} to {high:.4g})" if low < high else ""
    return Sign(
        kind="metric",
        about=bound.name,
        state=state,
        at_ms=at_ms,
        severity="critical",
        title=f"{bound.name} is {value:.4g}, it should be {should}",
        message=(
            f"{bound.name} of version {record['version']} is {value:.4g}{interval} over "
            f"{record['scored']:,} labels of the window {record['window']}; it should be {should}."
        ),
        evidence=f"{record['window']}/{record['window_start']}/{record['version']}",
        version=record["version"],
        origin=origin,
        event_time=record["window_end"],
    )


def _end(record: Record, bound: Bound, name: str, value: float) -> float:
    end = record.get(f"{bound.metric}_{name}")
    return float(end) if bound.sure and end is not None else value


class RoleSigns:
    """Signs from ``models``: needs every record from the topic's beginning, in its order."""

    def __init__(self) -> None:
        self._roles = Roles()
        self._champions: set[str] = set()

    @property
    def roles(self) -> Roles:
        """All that are known."""
        return self._roles

    @property
    def champion(self) -> str | None:
        """The version that answers now."""
        return self._roles.champion.version if self._roles.champion else None

    def forget(self, version: str) -> None:
        """An operator has deleted a version."""
        self._roles = self._roles.after(version, None)

    def see(self, record: ModelRecord, at_ms: int, origin: str) -> list[Sign]:
        """A rollback where a version answers that another one had replaced; a refused version."""
        before = self.champion
        self._roles = fold([record], self._roles)
        now = self.champion
        signs = []
        if record.role == "rejected":
            signs.append(
                Sign(
                    kind="refused",
                    about=f"version {record.version}",
                    state="happened",
                    at_ms=at_ms,
                    title=f"version {record.version} was refused",
                    message=f"Version {record.version} was not put in service: {record.reason}",
                    evidence=record.version,
                    version=record.version,
                    origin=origin,
                )
            )
        if now is not None and before is not None and now != before and now in self._champions:
            signs.append(
                Sign(
                    kind="rollback",
                    about=f"version {before} to {now}",
                    state="happened",
                    at_ms=at_ms,
                    severity="critical",
                    title=f"rolled back to version {now}",
                    message=f"Version {now} answers again instead of {before}: {record.reason}",
                    evidence=now,
                    version=now,
                    origin=origin,
                )
            )
        if now is not None:
            self._champions.add(now)
        return signs
