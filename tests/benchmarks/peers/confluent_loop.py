"""The limit: confluent-kafka alone, consume, predict, produce; at least once or exactly once.

    python confluent_loop.py at_least_once|exactly_once

No gate, no validation, no dead letters, nobody who joins or counts: what a loop of one page can do.
"""

import signal
import sys

import wire
from confluent_kafka import Consumer, Message, Producer, TopicPartition

BATCH = 2000
TIMEOUT_S = 30
EXACTLY_ONCE = sys.argv[1] == "exactly_once"

consumer = Consumer(
    {
        "bootstrap.servers": wire.BOOTSTRAP,
        "group.id": wire.GROUP,
        "auto.offset.reset": "earliest",
        "isolation.level": "read_committed",
        "enable.auto.commit": not EXACTLY_ONCE,
        "enable.auto.offset.store": False,
        "fetch.queue.backoff.ms": 5,
    }
)
producer = Producer(
    {
        "bootstrap.servers": wire.BOOTSTRAP,
        "linger.ms": 1,
        "queue.buffering.max.messages": 1_000_000,
        "enable.idempotence": True,
        # The default of 100 ms would be waited for after each commit.
        **({"transactional.id": wire.GROUP, "retry.backoff.ms": 2} if EXACTLY_ONCE else {}),
    }
)


def batch() -> list[Message]:
    """A first record as soon as there is one, with those that are there already."""
    first = consumer.poll(0.2)
    if first is None:
        return []
    messages = [first, *consumer.consume(BATCH - 1, 0)]
    for message in messages:
        if message.error():
            raise RuntimeError(message.error())
    return messages


def answers(messages: list[Message]) -> list[dict[str, bytes]]:
    """The predictions, as `produce_batch` takes them."""
    requests = [wire.decode(message.value()) for message in messages]
    return [
        {"key": message.key(), "value": wire.encode(request, probability)}
        for message, request, probability in zip(
            messages, requests, wire.predict(requests), strict=True
        )
    ]


def reached(messages: list[Message]) -> list[TopicPartition]:
    """The offsets to go on at."""
    ends = {message.partition(): message.offset() + 1 for message in messages}
    return [TopicPartition(wire.REQUESTS, p, offset) for p, offset in ends.items()]


def exactly_once() -> None:
    """Predictions and offsets of a batch in one transaction."""
    producer.init_transactions(TIMEOUT_S)
    while running:
        messages = batch()
        if not messages:
            continue
        producer.begin_transaction()
        producer.produce_batch(wire.PREDICTIONS, answers(messages))
        producer.send_offsets_to_transaction(
            reached(messages), consumer.consumer_group_metadata(), TIMEOUT_S
        )
        producer.commit_transaction(TIMEOUT_S)


def at_least_once() -> None:
    """Offsets of a batch are stored once its predictions are written, after the next is made."""
    in_flight: list[TopicPartition] = []
    while running:
        messages = batch()
        made = answers(messages) if messages else []
        if in_flight:
            producer.flush(TIMEOUT_S)
            consumer.store_offsets(offsets=in_flight)
        producer.produce_batch(wire.PREDICTIONS, made)
        producer.poll(0)
        in_flight = reached(messages)


running = True


def stop(*_: object) -> None:
    """End after the batch under way."""
    global running
    running = False


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, stop)
    consumer.subscribe([wire.REQUESTS])
    exactly_once() if EXACTLY_ONCE else at_least_once()
    producer.flush(TIMEOUT_S)
    consumer.close()
