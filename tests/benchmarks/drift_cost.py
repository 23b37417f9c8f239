"""What looking for drift costs: a worker with it, one without, and the serving agent alone.

    python -m tests.benchmarks.drift_cost [--rate 5000] [--seconds 20] [--rounds 3] [--samples]

In one run on one broker, each on topics of its own, in turns; CPU time by the process's clock. The
last line is one JSON object: CPU in µs a request, the least of the rounds, and what drift costs as
a share of the serving agent's.

On a machine that others use, batches grow as the worker falls behind, and a request costs less the
larger its batch: then two workers tell nothing of a difference. With --samples there is one, with
drift, and py-spy says how often it was at drift and how often at serving; the last line is
{"samples": of each layer, "drift_of_serving": share}. What transport and commits of drift's records
cost is in no layer of the two.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from functools import partial
from pathlib import Path

from tests.benchmarks.bench import (
    SERVING_ONLY,
    WARM_UP_RATE,
    WARM_UP_S,
    _wait_until_idle,
    load_of,
    say,
    warm_up,
)
from tests.benchmarks.profile import record
from tests.benchmarks.systems import Stage, System, fresh_stage

VARIANTS = (
    System("with_drift", "Weir, complete", "exactly once"),
    System(
        "without_drift",
        "Weir, without drift",
        "exactly once",
        module="tests.benchmarks.without_drift",
    ),
    SERVING_ONLY,
)


def cpu_us(stage: Stage, system: System, rate: int, seconds: float) -> float:
    """CPU time of a worker, in µs a request, at a rate; all that follows the answers included."""
    with stage.running(system) as running:
        load = load_of(stage, running)
        load.until_answered()
        load.latency(WARM_UP_RATE, WARM_UP_S)
        _wait_until_idle(running)
        before = running.cpu_s()
        latency = load.latency(rate, seconds)
        _wait_until_idle(running)
        spent = running.cpu_s() - before
        running.check()
        load.close()
        return spent / latency.offered * 1e6


LAYERS = {
    "drift": ("streams/profiles.py", "streams/drifts.py"),
    "serving": ("streams/serving.py",),
}


def samples(stage: Stage, folder: Path, rate: int, seconds: float) -> dict[str, int]:
    """How often the worker with drift was seen at work, by layer."""
    with stage.running(VARIANTS[0]) as running:
        load = load_of(stage, running)
        load.until_answered()
        load.latency(WARM_UP_RATE, WARM_UP_S)
        _wait_until_idle(running)
        raw = folder / "drift_cost.raw"
        record(running.children[0].pid, raw, partial(load.latency, rate, seconds))
        running.check()
        load.close()
    seen: Counter[str] = Counter()
    for line in raw.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        layers = [n for n, paths in LAYERS.items() if any(path in stack for path in paths)]
        seen[layers[0] if layers else "other"] += int(count)
    return dict(seen)


def main() -> None:
    """Measure in turns."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rate", type=int, default=5000)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--warm-up", type=float, default=30.0)
    parser.add_argument("--samples", action="store_true")
    chosen = parser.parse_args()
    found: dict[str, list[float]] = {system.name: [] for system in VARIANTS}
    with (
        tempfile.TemporaryDirectory(prefix="weir-drift-cost-") as folder,
        fresh_stage(Path(folder)) as stage,
    ):
        warm_up(stage, chosen.warm_up)
        if chosen.samples:
            seen = samples(stage, Path(folder), chosen.rate, chosen.seconds)
            share = seen.get("drift", 0) / max(seen.get("serving", 0), 1)
            print(json.dumps({"samples": seen, "drift_of_serving": round(share, 3)}))
            return
        for _ in range(chosen.rounds):
            for system in VARIANTS:
                took = cpu_us(stage, system, chosen.rate, chosen.seconds)
                say(f"{system.title}: {took:.0f} µs a request")
                found[system.name].append(took)
    least = {name: min(took) for name, took in found.items()}
    whole, without, serving = (least[system.name] for system in VARIANTS)
    share = (whole - without) / serving
    print(json.dumps({"cpu_us": least, "rounds": found, "drift_of_serving": round(share, 3)}))


if __name__ == "__main__":
    main()
