"""What a run found, as tables on the terminal and as a page with a plot."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from rich.console import Console
from rich.table import Table

from tests.benchmarks.systems import PEER_PYTHON

if TYPE_CHECKING:
    from tests.benchmarks.bench import Measured
    from tests.benchmarks.load import Latency

PLOT = Path(__file__).with_name("plot.py")


def circumstances() -> dict[str, Any]:
    """What the figures depend on besides the code."""
    return {
        "load_average": ", ".join(f"{x:.2f}" for x in os.getloadavg()),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "machine": platform.machine(),
        "python": platform.python_version(),
    }


def rows(results: list[Measured]) -> tuple[list[str], list[list[str]]]:
    """Titles and cells of the one table."""
    rates = sorted({rate for m in results for rate in m.latency})
    titles = ["system", "delivery", "records/s", "CPU µs/record", "broker's", "memory, MB"]
    titles += [f"p50 / p99 / p99.9 / max, ms, at {rate:,}/s" for rate in rates]
    cells = []
    for m in results:
        rate = f"{m.backlog.rate:,.0f}" if m.backlog else ""
        row = [m.system.title, m.system.delivery, rate, f"{m.cpu_us:.0f}", f"{m.broker_us:.0f}"]
        row.append(f"{m.resident_mb:.0f}")
        row += [_latency(m.latency.get(offered)) for offered in rates]
        cells.append(row)
    return titles, cells


def _latency(latency: Latency | None) -> str:
    if latency is None:
        return ""
    if latency.answered < latency.offered:
        return f"does not keep up ({latency.answered / latency.offered:.0%} answered)"
    return " / ".join(
        _number(value) for value in (latency.p50, latency.p99, latency.p999, latency.max)
    )


def _number(ms: float) -> str:
    return f"{ms:.1f}" if ms < 100 else f"{ms:,.0f}"


AIMS = (
    ("exactly once over Bytewax", "weir_exactly_once", "bytewax", 1.2),
    ("exactly once over Quix", "weir_exactly_once", "quix", 12.0),
    ("exactly once over Faust event by event", "weir_exactly_once", "faust_event", 25.0),
    ("exactly once over the transactional loop", "weir_exactly_once", "limit_exactly_once", 0.7),
)


def aims(figures: dict[str, Any]) -> list[list[str]]:
    """Each aim of the project with what was found; only those that the run can tell."""
    rate, workers = figures["throughput"], figures["workers"]
    found = []
    for what, mine, theirs, aim in AIMS:
        if mine in rate and theirs in rate:
            found.append(
                (what, rate[mine] / rate[theirs], f"≥ {aim}", rate[mine] >= aim * rate[theirs])
            )
    if len(workers) == 2:
        ratio = workers["2"] / workers["1"]
        found.append(("two workers over one", ratio, "≥ 1.7", ratio >= 1.7))
    for system, most in (("weir_exactly_once", 20), ("weir_at_least_once", 10)):
        p99 = figures["latency_ms"].get(system, {}).get("5000", {}).get("p99")
        if p99 is not None:
            what = f"p99 at 5,000/s, {system[5:].replace('_', ' ')}, ms"
            found.append((what, p99, f"< {most}", p99 < most))
    mine, bare = (
        figures["latency_ms"].get(name, {}).get("5000", {}).get("p99")
        for name in ("weir_exactly_once", "limit_exactly_once")
    )
    if mine and bare:
        what = "p99 at 5,000/s, exactly once, over the transactional loop's"
        found.append((what, mine / bare, "< 1: ahead of it", mine < bare))
    join = figures.get("join", {})
    if join.get("serving_records_per_s"):
        ratio = join["records_per_s"] / join["serving_records_per_s"]
        what = f"join over serving agent, records/s, {join['pending']:,} pending"
        found.append((what, ratio, "≥ 0.5", ratio >= 0.5))
    if join:
        what = f"join's resident memory, {join['pending']:,} pending, GB"
        found.append((what, join["resident_mb"] / 1e3, "< 1", join["resident_mb"] < 1000))
    found += _of_sink(figures.get("sink", {}))
    return [[what, f"{value:,.2f}", aim, "yes" if met else "no"] for what, value, aim, met in found]


def _of_sink(sunk: dict[str, Any]) -> list[tuple[str, float, str, bool]]:
    """The sink's aims: rows a second of one process, and behind in the whole system."""
    found = []
    for name, what, least in (
        ("predictions", "sink, backlog of predictions, rows/s", 100_000),
        ("truths", "sink, small records (truths), rows/s", 200_000),
    ):
        if sunk.get(name):
            rate = sunk[name]["rows_per_s"]
            found.append((what, rate, f"≥ {least:,}", rate >= least))
    if whole := sunk.get("system"):
        what = (
            f"sink, {whole['rate']:,} requests and truths a second for {whole['seconds']:g} s, "
            "s behind at the end"
        )
        found.append((what, whole["behind_s"], "≤ 3", whole["behind_s"] <= 3))
    return found


