// What changes each second: the figures, and the charts of the last ten minutes.

import { chart, legend } from "./charts.js";
import { $, say } from "./dom.js";
import * as format from "./format.js";

const KEPT_S = 600;
const MEAN_S = 5;
const LEAST_MS = 0.1;
const STEPS_S = [5, 10, 15, 30, 60, 120, 300];
const NAMES = ["requests", "predictions", "outcomes", "p50", "p99"];
const LINES = {
  throughput: [
    { name: "requests", label: "requests", color: "--s0" },
    { name: "predictions", label: "predictions", color: "--s2", dash: [5, 3] },
    { name: "outcomes", label: "outcomes", color: "--s3", width: 1.25 },
  ],
  latency: [
    { name: "p50", label: "p50", color: "--s0" },
    { name: "p99", label: "p99", color: "--s1" },
  ],
};
const points = new Map();
let charts = null;
let began = 0;

export function start({ points: all, began: second }) {
  began = second * 1000;
  points.clear();
  add(all);
  if (!charts) {
    const shared = { sync: "now", zero: true, steps: STEPS_S.map((s) => s * 1000), time: format.clock, axisTime: format.axisClock };
    charts = {
      throughput: chart($("chart-throughput"), { ...shared, series: LINES.throughput, value: (n) => `${format.count(n)} /s`, axisValue: format.compact }),
      latency: chart($("chart-latency"), { ...shared, decades: true, series: LINES.latency, value: (ms) => `${format.millis(ms)} ms`, axisValue: format.compact }),
    };
    legend($("legend-throughput"), LINES.throughput);
    legend($("legend-latency"), LINES.latency);
  }
  draw();
}

export function tick({ figures, totals, points: latest, replay }) {
  add(latest);
  say("f-requests", format.rate(figures.requests_per_s));
  say("f-predictions", format.rate(figures.predictions_per_s));
  say("f-p50", format.millis(figures.p50_ms));
  say("f-p99", format.millis(figures.p99_ms));
  say("f-deferred", format.percent(figures.share_deferred));
  say("f-rejected", format.percent(figures.share_rejected));
  say("f-event", format.eventTime(figures.event_time));
  say("n-requests", `${format.count(totals.requests)} since ${format.when(began)}`);
  say("n-predictions", `${format.count(totals.predictions)} since ${format.when(began)}`);
  say("n-rejected", totals.rejected ? `refused, last minute; ${format.count(totals.rejected)} in all` : "refused with a reason, last minute");
  const speed = format.speed(figures.event_speed);
  say("n-event", speed ? `UTC; ${speed}` : "UTC, of the newest request");
  $("replay").hidden = !replay;
  if (replay) say("replay", `The demo replays at ${replay.days_per_s.toFixed(2)} days a second${replay.waits_for ? `; event time waits for ${replay.waits_for}` : ""}.`);
  $("tile-rejected").classList.toggle("alert", figures.share_rejected > 0);
  draw();
}

export function draw() {
  if (!charts || document.hidden) return;
  const times = [...points.keys()].sort((a, b) => a - b);
  const columns = NAMES.map((name) => times.map((t) => points.get(t)[name] ?? null));
  const data = Object.fromEntries(NAMES.map((name, i) => [name, i < 3 ? smooth(columns[i]) : columns[i]]));
  const at = times.map((t) => t * 1000);
  charts.throughput.set([at, data.requests, data.predictions, data.outcomes]);
  charts.latency.set([at, positive(data.p50), positive(data.p99)]);
}

// What a logarithmic scale can show.
const positive = (values) => values.map((ms) => (ms === null ? null : Math.max(ms, LEAST_MS)));

// Means over the last seconds, as the figures are: batches arrive in bursts.
function smooth(values) {
  let sum = 0;
  return values.map((value, i) => {
    sum += value - (i >= MEAN_S ? values[i - MEAN_S] : 0);
    return sum / Math.min(i + 1, MEAN_S);
  });
}

function add({ t, ...columns }) {
  t.forEach((at, i) => points.set(at, Object.fromEntries(NAMES.map((name) => [name, columns[name][i]]))));
  const oldest = Math.max(...points.keys(), 0) - KEPT_S;
  for (const at of points.keys()) if (at < oldest) points.delete(at);
}
