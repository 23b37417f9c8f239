"""What the grouping of drift into episodes is worth: changes of known causes, put into flights.

The demo's flights are drawn again and again with replacement, so nothing changes until a cause is
put in. A model answers them; Weir's own detectors look at inputs, answers, scores, truths, errors
(also by origin) and at the errors that the model's probabilities lead to expect. What they find
goes through the alerts' own code, in event time. What an alert is of is known, since what was
done to the flights is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from schemas.columns import Column
from services.evaluate.drift.flights import answered, learned
from services.evaluate.drift.ours import columns_of, reference_of
from services.evaluate.drift.streams import REFERENCE
from services.evaluate.report import ReportError
from streams.alerts.book import Notice
from streams.alerts.decide import Decider
from streams.alerts.policy import Alerts
from streams.drift.counts import count_outcomes, count_predictions
from streams.drift.family import Family
from streams.drift.finding import Finding
from streams.drift.policy import Drift
from streams.drift.records import record

BEGIN, END = "<!-- weir evaluate alerts: begin -->", "<!-- weir evaluate alerts: end -->"
DAY_MS = 86_400_000
START_MS = 1_356_998_400_000
"""Where a stream's event time begins: any time would do."""
TICK_MS = 6 * 3_600_000
BATCH = 125
"""Records of a micro-batch."""
BEFORE_DAYS, AFTER_DAYS = 4.0, 8.0
"""Days in which nothing changes, and for which the last cause lasts."""
RATES = (2_000, 10_000)
"""Flights a day."""
MATTERS = 0.01
"""Rise of the error rate from which on a cause degrades performance: `Drift.harm`."""
PROBES = 40_000
"""Flights on which that is measured."""

Floats = npt.NDArray[np.float64]
Draw = np.random.Generator
Table = pd.DataFrame
Change = Callable[[Table, Floats, Draw], Table]
"""Flights, how far the cause has come for each (0 to 1), randomness."""


@dataclass(frozen=True)
class Cause:
    """inputs: that it changes. days: from when it begins until it is whole; 0: at once."""

    inputs: tuple[str, ...]
    change: Change
    days: float = 0.0


def _celsius(table: Table, share: Floats, _: Draw) -> Table:
    """Temperatures in Celsius instead of Fahrenheit."""
    celsius = (table["temperature"] - 32) / 1.8
    return table.assign(temperature=table["temperature"].where(share <= 0, celsius))


def _humidity(table: Table, share: Floats, _: Draw) -> Table:
    """Instruments that always tell of fog."""
    return table.assign(humidity=table["humidity"].where(share <= 0, 100.0))


def _station(table: Table, share: Floats, _: Draw) -> Table:
    """Weather stations that tell of a storm whatever the weather."""
    stuck = {"visibility": 0.25, "pressure": 998.0, "precipitation": 0.3}
    return table.assign(**{n: table[n].where(share <= 0, value) for n, value in stuck.items()})


def _kilometres(table: Table, share: Floats, _: Draw) -> Table:
    """Distances in kilometres, which the model makes little of."""
    return table.assign(distance=table["distance"] * np.where(share > 0, 1.609, 1.0))


def _nulls(table: Table, share: Floats, draw: Draw) -> Table:
    """The schedule is missing in half of the requests."""
    gone = draw.random(len(table)) < 0.5 * share
    return table.assign(departure=table["departure"].mask(gone))


def _names(table: Table, share: Floats, draw: Draw) -> Table:
    """Half of the flights have an airline that training did not know."""
    gone = draw.random(len(table)) < 0.5 * share
    return table.assign(carrier=table["carrier"].astype(object).mask(gone, "ZZ"))


def _labels(table: Table, share: Floats, draw: Draw) -> Table:
    """A third of the flights that were in time are late, whatever they are like."""
    late = table["late"].to_numpy(bool) | (draw.random(len(table)) < share / 3)
    return table.assign(late=late)


def _concept(table: Table, share: Floats, draw: Draw) -> Table:
    """Half of one origin's morning flights are late: inputs stay, what they mean does not."""
    chosen = ((table["origin"] == "EWR") & (table["departure"] < 720)).to_numpy(bool)
    late = table["late"].to_numpy(bool) | (chosen & (draw.random(len(table)) < share / 2))
    return table.assign(late=late)


def _season(table: Table, share: Floats, draw: Draw) -> Table:
    """Spring comes: all of the weather moves away from winter's, and more flights are late."""
    late = table["late"].to_numpy(bool) | (draw.random(len(table)) < 0.15 * share)
    return table.assign(
        temperature=table["temperature"] + 35 * share,
        humidity=(table["humidity"] + 20 * share).clip(upper=100),
        pressure=table["pressure"] - 8 * share,
        wind=table["wind"] * (1 - 0.5 * share),
        late=late,
    )


