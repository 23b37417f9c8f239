"""Answers of people on their way to the truth topic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from schemas.topics import BY_NAME
from services.contract import LABELLER, Contract

TIMEOUT_S = 20.0
"""Longest wait for the broker to store answers; a person waits for it."""


class TruthError(RuntimeError):
    """The broker did not take an answer; it counts as not given."""


class Truths:
    """Writes truths whose source is a labeller, keyed by their request ids."""

    def __init__(self, contract: Contract, kafka: Mapping[str, Any]) -> None:
        self._topic = BY_NAME["truth"].topic(contract.task)
        self._codec = contract.codec("truth")
        self._kafka = dict(kafka)
        self._producer: Producer | None = None

    def publish(self, answers: Sequence[Mapping[str, Any]]) -> None:
        """Write truths (request_id, known_at, truth, selection_probability); returns when all are
        stored. Raises TruthError."""
        failed: list[str] = []

        def done(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                failed.append(error.str())

        producer = self._connected()
        try:
            for answer in answers:
                value = self._codec.write({**answer, "source": LABELLER})
                key = answer["request_id"].encode()
                producer.produce(self._topic, value, key, on_delivery=done)
                producer.poll(0)
            waiting = producer.flush(TIMEOUT_S)
        except (KafkaException, BufferError) as error:
            raise TruthError(f"the broker does not take answers: {error}") from error
        if failed or waiting:
            # What is still on its way must not arrive after somebody was told that it did not.
            producer.purge()
            producer.flush(0)
            raise TruthError(
                f"the broker has not stored {len(failed) or waiting} of {len(answers)} answers"
                f"{': ' + failed[0] if failed else ''}. Is it running? `weir status` tells."
            )

    def _connected(self) -> Producer:
        if self._producer is None:
            self._producer = Producer(
                {
                    "log_level": 0,
                    **self._kafka,
                    # A key's partition is the one that Java's producers would choose.
                    "partitioner": "murmur2_random",
                    "enable.idempotence": True,
                    "linger.ms": 0,
                    "message.timeout.ms": int(TIMEOUT_S * 1000 / 2),
                }
            )
        return self._producer
