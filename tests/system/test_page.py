"""The page in a real browser, over a real broker, store, sink and console."""

from __future__ import annotations

import json
import re
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, Request, expect, sync_playwright

from services.supervisor.child import Child
from services.supervisor.ends import UnplannedEnd
from services.supervisor.state import (
    ProcessState,
    forget_state,
    lock_home,
    start_ticks,
    write_state,
)
from services.trainer.events import Event
from tests.conftest import PATIENCE_S, RunningBroker
from tests.services.running_console import (
    BEGIN_MS,
    DAY_MS,
    RunningConsole,
    alert,
    dead_letter,
    decision,
    drift,
    model,
    prediction,
    request,
    wait_until,
)
from tests.services.running_store import PASSWORD, RunningStore

pytestmark = [pytest.mark.system, pytest.mark.page]

SIZES = {"laptop": (1280, 900), "phone": (390, 844)}
HOSTILE = (
    "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
    "\u202e&amp;'\""
)
SHOWN = HOSTILE.replace("\u202e", r"\u202e")  # what would turn the text around is written out
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
WAIT_MS = 1000 * PATIENCE_S
SINGLE = "a single outcome"
FINDINGS = json.dumps(
    [
        {
            "drift_id": drift_id,
            "kind": kind,
            "subject": subject,
            "begins": BEGIN_MS,
            "effect": HOSTILE,
            "message": HOSTILE,
            "degraded": True,
        }
        for drift_id, kind, subject in (
            ("aaaa1111", "data", "distance"),
            ("cccc3333", "concept", ""),
            ("bbbb2222", "prediction", ""),
        )
    ]
)
RECORDED = {
    "kind": "prediction",
    "subject": "",
    "feature": None,
    "hurts": False,
    "alerting": False,
    "evidence": '{"names": ["no", "yes"], "reference": [0.8, 0.2], "window": [0.4, 0.6]}',
}
NOTE_TEXTS = """
    window.texts = new Map();
    const draw = CanvasRenderingContext2D.prototype.fillText;
    CanvasRenderingContext2D.prototype.fillText = function (text, x, y) {
        window.texts.set(text, x);
        return draw.call(this, text, x, y);
    };
"""


class System:
    """Store, sink and console over the session's broker; records are written by hand."""

    def __init__(self, folder: Path, broker: RunningBroker) -> None:
        self.store = RunningStore(folder / "store")
        self.console = RunningConsole(
            folder / "home", broker.bootstrap, clickhouse_port=self.store.port
        )
        self.console.create_topics()
        env = {
            "WEIR_HOME": str(self.console.home),
            "WEIR_TASK": self.console.contract.reference,
            "WEIR_BOOTSTRAP": broker.bootstrap,
            "WEIR_CLICKHOUSE_PORT": str(self.store.port),
            "WEIR_CLICKHOUSE_PASSWORD": PASSWORD,
        }
        self.sink = Child([sys.executable, "-m", "services.sink"], env, folder / "sink.log")
        self.send = self.console.send

    def wait_for_rows(self, table: str, n: int) -> None:
        """Until ClickHouse holds that many rows of a topic."""

        wait_until(lambda: self.rows(table) >= n, f"{table} has not {n} rows")

    def rows(self, table: str) -> int:
        """Rows of a topic in ClickHouse now."""
        found = self.store.values(f"SELECT count() FROM {self.console.contract.task}.{table}")
        return int(found[0]) if found else 0  # the sink has not made the table yet

    def stop(self) -> None:
        self.console.stop()
        self.sink.terminate()
        self.sink.wait()
        self.store.stop()


@pytest.fixture(scope="module")
def system(broker: RunningBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    running = System(tmp_path_factory.mktemp("page"), broker)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.fail("no chromium here: infra/bootstrap.sh test installs it")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield running
        running.close()


@pytest.fixture(params=list(SIZES))
def page(request: pytest.FixtureRequest, browser: Browser, tmp_path: Path) -> Iterator[Page]:
    """A page that may load from 127.0.0.1 only and may complain of nothing."""
    width, height = SIZES[request.param]
    context = browser.new_context(
        viewport={"width": width, "height": height}, has_touch=request.param == "phone"
    )
    page = context.new_page()
    complaints: list[str] = []
    # A stream that ends because its server was stopped is no fault of the page.
    page.on(
        "console",
        lambda said: (
            complaints.append(said.text)
            if said.type in ("error", "warning")
            and "ERR_CONNECTION" not in said.text
            and "ERR_INCOMPLETE_CHUNKED" not in said.text
            and "503" not in said.text
            and "status of 409" not in said.text
            else None
        ),
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))

    def local_only(asked: Request) -> None:
        if urlsplit(asked.url).hostname != "127.0.0.1":
            complaints.append(f"asked for {asked.url}")

    page.on("request", local_only)
    page.set_default_timeout(WAIT_MS)
    expect.set_options(timeout=WAIT_MS)
    yield page
    page.screenshot(path=tmp_path / "page.png", full_page=True)
    context.close()
    assert complaints == []


