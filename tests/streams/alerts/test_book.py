"""One alert an episode, reminders, ends; and the same again from what was told."""

from __future__ import annotations

import json
from collections import defaultdict

from hypothesis import given

from streams.alerts.book import MOST_OPEN, SETTLED_MS, UPDATE_MS, Book, Notice
from streams.alerts.policy import Alerts
from streams.alerts.sign import Sign
from tests.streams.alerts.signs import histories, sign

POLICY = Alerts()
HOUR, DAY = 3_600_000, 86_400_000


def run(book: Book, steps: list[Sign | int]) -> list[Notice]:
    return [
        notice
        for step in steps
        for notice in (book.tick(step) if isinstance(step, int) else book.see(step))
    ]


def findings(*subjects: str) -> str:
    return json.dumps([{"kind": "data", "subject": subject} for subject in subjects])


def changes(notices: list[Notice]) -> list[str]:
    return [notice.change for notice in notices]


def test_an_episode_is_told_of_once_and_its_end_when_it_is_quiet() -> None:
    book = Book("task", POLICY)
    abuse = {"kind": "abuse", "about": "client a"}
    steps = [sign(0, **abuse), sign(1, **abuse), sign(HOUR, **abuse)]
    notices = run(book, [*steps, HOUR + 6 * HOUR - 1, 8 * HOUR, 9 * HOUR])
    assert changes(notices) == ["opened", "resolved"]
    assert {notice.episode for notice in notices} == {notices[0].alert_id}
    assert (notices[1].count, notices[1].opened_at, notices[1].severity) == (3, 0, "info")
    assert book.open == []


def test_what_goes_on_is_told_of_again_once_a_day() -> None:
    steps: list[Sign | int] = []
    for hour in range(50):
        steps += [sign(hour * HOUR), hour * HOUR + 1]
    notices = run(Book("task", POLICY), steps)
    assert changes(notices) == ["opened", "reminder", "reminder"]
    assert len({notice.alert_id for notice in notices}) == 3


def test_what_gets_worse_is_told_of_at_once() -> None:
    steps = [sign(0, severity="warning"), sign(1, severity="critical"), sign(2, severity="warning")]
    notices = run(Book("task", POLICY), [*steps])
    assert changes(notices) == ["opened", "worse"]
    assert [notice.severity for notice in notices] == ["warning", "critical"]


def test_a_lag_that_goes_up_and_down_is_one_episode() -> None:
    lag = {"kind": "lag", "about": "worker"}
    steps: list[Sign | int] = []
    for minute in range(0, 60, 2):
        at = minute * 60_000
        steps += [sign(at, **lag), sign(at + 60_000, state="well", **lag), at + 60_000]
    end = 59 * 60_000
    notices = run(Book("task", POLICY), [*steps, end + SETTLED_MS - 1, end + SETTLED_MS])
    assert changes(notices) == ["opened", "resolved"]


def test_an_older_window_says_nothing_of_a_metric_now() -> None:
    metric = {"kind": "metric", "about": "accuracy"}
    steps: list[Sign | int] = [
        sign(0, event_time=2 * DAY, **metric),
        sign(1, event_time=DAY, state="well", **metric),
        sign(2, event_time=2 * DAY, state="well", **metric),
        sign(3, event_time=DAY, **metric),
    ]
    assert changes(run(Book("task", POLICY), steps)) == ["opened", "resolved"]


def test_what_happens_again_soon_is_not_told_of_again() -> None:
    happened = {"kind": "refused", "about": "version 2", "state": "happened"}
    steps = [sign(0, **happened), sign(HOUR, **happened), sign(DAY, **happened)]
    assert changes(run(Book("task", POLICY), [*steps])) == ["happened", "happened"]


def test_drift_ends_without_a_message_when_its_version_answers_no_more() -> None:
    book = Book("task", POLICY)
    run(book, [sign(0, version="v1"), sign(0, version="v2", about="another")])
    ended = book.left("v1", 5)
    assert [(n.change, n.version, n.notify) for n in ended] == [("resolved", "v1", False)]
    assert [n.version for n in book.open] == ["v2"]


