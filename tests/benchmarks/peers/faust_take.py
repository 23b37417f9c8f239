"""Faust with ``stream.take``: up to 500 events, or what came within 10 ms, predicted together."""

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
    """Predict many rows at once, send them one by one: Faust has no other way."""
    async for values in stream.take(500, within=0.01):
        taken = [wire.decode(value) for value in values]
        for request, probability in zip(taken, wire.predict(taken), strict=True):
            value = wire.encode(request, probability)
            await predictions.send(key=request["request_id"], value=value)


if __name__ == "__main__":
    faust.Worker(app, loglevel="WARNING").execute_from_commandline()