def metric(day: int, version: str, **changes: Any) -> dict[str, Any]:
    length = changes.pop("days", 1)
    return {
        "window": "tumbling_1d" if length == 1 else "sliding_7d_1d",
        "window_start": BEGIN_MS + (day + 1 - length) * DAY_MS,
        "window_end": BEGIN_MS + (day + 1) * DAY_MS,
        "version": version,
        "role": "champion",
        "segment": "",
        "value": "",
        "revision": 1,
        "computed_at": int(time.time() * 1000),
        "complete": True,
        "predictions": 900,
        "deferred": 90,
        "rejected": 0,
        "outcomes": 850,
        "scored": 780,
        "share_deferred": 0.1,
        "share_labelled": 0.94,
        "base_rate": 0.2,
        "accuracy": 0.8,
        "precision": 0.5,
        "recall": 0.4,
        "f1": 0.44,
        "roc_auc": 0.70 + day / 100,
        "log_loss": 0.4,
        "brier": 0.1,
        "calibration_error": 0.02,
        "mae": None,
        "rmse": None,
        "r2": None,
    } | changes


def no_sideways_scrolling(page: Page) -> bool:
    return bool(
        page.evaluate(
            "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
        )
    )


def test_an_empty_system_says_what_it_waits_for(system: System, page: Page) -> None:
    page.goto(system.console.url)
    expect(page.locator("#task")).to_have_text(system.console.contract.task)
    expect(page.locator("#state-text")).to_have_text("No version in service yet")
    expect(page.locator("#quality-empty")).to_contain_text("No windows yet")
    expect(page.locator("#versions-empty")).to_be_visible()
    expect(page.locator("#letters-empty")).to_be_visible()
    assert no_sideways_scrolling(page)


@pytest.fixture(scope="module")
def filled(system: System) -> System:
    """With two versions, twelve days of windows, and a hostile dead letter."""
    system.send("models", model("v1", changed_at=1_000), model("v2", replaces="v1"))
    system.send("models", model("v1", "archived", changed_at=2_000, reason="replaced by v2"))
    rows = [metric(day, "v1" if day < 6 else "v2", days=n) for day in range(12) for n in (1, 7)]
    bounds = {"accuracy_low": 0.77, "accuracy_high": 0.83}
    rows += [metric(11, "v2", revision=2, complete=False, outcomes=100, roc_auc=0.9, **bounds)]
    rows += [metric(day, "v1", segment="origin", value=HOSTILE[:60]) for day in range(3)]
    # A segment with one outcome: of one class alone there is no curve.
    single = {"outcomes": 1, "scored": 1, "roc_auc": None, "complete": False}
    rows += [metric(0, "v1", segment="origin", value=SINGLE, **single)]
    system.send("metrics", *rows)
    system.send("predictions", *(prediction(n, event_time=BEGIN_MS) for n in range(5)))
    later = BEGIN_MS + 6 * DAY_MS
    system.send("predictions", *(prediction(n, event_time=later, version="v2") for n in range(5)))
    system.send(
        "dead-letters",
        dead_letter(7, message=HOSTILE, request_id=HOSTILE, reason="<b>bold</b>"),
    )
    system.send("drifts", drift("aaaa1111", effect=HOSTILE), drift("bbbb2222", **RECORDED))
    system.send(
        "alerts",
        *(alert("a"), alert("b"), alert("b", "resolved")),
        alert("a", "worse", severity="critical", message=HOSTILE, findings=FINDINGS),
    )
    system.wait_for_rows("metrics", len(rows))
    system.wait_for_rows("drifts", 2)
    system.send("decisions", decision(), decision(decision_id="d2", reason=HOSTILE))
    system.wait_for_rows("decisions", 2)
    system.wait_for_rows("predictions", 10)
    return system


