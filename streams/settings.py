"""Where everything is: the settings that every process of Weir shares.

Each comes from an environment variable ``WEIR_<NAME>``; the defaults are the embedded set-up
on this machine. A wrong value is told at start, all wrong values at once. A secret may be in a file
instead, named by ``WEIR_<NAME>_FILE``: the processes of a deployment get theirs in no other way, as
an environment can be read by whoever reads a file of the process.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

SECRETS = (
    *("clickhouse_password", "signing_key", "kafka_sasl_password", "alert_urls"),
    "retrain_token",
)
"""Settings that are secrets."""


class _SecretFiles(PydanticBaseSettingsSource):
    """Secrets from the files that ``WEIR_<NAME>_FILE`` name."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """The secret of one setting, None where no file is named. Errors: OSError."""
        path = os.environ.get(f"WEIR_{field_name.upper()}_FILE", "")
        return Path(path).read_text("utf-8").strip() if path else None, field_name, False

    def __call__(self) -> dict[str, Any]:
        """All that there are."""
        fields = self.settings_cls.model_fields
        found = {name: self.get_field_value(fields[name], name)[0] for name in SECRETS}
        return {name: secret for name, secret in found.items() if secret is not None}


class Settings(BaseSettings):
    """One deployment's addresses and limits."""

    model_config = SettingsConfigDict(env_prefix="WEIR_", extra="forbid")

    home: Path = Field(Path(".weir"), description="Folder of all that this deployment keeps.")
    task: str = Field(
        "services/demo/flight_delay.py:FlightDelay",
        description="The task: path of its Python file, a colon, its name there.",
    )
    bootstrap: str = Field("127.0.0.1:9092", description="Kafka brokers, host:port, by comma.")
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    kafka_sasl_mechanism: str | None = None
    kafka_sasl_username: str | None = None
    kafka_sasl_password: SecretStr | None = None
    kafka_ssl_cafile: Path | None = None
    kafka_ssl_certfile: Path | None = None
    kafka_ssl_keyfile: Path | None = None

    clickhouse_host: str = "127.0.0.1"
    clickhouse_port: int = Field(8123, gt=0, lt=65536)
    clickhouse_secure: bool = False
    clickhouse_user: str = Field("weir", description="The user that may write.")
    clickhouse_password: SecretStr = Field(SecretStr(""), description="Its password.")

    console_port: int = Field(8080, ge=0, lt=65536)
    console_url: str = Field(
        "", description="The page's address for people elsewhere; '': on this machine, at its port."
    )
    alert_urls: SecretStr = Field(
        SecretStr(""),
        description="Where alerts are sent: URLs of apprise, by comma or space. Secrets.",
    )
    retrain_token: SecretStr = Field(
        SecretStr(""),
        description="What programs must show to POST /api/retrain; empty: any on this machine may.",
    )
    health_port: int = Field(0, ge=0, lt=65536, description="Metrics and health; 0: any free port.")

    delivery: Literal["exactly_once", "at_least_once"] = "exactly_once"
    worker: str = Field("0", description="This worker's name: stable across its restarts, unique.")
    batch_max: int = Field(2000, gt=0, description="Most records in a micro-batch.")
    cache_entries: int = Field(
        0,
        ge=0,
        description="Inputs whose answers a worker remembers for each version; 0: none.",
    )
    signing_key: SecretStr = Field(
        SecretStr(""), description="Key of the bundles' signatures; the embedded set-up makes one."
    )

    mlflow_uri: str = Field(
        "",
        description="Address of an MLflow server, which the versions and their roles are told; '': "
        "an SQLite file in the home; none: nobody is told.",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then the environment, then files of secrets."""
        return init_settings, env_settings, _SecretFiles(settings_cls)

    @field_validator("mlflow_uri")
    @classmethod
    def _without_secrets(cls, uri: str) -> str:
        if "@" in uri.split("://", 1)[-1].split("/", 1)[0]:
            raise ValueError(
                "it names a user: give MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
            )
        if uri not in ("", "none") and not uri.startswith(("http://", "https://", "sqlite:///")):
            raise ValueError("it is http://…, https://…, sqlite:///…, none or empty")
        return uri

    @property
    def page(self) -> str:
        """The page's address."""
        return self.console_url or f"http://127.0.0.1:{self.console_port}/"

    @property
    def artifacts(self) -> Path:
        """Folder of the bundles."""
        return self.home / "artifacts"

    @property
    def state(self) -> Path:
        """Folder of the workers' state stores."""
        return self.home / "state"

    def librdkafka(self) -> dict[str, Any]:
        """Connection settings in librdkafka's words (confluent-kafka)."""
        config: dict[str, Any] = {
            "bootstrap.servers": self.bootstrap,
            "security.protocol": self.kafka_security_protocol,
            "sasl.mechanism": self.kafka_sasl_mechanism,
            "sasl.username": self.kafka_sasl_username,
            "sasl.password": self.kafka_sasl_password
            and self.kafka_sasl_password.get_secret_value(),
            "ssl.ca.location": self.kafka_ssl_cafile and str(self.kafka_ssl_cafile),
            "ssl.certificate.location": self.kafka_ssl_certfile and str(self.kafka_ssl_certfile),
            "ssl.key.location": self.kafka_ssl_keyfile and str(self.kafka_ssl_keyfile),
        }
        return {name: value for name, value in config.items() if value is not None}

    def kafka_python(self) -> dict[str, Any]:
        """The same in kafka-python's words."""
        return in_words_of_kafka_python(self.librdkafka())

    def clickhouse(self, *, write: bool = False) -> dict[str, Any]:
        """Arguments of ``clickhouse_connect.get_client``; readers need no password."""
        client: dict[str, Any] = {
            "host": self.clickhouse_host,
            "port": self.clickhouse_port,
            "secure": self.clickhouse_secure,
        }
        if write:
            client["username"] = self.clickhouse_user
            client["password"] = self.clickhouse_password.get_secret_value()
        return client


_KAFKA_PYTHONS = {
    "bootstrap.servers": "bootstrap_servers",
    "security.protocol": "security_protocol",
    "sasl.mechanism": "sasl_mechanism",
    "sasl.username": "sasl_plain_username",
    "sasl.password": "sasl_plain_password",
    "ssl.ca.location": "ssl_cafile",
    "ssl.certificate.location": "ssl_certfile",
    "ssl.key.location": "ssl_keyfile",
}


def in_words_of_kafka_python(librdkafka: Mapping[str, Any]) -> dict[str, Any]:
    """Connection settings of librdkafka as kafka-python takes them; others are left out."""
    config = {
        _KAFKA_PYTHONS[name]: value for name, value in librdkafka.items() if name in _KAFKA_PYTHONS
    }
    return config | {"bootstrap_servers": config["bootstrap_servers"].split(",")}
