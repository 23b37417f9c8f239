"""Secrets are made once, readable by their owner alone, and given ones are used instead."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr

from services.keys import kept_secret, secret_file, with_keys
from services.supervisor.child import Child
from services.system import assemble
from streams.settings import SECRETS, Settings


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


def test_a_secret_may_be_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SECRETS:
        (tmp_path / name).write_text(f"secret of {name}\n")
        monkeypatch.setenv(f"WEIR_{name.upper()}_FILE", str(tmp_path / name))
    monkeypatch.setenv("WEIR_RETRAIN_TOKEN", "from the environment")
    settings = Settings(home=tmp_path)
    found = {name: getattr(settings, name).get_secret_value() for name in SECRETS}
    assert found == {name: f"secret of {name}" for name in SECRETS} | {
        "retrain_token": "from the environment"
    }


def test_a_given_secret_does_not_replace_the_kept_one(tmp_path: Path) -> None:
    kept = with_keys(Settings(home=tmp_path)).clickhouse_password.get_secret_value()
    assert secret_file(tmp_path, "clickhouse_password", kept).name == "clickhouse.password"
    given = secret_file(tmp_path, "clickhouse_password", "mine")
    assert given.read_text() == "mine"
    assert stat.S_IMODE(given.stat().st_mode) == 0o600
    assert stat.S_IMODE(given.parent.stat().st_mode) == 0o700
    assert (tmp_path / "keys" / "clickhouse.password").read_text() == kept


@pytest.mark.expect_end(r"print\(dict", why="it says its environment and ends")
def test_no_process_gets_a_secret_by_its_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of secrets that the user gives to `weir up` by its own environment."""
    secrets = {name: f"secret-of-{name}" for name in SECRETS}
    for name, secret in secrets.items():
        monkeypatch.setenv(f"WEIR_{name.upper()}", secret)
    system = assemble(Settings(home=tmp_path), (), ())
    for spec in (*system.ground, *system.others):
        log = tmp_path / f"{spec.name}.txt"
        child = Child([sys.executable, "-c", "import os; print(dict(os.environ))"], spec.env, log)
        assert child.wait() == 0
        seen = log.read_text() + " ".join(spec.argv)
        assert not [name for name, secret in secrets.items() if secret in seen]
    store = next(spec for spec in system.ground if spec.name == "store")
    assert (
        Path(store.env["WEIR_CLICKHOUSE_PASSWORD_FILE"] or "").read_text()
        == (secrets["clickhouse_password"])
    )
    assert store.env["WEIR_SIGNING_KEY_FILE"] is None
