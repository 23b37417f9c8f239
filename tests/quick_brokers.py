"""What brokers of tests need not do anew each: read a thousand classes, format their storage.

A run of the tests starts some sixty brokers. Both are made once a checkout, beside the jars that
they are of: an archive of classes, by which the JVM comes up in half the processor time, and a
formatted data folder. A broker works the same without them.
"""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import tempfile
from pathlib import Path

from services.broker import JARS, STAMP, Broker, BrokerError
from services.ports import free_port

READY_S = 300.0


def prepare() -> Path | None:
    """The folder that holds both, made where it is missing; None where no broker can run here."""
    try:
        Broker(JARS, port=1).ensure_jars()
        folder = JARS / f".quick-{(JARS / STAMP).read_text().strip()[:12]}"
        with (JARS / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.exists():
                with tempfile.TemporaryDirectory(dir=JARS) as making:
                    _make(Path(making))
                    Path(making).rename(folder)
                    Path(making).mkdir()  # for its end to remove
    except (BrokerError, OSError):
        return None
    return folder


def java_options(folder: Path) -> str:
    """What JAVA_TOOL_OPTIONS is to say. An archive of another Java is passed over by the JVM."""
    return f"-XX:SharedArchiveFile={folder / 'classes.jsa'} -Xlog:cds=off -Xlog:cds+dynamic=off"


def copy_formatted(folder: Path | None, broker: Broker) -> None:
    """Give a broker's home the formatted storage, so that `Broker.prepare` finds it."""
    if folder is not None and not broker.data.exists():
        shutil.copytree(folder / "data", broker.data)


def _make(folder: Path) -> None:
    broker = Broker(folder, port=free_port())
    broker.prepare()
    shutil.copytree(broker.data, folder / "formatted")
    java, *arguments = broker.command()
    with (folder / "broker.log").open("wb") as log:
        process = subprocess.Popen(
            [java, f"-XX:ArchiveClassesAtExit={folder / 'classes.jsa'}", *arguments],
            stdout=log,
            stderr=log,
        )
    try:
        broker.wait_until_ready(READY_S, alive=lambda: process.poll() is None)
    finally:
        process.terminate()
        process.wait()
    shutil.rmtree(broker.data)
    (folder / "formatted").rename(broker.data)
