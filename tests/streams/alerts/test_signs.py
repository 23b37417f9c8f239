"""What of a record is worth an alert."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from streams.alerts.levels import DeadLetterSigns, LagSigns
from streams.alerts.policy import Alerts, Bound, metric_names
from streams.alerts.sign import Sign
from streams.alerts.signs import RoleSigns, of_metric, of_retrain, of_volume
from streams.roles import ModelRecord
from tests.streams.alerts.signs import drift, metric


def test_volume_is_abuse_of_a_client_or_of_all() -> None:
    signs = [
        of_volume(drift(kind="volume", **changes), 1, "o")
        for changes in ({"subject": "key-7"}, {"subject": ""}, {"subject": "", "alerting": False})
    ]
    assert [(s.kind, s.about, s.state) for s in signs] == [
        ("abuse", "client key-7", "bad"),
        ("abuse", "all requests", "bad"),
        ("abuse", "all requests", "well"),
    ]


def judged(bound: Bound, **changes: Any) -> list[str]:
    signs = of_metric(metric(**changes), [bound], ["tumbling_1d", "sliding_7d_1d"], 1, "o")
    return [sign.state for sign in signs]


def test_a_metric_is_bad_when_its_whole_interval_is() -> None:
    bound = Bound(metric="accuracy", at_least=0.81)
    assert judged(bound) == []  # 0.80, but up to 0.82: it cannot tell
    assert judged(bound, accuracy_high=0.805) == ["bad"]
    assert judged(bound, accuracy=0.815) == ["well"]
    assert judged(Bound(metric="accuracy", at_least=0.81, sure=False)) == ["bad"]
    assert judged(Bound(metric="log_loss", at_most=0.45)) == ["bad"]
    assert judged(Bound(metric="log_loss", at_most=0.49)) == []
    assert judged(Bound(metric="calibration_error", at_most=0.05)) == ["bad"]  # has no interval


def test_only_whole_windows_of_the_champion_and_the_segment_count() -> None:
    bound = Bound(metric="accuracy", at_least=0.9)
    assert judged(bound) == ["bad"]
    for change in (
        {"complete": False},
        {"role": "shadow"},
        {"window": "sliding_7d_1d"},
        {"segment": "origin", "value": "JFK"},
        {"accuracy": None},
        {"accuracy": float("nan")},
    ):
        assert judged(bound, **change) == []
    of_jfk = Bound(metric="accuracy", at_least=0.9, segment="origin", value="JFK")
    assert judged(of_jfk) == []
    assert judged(of_jfk, segment="origin", value="JFK") == ["bad"]


def test_an_estimate_that_is_not_trusted_is_no_sign() -> None:
    bound = Bound(metric="estimated_accuracy", at_least=0.9)
    assert judged(bound) == ["bad"]
    assert judged(bound, estimate_trusted=False) == []


def role(version: str, role: str) -> ModelRecord:
    texts = dict.fromkeys(("event_id", "bundle", "sha256", "dataset_id"), "")
    numbers = dict.fromkeys(("changed_at", "rows", "data_from", "data_to"), 0)
    return ModelRecord(
        version=version,
        role=role,
        reason="why",
        metrics={},
        **texts,
        **numbers,  # type: ignore[arg-type]
    )


def test_a_rollback_is_a_version_that_comes_back() -> None:
    signs = RoleSigns()
    for record in (role("1", "champion"), role("2", "champion"), role("3", "shadow")):
        assert signs.see(record, 1, "o") == []
    (back,) = signs.see(role("2", "archived"), 2, "o")
    assert (back.kind, back.severity, back.evidence) == ("rollback", "critical", "1")
    assert signs.champion == "1"
    (forth,) = signs.see(role("2", "champion"), 3, "o")
    assert forth.about == "version 1 to 2"


def test_a_refused_version_is_told_of_with_its_reason() -> None:
    (refused,) = RoleSigns().see(role("2", "rejected"), 1, "o")
    assert (refused.kind, refused.state) == ("refused", "happened")
    assert "why" in refused.message


def test_a_refused_trigger_is_told_of_and_one_that_waits_is_no_concern() -> None:
    asked = {"event_id": "e", "reason": "why", "policy": "weekly", "champion": "v1", "why": ""}
    assert of_retrain({**asked, "status": "asked"}, 1, "o") is None
    assert of_retrain({**asked, "status": "failed"}, 1, "o") is None
    refused = of_retrain({**asked, "status": "refused", "why": "labels"}, 1, "o")
    assert of_retrain({**asked, "status": "refused", "why": "cool-down"}, 1, "o") is None
    assert refused is not None
    assert (refused.kind, refused.severity, refused.evidence) == ("refused", "warning", "e")
    assert refused.title == "retraining by trigger weekly was refused"


def test_a_lag_counts_when_it_lasts() -> None:
    signs = LagSigns(Alerts(lag=100))
    minute = 60_000

    def look(lag: int | None, at: int) -> str | None:
        sign = signs.see("worker", lag, at * minute)
        return sign and sign.state

    assert [look(101, 0), look(101, 4), look(None, 5), look(101, 5)] == [None, None, None, "bad"]
    assert [look(100, 6), look(101, 7), look(101, 11), look(101, 12)] == [
        "well", None, None, "bad",
    ]  # fmt: skip


MINUTE = 60_000


def state_of(sign: Sign | None) -> str | None:
    return sign and sign.state


def test_the_share_of_dead_letters_is_of_the_last_minutes() -> None:
    signs = DeadLetterSigns(Alerts(), 0, 1_000)
    assert signs.see(1_000, 1) is None  # it has not seen a whole window yet
    signs.count(MINUTE, Counter(invalid=19))
    assert signs.see(1_100, MINUTE) is None  # fewer than 20
    signs.count(MINUTE, Counter(undecodable=2, throttled=1_000))
    found = signs.see(1_100, MINUTE + 1)
    assert found is not None
    assert (found.state, found.severity) == ("bad", "critical")
    assert "21.0% of 100 requests" in found.message
    assert "19 invalid, 2 undecodable" in found.message
    assert state_of(signs.see(10_000, 2 * MINUTE)) is None  # 0.2 % of what has come since
    assert state_of(signs.see(10_000, 6 * MINUTE + 1)) == "well"


def test_letters_of_before_it_began_are_those_of_no_requests() -> None:
    signs = DeadLetterSigns(Alerts(), 0, 0)
    signs.count(0, Counter(invalid=30))
    assert state_of(signs.see(0, MINUTE)) == "bad"


def test_every_metric_of_the_schema_can_have_a_bound_and_nothing_else() -> None:
    names = metric_names()
    assert {"roc_auc", "log_loss", "estimated_accuracy", "share_deferred", "r2"} <= names
    assert not {"roc_auc_low", "estimated_accuracy_error", "weight", "window", "scored"} & names


def test_everything_wrong_with_a_policy_is_told() -> None:
    wrong = Alerts(
        metrics=[
            Bound(metric="acuracy", at_least=1),
            Bound(metric="accuracy"),
            Bound(metric="f1", at_least=0.5, at_most=0.4),
            Bound(metric="brier", at_most=0.2, window="tumbling_9d"),
            Bound(metric="brier", at_most=0.2, segment="carrier", value="UA"),
            Bound(metric="recall", at_least=0.2, segment="origin"),
        ],
        dead_letter_share=2,
        burst=0,
        per_hour=0,
    )
    found = "\n".join(wrong.problems(["tumbling_1d"], ["origin"]))
    for words in (
        "no metric 'acuracy'", "set at_least", "above at_most", "no window 'tumbling_9d'",
        "no segment 'carrier'", "go together", "dead_letter_share", "burst", "per_hour",
    ):  # fmt: skip
        assert words in found
    assert Alerts().problems() == []


def test_a_policy_survives_as_json_data() -> None:
    policy = Alerts(metrics=(Bound(metric="accuracy", at_least=0.9),), burst=7)
    assert Alerts.of(policy.facts()) == policy
    assert Alerts.of({}) == Alerts()


@pytest.mark.parametrize("name", ["quiet", "remind", "hold", "drift_quiet"])
def test_times_are_a_second_or_more(name: str) -> None:
    from datetime import timedelta

    assert Alerts(**{name: timedelta(0)}).problems()  # type: ignore[arg-type]
