"""Findings of one cause are one alert, whatever comes between: order, restarts, strange records."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.alerts.book import Notice
from streams.alerts.causes import Member, distance_of, ranked
from streams.alerts.decide import Decider
from streams.alerts.episodes import MOST_MEMBERS, MOST_UNTOLD, Episodes
from streams.alerts.policy import Alerts
from streams.roles import ModelRecord
from tests.streams.alerts.signs import drift
from tests.streams.alerts.test_signs import role

HOUR, DAY = 3_600_000, 86_400_000
POLICY = Alerts()


def found(kind: str, subject: str, day: float, took: float = 0.25, **changes: Any) -> Any:
    """A finding of what began on a day, and took so many to be found."""
    since, to = round(day * DAY), round((day + took) * DAY)
    return (
        drift(
            drift_id=f"{kind}-{subject}-{to}",
            kind=kind,
            subject=subject,
            since=since,
            window_from=since,
            window_to=to,
            message=f"{kind} drift of {subject}",
        )
        | {"hurts": True if kind in ("concept", "estimate") else None}
        | changes
    )


class Service:
    """Decides of records at the event time that they are found at; restarts when told to."""

    def __init__(self) -> None:
        self.notices: list[Notice] = []
        self.records: list[tuple[dict[str, Any], int]] = []
        self.models: list[tuple[ModelRecord, int]] = []
        self.decider = self._new()

    def _new(self) -> Decider:
        return Decider("task", POLICY, ["tumbling_1d"], 0, 0)

    def see(self, record: dict[str, Any]) -> list[Notice]:
        at = record["window_to"]
        told = self.decider.see("drifts", record, at, f"drifts/0/{len(self.records)}")
        self.records.append((record, at))
        self.notices += told
        return told

    def takes_over(self, version: str, at: int) -> list[Notice]:
        record = role(version, "champion")
        self.models.append((record, at))
        told = self.decider.see("models", record.record(), at, f"models/0/{len(self.models)}")
        self.notices += told
        return told

    def tick(self, at: int) -> list[Notice]:
        told = self.decider.tick(at)
        self.notices += told
        return told

    def restart(self, at: int) -> None:
        self.decider = self._new()
        kept = [Notice.of(json.loads(json.dumps(one.record()))) for one in self.notices]
        self.decider.restore(kept, self.models, self.records, at)


def test_an_input_its_scores_errors_and_segments_are_one_alert_that_names_the_input() -> None:
    service = Service()
    assert service.see(found("score", "probability", 3.1)) == []
    (opened,) = service.see(found("concept", "", 3.2, 0.5))
    assert (opened.change, opened.severity, opened.title) == (
        "opened", "critical", "score drift of probability, and performance suffers",
    )  # fmt: skip
    for later in (
        found("data", "distance", 3.0, 1.5, hurts=True),
        found("concept", "origin=JFK", 3.2, 2.0),
    ):
        assert service.see(later) == []
    (updated,) = service.tick(6 * DAY)[:1]
    assert updated.title == "data drift of distance, and performance suffers"
    assert (updated.change, updated.notify, updated.episode) == (
        "reminder", True, opened.alert_id,
    )  # fmt: skip
    assert updated.message.splitlines()[0] == "Most likely cause: data drift of distance"
    assert json.loads(updated.findings)[0]["kind"] == "data"
    assert updated.evidence == json.loads(updated.findings)[0]["drift_id"]


def test_changes_weeks_apart_are_alerts_of_their_own() -> None:
    service = Service()
    for day, subject in ((2.0, "distance"), (16.0, "wind")):
        service.see(found("data", subject, day))
        service.see(found("concept", "", day + 0.1, 0.5))
    opened = [n.title for n in service.notices if n.change == "opened"]
    assert opened == [
        "data drift of distance, and performance suffers",
        "data drift of wind, and performance suffers",
    ]


def test_two_inputs_that_change_on_days_of_their_own_are_two_causes() -> None:
    service = Service()
    service.see(found("data", "distance", 2.0, 0.1))
    service.see(found("estimate", "", 2.1, 0.1))
    service.see(found("data", "wind", 4.5, 0.1, hurts=True))
    service.see(found("concept", "", 4.5, 0.3))
    assert [n.title for n in service.notices if n.change == "opened"] == [
        "data drift of distance, and performance suffers",
        "data drift of wind, and performance suffers",
    ]


def test_many_inputs_that_drift_slowly_are_one_alert_that_counts_them() -> None:
    service = Service()
    for at, subject in enumerate(("temperature", "humidity", "pressure")):
        service.see(found("data", subject, 2.0 + at, 10.0 - 0.9 * at, hurts=True))
    service.see(found("concept", "", 12.0, 0.9))
    (opened,) = [n for n in service.notices if n.change == "opened"]
    assert opened.title.startswith("data drift of 3 inputs, temperature the most")


def test_what_may_matter_is_told_after_a_day_unless_performance_is_known_by_then() -> None:
    service = Service()
    assert service.see(found("skew", "distance", 0.0, 0.1)) == []
    assert service.tick(round(0.1 * DAY) + DAY - 1) == []
    (opened,) = service.tick(round(0.1 * DAY) + DAY)
    assert (opened.change, opened.severity) == ("opened", "warning")

    for known in (False, True):
        other = Service()
        other.see(found("skew", "distance", 0.0, 0.1))
        other.see(found("prediction", "", 0.2, 0.4, hurts=known, alerting=known))
        assert other.tick(6 * DAY) == []
        (opened,) = other.see(found("estimate", "", 0.2, 5.9))  # a detector of performance says so
        assert opened.title == "skew drift of distance, and performance suffers"


def test_drift_that_does_no_harm_alerts_nobody_and_is_behind_what_does() -> None:
    service = Service()
    for at in range(5):
        service.see(found("data", f"input {at}", 1.0, hurts=False, alerting=False))
    assert service.tick(3 * DAY) == []
    (opened,) = service.see(found("concept", "", 1.1, 2.0))
    assert opened.title == "data drift of 5 inputs, input 0 the most, and performance suffers"


def test_a_version_that_leaves_closes_its_alerts_and_nobody_is_sent_that() -> None:
    service = Service()
    service.takes_over("v1", 0)
    service.see(found("concept", "", 2.0))
    (closed,) = service.takes_over("v2", 3 * DAY)
    assert (closed.change, closed.version, closed.notify) == ("resolved", "v1", False)
    # Labels come late: what they say of a version that has gone is recorded, and no more.
    assert service.see(found("concept", "origin=JFK", 2.0, 2.0)) == []
    service.restart(5 * DAY)
    assert service.tick(9 * DAY) == []
    assert service.decider.open == []


def test_what_is_found_again_soon_goes_on_and_after_a_quiet_week_is_new() -> None:
    service = Service()
    service.see(found("concept", "", 2.0))
    assert service.see(found("concept", "", 7.0)) == []
    told = service.see(found("concept", "", 20.0))
    assert sorted(n.change for n in told) == ["opened", "resolved"]
    assert service.decider.open[0].about != service.notices[0].about


def test_a_cause_is_not_younger_than_what_it_causes() -> None:
    late = Member.of(found("schema", "carrier", 5.0, 0.1))
    fell = Member.of(found("concept", "", 2.0, 0.5))
    small = Member.of(found("data", "wind", 2.0, 0.5, evidence=""))
    assert ranked([late, fell, small])[0] is small


@pytest.mark.parametrize(
    "evidence", ["", "{", "[]", "7", '{"reference": 1}', '{"reference": ["a"], "window": [0]}',
                 '{"reference": [NaN], "window": [0]}']
)  # fmt: skip
def test_evidence_that_is_none_has_no_size(evidence: str) -> None:
    assert distance_of(evidence) == 0.0


KINDS = ("data", "skew", "schema", "prediction", "score", "estimate", "target", "concept", "other")


@st.composite
def streams(draw: st.DrawFn) -> list[Any]:
    """Findings of two versions in any order, with ticks, restarts and versions that take over."""
    steps: list[Any] = []
    now = 0.0
    for number in range(draw(st.integers(1, 40))):
        now += draw(st.sampled_from([0.001, 0.01, 0.3, 1.0, 3.0, 9.0]))
        what = draw(st.integers(0, 9))
        if what <= 6:
            kind = draw(st.sampled_from(KINDS))
            took = draw(st.sampled_from([0.0, 0.1, 1.0, 12.0]))
            known = draw(st.sampled_from([True, False, None]))
            made = found(
                kind,
                draw(st.sampled_from(["", "a", "b", "a and b"])),
                now - took,
                took,
                version=draw(st.sampled_from(["v1", "v2"])),
                hurts=known,
                alerting=known is not False and draw(st.booleans()),
            )
            steps.append(made | {"drift_id": f"d{number}"})
        elif what == 7:
            steps.append(("tick", round(now * DAY)))
        elif what == 8:
            steps.append(("restart", round(now * DAY)))
        else:
            steps.append((draw(st.sampled_from(["v1", "v2"])), round(now * DAY)))
    return steps


def run(steps: list[Any], restarts: bool = True) -> Service:
    service = Service()
    for step in steps:
        if isinstance(step, dict):
            service.see(step)
        elif step[0] == "tick":
            service.tick(step[1])
        elif step[0] == "restart":
            if restarts:
                service.restart(step[1])
        else:
            service.takes_over(*step)
    return service


@given(streams())
def test_episodes_open_once_and_end_once_whatever_comes_between(steps: list[Any]) -> None:
    service = run(steps)
    assert len({n.alert_id for n in service.notices}) == len(service.notices)
    by_episode: dict[str, list[str]] = {}
    for notice in service.notices:
        by_episode.setdefault(notice.episode, []).append(notice.change)
    for told in by_episode.values():
        if told != ["happened"]:
            assert told[0] == "opened"
            assert "opened" not in told[1:]
            assert "resolved" not in told[:-1]


@given(streams())
def test_a_finding_is_in_one_episode_and_versions_are_never_mixed(steps: list[Any]) -> None:
    version_of = {step["drift_id"]: step["version"] for step in steps if isinstance(step, dict)}
    service = run(steps)
    of: dict[str, set[str]] = {}
    for notice in service.notices:
        for member in json.loads(notice.findings or "[]"):
            of.setdefault(member["drift_id"], set()).add(notice.episode)
            assert version_of[member["drift_id"]] == notice.version
    assert all(len(episodes) == 1 for episodes in of.values())


@given(streams())
def test_what_surely_degrades_a_version_in_service_is_always_told(steps: list[Any]) -> None:
    service = Service()
    silent: set[str] = set()
    for step in steps:
        if isinstance(step, dict):
            service.see(step)
            performance = step["kind"] in ("concept", "estimate") and step["hurts"]
            if performance and step["alerting"] and step["version"] not in silent:
                (open_now, *_) = [
                    notice
                    for notice in service.decider.open
                    if notice.version == step["version"] and notice.severity == "critical"
                ]
                assert open_now.notify
        elif step[0] == "tick":
            service.tick(step[1])
        elif step[0] == "restart":
            service.restart(step[1])
        else:
            service.takes_over(*step)
            silent = {record.version for record, _ in service.models} - {step[0]}


@given(streams())
def test_a_restart_changes_nothing_of_what_is_told(steps: list[Any]) -> None:
    told = [
        [(n.change, n.about, n.raised_at) for n in service.notices if n.change in ENDS]
        for service in (run(steps), run(steps, restarts=False))
    ]
    assert told[0] == told[1]


ENDS = ("opened", "resolved", "worse", "happened")


@given(streams())
def test_the_same_records_give_the_same_alerts(steps: list[Any]) -> None:
    assert run(steps).notices == run(steps).notices


def test_what_is_kept_is_bounded() -> None:
    episodes = Episodes(POLICY)
    for at in range(MOST_UNTOLD + 50):
        episodes.see(found("data", f"input {at}", 20.0 * at, 0.1, hurts=False), at, "o")
    assert len(episodes._all) <= MOST_UNTOLD
    service = Service()
    for at in range(MOST_MEMBERS + 50):
        service.see(found("concept", f"origin={at}", 2.0))
    service.tick(9 * DAY)
    assert len(json.loads(service.notices[-1].findings)) == MOST_MEMBERS


def test_an_alert_of_a_weir_before_episodes_goes_on_until_it_is_quiet_or_its_version_leaves() -> (
    None
):
    service = Service()
    (old,) = service.see(found("concept", "", 2.0))
    facts = old.record() | {"about": "data drift of distance, version v1"}
    del facts["findings"], facts["notify"]
    service.notices, service.records = [Notice.of(facts)], []
    service.restart(3 * DAY)
    assert [n.change for n in service.tick(3 * DAY + 1)] == []
    assert [n.change for n in service.tick(10 * DAY)] == ["resolved"]
