"""Draws the comparison of drift detectors; runs in the drawing environment, which has matplotlib.

drift.py FILE.svg < figures.json
"""

import json
import sys

import matplotlib as mpl

mpl.use("svg")
mpl.rcParams |= {"svg.hashsalt": "weir", "font.size": 9, "svg.fonttype": "none"}
import matplotlib.pyplot as plt  # noqa: E402

data = json.load(sys.stdin)
LEAST = 0.01  # that a logarithmic axis shows
chosen = (
    "errors_10_to_20",
    "errors_10_to_15",
    "errors_10_to_12",
    "normal_abrupt",
    "flights_longer",
)
shown = [stream for stream in chosen if stream in data["weir"]]
asked = ("weir", "weir_1m", "weir_at_adwin_rate")
names = [name for name in data if not name.startswith("weir_") or name in asked]
figure, axes = plt.subplots(1, max(len(shown), 1), figsize=(12, 3.6), layout="constrained")
for axis, stream in zip(axes if len(shown) > 1 else [axes], shown, strict=False):
    for at, name in enumerate(names):
        one = data[name].get(stream)
        if one is None:
            continue
        # Before a change there are too few labels to measure what is rare.
        quiet = data[name].get("none_errors") if stream.startswith("errors") else None
        false = (quiet or one)["false_alarms_per_million"] or 0.0
        delay = one["delay_median"]
        ours = name.startswith("weir")
        axis.plot(
            [max(false, LEAST)],
            [delay if delay is not None else float("nan")],
            marker="D" if ours else "o",
            markersize=8 if ours else 5,
            color="#1f6f8b" if ours else f"C{at % 10}",
            linestyle="",
            label=name,
        )
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_title(stream, fontsize=9)
    axis.set_xlabel(f"false alarms per million ({LEAST:g}: none)")
    axis.spines[["top", "right"]].set_visible(False)
if shown:
    (axes if len(shown) == 1 else axes[0]).set_ylabel("median delay, records")
    handles: dict[str, object] = {}
    for axis in figure.axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=6, fontsize=7)
figure.savefig(sys.argv[1], metadata={"Date": None})
