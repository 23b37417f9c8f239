"""alibi-detect's side of the comparison; run by the Python of its own environment.

    python peer.py FOLDER
        of FOLDER/<n>.npz (reference, changes, a column each) makes FOLDER/alibi.json

KSDrift for numbers, ChiSquareDrift for names and errors, as its documentation uses them: the
reference is fixed, a batch of 500 records is tested at p = 0.05 with Bonferroni's correction over
the columns.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)

import numpy as np  # noqa: E402
from alibi_detect.cd import ChiSquareDrift, KSDrift  # noqa: E402

BATCH = 500


def detector(values: Any, reference: int, names: bool, columns: int) -> Any:
    """Of all numbers, or of all names, as columns of an array; p is shared by both."""
    p = 0.05 * values.shape[1] / columns
    made = ChiSquareDrift if names else KSDrift
    return made(values[:reference], p_val=p)


def watch(path: Path) -> dict[str, Any]:
    """Ends of the batches in which it sees drift."""
    data = np.load(path)
    reference = int(data["reference"])
    numbers = [data[key] for key in data.files if key.startswith("number:")]
    names = [data[key] for key in data.files if key.startswith("name:")]
    columns = len(numbers) + len(names)
    tables = []
    if numbers:
        values = np.stack(numbers, axis=1)
        # It knows no missing values: the reference's mean stands for them.
        mean = np.nanmean(values[:reference], axis=0)
        tables.append((np.where(np.isnan(values), mean, values), False))
    if names:
        tables.append((np.stack(names, axis=1), True))
    detectors = [(values, detector(values, reference, kind, columns)) for values, kind in tables]
    n = len(tables[0][0])
    alarms, spent = [], 0.0
    for start in range(reference, n - BATCH + 1, BATCH):
        began = time.process_time()
        seen = [
            bool(one.predict(values[start : start + BATCH])["data"]["is_drift"])
            for values, one in detectors
        ]
        spent += time.process_time() - began
        if any(seen):
            alarms.append(start + BATCH - 1)
    return {"alarms": alarms, "cpu_s": spent, "records": n - reference}


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    paths = sorted(folder.glob("*.npz"))
    (folder / "alibi.json").write_text(json.dumps({path.stem: watch(path) for path in paths}))
