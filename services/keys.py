"""The secrets of an embedded deployment: made once, kept in ``<home>/keys``, never printed."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from pydantic import SecretStr

from streams.settings import Settings

KEY_BYTES = 32
"""256 bits: as long as the digest of the signatures."""


def with_keys(settings: Settings) -> Settings:
    """The settings with a signing key and ClickHouse's password, made where none was given."""
    folder = settings.home / "keys"
    given = settings.signing_key, settings.clickhouse_password
    names = "signing.key", "clickhouse.password"
    signing, password = (
        key if key.get_secret_value() else SecretStr(kept_secret(folder / name))
        for key, name in zip(given, names, strict=True)
    )
    return settings.model_copy(update={"signing_key": signing, "clickhouse_password": password})


def kept_secret(path: Path) -> str:
    """The secret in a file that only its owner reads; made, at random, where there is none."""
    if path.exists():
        return path.read_text().strip()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.parent.chmod(0o700)
    with contextlib.suppress(FileExistsError):
        # Whole under another name first: a crash leaves no half secret, and of two starts one wins.
        draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        with os.fdopen(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
            file.write(secrets.token_hex(KEY_BYTES))
        try:
            os.link(draft, path)
        finally:
            draft.unlink()
    return path.read_text().strip()
