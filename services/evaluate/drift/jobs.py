"""Parts of the comparison that can be measured each by itself, in any order and process.

What a job gives depends on itself and on the code alone, so that it is kept: a comparison that was
stopped goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

from services.evaluate.drift import ours, peers, rivers, stationary
from services.evaluate.drift.flights import FLIGHTS, drawn
from services.evaluate.drift.judge import Seen
from services.evaluate.drift.streams import (
    ERRORS,
    GENERATED,
    NORMAL,
    REFERENCE,
    Made,
    Stream,
    stationary_errors,
    stationary_normal,
)
from services.evaluate.environments import ROOT
from streams.drift.finding import KINDS
from streams.drift.policy import Drift

STREAMS: Mapping[str, Stream] = {
    stream.name: stream for stream in (*ERRORS, *GENERATED, *NORMAL, *FLIGHTS)
}
FIRST_SEED = 1_000
"""Others were used while the detectors were made."""
WEIRS: Mapping[str, int | None] = {
    "weir": None,
    "weir_1m": 1_000_000,
    "weir_at_adwin_rate": 7_300_000,
}
"""On labels: records between two false alarms that the policy asks for (None: as it stands). What
it gives is fewer; ``weir_at_adwin_rate`` has as many as ADWIN, and the table says of both how many
that were."""
OF_KIND = {f"weir_{kind}": kind for kind in KINDS}
"""The policy's findings of a kind by themselves."""
MOST_SLOW = 30_000
"""Records of a stream that a detector of `rivers.SLOW` is given."""
Runs = dict[str, dict[str, list[Seen]]]
"""By detector and stream, the draws."""


@dataclass(frozen=True)
class Job:
    """One part.

    what: ``policy`` the whole policy on stationary sums of all kinds; ``stream`` every detector on
    draws of a stream; ``peer`` one of alibi-detect and NannyML on draws of several. name: the
    stream or peer. seed, draws: from which on, how many. size: records of a stationary draw. few:
    draws that slow detectors get. names: a peer's streams.
    """

    what: Literal["policy", "stream", "peer"]
    name: str
    seed: int
    draws: int
    size: int = 0
    few: int = 0
    names: tuple[str, ...] = ()

    def words(self) -> str:
        """For a person who waits."""
        of = f", {self.size:,} records each" if self.size else ""
        return f"{self.name}: {self.draws} draws from seed {self.seed}{of}"


def perform(job: Job, policy: Drift) -> Runs:
    """Measure. Raises EnvironmentFailed, FlightsError."""
    if job.what == "policy":
        seeds = range(job.seed, job.seed + job.draws)
        return {"weir": {job.name: [stationary.watch(job.size, policy, seed) for seed in seeds]}}
    if job.what == "peer":
        return {job.name: _by_peer(job)}
    draws = list(_draws(job.name, job.seed, job.draws, job.size))
    found = _errors(draws, job, policy) if _labels_alone(draws[0]) else _table(draws, job, policy)
    return {detector: {job.name: runs} for detector, runs in found.items()}


def _draws(name: str, seed: int, count: int, size: int) -> Iterator[Made]:
    made: Any = {
        "none_errors": stationary_errors,
        "none_normal": stationary_normal,
        "none_flights": drawn,
    }
    for one in range(seed, seed + count):
        yield made[name](one, REFERENCE + size) if name in made else STREAMS[name].make(one)


def _labels_alone(made: Made) -> bool:
    return not made.numbers and not made.names


def _errors(draws: Sequence[Made], job: Job, policy: Drift) -> dict[str, list[Seen]]:
    found: dict[str, list[Seen]] = {}
    for name, every in WEIRS.items():
        asked = policy if every is None else replace(policy, false_alarm_every=every)
        found[name] = ours.watch_together(draws, asked)
    found["weir_concept"] = found["weir"]
    for name in rivers.OF_ERRORS:
        if name in rivers.SLOW and len(draws[0]) > MOST_SLOW:
            continue
        few = min(1, job.few) if name in rivers.SLOW else job.few
        some = draws if name in rivers.QUICK else draws[:few]
        if some:
            found[name] = [rivers.watch(name, made) for made in some]
    return found


def _table(draws: Sequence[Made], job: Job, policy: Drift) -> dict[str, list[Seen]]:
    runs = [ours.watch(made, policy) for made in draws]
    found = {"weir": [seen for seen, _ in runs]}
    for name, kind in OF_KIND.items():
        found[name] = [
            by_kind.get(kind, Seen(seen.records, seen.reference, seen.changes, (), seen.cpu_s))
            for seen, by_kind in runs
        ]
    for name in rivers.OF_ERRORS if draws[0].wrong is not None else rivers.OF_NUMBERS:
        if name not in rivers.SLOW:
            found[name] = [rivers.watch(name, made) for made in draws]
    return found


def _by_peer(job: Job) -> dict[str, list[Seen]]:
    with tempfile.TemporaryDirectory(prefix="weir-evaluate-") as folder:
        handed = peers.Handed(Path(folder))
        for name in job.names:
            handed.add(name, list(_draws(name, job.seed, job.draws, job.size)))
        return dict(handed.watch(job.name))


def run(
    jobs: Sequence[Job], policy: Drift, workers: int, kept: Path | None
) -> Iterator[tuple[Job, Runs]]:
    """Each job with what it gave, in their order. kept: the folder of earlier results."""
    one = partial(measured, policy=policy, kept=kept)
    if workers <= 1:
        yield from zip(jobs, map(one, jobs), strict=True)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from zip(jobs, pool.map(one, jobs), strict=True)


def measured(job: Job, policy: Drift, kept: Path | None) -> Runs:
    """What a job gives, from the folder where it is there."""
    if kept is None:
        return perform(job, policy)
    what = json.dumps([asdict(job), policy.facts(), _code()], sort_keys=True)
    path = kept / f"{hashlib.sha256(what.encode()).hexdigest()[:32]}.json"
    if not path.is_file():
        found = perform(job, policy)
        plain = {
            detector: {stream: [asdict(seen) for seen in runs] for stream, runs in by.items()}
            for detector, by in found.items()
        }
        kept.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}")
        part.write_text(json.dumps(plain))
        part.replace(path)
    return {
        detector: {stream: [_seen(run) for run in runs] for stream, runs in by.items()}
        for detector, by in json.loads(path.read_text()).items()
    }


def _seen(data: dict[str, Any]) -> Seen:
    tuples = {name: tuple(data[name]) for name in ("changes", "alarms")}
    return Seen(**{**data, **tuples})


@lru_cache(maxsize=1)
def _code() -> str:
    """A digest of all that results depend on, besides the job."""
    own = Path(__file__).parent
    without = {own / "comparison.py", own / "report.py"}
    files = [
        *(ROOT / "streams" / "drift").glob("*.py"),
        *(path for path in own.glob("*.py") if path not in without),
        *(peers.PROJECTS / project / script for project, script in peers.SCRIPTS.values()),
        *(peers.PROJECTS / project / "uv.lock" for project, _ in peers.SCRIPTS.values()),
    ]
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(path.read_bytes())
    for package in ("numpy", "river", "scikit-learn"):
        digest.update(version(package).encode())
    return digest.hexdigest()
