"""The secrets of an embedded deployment: made once, kept in ``<home>/keys``, never printed."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from pydantic import SecretStr

from streams.settings import Settings

KEPT = {"signing_key": "signing.key", "clickhouse_password": "clickhouse.password"}
"""Settings that the embedded set-up makes, and their files."""

KEY_BYTES = 32
"""256 bits: as long as the digest of the signatures."""


def with_keys(settings: Settings) -> Settings:
    """The settings with a signing key and ClickHouse's password, made where none was given."""
    made = {
        name: SecretStr(kept_secret(settings.home / "keys" / file))
        for name, file in KEPT.items()
        if not getattr(settings, name).get_secret_value()
    }
    return settings.model_copy(update=made)


def kept_secret(path: Path) -> str:
    """The secret in a file that only its owner reads; made, at random, where there is none."""
    if path.exists():
        return path.read_text().strip()
    with contextlib.suppress(FileExistsError):
        draft = _draft(path, secrets.token_hex(KEY_BYTES))
        try:
            os.link(draft, path)  # of two starts one wins
        finally:
            draft.unlink()
    return path.read_text().strip()


def secret_file(home: Path, name: str, secret: str) -> Path:
    """The file, for its owner alone, in which a process finds the setting ``name``: the kept one,
    or where the user has given another secret, one with that."""
    kept = home / "keys" / KEPT.get(name, name)
    if name in KEPT and kept.exists() and kept.read_text().strip() == secret:
        return kept.resolve()
    path = home / "keys" / "given" / name
    _draft(path, secret).replace(path)
    return path.resolve()


def _draft(path: Path, secret: str) -> Path:
    """The secret, whole under another name: a crash leaves no half secret."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.parent.chmod(0o700)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
        file.write(secret)
    return draft
