"""A retrain event goes through its topic and comes back; a failed one says so."""

from __future__ import annotations

from services.trainer.events import Event, first_event
from services.trainer.failures import ASKED, FAILED
from streams.codecs import codecs
from streams.triggers import records
from streams.triggers.decided import Refusal, Retrain
from tests.small_tasks import TUMOUR

CODEC = codecs(TUMOUR)["retrain"]


def test_an_event_of_a_trigger_is_read_with_its_pointer() -> None:
    asked = Retrain(
        *("worse-v1-3", "worse", "metric", "v1-3", "v1", 2_000, "worse: bad", 1_000, 2_000),
        *({"metric": "bad"}, ("m1", "m2")),
    )
    record = CODEC.read(CODEC.write(records.record(asked, 5, [7, 8])))
    event = Event.of(record)
    assert record["status"] == ASKED
    assert (event.event_id, event.trigger, event.policy) == ("worse-v1-3", "metric", "worse")
    assert (event.data_from, event.data_to, event.requested_at) == (1_000, 2_000, 5)
    assert (event.outcomes_from, event.outcomes_to) == ([0, 0], [7, 8])
    failed = CODEC.read(CODEC.write(event.failed("too few rows")))
    assert (failed["status"], failed["reason"]) == (FAILED, "too few rows")
    assert Event.of(failed).outcomes_to == [7, 8]


def test_a_refusal_is_no_event_to_train_on() -> None:
    refused = Refusal(
        *("refused-1", "worse", "metric", "v1-3", "v1", 2_000, "labels", "too few"),
        *({"metric": "bad"}, ()),
    )
    record = CODEC.read(CODEC.write(records.record(refused, 5, ())))
    assert (record["status"], record["why"]) == ("refused", "labels")


def test_the_first_event_has_no_pointer_and_may_fail_too() -> None:
    first = first_event(TUMOUR, 5)
    record = CODEC.read(CODEC.write(first.record()))
    assert (record["status"], record["outcomes_to"]) == (ASKED, [])
    failed = CODEC.read(CODEC.write(first.failed("no rows")))
    assert (failed["event_id"], failed["status"]) == (first.event_id, FAILED)
