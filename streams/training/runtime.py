"""What a version's model is asked in when it serves: scikit-learn, or its ONNX form if that is
faster. Measured when a version is registered; the choice and its reason stand in the manifest."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from typing import Any

import pandas as pd

from streams.frame import columns_of, frame
from streams.manifest import PARITY, SAMPLES, Contents
from streams.task import Task
from streams.training.fitting import one_thread
from streams.version import Version

BATCHES = (20, 500)
"""Rows of the measured batches: of a calm worker, and of one under load."""
REPEATS = 9
"""Timings of each; the smallest counts, as everything else that runs only adds."""
WORTH = 0.9
"""The share of scikit-learn's time, in the mean of all batches, that ONNX may take to be chosen:
less of a gain is not worth another runtime in every worker."""
CLOSE = PARITY / 10
"""How far the ONNX form may be off to serve: well within what a worker checks as it loads."""
ROWS = 1_000
"""Newest rows that both are compared and measured on."""
LIBRARIES = ("onnx", "onnxruntime", "skl2onnx")

SKLEARN, ONNX = "scikit-learn", "onnx"


def with_runtime(task: Task, contents: Contents, table: pd.DataFrame) -> Contents:
    """The contents with the model's ONNX form, where it has one that gives the same answers, and
    with what serving is to ask.

    table: rows with the task's inputs as columns, in order of time. Where the packages of
    ``weir[onnx]`` are not installed, and where the model cannot be converted, scikit-learn serves.
    """
    libraries = _libraries()
    if libraries is None:
        why = "the packages of weir[onnx] are not installed"
        return replace(contents, runtime={"chosen": SKLEARN, "why": why})
    from streams.portable.convert import convert
    from streams.portable.graph import NotConvertible
    from streams.portable.parity import compare
    from streams.portable.session import Session

    columns = columns_of(task.inputs, table.tail(ROWS))
    rows = frame(task, columns, contents.vocabularies)
    samples = contents.samples.head(SAMPLES)
    version = _version(task, contents, samples=samples)
    with one_thread():
        try:
            data = convert(task, contents.model, samples)
            session = Session(data)
            parity = compare(version, session, rows)
        except Exception as error:  # what is only to be faster keeps no version from its place
            told = str(error) if isinstance(error, NotConvertible) else repr(error)
            return replace(contents, runtime={"chosen": SKLEARN, "why": f"no ONNX form: {told}"})
        facts: dict[str, Any] = {"libraries": libraries, "parity": parity.plain()}
        if not parity.holds or parity.largest > CLOSE:
            why = f"its ONNX form is off by {parity.largest:.1e}; at most {CLOSE:.0e} may serve"
            return replace(contents, runtime={"chosen": SKLEARN, "why": why, **facts})
        ported = _version(task, contents, portable=session)
        times = measure({SKLEARN: version, ONNX: ported}, rows)
    share = math.prod(one[ONNX] / one[SKLEARN] for one in times.values()) ** (1 / len(times))
    facts |= {"microseconds": times, "share_of_time": share}
    chosen = ONNX if share <= WORTH else SKLEARN
    why = f"ONNX takes {share:.2f} of the time; it is chosen at {WORTH} or less"
    return replace(contents, onnx=data, runtime={"chosen": chosen, "why": why, **facts})


def measure(versions: Mapping[str, Version], rows: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Microseconds that each version takes for a batch, by the batch's size."""
    found: dict[str, dict[str, float]] = {}
    for size in BATCHES:
        batch = rows.iloc[[at % len(rows) for at in range(size)]].reset_index(drop=True)
        work = {name: _asking(version, batch) for name, version in versions.items()}
        best = dict.fromkeys(work, math.inf)
        for _ in range(REPEATS + 1):  # by turns: what else runs meets both
            for name, ask in work.items():
                start = time.perf_counter()
                ask()
                best[name] = min(best[name], (time.perf_counter() - start) * 1e6)
        found[str(size)] = {name: round(micros, 1) for name, micros in best.items()}
    return found


def _asking(version: Version, batch: pd.DataFrame) -> Callable[[], object]:
    return lambda: version.predict(batch)


def _version(task: Task, contents: Contents, **how: Any) -> Version:
    manifest = {
        "id": contents.id,
        "dataset": contents.dataset,
        "vocabularies": contents.vocabularies,
        "decision_threshold": contents.decision_threshold,
        "calibration": contents.calibration,
        "gate": {"threshold": contents.threshold},
    }
    return Version(task, manifest, contents.model, **how)


def _libraries() -> dict[str, str] | None:
    """The versions of what converts and runs; None where one is missing."""
    try:
        return {name: installed(name) for name in LIBRARIES}
    except PackageNotFoundError:
        return None
