// Metric windows over event time: a choice of metric, window and segment; versions by colour.

import { chart, legend } from "./charts.js";
import { $, element, row, say } from "./dom.js";
import * as format from "./format.js";
import { colorOf } from "./tables.js";

const SHARE = { show: format.withPercent, axis: (share) => `${Math.round(share * 1000) / 10} %`, zero: true };
const SCORE = { show: format.decimals, axis: (value) => String(Math.round(value * 1000) / 1000) };
const AMOUNT = { show: format.measured, axis: format.measured };
const METRICS = {
  roc_auc: { name: "AUC", ...SCORE, help: "area under the ROC curve: 0.5 is chance, 1 is perfect order" },
  accuracy: { name: "Accuracy", ...SHARE, zero: false, help: "share of the model’s answers that were right" },
  log_loss: { name: "Log loss", ...SCORE, help: "mean negative log-likelihood in nats: lower is better" },
  calibration_error: { name: "Calibration error", ...SCORE, zero: true, help: "how far probabilities are from what happened: lower is better" },
  share_deferred: { name: "Share deferred", ...SHARE, help: "inputs that the gate held back" },
  share_labelled: { name: "Share labelled", ...SHARE, help: "predictions whose truth has arrived" },
  precision: { name: "Precision", ...SHARE, zero: false, help: "of the answers that said yes, the share that was right" },
  recall: { name: "Recall", ...SHARE, zero: false, help: "of what truly was yes, the share that was found" },
  f1: { name: "F1", ...SCORE, help: "harmonic mean of precision and recall" },
  brier: { name: "Brier score", ...SCORE, help: "mean squared error of the probabilities: lower is better" },
  mae: { name: "Mean absolute error", ...AMOUNT, zero: true, help: "in the target’s unit: lower is better" },
  rmse: { name: "Root mean squared error", ...AMOUNT, zero: true, help: "in the target’s unit: lower is better" },
  r2: { name: "R²", ...SCORE, help: "share of the variance that is explained: 1 is perfect" },
  base_rate: { name: "Base rate", ...AMOUNT, help: "share of true, or mean truth" },
  predictions: { name: "Predictions", show: format.count, axis: format.compact, zero: true, help: "answered and deferred, by event time" },
};
const CLASSES = ["roc_auc", "accuracy", "log_loss", "calibration_error", "share_deferred", "share_labelled", "precision", "recall", "f1", "brier", "base_rate", "predictions"];
const KINDS = {
  binary: CLASSES,
  multiclass: CLASSES.filter((name) => name !== "base_rate"),
  regression: ["mae", "rmse", "r2", "share_deferred", "share_labelled", "base_rate", "predictions"],
};
const NEEDS_TRUTH = new Set(Object.keys(METRICS).filter((name) => !["share_deferred", "share_labelled", "predictions"].includes(name)));
const DASHES = { canary: [6, 3], shadow: [2, 3], candidate: [8, 3, 2, 3] };
const SEGMENTS = { gate_decision: "decision of the gate", label: "weak labels, by weight", source: "source of the truth" };
const STEPS = [1, 2, 3, 4, 7, 14, 28, 56, 91, 182, 365];
const DAY_MS = 86_400_000;
const OPEN_SCORED = 30; // outcomes that an open window is drawn from: of fewer it says nothing
const AGAIN_TICKS = 2;
const BEHIND = 3; // slides of the window: a sink that writes every second or two is not late
const SELDOM_TICKS = 10;
const TABLE_ROWS = 60;

let task = null;
let answer = null;
let shape = "";
let plot = null;
let asking = false;
let ticks = 0;
let eventTime = null;

export function start(hello) {
  const known = task !== null;
  task = hello;
  if (!known) {
    fill($("metric"), KINDS[hello.kind].map((name) => [name, METRICS[name].name]));
    fill($("window"), hello.windows.map((name) => [name, format.windowKind(name).text]));
    remember();
    for (const name of ["metric", "window", "segment"]) $(name).addEventListener("change", () => changed(name));
    $("controls").addEventListener("submit", (event) => event.preventDefault());
  }
  void ask();
  void askSeldom();
}

// Every other second, and only while somebody looks.
export function tick({ figures }) {
  ticks += 1;
  eventTime = figures.event_time;
  if (document.hidden || !task) return;
  if (ticks % AGAIN_TICKS === 0) void ask();
  if (ticks % SELDOM_TICKS === 0) void askSeldom();
}

