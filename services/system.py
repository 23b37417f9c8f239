"""What a whole deployment is: its processes, in the order in which they need each other.

    broker ─► (topics are created) ─► worker, trainer, learner, alerting, console
    store  ─► sink (needs both)

Each gets its settings by its environment, and in files the secrets that it needs.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from confluent_kafka.admin import AdminClient

from services.broker import Broker
from services.deployment import DeploymentError, Ports
from services.keys import secret_file
from services.supervisor import ProcessSpec
from streams.settings import SECRETS, Settings

PROCESSES = ("broker", "store", "worker", "sink", "trainer", "learner", "alerting", "console")
GROUND = ("broker", "store")
"""What the others stand on: these start first, then the topics are created."""

LEARNER = "learner"
"""Runs where the task declares one."""

LOOPBACK = ("127.0.0.1", "localhost")

FIRST_START_S = 180.0
"""Longest first start of a process: on a busy machine scikit-learn alone takes half a minute."""


@dataclass(frozen=True)
class System:
    """The processes that a start runs, and the settings with the addresses that they use."""

    settings: Settings
    ground: list[ProcessSpec]
    others: list[ProcessSpec]
    ports: Ports

    @property
    def names(self) -> list[str]:
        """All its processes."""
        return [spec.name for spec in (*self.ground, *self.others)]


def assemble(settings: Settings, explicit: Collection[str], without: Collection[str]) -> System:
    """Plan a start: choose ports, prepare the broker, describe each process.

    ``explicit`` names the settings that somebody insisted on: their ports are taken or it is an
    error. ``without`` names processes that are not to run. A broker or ClickHouse on another
    machine is used as it is. Raises DeploymentError with every port that cannot be had, and
    BrokerError where the broker cannot be fetched.
    """
    absent = set(without)
    if _port_of_embedded_broker(settings) is None:
        absent.add("broker")
    if settings.clickhouse_host not in LOOPBACK:
        absent.add("store")
    ports = Ports()
    settings, health = _with_ports(settings, ports, explicit, absent)
    plan = [
        spec
        for name, describe in {
            "broker": _broker,
            "store": _store,
            "worker": _worker,
            "sink": _sink,
            "trainer": _trainer,
            LEARNER: _learner,
            "alerting": _alerting,
            "console": _console,
        }.items()
        if name not in absent
        for spec in [describe(settings, health.get(name, 0), absent)]
    ]
    return System(
        settings,
        [spec for spec in plan if spec.name in GROUND],
        [spec for spec in plan if spec.name not in GROUND],
        ports,
    )


def _with_ports(
    settings: Settings, ports: Ports, explicit: Collection[str], absent: Collection[str]
) -> tuple[Settings, Mapping[str, int]]:
    problems: list[str] = []
    changes: dict[str, object] = {}

    def choose(wanted: int, setting: str, what: str) -> int:
        try:
            return ports.take(wanted, setting in explicit, what)
        except DeploymentError as error:
            problems.append(f"- {error} (WEIR_{setting.upper()})")
            return wanted

    broker_port = _port_of_embedded_broker(settings)
    if "broker" not in absent and broker_port is not None:
        port = choose(broker_port, "bootstrap", "the broker")
        changes["bootstrap"] = f"127.0.0.1:{port}"
    if "store" not in absent:
        changes["clickhouse_port"] = choose(
            settings.clickhouse_port, "clickhouse_port", "ClickHouse"
        )
    if "console" not in absent:
        changes["console_port"] = choose(settings.console_port, "console_port", "the page")
    health = {
        name: ports.take(FIRST_HEALTH_PORT, False, f"the {name}'s health page")
        for name in PROCESSES
        if name not in (*GROUND, *absent)
    }
    if problems:
        raise DeploymentError("\n".join(problems))
    return settings.model_copy(update=changes), health


FIRST_HEALTH_PORT = 9180
"""Metrics and health of the processes, from here on."""


def _port_of_embedded_broker(settings: Settings) -> int | None:
    """The port of a broker that is ours to start; None where it is somebody else's."""
    host, _, port = settings.bootstrap.rpartition(":")
    return int(port) if host in LOOPBACK and port.isdigit() else None


