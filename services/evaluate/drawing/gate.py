"""Draws risk against the share deferred; runs in the drawing environment, which has matplotlib.

gate.py FILE.svg < figures.json
"""

import json
import sys

import matplotlib as mpl

mpl.use("svg")
mpl.rcParams |= {"svg.hashsalt": "weir", "font.size": 9, "svg.fonttype": "none"}
import matplotlib.pyplot as plt  # noqa: E402

LOOKS = {
    "imitation": ("gate (imitation)", "#1f6f8b", 2.2),
    "confidence": ("confidence of the model", "#d1793b", 1.6),
    "errors": ("additive gate", "#8b8b8b", 1.2),
}

data = json.load(sys.stdin)
sets = data["sets"]
figure, axes = plt.subplots(1, len(sets), figsize=(4.5 * len(sets), 3.6), layout="constrained")
for axis, (name, ways) in zip(axes, sets.items(), strict=True):
    for way, errors in ways.items():
        label, colour, width = LOOKS[way]
        axis.plot(data["shares"], errors, label=label, color=colour, linewidth=width)
    axis.set_title(f"{name} windowed features")
    axis.set_xlabel("share deferred")
    axis.set_ylabel("errors among what is admitted")
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(fontsize=8, frameon=False)
figure.savefig(sys.argv[1], metadata={"Date": None})