export function draw() {
  if (!answer || document.hidden) return;
  const metric = $("metric").value, { help } = METRICS[metric];
  say("metric-help", help);
  const { every } = format.windowKind(answer.window);
  const shadows = answer.segment === "" && beside.window === answer.window ? beside.rows.filter((one) => Number.isFinite(one[metric])) : [];
  const lines = series([...answer.rows, ...shadows], metric, every);
  lead(metric, shadows);
  const seen = lines.some(({ values }) => values.size > 0);
  $("chart-quality").hidden = !seen;
  $("quality-empty").hidden = seen;
  if (!seen) say("quality-empty", reason(metric));
  table(metric);
  behind(every);
  if (!seen) return legend($("legend-quality"), []);
  const times = [...new Set(lines.flatMap(({ values }) => [...values.keys()]))].sort((a, b) => a - b);
  const wanted = JSON.stringify([metric, every, lines.map(({ version, role, estimated }) => [version, role, estimated])]);
  if (wanted !== shape) {
    plot?.remove();
    plot = make(metric, lines);
    shape = wanted;
  }
  current = { times, lines };
  plot.set([times, ...lines.map(({ values }) => times.map((t) => values.get(t)?.value ?? null))]);
  legend($("legend-quality"), [
    ...lines.filter(({ estimated }) => !estimated).map((one) => ({ label: format.shortVersion(one.version), note: kindOf(one), color: colorOf(one.version), dash: dashOf(one) })),
    ...lines.filter(({ estimated }) => estimated).slice(-1).map((one) => ({ label: "estimated before truth is known", color: colorOf(one.version), dash: dashOf(one) })),
    ...(some(lines, ({ open }) => open) ? [{ ring: true, label: "window still open" }] : []),
    ...(some(lines, ({ few }) => few) ? [{ faint: true, label: `fewer than ${OPEN_SCORED} outcomes` }] : []),
    ...(some(lines, hasBounds) ? [{ band: true, label: "95 % confidence" }] : []),
  ]);
  describe(metric, lines, times);
}

let current = { times: [], lines: [] };

const some = (lines, is) => lines.some(({ values }) => [...values.values()].some(is));

function make(metric, lines) {
  const { show, axis, zero } = METRICS[metric];
  return chart($("chart-quality"), {
    series: lines.map((one) => ({
      label: `${format.shortVersion(one.version)} ${kindOf(one)}`, color: colorOf(one.version), dash: dashOf(one),
      ...(one.estimated && { width: 1.25, bare: true }),
    })),
    time: (ms) => span(ms), axisTime: format.eventAxis, value: show, axisValue: axis, zero,
    steps: STEPS.map((n) => n * format.windowKind(answer.window).every),
    marks: () => marks(),
    hollow: (at, i) => point(at, i)?.open,
    faint: (at, i) => point(at, i)?.few,
    bounds: (at, i) => { const one = point(at, i); return hasBounds(one) && !isTold(at, i) ? [one.low, one.high] : null; },
    note: (at, i) => { const one = point(at, i); return one ? within(metric, one) : ""; },
  });
}

// An estimate needs no truth: it is there before outcomes are, and stays beside them.
const kindOf = ({ role, estimated }) => [role === "none" ? "" : role, estimated ? "estimated" : ""].filter(Boolean).join(", ");
const dashOf = ({ role, estimated }) => (estimated ? [1, 3] : DASHES[role]);
const point = (at, i) => current.lines[at]?.values.get(current.times[i]);
// Whether what is estimated has come true: then the band is of what was measured.
function isTold(at, i) {
  const { version, role, estimated } = current.lines[at];
  return estimated && current.lines.some((one) => !one.estimated && one.version === version && one.role === role && one.values.has(current.times[i]));
}
const hasBounds = (one) => Boolean(one) && Number.isFinite(one.low) && Number.isFinite(one.high);

// How far chance may have moved it, and what it is over.
function within(metric, one) {
  const { show } = METRICS[metric];
  const bounds = hasBounds(one) ? `${show(one.low)} to ${show(one.high)}` : "";
  const over = NEEDS_TRUTH.has(metric) && !one.estimated ? `${format.count(one.scored)} outcomes` : "";
  return [bounds, over].filter(Boolean).join(", ");
}

