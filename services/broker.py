"""The embedded broker: one real Kafka node (KRaft), run from jars that Maven fetched.

`Broker` knows how to get it, format its storage, and which command runs it; it starts no process
itself, so that the supervisor and the tests run it in their own way:

    broker = Broker(home / "broker", port=9092)
    broker.prepare()                      # jars (once a machine), properties, format (once a home)
    process = subprocess.Popen(broker.command())
    broker.wait_until_ready(timeout_s=30)

Its data survives kill -9: acknowledged records are in the page cache of the machine, and the log is
checked when the broker comes up again.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import os
import shutil
import string
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from services.ports import free_port

INFRA = Path(__file__).resolve().parent.parent / "infra" / "broker"
JARS = INFRA / "lib"
STAMP = ".stamp"
"""A file in the folder of jars that holds the SHA-256 of the pom they were copied by."""

OLDEST_JAVA = 17
"""Kafka 4 brokers need Java 17."""

JVM_FLAGS = (
    # 512 MiB carries 100,000 records/s of a few hundred bytes; the page cache does the rest.
    "-Xms256m",
    "-Xmx512m",
    "-XX:+ExitOnOutOfMemoryError",
    "-Djava.awt.headless=true",
)
THOROUGH_JVM_FLAGS = ("-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20")
QUICK_JVM_FLAGS = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmn128m")
"""Beside a whole system on two cores: it is up in 3 s instead of 4.5, and in its first minutes the
compiler leaves half a core to the others. Under load for hours the thorough compiler wins. With a
collector of one thread a truth is in the features 7 % sooner at 1,000 requests a second."""
TOOL_JVM_FLAGS = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx128m")
"""For a JVM that lives half a second: compile little, collect nothing."""


SEE_LOG = "its log says why (.weir/logs/broker.log, or the output of its process)"


class BrokerError(RuntimeError):
    """The broker cannot be fetched, formatted or reached; the message says what to do."""


class Broker:
    """One Kafka node on 127.0.0.1 whose properties and data live in `home`.

    `port` is where clients connect; `controller_port` is the node's own (any free port when None;
    it may differ from start to start). `data` is Kafka's `log.dirs`, by default `home/data`.
    `thorough` lets the JVM compile for the highest speed, which takes half a core for minutes.
    """

    def __init__(
        self,
        home: Path,
        port: int,
        controller_port: int | None = None,
        data: Path | None = None,
        jars: Path = JARS,
        thorough: bool = False,
    ) -> None:
        self.home = home.resolve()
        self.port = port
        self.controller_port = controller_port or free_port()
        self.data = (data or self.home / "data").resolve()
        self.jars = jars.resolve()
        self.thorough = thorough

    @property
    def bootstrap(self) -> str:
        """What clients take as `bootstrap.servers`."""
        return f"127.0.0.1:{self.port}"

    @property
    def properties(self) -> Path:
        """The file that the node is configured by; `prepare` writes it."""
        return self.home / "server.properties"

    def prepare(self) -> None:
        """Do all that `command()` needs done before it runs; each part only where it is missing."""
        self.ensure_jars()
        self.write_properties()
        self.format()

    def ensure_jars(self) -> None:
        """Copy the jars that the pom names into `jars`, unless its stamp says they are there."""
        pom = INFRA / "pom.xml"
        wanted = hashlib.sha256(pom.read_bytes()).hexdigest()
        stamp = self.jars / STAMP
        if _read(stamp) == wanted:
            return
        self.jars.mkdir(parents=True, exist_ok=True)
        with (self.jars / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if _read(stamp) == wanted:  # another process fetched them while this one waited
                return
            # 1. Fetch beside the old ones: when that fails, what was there still works.
            partial = self.jars / ".partial"
            shutil.rmtree(partial, ignore_errors=True)
            _copy_dependencies(pom, partial)
            # 2. Replace. A crash in between leaves no stamp: the next call fetches again.
            stamp.unlink(missing_ok=True)
            for jar in self.jars.glob("*.jar"):
                jar.unlink()
            for jar in partial.iterdir():
                jar.rename(self.jars / jar.name)
            partial.rmdir()
            # 3. Say of which pom they are.
            stamp.write_text(wanted)

    def write_properties(self) -> None:
        """Write `properties` from the template in `infra/broker/server.properties`."""
        template = string.Template((INFRA / "server.properties").read_text())
        text = template.substitute(
            port=self.port, controller_port=self.controller_port, log_dir=self.data
        )
        self.home.mkdir(parents=True, exist_ok=True)
        self.properties.write_text(text)

    def format(self) -> None:
        """Give the data folder a cluster id, once; a formatted folder is left as it is."""
        if (self.data / "meta.properties").exists():
            return
        # A Kafka id may start with "-": joined by "=", it is not taken for an option.
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        self._run_tool("format", f"--cluster-id={cluster_id}", "--config", str(self.properties))

    def command(self) -> list[str]:
        """The command line of the node."""
        return [
            find_java(),
            *JVM_FLAGS,
            *(THOROUGH_JVM_FLAGS if self.thorough else QUICK_JVM_FLAGS),
            *self._java_arguments(),
            "kafka.Kafka",
            str(self.properties),
        ]

    def is_ready(self, patience_s: float = 0.5) -> bool:
        """Whether the node answers clients within `patience_s` and counts itself as in service."""
        # Reconnect at once: the default backs off for up to 10 s while the node is coming up.
        client = AdminClient(
            {
                "bootstrap.servers": self.bootstrap,
                "reconnect.backoff.ms": 20,
                "reconnect.backoff.max.ms": 50,
                "log_level": 0,
            }
        )
        try:
            return bool(client.list_topics(timeout=patience_s).brokers)
        except KafkaException:
            return False

    def wait_until_ready(
        self, timeout_s: float = 60, alive: Callable[[], bool] = lambda: True
    ) -> None:
        """Return when the node answers clients.

        `alive` says whether its process still runs: a dead one is not waited for.
        """
        deadline = time.monotonic() + timeout_s
        while not self.is_ready():
            if not alive():
                raise BrokerError(
                    f"the broker on {self.bootstrap} died before it was ready: {SEE_LOG}"
                )
            if time.monotonic() > deadline:
                raise BrokerError(
                    f"no broker ready on {self.bootstrap} after {timeout_s:g} s: {SEE_LOG}"
                )

    def _java_arguments(self) -> list[str]:
        log_config = INFRA / "log4j2.properties"
        return [f"-Dlog4j2.configurationFile={log_config}", "-cp", f"{self.jars}/*"]

    def _run_tool(self, *arguments: str) -> None:
        java = [find_java(), *TOOL_JVM_FLAGS, *self._java_arguments()]
        done = subprocess.run(
            [*java, "kafka.tools.StorageTool", *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            too_old = "UnsupportedClassVersionError" in done.stderr
            hint = f" (it needs Java {OLDEST_JAVA} or newer; {java[0]} is older)" if too_old else ""
            raise BrokerError(
                f"the broker's data folder {self.data} cannot be formatted{hint}:\n"
                f"{done.stderr.strip()}"
            )


def find_java() -> str:
    """The path of a Java that runs the broker: JAVA_HOME's, else the one on PATH."""
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=f"{home}/bin") if home else None
    java = java or shutil.which("java")
    if java is None:
        raise BrokerError(
            f"no java found; install Java {OLDEST_JAVA} or newer (Debian: openjdk-17-jre-headless)"
        )
    return java


def _copy_dependencies(pom: Path, into: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise BrokerError("the broker's jars are fetched by Maven: install mvn (Debian: maven)")
    done = subprocess.run(
        [
            *(maven, "--quiet", "--batch-mode", "--file", str(pom)),
            # By its full name: when it cannot be had, Maven then says why.
            "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies",
            "-DincludeScope=runtime",
            f"-DoutputDirectory={into}",
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BrokerError(
            f"Maven could not fetch the jars that {pom} names:\n{done.stdout[-2000:]}"
        )


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        return None


if __name__ == "__main__":  # `python -m services.broker`: fetch the jars, as part of set-up
    try:
        Broker(Path(".weir/broker"), port=9092).ensure_jars()
    except BrokerError as error:
        sys.exit(str(error))
