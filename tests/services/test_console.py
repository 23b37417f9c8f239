"""The console against a real broker: what its stream tells, and what it serves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.conftest import PATIENCE_S, RunningBroker
from tests.services.running_console import (
    RunningConsole,
    alert,
    dead_letter,
    model,
    prediction,
    request,
)
from tests.system.worker import read_all

pytestmark = pytest.mark.system


@pytest.fixture
def console(broker: RunningBroker, tmp_path: Path) -> Iterator[RunningConsole]:
    running = RunningConsole(tmp_path / "home", broker.bootstrap)
    yield running
    running.stop()


def test_it_waits_for_topics_and_says_so_then_counts_each_committed_record(
    console: RunningConsole,
) -> None:
    waiting = console.event("tick", lambda tick: "waiting" in tick["kafka"]["message"])
    assert console.contract.task in waiting["kafka"]["message"]
    console.create_topics()

    with console.events() as events:  # from before the records on: figures are of a few seconds
        console.send("requests", *(request(n) for n in range(30)))
        console.send("predictions", *(prediction(n) for n in range(20)))
        console.send("predictions", *(prediction(n) for n in range(20, 25)), commit=False)
        console.send("predictions", *(prediction(n, status="deferred") for n in range(25, 29)))
        console.send("predictions", prediction(29, status="rejected", event_time=BEGIN_FAR))
        ticks = (data for name, data in events if name == "tick")
        medians, tick = [], next(ticks)
        while tick["totals"]["predictions"] < 25 or tick["totals"]["requests"] < 30 or not medians:
            tick = next(ticks)
            if tick["figures"]["p50_ms"] is not None:
                medians.append(tick["figures"]["p50_ms"])

    assert tick["kafka"] == {"ok": True, "message": ""}
    totals = tick["totals"]
    assert (totals["requests"], totals["predictions"]) == (30, 25)
    assert (totals["deferred"], totals["rejected"]) == (4, 1)
    assert set(medians) == {10.0}
    # A rejected request's event time does not move the clock of the page.
    assert tick["figures"]["event_time"] == prediction(28)["event_time"]


BEGIN_FAR = 4_000_000_000_000


def test_roles_alerts_and_dead_letters_are_there_again_after_a_restart(
    console: RunningConsole,
) -> None:
    console.create_topics()
    console.send("models", model("v1", "champion", changed_at=1), model("v2", "canary"))
    console.send("models", model("v2", "champion", replaces="v1"))
    console.send("dead-letters", *(dead_letter(n) for n in range(60)))
    console.send("alerts", alert("a"), alert("b"), alert("a", "worse"), alert("b", "resolved"))

    def checked() -> None:
        # The two sends may be told of one after the other: wait for what the second one makes.
        roles = {"v1": "archived", "v2": "champion"}
        console.event("versions", lambda known: {v["version"]: v["role"] for v in known} == roles)
        letters = console.event("letters", lambda known: len(known) == 50)
        assert [letter["origin"] for letter in letters][:2] == [
            "page.requests[0]@59",
            "page.requests[0]@58",
        ]
        alerts = console.event("alerts", lambda known: known["over"])
        assert [(a["episode"], a["change"], a["link"]) for a in alerts["open"]] == [
            ("a-opened", "worse", "#drift-d1")
        ]
        assert [a["change"] for a in alerts["over"]] == ["resolved"]

    checked()
    assert console.stop() == 0
    console.start()
    checked()


def test_it_ends_in_order_while_a_page_is_open(console: RunningConsole) -> None:
    with console.events() as events:
        next(events)
        assert console.stop() == 0
        # The stream ends; it is not cut off in the middle of an event.
        assert all(name for name, _ in events)
    assert '"console stopped"' in console.log.read_text()


def test_every_answer_forbids_scripts_from_elsewhere_and_foreign_names(
    console: RunningConsole,
) -> None:
    for path in ("/", "/static/app.js", "/subjects", "/nothing-here"):
        policy = console.get(path).headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
    assert console.get("/", headers={"Host": "evil.example"}).status_code == 403
    assert "<script>" not in console.get("/").text


def test_windows_say_that_clickhouse_is_away_and_the_stream_goes_on(
    console: RunningConsole,
) -> None:
    console.create_topics()
    answer = console.get("/api/windows", params={"window": "tumbling_1d"})
    assert answer.status_code == 503
    assert "ClickHouse" in answer.json()["error"]
    tick = console.event("tick", lambda tick: not tick["history"]["ok"])
    assert tick["kafka"]["ok"]


def test_a_program_asks_for_a_new_version(console: RunningConsole, broker: RunningBroker) -> None:
    console.create_topics()
    body = {"reason": "new prices", "requested_by": "airflow", "event_id": "dag-7"}
    answer = httpx.post(f"{console.url}/api/retrain", json=body, timeout=60)
    assert (answer.status_code, answer.json()) == (202, {"event_id": "http-dag-7"})
    codec = console.contract.codec("retrain")
    (stored,) = read_all(broker.bootstrap, f"{console.contract.task}.retrain", 1)
    event = codec.read(stored.value())
    assert (event["trigger"], event["reason"], event["requested_by"], event["status"]) == (
        *("http", "new prices", "airflow"),
        "asked",
    )
    assert (event["outcomes_from"], event["outcomes_to"]) == ([0, 0], [0, 0])


def test_health_and_metrics_are_served(console: RunningConsole) -> None:
    console.create_topics()
    health = httpx.get(f"http://127.0.0.1:{console.health_port}/health", timeout=PATIENCE_S)
    assert health.status_code == 200
    assert health.json()["ok"]
    metrics = httpx.get(f"http://127.0.0.1:{console.health_port}/metrics", timeout=PATIENCE_S).text
    assert "weir_console_streams" in metrics
