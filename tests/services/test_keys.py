"""Secrets are made once, readable by their owner alone, and given ones are used instead."""

from __future__ import annotations

import stat
from pathlib import Path

from pydantic import SecretStr

from services.keys import kept_secret, with_keys
from streams.settings import Settings


def test_keys_are_made_once_and_only_their_owner_reads_them(tmp_path: Path) -> None:
    first, second = (with_keys(Settings(home=tmp_path)) for _ in range(2))
    assert first.signing_key == second.signing_key
    assert first.clickhouse_password == second.clickhouse_password
    assert first.signing_key.get_secret_value() != first.clickhouse_password.get_secret_value()
    assert len(bytes.fromhex(first.signing_key.get_secret_value())) == 32
    files = sorted((tmp_path / "keys").iterdir())
    assert [file.name for file in files] == ["clickhouse.password", "signing.key"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700


def test_keys_from_the_environment_are_used_and_not_written(tmp_path: Path) -> None:
    given = Settings(
        home=tmp_path, signing_key=SecretStr("mine"), clickhouse_password=SecretStr("also mine")
    )
    assert with_keys(given) == given
    assert not (tmp_path / "keys").exists()


def test_what_another_start_made_first_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / "k").write_text("theirs\n")
    assert kept_secret(tmp_path / "k") == "theirs"
