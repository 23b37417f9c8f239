"""What the transport relies on in Faust: an upgrade that changes it fails here, by name."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import faust
import pytest
from faust.agents.agent import Agent
from faust.app.base import App
from faust.serializers.schemas import Schema
from faust.streams import Stream
from faust.tables.recovery import Recovery
from faust.transport import base
from faust.transport.conductor import Conductor
from faust.transport.consumer import Consumer
from faust.transport.producer import Producer

from streams.transport.consumer import Consumer as BatchConsumer


@pytest.mark.parametrize(
    ("owner", "method", "parameters"),
    [
        (Consumer, "getmany", ["self", "timeout"]),
        (Consumer, "commit", ["self", "topics", "start_new_transaction"]),
        (Consumer, "seek_to_committed", ["self"]),
        (Consumer, "on_partitions_assigned", ["self", "assigned", "generation_id"]),
        (Consumer, "on_partitions_revoked", ["self", "revoked"]),
        (Consumer, "subscribe", ["self", "topics"]),
        (Producer, "flush", ["self"]),
        (Schema, "loads_value", ["self", "app", "message", "loads", "serializer"]),
        (App, "on_rebalance_start", ["self"]),
        (base.Transport, "create_consumer", ["self", "callback", "kwargs"]),
        (base.Transport, "create_producer", ["self", "kwargs"]),
        (Agent, "_delegate_to_sinks", ["self", "value"]),
    ],
)
def test_a_method_that_we_override_or_call_has_the_signature_it_had(
    owner: Any, method: str, parameters: list[str]
) -> None:
    assert list(inspect.signature(getattr(owner, method)).parameters) == parameters


@pytest.mark.parametrize(
    ("function", "words", "why"),
    [
        (Consumer._drain_messages, "getmany(timeout=1.0)", "the fetcher asks getmany for messages"),
        (Consumer._drain_messages, "acks_enabled_for", "topics without acks have no gaps to fill"),
        (Consumer._drain_messages, "offset >= r_offset", "a batch's offset is its last record's"),
        (
            Consumer.on_partitions_revoked,
            "_read_offset.pop",
            "a partition may come back further back",
        ),
        (
            Conductor._update_indices,
            "if channel.acks",
            "acks=False keeps a topic out of the bookkeeping",
        ),
        (
            Stream._py_aiter,
            "message.generation_id != self.app.consumer_generation_id",
            "old batches are skipped",
        ),
        (Recovery._resume_streams, "consumer.perform_seek()", "flow resumes after an assignment"),
        (
            Recovery._resume_streams,
            "_fetcher.maybe_start()",
            "the fetcher starts after an assignment",
        ),
        (
            Recovery._restart_recovery.fun,
            "if not self.tables",
            "an app without tables resumes at once",
        ),
        (App._on_partitions_revoked, "flow_control.clear", "what agents have queued is dropped"),
        (Agent._delegate_to_sinks, "maybe_async", "a sink may be a plain function"),
    ],
)
def test_a_method_that_we_lean_on_still_does_what_we_lean_on(
    function: Any, words: str, why: str
) -> None:
    assert words in inspect.getsource(function), f"no more: {why}"


def test_the_consumer_leaves_nothing_of_fausts_abstract() -> None:
    assert not inspect.isabstract(BatchConsumer)
    assert not getattr(BatchConsumer, "__abstractmethods__", None)


def test_faust_is_the_version_that_this_was_written_for() -> None:
    # Another version may do as well: read its changes to the methods above, run the fault
    # tests, then move this line.
    assert faust.__version__ == "0.15.3"


def test_every_override_is_explained() -> None:
    page = (Path(inspect.getfile(BatchConsumer)).parent / "README.md").read_text("utf-8")
    overridden = [
        name
        for name, member in vars(BatchConsumer).items()
        if inspect.isfunction(member) and hasattr(Consumer, name) and not name.startswith("__")
    ]
    assert not [name for name in overridden if f"`{name}`" not in page]
