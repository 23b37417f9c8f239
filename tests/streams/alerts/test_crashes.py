"""One alert a crash loop, with its process as subject."""

from __future__ import annotations

from collections.abc import Sequence

from streams.alerts.book import Notice
from streams.alerts.crashes import Crashes
from streams.alerts.decide import Decider
from streams.alerts.policy import Alerts

CALM = Crashes(looping=False)
LOOPS = Crashes(
    True, "crash loop: worker ended unplanned 3 times, last with exit code 1: no", "w.log"
)


def looks(*states: Sequence[Crashes]) -> list[Notice]:
    decider = Decider("task", Alerts(), ["tumbling_1d"], 0, 0)
    return [
        notice
        for at, (worker, sink) in enumerate(states)
        for notice in decider.look_at_crashes({"worker": worker, "sink": sink}, 10_000 * at)
    ]


def test_a_crash_loop_is_one_alert_that_ends_with_it() -> None:
    notices = looks((CALM, CALM), (LOOPS, CALM), (LOOPS, CALM), (CALM, CALM), (CALM, CALM))
    assert [(n.change, n.kind, n.about) for n in notices] == [
        ("opened", "crash-loop", "worker"),
        ("resolved", "crash-loop", "worker"),
    ]
    opened = notices[0]
    assert opened.severity == "critical"
    assert "exit code 1: no" in opened.message
    assert "w.log" in opened.message


def test_each_process_has_an_alert_of_its_own() -> None:
    notices = looks((LOOPS, LOOPS), (LOOPS, CALM), (LOOPS, LOOPS))
    assert [(n.change, n.about) for n in notices] == [
        *(("opened", "worker"), ("opened", "sink"), ("resolved", "sink"), ("opened", "sink")),
    ]


def test_ends_that_are_no_loop_are_no_alert() -> None:
    once = Crashes(False, "worker ended unplanned once, last with exit code 1: no", "w.log")
    assert looks((once, CALM), (once, once)) == []