def stages(results: list[Measured]) -> tuple[list[str], list[list[str]]]:
    """Titles and cells of what each stage of the first system that has any takes of the time."""
    found = next((m.stages_us for m in results if any(m.stages_us.values())), {})
    names = sorted({name for one in found.values() for name in one}, key=_most(found))
    cells = [[name, *(f"{one.get(name, 0):,.1f}" for one in found.values())] for name in names]
    cells.append(["all", *(f"{sum(one.values()):,.1f}" for one in found.values())])
    return ["stage, µs a request", *found], cells if found else []


def _most(found: dict[str, dict[str, float]]) -> Callable[[str], float]:
    return lambda name: -max(one.get(name, 0.0) for one in found.values())


def show(results: list[Measured], facts: dict[str, Any], figures: dict[str, Any]) -> None:
    """The tables, on stdout."""
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console = Console(width=200, highlight=False, markup=False, emoji=False)
    titles, cells = rows(results)
    console.print(_table(titles, cells, left=2))
    console.print(_table(["aim", "found", "wanted", "met"], aims(figures), left=1))
    titles, cells = stages(results)
    if cells:
        console.print(_table(titles, cells, left=1))
    console.print(f"Load average before: {facts['load_average']}.")


def _table(titles: list[str], cells: list[list[str]], left: int) -> Table:
    made = Table(box=None, pad_edge=False, header_style="bold")
    for i, title in enumerate(titles):
        made.add_column(title, justify="left" if i < left else "right")
    for row in cells:
        made.add_row(*row)
    return made


def write(
    page: Path, results: list[Measured], facts: dict[str, Any], figures: dict[str, Any]
) -> None:
    """Put the tables and the plot in place of the old ones; the page's own words stay."""
    image = page.parent / "images" / "performance.svg"
    image.parent.mkdir(parents=True, exist_ok=True)
    data = {
        "throughput": [
            [f"{m.system.title}\n{m.system.delivery}", m.backlog.rate] for m in results if m.backlog
        ],
        "latency": [
            [f"{m.system.title}, {m.system.delivery}", _kept_up(m)] for m in results if m.latency
        ],
    }
    subprocess.run([PEER_PYTHON, PLOT, image], input=json.dumps(data), text=True, check=True)
    titles, cells = rows(results)
    began: datetime = facts["began"]
    size = facts["size"]
    text = "\n".join(
        [
            f"Measured on {began:%Y-%m-%d %H:%M} UTC: {facts['cores']} cores ({facts['machine']}), "
            f"{facts['memory_gb']} GB, Python {facts['python']}; load average before "
            f"{facts['load_average']}; backlog of {size.backlog:,} requests (less for slow "
            f"systems), {size.seconds:g} s at each rate.",
            "",
            *markdown(titles, cells, left=2),
            "",
            *markdown(["aim", "found", "wanted", "met"], aims(figures), left=1),
            "",
            *_stages_lines(results),
            f"![Records per second, and latency]({image.relative_to(page.parent)})",
            "",
            "```json",
            json.dumps(figures),
            "```",
        ]
    )
    put(page, "bench", text)


def _stages_lines(results: list[Measured]) -> list[str]:
    titles, cells = stages(results)
    if not cells:
        return []
    says = (
        "What each stage's work takes of the worker's event loop, a request (Weir, complete, "
        "exactly once; no truths are sent). Serving is what an answer needs; the others are the "
        "loop's."
    )
    return [says, "", *markdown(titles, cells, left=1), ""]


def put(page: Path, name: str, text: str) -> None:
    """Put figures in place of the old ones; the page's own words stay."""
    begin, end = f"<!-- weir {name}: begin -->", f"<!-- weir {name}: end -->"
    before, found, rest = page.read_text().partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"{page} has no place for figures: {begin} … {end}")
    page.write_text(f"{before}{begin}\n{text}\n{end}{after}")


def _kept_up(m: Measured) -> dict[str, list[float]]:
    """p50 and p99 at the rates that the system could hold."""
    return {
        str(rate): [latency.p50, latency.p99]
        for rate, latency in m.latency.items()
        if latency.answered == latency.offered
    }


def markdown(titles: list[str], cells: list[list[str]], left: int) -> list[str]:
    """A table's lines."""
    lines = [titles, ["---" if i < left else "---:" for i in range(len(titles))], *cells]
    return [f"| {' | '.join(line)} |" for line in lines]
