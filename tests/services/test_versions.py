"""Versions by what a person calls them."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.versions import VersionError, find
from streams.roles import ModelRecord, Role, fold


def record(version: str, role: Role) -> ModelRecord:
    return ModelRecord(
        version=version, role=role, changed_at=0, reason="", event_id="", bundle=version,
        sha256="", dataset_id="", rows=0, data_from=0, data_to=0, metrics={},
    )  # fmt: skip


ROLES = fold(
    [record("t-abc1", "champion"), record("t-abd2", "champion"), record("t-9f", "shadow"),
     record("t-9e", "shadow")]
)  # fmt: skip


def test_a_version_is_found_by_its_role_or_the_beginning_of_its_id(tmp_path: Path) -> None:
    assert find("champion", tmp_path, ROLES).folder == tmp_path / "t-abd2"
    assert find("t-abc", tmp_path, ROLES).role == "archived"
    assert find("abc", tmp_path, ROLES).folder == tmp_path / "t-abc1"
    assert find("t-abd2", tmp_path, ROLES).role == "champion"


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        ("ab", "may be t-abc1, t-abd2"),
        ("shadow", "2 versions are shadow: t-9f, t-9e"),
        ("canary", "no version is canary now"),
        ("zzz", "no version is called zzz; there are t-9e, t-9f, t-abc1, t-abd2"),
    ],
)
def test_what_is_not_one_version_is_told(wanted: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(VersionError, match=why):
        find(wanted, tmp_path, ROLES)


def test_without_a_broker_ids_are_enough(tmp_path: Path) -> None:
    (tmp_path / "t-77").mkdir()
    (tmp_path / "t-77" / "manifest.json").touch()
    assert find("77", tmp_path, None).role == "none"
    with pytest.raises(VersionError, match="no broker answers"):
        find("champion", tmp_path, None)
