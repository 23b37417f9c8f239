"""From a deferred request to an outcome that a person gave: broker, worker, store, sink, page."""

from __future__ import annotations

import csv
import re
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from services.supervisor.child import Child
from tests.conftest import RunningBroker
from tests.services.command_line import weir, write_task
from tests.services.running_console import RunningConsole
from tests.services.running_store import PASSWORD, RunningStore
from tests.system.test_page import WAIT_MS, browser, no_sideways_scrolling  # noqa: F401
from tests.system.worker import Bench, wait_for

pytestmark = [pytest.mark.system, pytest.mark.page]

NOON_MS = 1_362_139_200_000  # 2013-03-01 12:00 UTC: event time is replayed
MINUTE_MS = 60_000


class System:
    """All that labelling touches, over the session's broker."""

    def __init__(self, folder: Path, broker: RunningBroker) -> None:
        self.home = folder / "home"
        self.home.mkdir()
        file = write_task(folder, f"label_{uuid.uuid4().hex[:8]}")
        self.bench = Bench(f"{file}:Small", broker.bootstrap, self.home)
        self.store = RunningStore(folder / "store")
        self.env = {
            "WEIR_HOME": str(self.home),
            "WEIR_BOOTSTRAP": broker.bootstrap,
            "WEIR_CLICKHOUSE_PORT": str(self.store.port),
        }
        writer = {"WEIR_TASK": f"{file}:Small", "WEIR_CLICKHOUSE_PASSWORD": PASSWORD}
        argv = [sys.executable, "-m", "services.sink"]
        self.sink = Child(argv, self.env | writer, folder / "sink.log")
        self.worker = self.bench.worker()
        self.worker.wait_until_ready()
        self.console = RunningConsole(self.home, broker.bootstrap, self.bench.task, self.store.port)

    def ask(self, *ids: str, start_ms: int = NOON_MS) -> None:
        """Requests a minute apart; without a model each is deferred."""
        for i, id_ in enumerate(ids):
            features = {"price": 9.5 + i, "visits": i, "member": None, "colour": "red"}
            record = {"request_id": id_, "event_time": start_ms + i * MINUTE_MS, "entity": None}
            self.bench.send("requests", record | {"features": features})
        self.bench.flush()
        wait_for(lambda: set(ids) <= self.known("deferred"), "deferred requests in ClickHouse")

    def known(self, table: str) -> set[str]:
        """The request ids in a table, as soon as there is one."""
        return set(self.store.values(f"SELECT request_id FROM {self.bench.task.name}.{table}"))

    def label(self, *arguments: str) -> Any:
        return weir("label", "--task", self.bench.task.name, *arguments, env=self.env)

    def outcomes(self) -> dict[str, dict[str, Any]]:
        return {one["request_id"]: one for one in self.bench.records("outcomes")}

    def stop(self) -> None:
        self.console.stop()
        self.bench.close()
        self.sink.terminate()
        self.sink.wait()
        self.store.stop()


@pytest.fixture(scope="module")
def system(broker: RunningBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    running = System(tmp_path_factory.mktemp("labelling"), broker)
    yield running
    running.stop()


@pytest.fixture
def page(browser: Browser, tmp_path: Path) -> Iterator[Page]:  # noqa: F811
    context = browser.new_context(viewport={"width": 390, "height": 844})
    page = context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "console",
        lambda said: (
            complaints.append(said.text)
            # 503: ClickHouse was too busy to answer; the page asks again.
            if said.type in ("error", "warning") and "503" not in said.text
            else None
        ),
    )
    page.set_default_timeout(WAIT_MS)
    expect.set_options(timeout=WAIT_MS)
    yield page
    page.screenshot(path=tmp_path / "label.png", full_page=True)
    context.close()
    assert complaints == []


def test_answers_of_a_file_become_outcomes_and_leave_the_queue(
    system: System, tmp_path: Path
) -> None:
    system.ask("file-0", "file-1")
    sheet = tmp_path / "sheet.csv"
    done = system.label("--export", str(sheet), "--by", "ada")
    assert done.returncode == 0, done.stderr
    # Ada has them: nobody else gets them.
    other = tmp_path / "other.csv"
    assert system.label("--export", str(other), "--by", "bo", "--json").stdout.startswith(
        '{"written": 0'
    )
    with sheet.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["request_id"] for row in rows} == {"file-0", "file-1"}
    with sheet.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(row | {"buys": "yes"} for row in rows)
    done = system.label("--import", str(sheet), "--by", "ada", "--json")
    assert done.returncode == 0, done.stderr
    assert done.stdout == '{"sent": 2, "left_out": {}}\n'

    wait_for(lambda: {"file-0", "file-1"} <= system.outcomes().keys(), "outcomes of the answers")
    one = system.outcomes()["file-0"]
    assert (one["source"], one["truth"], one["status"]) == ("labeller", True, "deferred")
    # Known at what is now in event time, not by the clock: years later it would not count.
    assert one["known_at"] == NOON_MS + MINUTE_MS
    truths = {truth["request_id"]: truth for truth in system.bench.records("truth")}
    assert truths["file-0"]["selection_probability"] in (
        1.0,
        float(rows[0]["selection_probability"]),
    )
    wait_for(lambda: {"file-0", "file-1"} <= system.known("truth"), "truths in ClickHouse")
    listed = system.label("--json")
    assert (listed.returncode, listed.stdout) == (0, "")
    # Sent once more, they are told to be known.
    again = system.label("--import", str(sheet), "--by", "ada", "--json")
    assert '"sent": 0' in again.stdout
    assert "known already" in again.stdout


