"""Bytewax over its own batches: each fetch of a partition is decoded, predicted and sent at once.

At least once: offsets are snapshots in Bytewax's recovery store, one a second.
"""

import shutil
from datetime import timedelta

import bytewax.operators as op
import wire
from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource, KafkaSourceMessage
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.run import cli_main

Request = KafkaSourceMessage[bytes, bytes]
Prediction = KafkaSinkMessage[bytes, bytes]


def answer(messages: list[Request]) -> list[Prediction]:
    """Predict a batch."""
    requests = [wire.decode(message.value) for message in messages]
    return [
        KafkaSinkMessage(message.key, wire.encode(request, probability))
        for message, request, probability in zip(
            messages, requests, wire.predict(requests), strict=True
        )
    ]


flow = Dataflow("bench")
source = KafkaSource(
    [wire.BOOTSTRAP], [wire.REQUESTS], batch_size=2000, add_config={"fetch.queue.backoff.ms": "5"}
)
requests = op.input("requests", flow, source)
predictions = op.flat_map_batch("answer", requests, answer)
op.output("predictions", predictions, KafkaSink([wire.BOOTSTRAP], wire.PREDICTIONS))

if __name__ == "__main__":
    folder = wire.FOLDER / "bytewax-recovery" / wire.REQUESTS
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    init_db_dir(folder, 1)
    cli_main(flow, epoch_interval=timedelta(seconds=1), recovery_config=RecoveryConfig(str(folder)))