def _environment(settings: Settings, health_port: int, *secrets: str) -> dict[str, str | None]:
    env: dict[str, str | None] = {
        "WEIR_HOME": str(settings.home.resolve()),
        "WEIR_TASK": settings.task,
        "WEIR_BOOTSTRAP": settings.bootstrap,
        "WEIR_CLICKHOUSE_HOST": settings.clickhouse_host,
        "WEIR_CLICKHOUSE_PORT": str(settings.clickhouse_port),
        "WEIR_CONSOLE_PORT": str(settings.console_port),
        "WEIR_HEALTH_PORT": str(health_port),
        "WEIR_CONSOLE_URL": settings.console_url,
        "WEIR_MLFLOW_URI": settings.mlflow_uri,
        "PYTHONUNBUFFERED": "1",
        **_secrets(settings, *secrets),
    }
    return env


def _secrets(settings: Settings, *needed: str) -> dict[str, str | None]:
    """The files of the secrets that a process needs; none of them is in its environment, even where
    the user has given it to the supervisor in that way."""
    env: dict[str, str | None] = {}
    for name in SECRETS:
        given = getattr(settings, name)
        secret = given.get_secret_value() if given is not None and name in needed else ""
        variable = f"WEIR_{name.upper()}"
        env[variable] = None
        env[f"{variable}_FILE"] = str(secret_file(settings.home, name, secret)) if secret else None
    return env


def _python(module: str) -> list[str]:
    return [sys.executable, "-m", module]


def _health(port: int) -> str:
    return f"http://127.0.0.1:{port}/health"


def _broker(settings: Settings, _: int, absent: Collection[str]) -> ProcessSpec:
    port = _port_of_embedded_broker(settings)
    assert port is not None, "a broker of somebody else's is not started"
    broker = Broker(settings.home / "broker", port=port)
    broker.prepare()
    return ProcessSpec(
        "broker",
        broker.command(),
        env=_secrets(settings),
        ready=lambda: broker.is_ready() and _is_ours(broker, settings),
        addresses={"kafka": settings.bootstrap},
        ready_timeout_s=FIRST_START_S,
        stop_timeout_s=30,  # it writes its index files, so that the next start need not
    )


def _is_ours(broker: Broker, settings: Settings) -> bool:
    """Whether the broker that answers has our data: another program's might, if it was quicker."""
    ours = (broker.data / "meta.properties").read_text()
    client = AdminClient({**settings.librdkafka(), "log_level": 0})
    cluster: str = client.list_topics(timeout=5).cluster_id
    return f"cluster.id={cluster}" in ours.splitlines()


def _store(settings: Settings, _: int, absent: Collection[str]) -> ProcessSpec:
    url = f"http://127.0.0.1:{settings.clickhouse_port}"
    return ProcessSpec(
        "store",
        _python("services.store"),
        env=_environment(settings, 0, "clickhouse_password"),
        ready=f"{url}/ping",
        addresses={"clickhouse": url},
        ready_timeout_s=FIRST_START_S,
        stop_timeout_s=30,
    )


def _worker(settings: Settings, port: int, absent: Collection[str]) -> ProcessSpec:
    return _serving(settings, "worker", "streams.app", port, absent, "signing_key")


def _sink(settings: Settings, port: int, absent: Collection[str]) -> ProcessSpec:
    return _serving(settings, "sink", "services.sink", port, absent, "clickhouse_password")


def _trainer(settings: Settings, port: int, absent: Collection[str]) -> ProcessSpec:
    return _serving(settings, "trainer", "services.trainer", port, absent, "signing_key")


def _learner(settings: Settings, port: int, absent: Collection[str]) -> ProcessSpec:
    return _serving(settings, LEARNER, "services.learner", port, absent, "signing_key")


def _alerting(settings: Settings, port: int, absent: Collection[str]) -> ProcessSpec:
    return _serving(settings, "alerting", "services.alerting", port, absent, "alert_urls")


def _console(settings: Settings, port: int, absent: Collection[str]) -> ProcessSpec:
    page = f"http://127.0.0.1:{settings.console_port}/"
    return _serving(
        settings,
        "console",
        "services.console",
        port,
        absent,
        "signing_key",
        "retrain_token",
        page=page,
    )


def _serving(
    settings: Settings,
    name: str,
    module: str,
    port: int,
    absent: Collection[str],
    *secrets: str,
    page: str | None = None,
) -> ProcessSpec:
    needs = GROUND if name == "sink" else ("broker",)
    return ProcessSpec(
        name,
        _python(module),
        env=_environment(settings, port, "kafka_sasl_password", *secrets),
        ready=_health(port),
        after=tuple(each for each in needs if each not in absent),
        addresses={"health": _health(port)} | ({"page": page} if page else {}),
        ready_timeout_s=FIRST_START_S,
        stop_timeout_s=30,
    )
