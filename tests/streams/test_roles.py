from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from streams.codecs import codecs
from streams.roles import ModelRecord, Role, Roles, fold
from tests.streams.orders import JUNK, Row, cut
from tests.streams.tasks import task_of


def record(version: str, role: Role = "champion", event_id: str = "") -> ModelRecord:
    return ModelRecord(
        version=version,
        role=role,
        changed_at=0,
        reason="",
        event_id=event_id or f"event-{version}",
        bundle=version,
        sha256="",
        dataset_id="ds",
        rows=1,
        data_from=0,
        data_to=1,
        metrics={"accuracy": 0.5},
    )


def test_without_records_there_is_no_champion() -> None:
    assert fold([]).champion is None
    assert fold([]).role("v1") == "none"


def test_the_last_champion_answers_and_the_one_before_is_archived() -> None:
    roles = fold([record("v1"), record("v2"), record("v3", "rejected")])
    assert roles.champion == record("v2")
    assert [roles.role(v) for v in ("v1", "v2", "v3")] == ["archived", "champion", "rejected"]
    assert [r.version for r in roles.with_role("archived")] == ["v1"]


def test_an_older_version_that_is_named_again_is_the_champion() -> None:
    roles = fold([record("v1"), record("v2"), record("v1")])
    assert roles.champion == record("v1")
    assert roles.role("v2") == "archived"


def test_when_the_champion_is_rejected_the_one_before_it_answers() -> None:
    roles = fold([record("v1"), record("v2"), record("v2", "rejected")])
    assert roles.champion == record("v1")
    assert roles.role("v2") == "rejected"


def test_a_compacted_topic_gives_the_same_roles() -> None:
    records = [record("v1"), record("v2", "shadow"), record("v1"), record("v2"), record("v3")]
    last = [records[2], records[3], records[4]]
    assert list(fold(last).records.items()) == list(fold(records).records.items())


def test_records_can_be_folded_in_pieces() -> None:
    records = [record("v1"), record("v2"), record("v1", "archived"), record("v3", "rejected")]
    for at in range(len(records)):
        assert fold(records[at:], fold(records[:at])) == fold(records)


def test_a_version_is_found_by_the_event_it_was_trained_for() -> None:
    roles = fold([record("v1", event_id="e1"), record("v2", "rejected", "e2")])
    assert roles.of_event("e2") == record("v2", "rejected", "e2")
    assert roles.of_event("e3") is None


def test_a_record_survives_the_codecs_dict() -> None:
    one = replace(record("v1"), replaces="v0")
    assert ModelRecord.of(one.record() | {"later_field": 1}) == one
    assert Roles({"v1": one}).champion == one


CODEC = codecs(task_of())["model"]
rows = st.builds(
    lambda version, role: Row(CODEC.write(record(version, role).record()), version.encode()),
    st.sampled_from(["v1", "v2", "v3"]),
    st.sampled_from(["champion", "champion", "shadow", "canary", "archived", "rejected"]),
)
deleted = st.sampled_from(["v1", "v2", "v3"]).map(lambda v: Row(None, v.encode()))


@given(st.lists(st.one_of(rows, rows, deleted, rows.map(cut), JUNK), max_size=20))
def test_whatever_the_topic_holds_the_last_record_of_each_version_that_is_left_counts(
    topic: list[Row],
) -> None:
    roles, expected = Roles(), dict[str, ModelRecord]()
    for row in topic:
        try:
            roles = roles.told(row.key, row.value, CODEC)
        except ValueError:
            assert not row.good
            continue
        version = (row.key or b"").decode(errors="replace")
        expected.pop(version, None)
        if row.value is not None:
            expected[version] = ModelRecord.of(CODEC.read(row.value))
    assert list(roles.records.items()) == list(expected.items())
    champions = [version for version, one in expected.items() if one.role == "champion"]
    assert (roles.champion.version if roles.champion else "") == (champions or [""])[-1]
