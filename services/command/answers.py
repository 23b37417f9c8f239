"""Asks for predictions through the topics, as any producer and consumer would."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from confluent_kafka import KafkaException, Producer

from schemas.topics import BY_NAME
from services.command.context import Context
from services.command.decoding import times_as_text
from services.command.output import CommandError
from services.command.reading import TIMEOUT_S, ends, follow, partitions, reader
from services.command.requests import InputError


class Answers:
    """Sends requests and hands on the prediction of each as soon as it is committed.

    ``show`` is called with each prediction (a dict, times as text) in a thread of its own, in the
    order in which they come: whoever types requests sees each answer before the next line.
    """

    def __init__(self, context: Context, show: Callable[[Mapping[str, Any]], None]) -> None:
        contract = context.contract
        self._context = context
        self._show = show
        self._requests = BY_NAME["requests"].topic(contract.task)
        self._predictions = BY_NAME["predictions"].topic(contract.task)
        self._writer = contract.codec("request")
        self._reader = contract.codec("prediction", context.settings.home)
        self._asked: set[str] = set()
        self._open: set[str] = set()
        self._changed = threading.Condition()
        self._over = threading.Event()
        self._error: Exception | None = None

    def __enter__(self) -> Self:
        # 1. Where the predictions end is known before the first request goes: none is missed.
        with reader(self._context.kafka) as consumer:
            partitions(consumer, self._predictions)
            found = ends(consumer, [self._predictions])[self._predictions]
        start = {number: next_ for number, (_, next_) in found.items()}
        # 2. Then they are followed, and requests may go.
        # murmur2_random: a key's partition is the one that Java producers would choose.
        self._producer = Producer(
            {**self._context.kafka, "partitioner": "murmur2_random", "linger.ms": 2, "acks": "all"}
        )
        self._thread = threading.Thread(target=self._follow, args=(start,), daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    def ask(self, request: Mapping[str, Any]) -> None:
        """Send one request; InputError where its id has been used in this run."""
        request_id = request["request_id"]
        if request_id in self._asked:
            raise InputError(f"the request id {request_id} was sent already")
        try:
            value, key = self._writer.write(request), request_id.encode()
        except ValueError as error:
            raise InputError(str(error)) from error
        self._asked.add(request_id)
        with self._changed:
            self._open.add(request_id)
        while True:
            try:
                self._producer.produce(self._requests, value, key=key)
                break
            except BufferError:  # the queue to the broker is full: let it drain
                self._producer.poll(0.1)
        self._producer.poll(0)

    def wait(self, timeout_s: float) -> set[str]:
        """Wait until every request is answered; returns the ids that are not.

        timeout_s: for the answers, from when the broker has all requests.
        """
        if self._producer.flush(TIMEOUT_S):
            raise CommandError("the broker did not take the requests: is it running?")
        with self._changed:
            self._changed.wait_for(lambda: not self._open or self._error, timeout_s)
            if self._error:
                raise self._error
            return set(self._open)

    def _follow(self, start: Mapping[int, int]) -> None:
        try:
            with reader(self._context.kafka) as consumer:
                for stored in follow(consumer, self._predictions, start):
                    if self._over.is_set():
                        return
                    if stored is not None and stored.key is not None:
                        self._take(stored.key.decode(errors="replace"), stored.value)
        except (KafkaException, CommandError, ValueError) as error:
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def _take(self, request_id: str, value: bytes | None) -> None:
        with self._changed:
            if request_id not in self._open:
                return
        self._show(times_as_text(self._reader.read(value), self._reader.schema))
        with self._changed:
            self._open.discard(request_id)
            self._changed.notify_all()
