"""What a request costs the whole system by partitions and by versions in service.

Weir complete and exactly once on a broker of its own, as in `weir bench`: a backlog of requests,
once the broker's compiler has settled. CPU seconds and memory are for a million requests: what a
million cost in seconds is what one costs in microseconds.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.benchmarks.bench import SYSTEMS, Measured, Size, measure, warm_up
from tests.benchmarks.systems import Stage, System, fresh_stage

PARTITIONS = (1, 4, 16, 64)
VERSIONS = (1, 2, 3, 5)
SIZE = Size(100_000, 0.0, 60.0)
WHOLE = SYSTEMS[0]


def sweep(say: Callable[[str], None]) -> dict[str, Any]:
    """Figures by partitions (one version) and by versions (four partitions)."""
    os.environ.setdefault("WEIR_BENCH_TASK", "bench")
    folder = Path(tempfile.mkdtemp(prefix="weir-sweep-"))
    found: dict[str, Any] = {"partitions": {}, "versions": {}}
    with fresh_stage(folder) as stage:
        warm_up(stage, SIZE.warm_up_s)
        for n in PARTITIONS:
            say(f"partitions: {n}")
            found["partitions"][n] = _figures(stage, _variant(f"p{n}", partitions=n))
        for n in VERSIONS:
            say(f"versions in service: {n}")
            found["versions"][n] = _figures(stage, _variant(f"v{n}", shadows=n - 1))
    shutil.rmtree(folder, ignore_errors=True)
    return found


def _variant(name: str, partitions: int = WHOLE.partitions, shadows: int = 0) -> System:
    return System(name, WHOLE.title, WHOLE.delivery, partitions=partitions, shadows=shadows)


def _figures(stage: Stage, system: System) -> dict[str, float]:
    measured: Measured = measure(stage, system, SIZE, ())
    assert measured.backlog is not None
    return {
        "records_per_s": round(measured.backlog.rate),
        "cpu_s_per_million": round(measured.cpu_us, 1),
        "broker_cpu_s_per_million": round(measured.broker_us, 1),
        "resident_mb": round(measured.resident_mb),
    }


def tables(found: dict[str, Any]) -> list[tuple[list[str], list[list[str]]]]:
    """Titles and rows of each table."""
    titles = [
        "records/s",
        "CPU s/million requests",
        "the broker's",
        "resident MB",
    ]
    return [
        (
            [first, *titles],
            [
                [f"{n}", *(f"{value:,.0f}" for value in row.values())]
                for n, row in found[key].items()
            ],
        )
        for key, first in (
            ("partitions", "partitions (one version)"),
            ("versions", "versions in service (one answers, the others look on)"),
        )
    ]
