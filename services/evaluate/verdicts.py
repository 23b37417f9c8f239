"""``python -m services.evaluate.verdicts 3 4 5 …``: what is said of the flights' versions.

Trains the demo's task at the beginning of each of these months of 2013, on all flights whose truth
was known then, and prints its verdict beside the version that was accepted before it. Minutes each.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from services.demo.flight_delay import FlightDelay
from services.evaluate.loop_weir import version_of
from services.evaluate.loop_world import learned, starts, world
from streams.training.train import train
from streams.training.verdict_words import explained
from streams.version import Version


def main(months: Sequence[int]) -> None:
    """Train for each month, and print what the verdict says."""
    flights = world(FlightDelay)
    champion: Version | None = None
    for month in months:
        rows = learned(flights, starts(month))
        trained = train(FlightDelay, rows, f"month-{month}", champion)
        print(f"\n{month}: {len(rows)} rows", flush=True)
        print("\n".join(explained(trained.contents.extra["verdict"])), flush=True)
        if trained.accepted:
            champion = version_of(FlightDelay, trained.contents)


if __name__ == "__main__":
    main([int(month) for month in sys.argv[1:]])