def test_answers_on_the_page_become_outcomes_and_leave_the_queue(
    system: System, page: Page
) -> None:
    system.ask("page-0", "page-1", "page-2", start_ms=NOON_MS + 10 * MINUTE_MS)
    page.goto(system.console.url)
    page.locator(".nav a").click()
    expect(page.locator("#task")).to_have_text(system.bench.task.name)
    expect(page.locator("#f-waiting")).to_have_text("3")
    page.fill("#person", "ada")
    page.keyboard.press("Enter")
    expect(page.locator("#question")).to_have_text("buys?")
    expect(page.locator("#features tr")).to_have_count(4)
    expect(page.locator("#features tr").first).to_contain_text("EUR")
    expect(page.locator("#thinks")).to_be_hidden()
    about = page.locator("#about")
    first = re.search(r"page-\d", about.inner_text())
    assert first is not None
    page.locator("#person").blur()
    page.keyboard.press("=")
    expect(page.locator("#thinks")).to_have_text("No model looked at it.")
    page.keyboard.press("y")
    expect(about).not_to_contain_text(first[0])
    # Taken back, and answered otherwise: a correction.
    page.keyboard.press("<")
    expect(about).to_contain_text(first[0])
    page.locator("#answers button", has_text="no").click()
    expect(about).not_to_contain_text(first[0])
    second = re.search(r"page-\d", about.inner_text())
    assert second is not None
    assert no_sideways_scrolling(page)
    page.keyboard.press("?")
    expect(about).not_to_contain_text(second[0])
    page.keyboard.press("y")
    expect(page.locator("#empty")).to_be_visible()
    expect(page.locator("#f-waiting")).to_have_text("1")  # the skipped one waits for another

    third = ({"page-0", "page-1", "page-2"} - {first[0], second[0]}).pop()

    def joined() -> bool:
        found = system.outcomes()
        return {first[0], third} <= found.keys() and found[first[0]]["revision"] == 1

    wait_for(joined, "outcomes of the answers")
    found = system.outcomes()
    assert found[first[0]]["truth"] is False
    assert found[first[0]]["previous_truth"] is True
    assert found[third]["truth"] is True
    assert {found[id_]["source"] for id_ in (first[0], third)} == {"labeller"}
    assert second[0] not in found


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({"Origin": "http://evil.example"}, "{}", 403),
        ({"Sec-Fetch-Site": "cross-site"}, "{}", 403),
        ({"Content-Type": "text/plain"}, '{"person": "ada"}', 403),
        ({}, "not json", 400),
        ({}, "[]", 400),
        ({}, '{"person": ""}', 400),
        ({}, '{"person": "ada"}', 400),  # no request id
        ({}, '{"person": "ada", "request_id": "x", "answer": "maybe"}', 400),
        ({}, '{"person": "ada", "request_id": "nobody-asked", "answer": true}', 409),
        ({}, '{"person": "ada", "padding": "' + "x" * 10_000 + '"}', 400),
    ],
)
def test_only_this_page_writes_and_only_what_is_an_answer(
    system: System, headers: dict[str, str], body: str, status: int
) -> None:
    headers = {"Content-Type": "application/json"} | headers
    before = len(system.bench.records("truth"))
    answer = system.console.post("/api/label/answer", content=body, headers=headers)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]
    assert len(system.bench.records("truth")) == before


def test_a_wrong_call_says_what_to_do(system: System, tmp_path: Path) -> None:
    no_terminal = system.label()
    assert no_terminal.returncode == 2
    assert "--export" in no_terminal.stderr
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("request_id,buys\na,perhaps\n")
    refused = system.label("--import", str(wrong))
    assert refused.returncode == 1
    assert "line 2: 'perhaps' is neither true nor false" in refused.stderr
    missing = system.label("--import", str(tmp_path / "none.csv"))
    assert missing.returncode == 2
