"""A small task whose requests name their clients; who asks too often is refused."""

from datetime import timedelta

from sklearn.dummy import DummyClassifier

from streams.task import Binary, Number, Task, Volume

Clients = Task(
    name="clients",
    features=[Number("amount", unit="EUR")],
    target=Binary("fraud"),
    candidates={"dummy": DummyClassifier()},
    fallback=False,
    partitions=2,
    volume=Volume(action="dead-letter", settle=timedelta(minutes=10)),
)
