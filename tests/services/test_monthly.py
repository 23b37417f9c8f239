"""The evaluation of windowed features: months are judged by what was known when they began."""

from __future__ import annotations

import pandas as pd
import pytest

from services.demo import monthly
from services.demo.flight_delay import FlightDelay
from services.demo.flights import NEW_YORK, load_flights


def test_each_month_is_judged_by_a_model_of_what_was_known_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(monthly, "MONTHS", range(11, 13))
    monkeypatch.setitem(monthly.MODEL, "max_iter", 3)
    flights = load_flights().sample(20_000, random_state=0).reset_index(drop=True)
    seen: list[tuple[str, monthly.Month]] = []
    found = monthly.compared(FlightDelay, flights, lambda name, month: seen.append((name, month)))
    assert [(name, month.month) for name, month in seen] == [
        *(("without", 11), ("without", 12)),
        *(("with", 11), ("with", 12)),
    ]
    begins = pd.Timestamp(2013, 12, 1, tz=NEW_YORK)
    december = seen[-1][1]
    assert december.train == (flights["known_at"] < begins).sum()
    assert december.test == (flights["event_time"] >= begins).sum()
    assert found["without"]["features"] == len(FlightDelay.features)
    assert found["with"]["features"] == len(FlightDelay.inputs)
    assert found["with"]["auc"] > found["without"]["auc"]
