"""Draws the closed loop's plot; runs in the drawing environment, which has matplotlib.

loop.py FILE.svg < figures.json
"""

import json
import sys
from datetime import UTC, datetime

import matplotlib as mpl

mpl.use("svg")
mpl.rcParams |= {"svg.hashsalt": "weir", "font.size": 9, "svg.fonttype": "none"}
import matplotlib.dates as mdates  # noqa: E402
import matplotlib.pyplot as plt  # noqa: E402

COLOURS = {
    "weir": "#1f6f8b",
    "monthly_all": "#d1793b",
    "monthly_last_2": "#8b8b8b",
    "weir_batch": "#7fb3c4",
    "continual": "#a58bc2",
}

data = json.load(sys.stdin)
figure, axes = plt.subplots(
    3, 1, figsize=(9, 7.5), sharex=True, layout="constrained", height_ratios=[4, 4, 1]
)
middle = [datetime(2013, month, 15, tzinfo=UTC) for month in data["months"]]
for axis, measure, title in (
    (axes[0], "auc", "AUC of the month (higher is better)"),
    (axes[1], "log_loss", "Log loss of the month (lower is better)"),
):
    for name, score in data["strategies"].items():
        axis.plot(
            middle,
            score[measure],
            marker="o",
            markersize=4,
            linewidth=2.2 if name == "weir" else 1.2,
            color=COLOURS.get(name, "#c5c5c5"),
            label=f"{name}: {score['mean_' + measure]:.4f}, {score['retrainings']} retrainings",
        )
    axis.set_title(title)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(fontsize=7, frameon=False, ncols=2)
rows = list(data["retrainings"])
for row, name in enumerate(rows):
    at = [datetime.fromtimestamp(ms / 1000, UTC) for ms in data["retrainings"][name]]
    axes[2].plot(at, [row] * len(at), "|", markersize=14, color=COLOURS.get(name, "#c5c5c5"))
axes[2].set_yticks(range(len(rows)), rows)
axes[2].set_ylim(-0.7, len(rows) - 0.3)
axes[2].set_title("Retrainings")
axes[2].spines[["top", "right"]].set_visible(False)
axes[2].xaxis.set_major_locator(mdates.MonthLocator())
axes[2].xaxis.set_major_formatter(mdates.DateFormatter("%b"))
figure.savefig(sys.argv[1], metadata={"Date": None})
