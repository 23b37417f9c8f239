// What each process does and costs: charts of the last half hour and a row of its last window.

import { chart, legend } from "./charts.js";
import { $, row } from "./dom.js";
import * as format from "./format.js";

const SELDOM_TICKS = 10; // windows are of ten seconds
const COLORS = ["--s0", "--s1", "--s2", "--s3", "--s4", "--s5", "--s-none"];
const CHARTS = {
  cpu: { column: "cpu", value: (n) => `${Math.round(n * 100)} %` },
  memory: { column: "memory_mb", value: (n) => `${Math.round(n)} MB` },
};

let ticks = 0;
let rows = [];
let shape = "";
let plots = {};

export function start() { void ask(); }

export function tick() {
  ticks += 1;
  if (!document.hidden && ticks % SELDOM_TICKS === 0) void ask();
}

export function draw() {
  const names = [...new Set(rows.map((one) => one.process))].sort();
  $("system").hidden = names.length === 0;
  if (names.length === 0 || document.hidden) return;
  const times = [...new Set(rows.map((one) => one.t))].sort((a, b) => a - b);
  const known = new Map(rows.map((one) => [`${one.process} ${one.t}`, one]));
  const wanted = names.join(" ");
  if (wanted !== shape) {
    Object.values(plots).forEach((plot) => plot.remove());
    plots = Object.fromEntries(Object.entries(CHARTS).map(([id, { value }]) => [id, make(id, names, value)]));
    shape = wanted;
  }
  for (const [id, { column }] of Object.entries(CHARTS)) {
    plots[id].set([times, ...names.map((name) => times.map((t) => known.get(`${name} ${t}`)?.[column] ?? null))]);
  }
  legend($("legend-system"), names.map((name, at) => ({ label: name, color: COLORS[at % COLORS.length] })));
  const last = names.map((name) => rows.filter((one) => one.process === name).at(-1));
  $("system-rows").replaceChildren(...last.map((one) => row(
    ["Process", one.process],
    ["Work a second", format.measured(one.records_per_s), "num"],
    ["p50", milliseconds(one.p50_ms), "num"],
    ["p99", milliseconds(one.p99_ms), "num"],
    ["Errors", format.count(one.errors), "num"],
    ["Dead letters", format.count(one.dead_letters), "num"],
    ["Lag", one.lag === null ? "–" : format.count(one.lag), "num"],
    ["CPU", CHARTS.cpu.value(one.cpu), "num"],
    ["Memory", CHARTS.memory.value(one.memory_mb), "num"],
  )));
}

const milliseconds = (n) => (n === null ? "–" : `${format.measured(n)} ms`);

function make(id, names, value) {
  return chart($(`chart-${id}`), {
    series: names.map((label, at) => ({ label, color: COLORS[at % COLORS.length] })),
    time: format.clock, value, zero: true, sync: "system",
  });
}

async function ask() {
  try {
    const response = await fetch("/api/system");
    if (!response.ok) return;
    rows = await response.json();
    draw();
  } catch { /* the stream tells of a lost connection */ }
}
