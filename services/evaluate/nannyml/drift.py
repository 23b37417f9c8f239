"""NannyML's side of the comparison of drift; run by the Python of NannyML's own environment.

    python drift.py FOLDER
        of FOLDER/<n>.npz (reference, changes, a column each) makes FOLDER/nannyml.json

Univariate drift at its defaults (Jensen-Shannon distance, thresholds from the reference's chunks),
in chunks of 1,000 records: ten of them make the reference, as in its tutorials. An alert of any
column is an alarm at the end of its chunk.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any

os.environ["NML_DISABLE_USAGE_LOGGING"] = "1"
warnings.filterwarnings("ignore")

import nannyml  # noqa: E402
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402

CHUNK = 1_000


def watch(path: Path) -> dict[str, Any]:
    """Ends of the chunks in which it sees drift."""
    data = np.load(path)
    reference = int(data["reference"])
    names = [key for key in data.files if key.startswith("name:")]
    numbers = [key for key in data.files if key.startswith("number:")]
    table = pd.DataFrame({key: data[key] for key in [*numbers, *names]})
    table[names] = table[names].astype(str).astype("category")
    calculator = nannyml.UnivariateDriftCalculator(
        column_names=[*numbers, *names],
        treat_as_categorical=names or None,
        chunk_size=CHUNK,
    )
    calculator.fit(table[:reference])
    n = len(table)
    began = time.process_time()
    result = calculator.calculate(table[reference:].reset_index(drop=True))
    spent = time.process_time() - began
    found = result.filter(period="analysis").to_df()
    alerts = found.xs("alert", axis=1, level=-1).any(axis=1)
    ends = found[("chunk", "chunk", "end_index")]
    alarms = [reference + int(end) for end, alert in zip(ends, alerts, strict=True) if alert]
    return {"alarms": alarms, "cpu_s": spent, "records": n - reference}


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    paths = sorted(folder.glob("*.npz"))
    (folder / "nannyml.json").write_text(json.dumps({path.stem: watch(path) for path in paths}))