CAUSES: Mapping[str, Cause] = {
    "temperature in Celsius": Cause(("temperature",), _celsius),
    "stuck humidity": Cause(("humidity",), _humidity),
    "broken weather stations": Cause(("visibility", "pressure", "precipitation"), _station),
    "distance in kilometres": Cause(("distance",), _kilometres),
    "missing schedules": Cause(("departure",), _nulls),
    "unknown airlines": Cause(("carrier",), _names),
    "more late flights": Cause((), _labels),
    "another concept at one origin": Cause((), _concept),
    "a season": Cause(("temperature", "humidity", "pressure", "wind"), _season, 21.0),
}
ABRUPT = tuple(name for name, cause in CAUSES.items() if not cause.days)

Begun = Mapping[str, float]
"""Causes by name, and the day on which each begins."""


def _single(name: str) -> Callable[[Draw], Begun]:
    return lambda draw: {name: BEFORE_DAYS + draw.uniform(0, 1)}


def _two(apart: float) -> Callable[[Draw], Begun]:
    """Two of unlike inputs, so many days apart."""

    def make(draw: Draw) -> Begun:
        while True:
            first, second = draw.choice(ABRUPT, 2, replace=False)
            one, other = set(CAUSES[first].inputs), set(CAUSES[second].inputs)
            if not one & other and (one or other):
                start = BEFORE_DAYS + draw.uniform(0, 1)
                return {str(first): start, str(second): start + apart}

    return make


SCENARIOS: Mapping[str, Callable[[Draw], Begun]] = {
    "nothing": lambda draw: {},
    **{name: _single(name) for name in CAUSES},
    "two causes, 12 hours apart": _two(0.5),
    "two causes, 4 days apart": _two(4.0),
    "two causes, 3 weeks apart": _two(21.0),
}


@dataclass
class Told:
    """What was told of one kind of episodes, summed over its draws.

    causes: that degrade performance; named: of them those that an alert names first; harmless:
    causes that do not degrade it, and those of them that an alert names first. alerts: opened;
    pure: of them those all of whose findings are of one cause; false: those whose first finding
    is of none. records: alert records of any change. findings: drift records.
    """

    draws: int = 0
    causes: int = 0
    named: int = 0
    harmless: int = 0
    harmless_named: int = 0
    alerts: int = 0
    pure: int = 0
    false: int = 0
    records: int = 0
    findings: int = 0

    def add(self, other: Told) -> None:
        """Take another's in."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    def plain(self) -> dict[str, float | int | None]:
        """Counts, and the shares that they give; None where there is nothing to share."""
        causes = self.causes + self.harmless_named
        return vars(self) | {
            "alerts_with_one_cause": self.pure / self.alerts if self.alerts else None,
            "causes_told": self.named / self.causes if self.causes else None,
            "alerts_per_cause": self.alerts / causes if causes else None,
        }


def compare(
    draws: int, rates: Sequence[int] = RATES, passed: Callable[[str, Told], object] = print
) -> dict[str, dict[str, Told]]:
    """Each scenario, at each rate (flights a day): ``draws`` of it."""
    found: dict[str, dict[str, Told]] = {}
    for rate in rates:
        for name, make in SCENARIOS.items():
            told = Told()
            for seed in range(draws):
                draw = np.random.default_rng([seed, rate])
                told.add(judged(make(draw), rate, draw))
            found.setdefault(f"{rate:,} a day", {})[name] = told
            passed(f"{name}, {rate:,} a day", told)
    return found


def judged(causes: Begun, rate: int, draw: Draw) -> Told:
    """One stream, and what was told of it."""
    told = Told(draws=1)
    findings = found_in(causes, rate, draw)
    notices = decided(findings)
    told.findings, told.records = len(findings), len(notices)
    begins = {name: START_MS + round(day * DAY_MS) for name, day in causes.items()}
    last = {notice.episode: notice for notice in notices}
    firsts = set()
    for notice in last.values():
        of = [_cause_of(member, begins) for member in json.loads(notice.findings)]
        told.alerts += 1
        told.pure += len(set(of)) == 1
        told.false += of[0] is None
        firsts.add(of[0])
    for name in causes:
        if degrades(name):
            told.causes += 1
            told.named += name in firsts
        else:
            told.harmless += 1
            told.harmless_named += name in firsts
    return told


def _cause_of(member: Mapping[str, Any], begins: Mapping[str, int]) -> str | None:
    """The cause that a finding is of: of what it changes itself, or else the newest.

    An input that no cause changes is told of by none.
    """
    begun = [name for name, at in begins.items() if at <= member["found"]]
    if member["kind"] in ("data", "skew", "schema"):
        parts = set(member["subject"].split(" and "))
        begun = [name for name in begun if parts & set(CAUSES[name].inputs)]
    elif "concept" in member["kind"] or member["kind"] == "target":
        before = [name for name in begun if begins[name] <= member["began"] + DAY_MS // 2]
        begun = before or begun
    return begun[-1] if begun else None


@lru_cache
def degrades(name: str) -> bool:
    """Whether a cause, once it is whole, raises the error rate by more than is tolerated."""
    draw = np.random.default_rng(1)
    _, pool = learned()
    table = pool.iloc[draw.integers(0, len(pool), PROBES)].reset_index(drop=True)
    after = CAUSES[name].change(table, np.ones(PROBES), draw)
    before, now = (answered(one, ()).wrong for one in (table, after))
    assert before is not None
    assert now is not None
    return float(now.mean() - before.mean()) > MATTERS


def found_in(causes: Begun, rate: int, draw: Draw) -> list[Finding]:
    """What Weir's detectors find in a stream of so many flights a day."""
    _, pool = learned()
    days = max(causes.values(), default=BEFORE_DAYS) + AFTER_DAYS
    days += max((CAUSES[name].days for name in causes), default=0.0)
    n = REFERENCE + round(days * rate)
    table = pool.iloc[draw.integers(0, len(pool), n)].reset_index(drop=True)
    day = (np.arange(n) - REFERENCE) / rate
    for name, begins in causes.items():
        cause = CAUSES[name]
        share = (
            np.clip((day - begins) / cause.days, 0.0, 1.0)
            if cause.days
            else (day >= begins).astype(np.float64)
        )
        table = cause.change(table, share, draw)
    made = answered(table, ())
    reference = reference_of(made, ("origin",))
    assert made.probability is not None
    unsure = np.minimum(made.probability, 1 - made.probability)
    reference.expected_error = float(unsure[:REFERENCE].mean())
    family = Family(reference.task, reference, Drift())
    found = []
    for start in range(REFERENCE, n, BATCH):
        rows = slice(start, min(start + BATCH, n))
        predictions, outcomes = columns_of(made, rows)
        times = START_MS + np.round(day[rows] * DAY_MS).astype(np.int64)
        predictions["event_time"] = outcomes["event_time"] = Column(times)
        predictions["expected"] = _lists(made.probability[rows])
        every = np.arange(rows.stop - rows.start)
        found += family.update(count_predictions(reference.task, reference, predictions, every))
        found += family.update(count_outcomes(reference.task, reference, outcomes, every))
    return found