def test_a_version_is_promoted_by_a_button_that_asks_who_and_why(
    filled: System, page: Page
) -> None:
    page.goto(filled.console.url)
    rows = page.locator("#versions tr")
    expect(rows).to_have_count(2)
    champion, archived = rows.filter(has_text="champion"), rows.filter(has_text="archived")
    expect(champion.get_by_role("button")).to_have_count(0)  # nobody to go back to
    archived.get_by_role("button", name="Promote").click()
    expect(page.locator("#move-title")).to_have_text("Make v1 the champion")
    page.locator("#move-go").click()
    expect(page.locator("#move-error")).to_contain_text("Say who you are, and why")
    page.locator("#move-by").fill("ada")
    page.locator("#move-why").fill("v2 is worse")
    page.locator("#move-go").click()  # the console has no such task to load the bundle with
    expect(page.locator("#move-error")).to_contain_text("v1 cannot be put in service")
    assert no_sideways_scrolling(page)
    page.locator("#move-cancel").click()
    expect(page.locator("#move")).to_be_hidden()


@contextmanager
def traffic(system: System) -> Iterator[None]:
    """Requests and predictions that go on: figures are of the last seconds, and then they rest."""
    over = threading.Event()

    def flow() -> None:
        while not over.is_set():
            system.send("requests", *(request(n, event_time=BEGIN_MS + DAY_MS) for n in range(200)))
            answers = ("deferred" if n % 4 == 0 else "answered" for n in range(200))
            system.send("predictions", *(prediction(n, status=a) for n, a in enumerate(answers)))
            over.wait(0.2)  # a pace: as fast as it can, it takes the machine from the page

    thread = threading.Thread(target=flow)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_figures_move_as_records_arrive(filled: System, page: Page) -> None:
    page.goto(filled.console.url)
    expect(page.locator("#state-text")).to_have_text(re.compile("No requests now|Live"))
    before = page.locator("#n-requests").inner_text()
    with traffic(filled):
        expect(page.locator("#n-requests")).not_to_have_text(before)
        expect(page.locator("#state-text")).to_have_text("Live")
        expect(page.locator("#f-predictions")).to_have_text(re.compile("[1-9]"))
        expect(page.locator("#f-p99")).to_have_text("10.0")
        # The share before these records is 0: wait for theirs, do not read what stands there.
        expect(page.locator("#f-deferred")).to_have_text(re.compile(r"^2[1-5](\.\d+)?$"))
        expect(page.locator("#f-champion")).to_have_text("v2")
        expect(page.locator("#f-event")).to_contain_text("Mar 2013")
    for chart in ("throughput", "latency", "quality"):
        expect(page.locator(f"#chart-{chart} canvas")).to_be_visible()
    assert no_sideways_scrolling(page)


def test_windows_are_shown_by_version_metric_and_segment(filled: System, page: Page) -> None:
    page.goto(filled.console.url)
    expect(page.locator("#legend-quality li")).to_have_text(
        ["v1champion", "v2champion", "window still open"]
    )
    expect(page.locator("#chart-quality")).to_have_attribute(
        "aria-label", re.compile(r"AUC from 1 Mar 2013 to 12 Mar 2013\. .*v2 champion 0\.900")
    )
    page.locator("#windows-details summary").click()
    rows = page.locator("#windows-rows tr")
    expect(rows).to_have_count(12)
    # Of the newest window only the highest revision is shown, and that it is not complete.
    expect(rows.first).to_contain_text("12 Mar 2013 (open)")
    expect(rows.first).to_contain_text("0.900")

    page.select_option("#metric", "accuracy")
    expect(page.locator("#legend-quality")).to_contain_text("95 % confidence")
    expect(rows.first).to_contain_text("77.0 % to 83.0 %")
    page.select_option("#metric", "share_labelled")
    expect(page.locator("#metric-help")).to_contain_text("truth has arrived")
    page.select_option("#window", "sliding_7d_1d")
    expect(rows.first).to_contain_text("6 Mar – 12 Mar 2013")
    expect(page.locator("#segment option")).to_have_count(3)
    page.select_option("#segment", index=1)
    expect(page.locator("#quality-empty")).to_have_text("No windows of this segment yet.")
    page.select_option("#window", "tumbling_1d")
    expect(rows).to_have_count(3)
    assert no_sideways_scrolling(page)


def test_the_first_version_is_marked_though_it_began_before_the_axis(
    filled: System, page: Page
) -> None:
    """Its first event is a morning's, the first point of the axis the middle of the day."""
    # A canvas keeps no text: what is written on it is noted on the way.
    page.add_init_script(NOTE_TEXTS)
    page.goto(filled.console.url)
    expect(page.locator("#legend-quality li")).to_have_count(3)
    # Not `page.wait_for_function`: it looks again by way of eval, which the page forbids.
    wait_until(lambda: page.evaluate("window.texts.has('▾ v2')"), "the second version's mark")
    left, inner = page.evaluate("[window.texts.get('▾ v1'), window.texts.get('▾ v2')]")
    assert left is not None, "the first version has no mark"
    assert 0 < left < inner


