"""Topics come from the table, and a task's records keep readable."""

from __future__ import annotations

from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

from schemas.topics import OUTPUT_MAX_BYTES, TOPICS
from services.admin import AdminError, create_topics
from services.contract import (
    Contract,
    ContractError,
    history,
    record,
    recorded,
    recorded_tasks,
    told_of_readers,
)
from streams.task import load_task
from tests.conftest import PATIENCE_S, RunningBroker
from tests.services.command_line import write_task


def contract_of(
    folder: Path, name: str = "small", changes: dict[str, str] | None = None
) -> Contract:
    reference = f"{write_task(folder, name, changes)}:Small"
    return Contract.of(load_task(reference), reference)


@pytest.mark.system
def test_every_topic_of_the_table_is_created_as_it_says(
    broker: RunningBroker, tmp_path: Path
) -> None:
    contract = contract_of(tmp_path, "created")
    config = {"bootstrap.servers": broker.bootstrap}
    assert sorted(create_topics(contract, config).created) == sorted(
        n for n, _ in contract.topics()
    )

    admin = AdminClient(config)
    found = admin.list_topics(timeout=PATIENCE_S).topics
    assert {t: len(found[f"created.{t}"].partitions) for t in ("requests", "truth", "models")} == {
        "requests": 3,
        "truth": 3,
        "models": 1,
    }
    answers = admin.describe_configs(
        [
            ConfigResource(ResourceType.TOPIC, f"created.{t}")
            for t in ("requests", "truth", "models")
        ]
    )
    settings = {resource.name: answer.result(PATIENCE_S) for resource, answer in answers.items()}
    assert settings["created.requests"]["retention.ms"].value == str(7 * 86_400_000)
    assert settings["created.truth"]["retention.ms"].value == str(4 * 86_400_000)
    assert settings["created.models"]["cleanup.policy"].value == "compact"


@pytest.mark.system
def test_creating_them_again_changes_nothing(broker: RunningBroker, tmp_path: Path) -> None:
    contract = contract_of(tmp_path, "again")
    config = {"bootstrap.servers": broker.bootstrap}
    create_topics(contract, config)
    report = create_topics(contract, config)
    assert (report.created, report.differences) == ([], [])
    assert len(report.existing) == len(TOPICS)


@pytest.mark.system
def test_an_existing_topic_with_another_retention_is_left_alone_and_told(
    broker: RunningBroker, tmp_path: Path
) -> None:
    contract = contract_of(tmp_path, "retention")
    config = {"bootstrap.servers": broker.bootstrap}
    others = {"max.message.bytes": str(OUTPUT_MAX_BYTES)}
    topic = NewTopic("retention.alerts", 1, 1, config={"retention.ms": "1000", **others})
    admin = AdminClient(config)
    admin.create_topics([topic])["retention.alerts"].result(PATIENCE_S)
    (difference,) = create_topics(contract, config).differences
    assert str(difference) == (
        f"retention.alerts: retention.ms is 1000, the table says {365 * 86_400_000}"
    )


@pytest.mark.system
def test_an_existing_topic_with_other_partitions_is_refused(
    broker: RunningBroker, tmp_path: Path
) -> None:
    config = {"bootstrap.servers": broker.bootstrap}
    create_topics(contract_of(tmp_path, "grown"), config)
    grown = contract_of(tmp_path, "grown", {"partitions=3": "partitions=5"})
    with pytest.raises(AdminError, match=r"grown.requests has 3, the task says 5"):
        create_topics(grown, config)


def test_a_recorded_contract_is_the_task_without_its_file(tmp_path: Path) -> None:
    contract = contract_of(tmp_path)
    record(contract, tmp_path)
    Path(contract.reference.partition(":")[0]).unlink()
    assert recorded(tmp_path, "small") == contract
    assert recorded_tasks(tmp_path) == ["small"]
    assert recorded(tmp_path, "other") is None


def test_a_new_nullable_feature_is_a_new_version(tmp_path: Path) -> None:
    record(contract_of(tmp_path), tmp_path)
    more = {"features=[": 'features=[Number("size", nullable=True),'}
    added = record(contract_of(tmp_path, changes=more), tmp_path)
    assert {path.parent.name for path in added} >= {"request", "prediction", "deferred", "outcome"}
    assert len(history(tmp_path, "small").versions("request")) == 2


def test_a_new_nullable_feature_concerns_no_older_reader(tmp_path: Path) -> None:
    record(contract_of(tmp_path), tmp_path)
    more = {"features=[": 'features=[Number("size", nullable=True),'}
    assert told_of_readers(contract_of(tmp_path, changes=more), tmp_path) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {'Number("price", low=0, unit="EUR")': 'Number("price", nullable=True)'},
            "request, version 1: features.price: was double, may now be null",
        ),
        (
            {'Number("price", low=0, unit="EUR"),': ""},
            "request, version 1: features.price: is gone and had no default",
        ),
    ],
)
def test_a_change_that_older_readers_do_not_understand_is_taken_and_told_once(
    tmp_path: Path, change: dict[str, str], said: str
) -> None:
    record(contract_of(tmp_path), tmp_path)
    changed = contract_of(tmp_path, changes=change)
    assert any(said in conflict for conflict in told_of_readers(changed, tmp_path))
    assert record(changed, tmp_path)
    assert told_of_readers(changed, tmp_path) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"features=[": 'features=[Number("size"),'}, "features.size: is new and has no default"),
        ({'Number("price"': 'Category("price"', ', low=0, unit="EUR"': ""}, "was double, is now"),
        (
            {"Binary(": "Regression(", "import Binary": "import Regression", "=False": "=0.0"}
            | {"DummyClassifier": "DummyRegressor"},
            "truth, version 1: truth: was boolean, is now double",
        ),
    ],
)
def test_a_change_that_makes_old_records_unreadable_is_refused(
    tmp_path: Path, change: dict[str, str], said: str
) -> None:
    before = contract_of(tmp_path)
    record(before, tmp_path)
    with pytest.raises(ContractError, match=said) as refused:
        record(contract_of(tmp_path, changes=change), tmp_path)
    assert "give the task another name" in str(refused.value)
    assert recorded(tmp_path, "small") == before