def test_what_belongs_to_drift_is_recorded_as_it_grows_and_sent_to_nobody() -> None:
    book = Book("task", POLICY)
    grown = [findings("a"), findings("a", "b"), findings("a", "b", "c"), findings("c", "b", "a")]
    steps: list[Sign | int] = [sign(at, findings=one) for at, one in enumerate(grown[:3])]
    notices = run(book, [*steps, UPDATE_MS - 1, UPDATE_MS, 2 * UPDATE_MS])
    assert [(n.change, n.findings, n.notify) for n in notices] == [
        ("opened", grown[0], True),
        ("updated", grown[2], False),
    ]
    # Another cause is the most likely one now; the same one found again is nothing new.
    more: list[Sign | int] = [sign(3 * UPDATE_MS, findings=grown[3]), 3 * UPDATE_MS, 5 * UPDATE_MS]
    again: list[Sign | int] = [sign(6 * UPDATE_MS, findings=grown[3]), 9 * UPDATE_MS]
    assert changes(run(book, more + again)) == ["updated"]


def test_drift_that_got_better_and_worse_again_is_told_as_worse_once() -> None:
    levels = ["warning", "critical", "warning", "critical"]
    steps = [sign(at, severity=level, findings=findings("a")) for at, level in enumerate(levels)]
    assert changes(run(Book("task", POLICY), [*steps])) == ["opened", "worse"]


def test_nobody_is_reminded_of_what_was_not_seen_again() -> None:
    steps: list[Sign | int] = [sign(0), 2 * DAY, 3 * DAY, sign(4 * DAY), 4 * DAY, 9 * DAY]
    assert changes(run(Book("task", POLICY), steps)) == ["opened", "reminder"]


def test_clients_without_number_leave_a_book_of_bounded_size() -> None:
    book = Book("task", POLICY)
    for client in range(MOST_OPEN + 10):
        run(book, [sign(client, kind="abuse", about=f"client {client}")])
    assert len(book.open) == MOST_OPEN
    assert book.open[0].about == "client 10"


@given(histories())
def test_ids_differ_and_episodes_open_once_and_end_once(steps: list[Sign | int]) -> None:
    notices = run(Book("task", POLICY), steps)
    assert len({notice.alert_id for notice in notices}) == len(notices)
    by_episode = defaultdict(list)
    for notice in notices:
        by_episode[notice.episode].append(notice)
    for told in by_episode.values():
        words = changes(told)
        if words != ["happened"]:
            assert words[0] == "opened"
            assert "opened" not in words[1:]
            assert "resolved" not in words[:-1]
        # An opening, two steps up, an end, and a reminder a day.
        days = (told[-1].raised_at - told[0].raised_at) / DAY
        assert len(told) <= 4 + days


@given(histories())
def test_there_is_never_more_than_one_episode_of_a_thing(steps: list[Sign | int]) -> None:
    open_now: set[tuple[str, str]] = set()
    for notice in run(Book("task", POLICY), steps):
        key = (notice.kind, notice.about)
        if notice.change == "opened":
            assert key not in open_now
            open_now.add(key)
        elif notice.change == "resolved":
            open_now.remove(key)
        elif notice.change != "happened":
            assert key in open_now


@given(histories())
def test_a_book_is_made_again_from_what_it_told(steps: list[Sign | int]) -> None:
    book = Book("task", POLICY)
    notices = run(book, steps)
    again = Book("task", POLICY)
    again.restore([Notice.of(notice.record()) for notice in notices], 0)
    assert again.open == book.open


@given(histories())
def test_a_crash_between_any_two_steps_opens_nothing_twice(steps: list[Sign | int]) -> None:
    for cut in range(0, len(steps), 7):
        first = Book("task", POLICY)
        told = run(first, steps[:cut])
        second = Book("task", POLICY)
        at = steps[cut].at_ms if isinstance(steps[cut], Sign) else steps[cut]
        second.restore(told, at)  # type: ignore[arg-type]
        told += run(second, steps[cut:])
        assert len({notice.alert_id for notice in told}) == len(told)
