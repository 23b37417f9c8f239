"""What the watch over volume is worth: simulated clients, whose jumps are known."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from streams.volume.counts import BUCKET_MS
from streams.volume.detector import Change, Detector
from streams.volume.policy import Volume

Floats = npt.NDArray[np.float64]

CLIENTS = 5_000
RISE = 10.0
HOUR = 3_600_000 // BUCKET_MS
WARM_UP = 2 * HOUR
APART, LASTS = 45, 30
"""Buckets from one jump to the next, and of a jump: five minutes, then calm again."""
BURST = 0.5
"""Of bursty clients: how far their rates vary from one bucket to the next, as the squared
coefficient of variation of a gamma distribution."""
HELD = 0.1
PER_MINUTE = (3.0, 6.0, 30.0, 300.0)
"""Usual rates of the clients that jump."""


@dataclass
class Found:
    """requests: looked at. alarms: false ones. delays: seconds of event time from a jump to the
    end of the bucket in which it was told, None where it was not. cpu_s: of the detector."""

    requests: int = 0
    alarms: int = 0
    delays: list[float | None] = field(default_factory=list)
    cpu_s: float = 0.0

    def plain(self) -> dict[str, float | None]:
        """The figures, by the names of `weir evaluate drift`."""
        told = [delay for delay in self.delays if delay is not None]
        millions = self.requests / 1e6
        return {
            "false_alarms_per_million": self.alarms / millions,
            "delay_median": float(np.median(told)) if told else None,
            "delay_p90": float(np.quantile(told, 0.9)) if told else None,
            "missed": 1 - len(told) / len(self.delays) if self.delays else None,
            "cpu_s_per_million": self.cpu_s / millions,
            "requests": self.requests,
        }


def compare(hours: int, jumps: int, passed: Callable[[str, Found], None]) -> dict[str, Any]:
    """Each stream's figures. hours: of event time without a jump; jumps: of each kind of client."""
    streams: dict[str, Found] = {}
    for name, burst in (("poisson", 0.0), ("bursty", BURST)):
        streams[name] = stationary(hours, burst)
        passed(name, streams[name])
    for rate in PER_MINUTE:
        name = f"jump_of_{rate:g}_per_minute"
        streams[name] = jumping(rate, jumps)
        passed(name, streams[name])
    return {"weir": {f"volume_{name}": found.plain() for name, found in streams.items()}}


def stationary(hours: int, burst: float) -> Found:
    """Clients whose rates differ by orders of magnitude (Pareto), and of whom none jumps."""
    chance = np.random.default_rng([1, int(10 * burst)])
    rates = _rates(chance)
    found, detector = Found(), Detector(Volume())
    for bucket in range(1, hours * HOUR):
        found.alarms += sum(
            change.state == "begun"
            for change in _look(detector, bucket, rates, burst, chance, found)
        )
    return found


def jumping(per_minute: float, jumps: int) -> Found:
    """One client after the other jumps; all of these have the same usual rate."""
    chance = np.random.default_rng([2, int(per_minute)])
    rates = np.concatenate([np.full(jumps, per_minute * BUCKET_MS / 60_000), _rates(chance)])
    found, detector = Found(), Detector(Volume())
    for bucket in range(1, WARM_UP):
        found.alarms += len(list(_look(detector, bucket, rates, 0.0, chance, found)))
    for client in range(jumps):
        begin = WARM_UP + client * APART
        told: float | None = None
        for bucket in range(begin, begin + APART):
            means = rates.copy()
            means[client] *= RISE if bucket < begin + LASTS else 1.0
            for change in _look(detector, bucket, means, 0.0, chance, found):
                if change.state != "begun":
                    continue
                if change.client == f"c{client}" and bucket < begin + LASTS and told is None:
                    told = (bucket + 1 - begin) * BUCKET_MS / 1000
                else:
                    found.alarms += 1
        found.delays.append(told)
    return found


def _rates(chance: np.random.Generator) -> Floats:
    """Requests a bucket: most clients a few an hour, some several a second."""
    rates: Floats = (chance.pareto(1.2, CLIENTS) * 0.02 + 0.001) * BUCKET_MS / 1000
    return rates


def _look(
    detector: Detector,
    bucket: int,
    means: Floats,
    burst: float,
    chance: np.random.Generator,
    found: Found,
) -> Iterator[Change]:
    if burst:
        means = means * chance.gamma(1 / burst, burst, len(means))
    counts = chance.poisson(means)
    there = np.flatnonzero(counts)
    names = [f"c{i}" for i in there]
    n, held = counts[there], chance.binomial(counts[there], HELD)
    began = time.process_time()
    changes = detector.look(bucket, names, n, held)
    found.cpu_s += time.process_time() - began
    found.requests += int(n.sum())
    yield from changes