def test_decisions_are_listed_with_their_reasons(filled: System, page: Page) -> None:
    page.goto(filled.console.url)
    rows = page.locator("#decisions tr")
    expect(rows).to_have_count(2)
    expect(rows.last.locator("[data-name=Action]")).to_have_text("promoted")
    expect(rows.last.locator("[data-name=Moves]")).to_have_text("v2: canary ► champion")
    expect(rows.last.locator("[data-name=Why]")).to_have_text("v2 is better than v1")
    assert page.locator("#decisions img, #decisions script").count() == 0


def test_drifts_are_listed_and_opened_with_both_distributions(filled: System, page: Page) -> None:
    page.goto(filled.console.url)
    rows = page.locator("#drifts tr")
    expect(rows).to_have_count(2)
    expect(rows.first.locator("[data-name=What]")).to_have_text("prediction drift")
    expect(rows.first.locator("[data-name=Verdict]")).to_have_text("recorded")
    expect(rows.last.locator("[data-name=Verdict]")).to_have_text("alerting")
    expect(rows.last.locator("[data-name=Since]")).to_have_text("1 Mar 2013, 02:00")
    expect(rows.last.locator("[data-name=Effect]")).to_have_text(SHOWN)
    assert page.locator("#drifts img, #drifts script, #drift-detail img").count() == 0
    expect(page.locator("#drift-detail")).to_be_hidden()

    page.get_by_role("button", name="data drift of distance").click()
    expect(page.locator("#drift-facts")).to_contain_text("it hurts; alerting")
    expect(page.locator("#drift-facts")).to_contain_text("total variation 0.4000, threshold 0.1000")
    expect(page.locator("#drift-facts")).to_contain_text("1,200 records")
    bins = page.locator("#drift-bars tr")
    expect(bins).to_have_count(3)
    expect(bins.last).to_have_text(re.compile(r"≥ 2\.5\s*20\.0 %\s*60\.0 %"))
    assert no_sideways_scrolling(page)

    page.get_by_role("button", name="prediction drift").click()
    expect(bins.first).to_contain_text("no80.0 %40.0 %")
    expect(page.get_by_role("button", name="prediction drift")).to_have_attribute(
        "aria-expanded", "true"
    )
    page.get_by_role("button", name="prediction drift").click()
    expect(page.locator("#drift-detail")).to_be_hidden()
    page.get_by_role("button", name="data drift of distance").click()
    expect(bins).to_have_count(3)
    expect(page.locator("#drift-detail")).to_be_visible()


def test_one_class_alone_is_said_to_have_no_auc(filled: System, page: Page) -> None:
    page.goto(filled.console.url)
    expect(page.locator("#segment option")).to_have_count(3)
    page.select_option("#segment", label=f"origin: {SINGLE}")
    expect(page.locator("#quality-empty")).to_contain_text("AUC needs outcomes of both classes")
    page.select_option("#metric", "accuracy")
    expect(page.locator("#quality-empty")).to_contain_text("Few outcomes yet")


def test_what_strangers_sent_is_shown_as_text(filled: System, page: Page) -> None:
    page.goto(filled.console.url)
    letter = page.locator("#letters tr").first
    expect(letter.locator("[data-name=Message]")).to_have_text(SHOWN)
    expect(letter.locator("[data-name=Reason]")).to_have_text("<b>bold</b>")
    assert page.locator("#letters img, #letters script, #letters b").count() == 0
    expect(page).to_have_title(f"{filled.console.contract.task} · Weir")


def test_it_shows_the_open_alerts_and_the_last_that_are_over(filled: System, page: Page) -> None:
    page.goto(filled.console.url)
    rows = page.locator("#alerts tr")
    expect(rows).to_have_count(2)
    expect(rows.first.locator("[data-name=State]")).to_have_text("critical")
    expect(rows.first.locator("[data-name=Message]")).to_contain_text(SHOWN)
    expect(rows.first.locator("[data-name=Evidence] a")).to_have_attribute("href", "#drift-d1")
    expect(rows.last.locator("[data-name=State]")).to_have_text("resolved")


