"""Faust as its guide shows it: an agent that takes one event at a time."""

import faust
import wire

app = faust.App(
    wire.GROUP,
    broker=f"kafka://{wire.BOOTSTRAP}",
    store="memory://",
    web_enabled=False,
    topic_disable_leader=True,
    topic_allow_declare=False,
)
requests = app.topic(wire.REQUESTS, value_type=bytes, value_serializer="raw")
predictions = app.topic(wire.PREDICTIONS, value_type=bytes, value_serializer="raw")


@app.agent(requests)
async def answer(stream):  # type: ignore[no-untyped-def]
    """Predict one row, send one record."""
    async for value in stream:
        request = wire.decode(value)
        (probability,) = wire.predict([request])
        await predictions.send(key=request["request_id"], value=wire.encode(request, probability))


if __name__ == "__main__":
    faust.Worker(app, loglevel="WARNING").execute_from_commandline()