// One line a version and role. A window is drawn in the middle of its last slide: its newest day.
function series(rows, metric, every) {
  const lines = new Map(), newest = Math.max(...rows.map((r) => r.window_end));
  const line = (one, estimated) => {
    const key = JSON.stringify([one.version, one.role, estimated]);
    if (!lines.has(key)) lines.set(key, { version: one.version, role: one.role, estimated, values: new Map() });
    return lines.get(key).values;
  };
  for (const one of rows) {
    const at = one.window_end - every / 2, open = isOpen(one, newest), guess = `estimated_${metric}`;
    if (Number.isFinite(one[guess])) {
      line(one, true).set(at, { value: one[guess], low: one[`${guess}_low`], high: one[`${guess}_high`], estimated: true });
    }
    if (one[metric] === null || one[metric] === undefined) continue;
    if (NEEDS_TRUTH.has(metric) && one.scored < (open ? OPEN_SCORED : 1)) continue;
    line(one, false).set(at, {
      value: one[metric], open, low: one[`${metric}_low`], high: one[`${metric}_high`],
      few: NEEDS_TRUTH.has(metric) && one.scored < OPEN_SCORED, scored: one.scored,
    });
  }
  return [...lines.values()].sort((a, b) => a.estimated - b.estimated || Math.min(...a.values.keys()) - Math.min(...b.values.keys()));
}

// A version that left may never tell again that its last windows ended; only the newest can be open.
const isOpen = (one, newest) => !one.complete && one.window_end === newest;

const marks = () => tookOver.map(({ version, event_time }) => ({ x: event_time, label: `▾ ${format.shortVersion(version)}`, color: colorOf(version) }));

function span(ms) {
  const { every } = format.windowKind(answer.window), end = ms + every / 2;
  const one = answer.rows.find((r) => r.window_end === end);
  const length = one ? one.window_end - one.window_start : DAY_MS;
  if (length === DAY_MS) return format.eventDate(ms);
  if (length < DAY_MS) return format.eventTime(one.window_start);
  return `${format.eventDay(one.window_start)} – ${format.eventDate(end - 1)}`;
}

function reason(metric) {
  if (answer.rows.length === 0) {
    return answer.segment ? "No windows of this segment yet." : "No windows yet: they begin with the first predictions that reach ClickHouse.";
  }
  if (!NEEDS_TRUTH.has(metric)) return "Nothing to show yet.";
  if (!answer.rows.some((one) => one.outcomes > 0)) return `No outcomes yet: truth arrives up to ${format.duration(task.horizon_ms)} of event time after its request.`;
  const scored = answer.rows.filter((one) => one.scored > 0);
  if (scored.length === 0) return "So far only inputs that the gate held back have outcomes; the model’s own answers have none yet.";
  if (scored.some((one) => one[metric] !== null)) return `Few outcomes yet: an open window is drawn from ${OPEN_SCORED} on.`;
  if (metric === "roc_auc") return `AUC needs outcomes of ${task.kind === "binary" ? "both classes" : "every class"} in a window, and none has them yet.`;
  return `${METRICS[metric].name} cannot be told from the outcomes so far.`;
}

// What the versions in service are worth beside a shadow, on the requests that both answered.
function lead(metric, shadows) {
  const { show, name } = METRICS[metric];
  const texts = [...new Set(shadows.map(({ version }) => version))].map((version) => {
    const rows = shadows.filter((one) => one.version === version && Number.isFinite(one[`answering_${metric}`]));
    const scored = rows.reduce((sum, one) => sum + one.scored, 0);
    if (scored === 0) return "";
    const mean = (of) => rows.reduce((sum, one) => sum + one[of] * one.scored, 0) / scored;
    return `${name} by window on the requests that both answered: ${show(mean(`answering_${metric}`))} the versions in service, ${show(mean(metric))} ${format.shortVersion(version)} (shadow).`;
  }).filter(Boolean);
  $("quality-lead").hidden = texts.length === 0;
  say("quality-lead", texts.join(" "));
}

// ClickHouse may still be taking in what the topics hold: then the newest windows are missing.
function behind(every) {
  const newest = Math.max(...answer.rows.map((r) => r.window_end));
  const late = eventTime !== null && answer.rows.length > 0 && answer.segment === "" && eventTime > newest + BEHIND * every;
  $("quality-behind").hidden = !late;
  if (late) say("quality-behind", `ClickHouse has windows up to ${format.eventDate(newest - 1)} and is catching up; event time is ${format.eventDate(eventTime)}.`);
}

