"""Where a worker's time goes: py-spy looks into it under a backlog, and at a low rate.

    python -m tests.benchmarks.profile [--rate 5000] [--backlog 200000] [--system NAME]

Prints, for each kind of load, the share of samples by thread, by layer, and by function.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks.bench import EXTRA, SYSTEMS, WARM_UP_RATE, WARM_UP_S, load_of
from tests.benchmarks.systems import PEER_PYTHON, fresh_stage

PY_SPY = PEER_PYTHON.with_name("py-spy")
HZ = 250


def record(pid: int, raw: Path, work: Callable[[], object]) -> None:
    """Sample a process, its waiting threads left out, while `work` runs."""
    argv = [PY_SPY, "record", "--pid", str(pid), "--rate", str(HZ), "--threads", "--nonblocking"]
    argv += ["--format", "raw", "--output", raw, "--duration", "600"]
    spy = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    print(work())
    spy.send_signal(2)
    spy.wait()


def summarise(raw: Path) -> None:
    """Shares of the samples: threads, agents and other layers, functions by their own time."""
    threads: Counter[str] = Counter()
    layers: Counter[str] = Counter()
    own: Counter[str] = Counter()
    for line in raw.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        frames = stack.split(";")
        n = int(count)
        threads[frames[0].split("(")[0]] += n
        own[frames[-1]] += n
        layers[_layer(frames)] += n
    total = sum(threads.values())
    for title, counter, most in (("threads", threads, 8), ("layers", layers, 14), ("own", own, 22)):
        print(f"-- {title}")
        for name, n in counter.most_common(most):
            print(f"{n / total:6.1%}  {name}")


LAYERS = (
    ("streams/serving.py", "serving"),
    ("streams/feedback.py", "feedback"),
    ("streams/tally.py", "tally"),
    ("streams/metrics.py", "metrics"),
    ("streams/store.py", "state to disk"),
    ("transport/delivery.py", "commit"),
    ("transport/consumer.py", "consumer"),
    ("faust/", "Faust"),
    ("mode/", "Faust"),
    ("asyncio/", "event loop"),
)


def _layer(frames: list[str]) -> str:
    for part, name in LAYERS:
        if any(part in frame for frame in frames):
            inner = frames[-1] if name in ("commit", "consumer") else ""
            return f"{name} {inner}"
    return "other"


def main() -> None:
    """Profile one worker of Weir."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rate", type=int, default=5000)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--backlog", type=int, default=200_000)
    parser.add_argument("--system", default="weir_exactly_once")
    chosen = parser.parse_args()
    os.environ.setdefault("WEIR_BENCH_TASK", "bench")
    system = next(s for s in (*SYSTEMS, *EXTRA) if s.name == chosen.system)
    with tempfile.TemporaryDirectory(prefix="weir-profile-") as name:
        folder = Path(name)
        with fresh_stage(folder) as stage, stage.running(system) as running:
            load = load_of(stage, running)
            load.until_answered()
            load.latency(WARM_UP_RATE, WARM_UP_S)
            load.until_answered()
            pid = running.children[0].pid
            for what, work in (
                ("backlog", lambda: load.backlog(chosen.backlog)),
                ("rate", lambda: load.latency(chosen.rate, chosen.seconds)),
            ):
                print(f"== {what}, load average {os.getloadavg()[0]:.1f}")
                raw = folder / f"{what}.raw"
                record(pid, raw, work)
                summarise(raw)
                load.until_answered()


if __name__ == "__main__":
    sys.exit(main())
