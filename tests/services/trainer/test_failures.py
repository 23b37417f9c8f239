"""Which failed training is told of: the newest that no version came after."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.trainer.events import Event
from services.trainer.failures import Record, standing_failure
from streams.roles import ModelRecord, fold

WHY = "LogOfAge cannot be saved"


def event(event_id: str) -> Event:
    return Event(event_id, 0, "manual", f"asked for as {event_id}", "somebody")


def asked(event_id: str) -> Record:
    return event(event_id).record() | {"status": "asked"}


def failed(event_id: str) -> Record:
    return event(event_id).failed(WHY)


def roles(*event_ids: str) -> Any:
    return fold(
        ModelRecord(
            version=f"t-{event_id}",
            role="champion",
            changed_at=0,
            reason="",
            event_id=event_id,
            bundle="",
            sha256="",
            dataset_id="",
            rows=0,
            data_from=0,
            data_to=0,
            metrics={},
        )
        for event_id in event_ids
    )


def standing(records: list[Record], *versions: str) -> str | None:
    found = standing_failure(enumerate(records), roles(*versions))
    return found and found.event_id


def test_a_failure_says_which_event_why_and_how_often() -> None:
    records = [asked("a"), failed("a"), asked("b"), failed("b")]
    found = standing_failure(enumerate(records), roles())
    assert found is not None
    assert (found.event_id, found.asked, found.why, found.failed_at, found.failures) == (
        *("b", "asked for as b", WHY, 3, 2),
    )
    assert "event b (asked for as b) gave no version: LogOfAge cannot be saved" in found.text
    assert "weir retrain" in found.facts()["what_to_do"]


def test_a_version_that_was_asked_for_later_ends_it() -> None:
    assert standing([asked("a"), failed("a"), asked("b")]) == "a"
    assert standing([asked("a"), failed("a"), asked("b")], "b") is None
    # Both were asked for before the first was worked on.
    assert standing([asked("a"), asked("b"), failed("a")], "b") is None
    assert standing([asked("a"), asked("b"), failed("b")], "a") == "b"


def test_an_event_that_is_asked_for_again_and_trained_has_not_failed() -> None:
    assert standing([asked("first"), failed("first"), asked("first")], "first") is None


def test_a_failure_whose_request_the_topic_forgot_is_told() -> None:
    assert standing([failed("a")]) == "a"
    assert standing([]) is None


def test_refusals_of_triggers_are_no_failures() -> None:
    assert standing([asked("a"), {**asked("b"), "status": "refused"}]) is None


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.booleans()), unique_by=lambda one: one[0]))
def test_of_events_that_are_trained_in_turn_the_last_decides(
    events: list[tuple[str, bool]],
) -> None:
    records = [
        record
        for name, works in events
        for record in ([asked(name)] if works else [asked(name), failed(name)])
    ]
    versions = [name for name, works in events if works]
    wanted = events[-1][0] if events and not events[-1][1] else None
    assert standing(records, *versions) == wanted