function describe(metric, lines, times) {
  const latest = lines.map(({ version, role, estimated, values }) => {
    const last = values.get([...values.keys()].sort((a, b) => a - b).at(-1));
    return `${format.shortVersion(version)} ${role}${estimated ? ", estimated" : ""} ${METRICS[metric].show(last?.value)}`;
  });
  const text = `${METRICS[metric].name} from ${format.eventDate(times[0])} to ${format.eventDate(times.at(-1))}. Latest: ${latest.join("; ")}. The table below has every window.`;
  if ($("chart-quality").getAttribute("aria-label") !== text) $("chart-quality").setAttribute("aria-label", text);
}

function table(metric) {
  if (!$("windows-details").open) return;
  const others = KINDS[task.kind].slice(0, 5).filter((c) => c !== metric && c !== "predictions");
  $("windows-head").replaceChildren(
    ...["Window", "Version"].map((name) => element("th", { scope: "col" }, name)),
    ...["Predictions", "Outcomes", METRICS[metric].name, "95 % confidence", ...others.map((c) => METRICS[c].name)].map((name) => element("th", { scope: "col", class: "num" }, name)));
  const rows = [...answer.rows].sort((a, b) => b.window_end - a.window_end).slice(0, TABLE_ROWS);
  const { every } = format.windowKind(answer.window), newest = rows[0]?.window_end;
  $("windows-rows").replaceChildren(...rows.map((one) => row(
    ["Window", `${span(one.window_end - every / 2)}${isOpen(one, newest) ? " (open)" : ""}`, "when"],
    ["Version", `${format.shortVersion(one.version)} ${one.role === "none" ? "" : one.role}`],
    ["Predictions", format.count(one.predictions), "num"],
    ["Outcomes", format.count(one.scored), "num"],
    [METRICS[metric].name, METRICS[metric].show(one[metric]), "num"],
    ["95 % confidence", within(metric, { low: one[`${metric}_low`], high: one[`${metric}_high`], scored: one.scored }).split(", ").filter((part) => part.includes(" to ")).join(""), "num"],
    ...others.map((c) => [METRICS[c].name, METRICS[c].show(one[c]), "num"]),
  )));
}

async function ask() {
  if (asking) return;
  asking = true;
  const [segment, value] = $("segment").value ? JSON.parse($("segment").value) : ["", ""];
  const query = new URLSearchParams({ window: $("window").value, segment, value });
  try {
    const response = await fetch(`/api/windows?${query}`);
    if (response.ok) {
      answer = await response.json();
      draw();
    } else if (!answer) {
      $("quality-empty").hidden = false;
      say("quality-empty", "The windows are in ClickHouse, which does not answer.");
    }
  } catch { /* the stream tells of a lost connection */ } finally {
    asking = false;
  }
}

let shownSegments = "";
let tookOver = [];
let beside = { window: "", rows: [] };

async function askSeldom() {
  try {
    const shadows = await fetch(`/api/beside?${new URLSearchParams({ window: $("window").value })}`);
    if (shadows.ok) {
      beside = await shadows.json();
      draw();
    }
    const versions = await fetch("/api/took-over");
    if (versions.ok) {
      tookOver = await versions.json();
      draw();
    }
    const response = await fetch("/api/segments");
    if (!response.ok) return;
    const text = await response.text();
    if (text === shownSegments) return;
    shownSegments = text;
    const chosen = $("segment").value;
    $("segment").replaceChildren(element("option", { value: "" }, "all traffic"), ...Object.entries(JSON.parse(text)).map(([segment, values]) =>
      element("optgroup", { label: SEGMENTS[segment] ?? segment }, ...values.map((value) => element("option", { value: JSON.stringify([segment, value]) }, format.plain(`${segment}: ${value}`))))));
    $("segment").value = chosen;
    if ($("segment").selectedIndex < 0) $("segment").value = "";
  } catch { /* as above */ }
}

function changed(name) {
  try { sessionStorage.setItem(`weir.${name}`, $(name).value); } catch { /* a private window */ }
  if (name === "metric") draw();
  else { asking = false; void ask(); void askSeldom(); }
}

function remember() {
  for (const name of ["metric", "window"]) {
    const kept = sessionStorage.getItem(`weir.${name}`);
    if (kept && [...$(name).options].some((option) => option.value === kept)) $(name).value = kept;
  }
}

function fill(select, options) {
  select.replaceChildren(...options.map(([value, text]) => element("option", { value }, text)));
}

$("windows-details").addEventListener("toggle", draw);