def _lists(probability: npt.NDArray[np.float64]) -> Column:
    """As an estimator gives them: a list a record."""
    lists = np.empty(len(probability), object)
    lists[:] = [[value] for value in probability.tolist()]
    return Column(lists)


def decided(findings: Sequence[Finding]) -> list[Notice]:
    """What people are told of findings, each at the event time that it was found at."""
    decider = Decider("evaluated", Alerts(), ["tumbling_1d"], START_MS, 0)
    notices: list[Notice] = []
    now = START_MS
    ends = [(one.window_to, one) for one in findings if one.window_to is not None]
    for at, (end, finding) in enumerate(sorted(ends, key=lambda one: one[0])):
        while now + TICK_MS < end:
            now += TICK_MS
            notices += decider.tick(now)
        stated = record(finding, f"{at:016x}", "champion", end, end)
        notices += decider.see("drifts", stated, end, f"drifts/0/{at}")
    # Whatever was held is told or not by then, and what is open is listed as it is now.
    return notices + decider.tick(now + 2 * DAY_MS)


def plain(found: Mapping[str, Mapping[str, Told]]) -> dict[str, Any]:
    """``{rate: {scenario: figures}, "all": figures}``."""
    return {
        **{rate: {n: told.plain() for n, told in by.items()} for rate, by in found.items()},
        "all": total(found).plain(),
    }


def total(found: Mapping[str, Mapping[str, Told]]) -> Told:
    """Of all scenarios together."""
    whole = Told()
    for by in found.values():
        for told in by.values():
            whole.add(told)
    return whole


def rows_of(found: Mapping[str, Mapping[str, Told]]) -> Iterator[list[str]]:
    """The figures as cells of a table, and those of all at the end."""
    for rate, by in found.items():
        for name, told in by.items():
            yield [name, rate, *_cells(told)]
    yield ["all", "", *_cells(total(found))]


HEADS = ("what changes", "flights", "draws", "findings", "alerts", "with one cause",
         "harmful causes told", "harmless told", "false alerts")  # fmt: skip


def _cells(told: Told) -> list[str]:
    def share(part: int, whole: int) -> str:
        return f"{part} of {whole} ({part / whole:.0%})" if whole else "–"

    return [
        str(told.draws),
        f"{told.findings:,}",
        str(told.alerts),
        share(told.pure, told.alerts),
        share(told.named, told.causes),
        share(told.harmless_named, told.harmless),
        str(told.false),
    ]


def renew(page: Path, found: Mapping[str, Mapping[str, Told]], day: str) -> None:
    """Put the figures between the page's marks. ReportError where it has none."""
    text = page.read_text()
    if BEGIN not in text or END not in text:
        raise ReportError(f"{page} lacks the marks {BEGIN} and {END}: put them where figures go")
    before, rest = text.split(BEGIN, 1)
    lines = ["| " + " | ".join(HEADS) + " |", "|---|---|" + "--:|" * (len(HEADS) - 2)]
    lines += [f"| {' | '.join(cells)} |" for cells in rows_of(found)]
    table = "\n".join(lines)
    page.write_text(f"{before}{BEGIN}\nMeasured on {day}.\n\n{table}\n{END}{rest.split(END, 1)[1]}")
