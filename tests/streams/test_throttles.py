"""Serving with throttled clients: every request is answered once, by whom it may concern."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.columns import Column
from streams.codecs import codecs
from streams.routing import Served
from streams.serving import Serving
from streams.throttles import LEASE_MS, NOBODY, Throttle, Throttles
from tests.streams.orders import JUNK, Row, cut
from tests.streams.tasks import START, task_of
from tests.streams.test_serving import NOW, Bench
from tests.streams.versions import version_of


class Throttling(Bench):
    def __init__(self) -> None:
        super().__init__("binary")
        self.throttles = NOBODY
        served = Served(version_of(self.task), "champion")
        self.serving = Serving(
            self.task,
            self.codecs,
            lambda: served,
            "1.2.3",
            lambda: NOW,
            throttles=lambda: self.throttles,
        )

    def ask(self, clients: list[str | None]) -> dict[str, list[dict[str, Any]]]:
        values = [self.request(f"r{i}", entity=client) for i, client in enumerate(clients)]
        return self.read(self.serve([*values]))


@pytest.fixture(scope="module")
def bench() -> Throttling:
    return Throttling()


REFUSE = Throttle("dead-letter", "60 requests a second", NOW)
HOLD = Throttle("quarantine", "60 requests a second", NOW)


def test_a_throttled_client_is_refused_with_the_reason(bench: Throttling) -> None:
    bench.throttles = Throttles({"bad": REFUSE})
    found = bench.ask(["good", "bad", None, "bad"])
    refused = [p for p in found["predictions"] if p["status"] == "rejected"]
    assert [p["request_id"] for p in refused] == ["r1", "r3"]
    assert all(p["entity"] == "bad" for p in refused)
    assert refused[0]["reason"].startswith("throttled: client bad is throttled: 60 requests")
    letters = found["dead-letters"]
    assert [(d["reason"], d["request_id"]) for d in letters] == [
        ("throttled", "r1"),
        ("throttled", "r3"),
    ]
    assert bench.codecs["request"].read(letters[0]["value"])["request_id"] == "r1"


def test_a_client_in_quarantine_gets_the_fallback_and_its_inputs_go_to_people(
    bench: Throttling,
) -> None:
    bench.throttles = Throttles({"bad": HOLD})
    found = bench.ask(["good", "bad", None])
    held = [p for p in found["predictions"] if p["request_id"] == "r1"]
    assert [(p["status"], p["version"], p["answer"], p["gate_decision"]) for p in held] == [
        ("deferred", "", bench.task.fallback, "none")
    ]
    assert held[0]["reason"].startswith("client bad is throttled")
    assert "r1" in [d["request_id"] for d in found["deferred"]]
    assert "dead-letters" not in found


def test_one_that_is_not_renewed_is_over(bench: Throttling) -> None:
    bench.throttles = Throttles({"bad": Throttle("dead-letter", "", NOW - LEASE_MS)})
    assert "dead-letters" not in bench.ask(["bad"])


def test_bad_requests_of_throttled_clients_keep_their_own_reason(bench: Throttling) -> None:
    bench.throttles = Throttles({"bad": REFUSE})
    wrong = bench.request("w", entity="bad", event_time=START + 10**12)
    found = bench.read(bench.serve([wrong, bench.request("r", entity="bad")]))
    assert [d["reason"] for d in found["dead-letters"]] == ["invalid", "throttled"]


@given(st.lists(st.sampled_from(["good", "refused", "held", None]), min_size=1, max_size=12))
def test_every_request_is_answered_once(bench: Throttling, clients: list[str | None]) -> None:
    bench.throttles = Throttles({"refused": REFUSE, "held": HOLD})
    found = bench.ask(clients)
    by_id = {p["request_id"]: p for p in found["predictions"]}
    assert len(found["predictions"]) == len(by_id) == len(clients)
    for i, client in enumerate(clients):
        status = by_id[f"r{i}"]["status"]
        assert (status == "rejected") == (client == "refused")
        assert by_id[f"r{i}"]["version"] != "" or client in ("refused", "held")
    assert len(found.get("dead-letters", [])) == clients.count("refused")


def test_rows_are_looked_up_by_column() -> None:
    names = np.array(["a", None, "b", "a"], object)
    entity = Column(names, np.array([True, False, True, True]))
    throttles = Throttles({"a": REFUSE, "z": REFUSE})
    assert {c: rows.tolist() for c, rows in throttles.rows(entity, NOW).items()} == {"a": [0, 3]}
    assert NOBODY.rows(entity, NOW) == {}


CODEC = codecs(task_of())["throttle"]


def decided(client: str, action: str, minute: int) -> Row:
    at = START + minute * 60_000
    record = {"client": client, "action": action, "decided_at": at, "since": at, "reason": "many"}
    return Row(CODEC.write(record), client.encode())


clients = st.sampled_from(["a", "b"])
actions = st.sampled_from(["dead-letter", "quarantine", "none"])
throttled = st.builds(decided, clients, actions, st.integers(0, 30))
ended = clients.map(lambda client: Row(None, client.encode()))


@given(st.lists(st.one_of(throttled, throttled, ended, throttled.map(cut), JUNK), max_size=20))
def test_whatever_the_topic_holds_the_last_word_on_each_client_counts(topic: list[Row]) -> None:
    found, last = NOBODY, dict[str, str]()
    for row in topic:
        try:
            found = found.told(row.key, row.value, CODEC)
        except ValueError:
            assert not row.good
            continue
        client = (row.key or b"").decode(errors="replace")
        last[client] = "none" if row.value is None else CODEC.read(row.value)["action"]
    for client, throttle in found.by_client.items():
        assert throttle.action == last[client] != "none"
