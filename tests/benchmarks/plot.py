"""Draws the benchmark's plot; runs in the peers' environment, which has matplotlib.

plot.py FILE.svg < figures.json
"""

import json
import sys

import matplotlib as mpl

mpl.use("svg")
mpl.rcParams |= {"svg.hashsalt": "weir", "font.size": 9, "svg.fonttype": "none"}
import matplotlib.pyplot as plt  # noqa: E402

data = json.load(sys.stdin)
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained")

names = [name for name, _ in data["throughput"]][::-1]
rates = [rate for _, rate in data["throughput"]][::-1]
colours = ["#1f6f8b" if name.startswith("Weir") else "#b8b8b8" for name in names]
bars = left.barh(names, rates, color=colours)
left.bar_label(bars, [f"{rate:,.0f}" for rate in rates], padding=3)
left.set_xlim(0, max(rates) * 1.15)
left.set_title("Backlog: records a second")
left.spines[["top", "right"]].set_visible(False)
left.tick_params(axis="y", labelsize=7)

for name, by_rate in data["latency"]:
    offered = sorted(by_rate, key=int)
    if not offered:
        continue
    ours = name.startswith("Weir")
    right.plot(
        [int(rate) for rate in offered],
        [by_rate[rate][1] for rate in offered],
        marker="o",
        linewidth=2.5 if ours else 1.2,
        label=name,
    )
right.set_xscale("log")
right.set_yscale("log")
right.set_xticks([1000, 5000, 10000], ["1,000", "5,000", "10,000"])
right.minorticks_off()
right.set_xlabel("requests offered a second (missing: does not keep up)")
right.set_title("Publish to visible: p99, milliseconds")
right.spines[["top", "right"]].set_visible(False)
right.legend(fontsize=7, frameon=False)

figure.savefig(sys.argv[1], metadata={"Date": None})
