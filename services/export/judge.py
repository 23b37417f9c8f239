"""Forms of a version side by side: size, speed, and what each loses on held-out rows."""

from __future__ import annotations

import math
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from streams.portable.parity import in_onnx
from streams.portable.session import Session
from streams.training.fitting import one_thread
from streams.training.metrics import LOSS, loss
from streams.version import Version

BATCHES = (1, 500)
REPEATS = 9


@dataclass(frozen=True, eq=False)
class Form:
    """A way to ask a version.

    data: its ONNX file; None: scikit-learn, as serving asks it.
    """

    name: str
    version: Version
    data: bytes | None = None

    @classmethod
    def onnx(cls, name: str, version: Version, data: bytes) -> Form:
        """An ONNX file in a version's place."""
        return cls(name, in_onnx(version, Session(data)), data)


def judge(
    forms: list[Form], rows: pd.DataFrame, truth: npt.NDArray[Any] | None
) -> list[dict[str, Any]]:
    """A line for each form; the first is what the others are compared with.

    rows, truth: held-out rows and their truths; None where there are none. kilobytes: of the file,
    packed as zip would. microseconds: of a batch, by its size. changed: the share of answers that
    differ from the first form's; of a regression, the mean absolute difference.
    """
    found = []
    base = forms[0].version.predict(rows)
    times = _times({form.name: form.version for form in forms}, rows)
    for form in forms:
        given = form.version.predict(rows)
        line: dict[str, Any] = {"form": form.name}
        if form.data is not None:
            line |= {"bytes": len(form.data), "packed_bytes": len(zlib.compress(form.data, 9))}
        line["microseconds"] = times[form.name]
        if form.version.kind == "regression":
            line["changed"] = float(np.abs(given.answer - base.answer).mean())
        else:
            line["changed"] = float((given.answer != base.answer).mean())
        if truth is not None:
            task = form.version.task
            line[LOSS[task.kind]] = loss(task, truth, given)
            if task.kind != "regression":
                line["error"] = float((given.answer != truth).mean())
        found.append(line)
    return found


def _times(versions: Mapping[str, Version], rows: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Microseconds that each takes for a batch of each size, by turns."""
    found: dict[str, dict[str, float]] = {name: {} for name in versions}
    with one_thread():
        for size in BATCHES:
            batch = rows.iloc[np.arange(size) % len(rows)].reset_index(drop=True)
            best = dict.fromkeys(versions, math.inf)
            for _ in range(REPEATS + 1):
                for name, version in versions.items():
                    start = time.perf_counter()
                    version.predict(batch)
                    best[name] = min(best[name], (time.perf_counter() - start) * 1e6)
            for name, micros in best.items():
                found[name][str(size)] = round(micros, 1)
    return found
