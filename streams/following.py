"""Which version serves: follow the ``models`` topic, load what it names, swap between batches."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition
from prometheus_client import Counter, Gauge

from schemas.codec import Codec
from schemas.topics import BY_NAME
from streams.bundle import BundleError, load_bundle
from streams.serving import Served
from streams.task import Task

log = logging.getLogger(__name__)

SWAPS = Counter("weir_model_swaps", "Model versions put in service")
REFUSED = Counter("weir_bundles_refused", "Bundles that were not put in service")
IN_SERVICE = Gauge("weir_model_in_service", "1 for the version in service", ["version", "role"])


class Following:
    """Follows roles; `current` is what the next batch is served by.

    A version is loaded and checked in this thread, off the stream; the swap is one assignment,
    which a stage reads once a batch. A bundle that is corrupt, unsigned or unsafe is refused
    with a log line, and the version in service goes on.
    """

    def __init__(
        self, task: Task, codec: Codec, client: Mapping[str, Any], artifacts: Path, key: bytes
    ) -> None:
        self._task = task
        self._codec = codec
        self._artifacts = artifacts
        self._key = key
        self._current: Served | None = None
        self._champion = ""
        self._caught_up = threading.Event()
        self._stopping = threading.Event()
        self._failed: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="weir-models", daemon=True)
        self._config = {
            **client,
            "group.id": f"{task.name}-models",  # never joined: partitions are assigned
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
        }

    def current(self) -> Served | None:
        """The version in service; None before there is one."""
        return self._current

    def start(self, timeout_s: float = 60.0) -> None:
        """Read what was decided before now, so that a restarted worker serves by it.

        Raises TimeoutError where the topic cannot be read in time.
        """
        self._thread.start()
        if not self._caught_up.wait(timeout_s):
            raise TimeoutError(f"{self._task.name}.models could not be read within {timeout_s} s")
        if self._failed is not None:
            raise self._failed

    def stop(self) -> None:
        """End."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        consumer = Consumer(self._config)
        try:
            consumer.assign([TopicPartition(BY_NAME["models"].topic(self._task.name), 0, 0)])
            champions: list[dict[str, Any]] = []
            while not self._stopping.is_set():
                message = consumer.poll(0.2)
                if message is None:
                    continue
                error = message.error()
                if error is not None and error.code() == error._PARTITION_EOF:
                    if not self._caught_up.is_set():
                        self._catch_up(champions)
                    continue
                if error is not None:
                    if error.fatal():
                        raise KafkaException(error)
                    log.warning("the broker answers with an error, which passes: %s", error)
                    continue
                record = self._codec.read(message.value())
                if record["role"] == "champion":
                    if self._caught_up.is_set():
                        self._take(record)
                    else:
                        champions.append(record)
        except Exception as error:
            log.exception("model versions can no longer be followed; the one in service goes on")
            self._failed = error
        finally:
            self._caught_up.set()
            consumer.close()

    def _catch_up(self, champions: list[dict[str, Any]]) -> None:
        # The newest that can be loaded: a refused one must not leave the task without any.
        for record in reversed(champions):
            if self._take(record):
                break
        self._caught_up.set()

    def _take(self, record: Mapping[str, Any]) -> bool:
        version_id = record["version"]
        before = self._current
        if before is not None and before.version.id == version_id and before.role == record["role"]:
            return True
        try:
            version = load_bundle(self._artifacts / record["bundle"], self._task, self._key)
            if version.id != version_id:
                raise BundleError(
                    self._artifacts / record["bundle"],
                    "manifest.json",
                    f"it is of version {version.id}, and the record names {version_id}",
                    "train a new version",
                )
        except Exception as error:
            REFUSED.inc()
            log.error(
                "version %s is refused, %s: %s",
                version_id,
                f"version {before.version.id} goes on" if before else "none is in service",
                error,
            )
            return False
        self._current = Served(version, record["role"])
        if before is not None:
            IN_SERVICE.labels(before.version.id, before.role).set(0)
        IN_SERVICE.labels(version.id, record["role"]).set(1)
        SWAPS.inc()
        log.info("version %s is in service as %s", version_id, record["role"])
        return True
