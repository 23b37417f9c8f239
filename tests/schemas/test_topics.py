"""The table of topics: what the broker is told about each."""

from __future__ import annotations

import pytest

from schemas.records import RECORDS
from schemas.topics import BY_NAME, DAY_MS, HOUR_MS, TOPICS, Topic

INPUTS = {"requests", "truth", "signals"}


def test_every_record_has_a_topic_and_every_topic_a_record() -> None:
    assert {topic.record for topic in TOPICS} == set(RECORDS)
    assert len({topic.name for topic in TOPICS}) == len(TOPICS) == len(BY_NAME)


def test_names_serve_as_topic_and_as_table() -> None:
    dead = BY_NAME["dead-letters"]
    assert dead.topic("flight_delay") == "flight_delay.dead-letters"
    assert dead.table == "dead_letters"


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_what_weir_makes_of_the_largest_input_fits(topic: Topic) -> None:
    config = topic.config(DAY_MS)
    wanted = 1_048_576 if topic.name in INPUTS else 4_194_304
    assert config["max.message.bytes"] == str(wanted)


@pytest.mark.parametrize("horizon_ms", [HOUR_MS, 3 * DAY_MS, 400 * DAY_MS])
def test_what_the_join_is_restored_from_is_kept_for_two_horizons(horizon_ms: int) -> None:
    for name in ("predictions", "truth", "signals", "outcomes"):
        kept = int(BY_NAME[name].config(horizon_ms)["retention.ms"])
        assert kept == max(2 * horizon_ms, DAY_MS)


def test_versions_of_models_are_kept_for_ever() -> None:
    config = BY_NAME["models"].config(DAY_MS)
    assert config["cleanup.policy"] == "compact"
    assert "retention.ms" not in config


def test_topics_about_requests_are_partitioned_alike() -> None:
    keyed = {topic.name for topic in TOPICS if topic.key == "request id"}
    assert keyed == {topic.name for topic in TOPICS if topic.partitioned}
