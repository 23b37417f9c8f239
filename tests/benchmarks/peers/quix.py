"""Quix Streams: a data frame of one topic whose function takes one record at a time.

Quix hands records to functions one by one; it has no batches to predict together.
"""

import wire
from quixstreams import Application

app = Application(
    broker_address=wire.BOOTSTRAP,
    consumer_group=wire.GROUP,
    auto_offset_reset="earliest",
    auto_create_topics=False,
    processing_guarantee="at-least-once",
    state_dir=wire.FOLDER / "quix-state",
    producer_extra_config={"linger.ms": 1},
    loglevel="WARNING",
)
requests = app.topic(wire.REQUESTS, key_deserializer="bytes", value_deserializer="bytes")
predictions = app.topic(wire.PREDICTIONS, key_serializer="bytes", value_serializer="bytes")


def answer(value: bytes) -> bytes:
    """Predict one row."""
    request = wire.decode(value)
    (probability,) = wire.predict([request])
    return wire.encode(request, probability)


stream = app.dataframe(requests)
stream = stream.apply(answer)
stream.to_topic(predictions)

if __name__ == "__main__":
    app.run()