def test_an_alert_names_the_likely_cause_and_folds_the_other_findings_behind_it(
    filled: System, page: Page
) -> None:
    page.goto(filled.console.url)
    message = page.locator("#alerts tr").first.locator("[data-name=Message]")
    expect(message).to_contain_text(SHOWN)
    behind = message.locator("li")
    expect(behind).to_have_count(2)
    expect(behind.first).to_be_hidden()
    message.locator("summary").click()
    expect(behind.first).to_have_text(f"concept drift since 1 Mar 2013, 00:00: {SHOWN}")
    behind.last.locator("a").click()
    expect(page.locator("#drift-detail")).to_be_visible()
    assert page.locator("#alerts img, #alerts script, #alerts b").count() == 0
    assert no_sideways_scrolling(page)


def test_the_link_of_an_alert_leads_to_its_evidence(filled: System, page: Page) -> None:
    page.goto(f"{filled.console.url}/#drift-bbbb2222")
    expect(page.locator("#drift-detail")).to_be_visible()
    expect(page.locator("#drift-facts")).to_contain_text("Statistic")


def test_it_shows_the_processes_of_the_home(filled: System, page: Page) -> None:
    home, me = filled.console.home, filled.console.process.pid
    with lock_home(home):
        shared = {"pid": me, "start_ticks": start_ticks(me), "since": "2026-01-01T00:00:00Z"}
        write_state(home, ProcessState(name="supervisor", state="ready", **shared))
        end = UnplannedEnd("sink", me, "2026-01-01T00:00:00+00:00", "exit code 1", HOSTILE, "s.log")
        sink = ProcessState(name="sink", state="ready", restarts=2, last_end=asdict(end), **shared)
        write_state(home, sink)
        page.goto(filled.console.url)
        expect(page.locator("#processes")).to_contain_text("sinkruns")
        expect(page.locator("#processes")).to_contain_text("2 restarts")
        text = f"sink ended unplanned 2 times, last with exit code 1: {SHOWN}. Its log: s.log"
        expect(page.locator("#ends")).to_contain_text(text)
        expect(page.locator("#banner-crash")).to_be_hidden()

        now = time.time()
        write_state(home, replace(sink, looping_since=now, started_at=now))
        expect(page.locator("#banner-crash")).to_contain_text(f"Crash loop: {text}")
        expect(page.locator("#processes .crash-loop")).to_have_text("crash loop")
        expect(page.locator("#state-text")).to_have_text("Crash loop")
        expect(page).not_to_have_title("owned")
        for name in ("supervisor", "sink"):
            forget_state(home, name)


@pytest.mark.parametrize("page", ["laptop"], indirect=True)
def test_it_shows_the_training_that_failed_until_a_version_comes(
    filled: System, page: Page
) -> None:
    event = Event("weekly-1", 0, "manual", "new prices", "ada")
    page.goto(filled.console.url)
    expect(page.locator("#training-failed")).to_be_hidden()
    filled.send("retrain", event.record(), event.failed(HOSTILE))
    shown = page.locator("#training-failed")
    expect(shown).to_contain_text(f"event weekly-1 (new prices) gave no version: {SHOWN}")
    expect(shown).to_contain_text("What to do: ")
    filled.send("retrain", Event("e1", 1, "manual", "mended", "ada").record())
    expect(shown).to_be_hidden()  # the versions are of that event


@pytest.mark.parametrize("page", ["laptop"], indirect=True)
def test_a_lost_console_and_a_lost_store_are_told_and_gone_again(
    filled: System, page: Page
) -> None:
    page.goto(filled.console.url)
    expect(page.locator("#legend-quality li")).to_have_count(3)
    # The minutes before the console's own start come from ClickHouse.
    rows = filled.rows("predictions")
    filled.send("predictions", *(prediction(n, event_time=BEGIN_MS) for n in range(10)))
    filled.wait_for_rows("predictions", rows + 10)
    filled.store.kill()
    expect(page.locator("#banner-history")).to_contain_text("does not answer")
    filled.store.start()
    expect(page.locator("#banner-history")).to_be_hidden()

    assert filled.console.stop() == 0
    expect(page.locator("#banner-connection")).to_contain_text("No connection")
    expect(page.locator("#state-text")).to_have_text("Connection lost")
    filled.console.start()
    page.locator("#retry").click()
    expect(page.locator("#banner-connection")).to_be_hidden()
    expect(page.locator("#letters tr")).to_have_count(1)

    def told() -> bool:  # ClickHouse may still be coming up
        return sum(filled.console.event("hello")["points"]["predictions"]) >= 10

    wait_until(told, "the predictions from before its start are not shown")
