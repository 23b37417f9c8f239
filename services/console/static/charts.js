// Line charts over uPlot: colours from the stylesheet, sizes from the layout, a box that names values.

import { color, element } from "./dom.js";

const uPlot = window.uPlot;
const charts = new Set();
const POINT_SPACE = 9; // px

// `series`: [{label, color: "--s0", dash, width, bare: without points}]; `time` and `value` format x and y; `steps` (ms)
// are what the x axis may count by; `hollow` says which points are drawn as rings, `faint` which in
// grey, `bounds` gives what a point may lie between and `note` what else to say of it.
export function chart(target, { series, time, axisTime = time, value, axisValue = value, sync, zero, decades, steps, marks, hollow, faint, bounds, note }) {
  const axis = { stroke: () => color("--soft"), font: '12px system-ui, sans-serif', ticks: { show: false } };
  const grid = { stroke: () => color("--grid"), width: 1 };
  const options = {
    width: Math.max(target.clientWidth, 120),
    height: target.clientHeight,
    ms: 1,
    tzDate: (ms) => uPlot.tzDate(new Date(ms), "Etc/UTC"),
    legend: { show: false },
    cursor: { drag: { x: false, y: false }, points: { size: 7 }, sync: sync ? { key: sync } : undefined },
    scales: { y: decades ? { distr: 3, range: (_, low, high) => wholeDecades(low, high) } : { range: (_, low, high) => limits(low, high, zero) } },
    axes: [
      { ...axis, grid: { show: false }, size: 30, space: 90, incrs: steps, values: (_, splits, axis, space, step) => splits.map((ms) => axisTime(ms, step)) },
      { ...axis, grid, size: 52, ...(decades && { splits: (u) => powers(u.scales.y), filter: (_, splits) => splits }), values: (_, splits) => splits.map(axisValue) },
    ],
    series: [
      {},
      ...series.map(({ label, color: name, dash, width = 1.75, bare = false }) => ({
        _bare: bare, label, dash, width, stroke: () => color(name), points: { show: true, size: 4, fill: () => color(name), filter: hollow ? () => [] : alone }, _color: name,
      })),
    ],
    padding: [marks ? 20 : 10, 26, 0, 0],
    hooks: { drawClear: [(u) => bounds && drawBounds(u, bounds)], draw: [(u) => hollow && drawPoints(u, hollow, faint), (u) => marks && drawMarks(u, marks())], setCursor: [showTip] },
  };
  const made = new uPlot(options, [[], ...series.map(() => [])], target);
  made.tip = element("div", { class: "tip", hidden: "" });
  made.tipText = { time, value, note };
  made.over.append(made.tip);
  made.over.addEventListener("mouseleave", () => (made.tip.hidden = true));
  const resized = new ResizeObserver(() => made.setSize({ width: Math.max(target.clientWidth, 120), height: target.clientHeight }));
  resized.observe(target);
  charts.add(made);
  return {
    set: (data) => made.setData(data),
    remove: () => { resized.disconnect(); charts.delete(made); made.destroy(); },
  };
}

// A small drawing of a line for the legend.
export function sample(name, dash) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("width", "22"); svg.setAttribute("height", "8"); svg.setAttribute("aria-hidden", "true");
  const line = document.createElementNS("http://www.w3.org/2000/svg", "line");
  for (const [key, value] of Object.entries({ x1: 1, x2: 21, y1: 4, y2: 4, stroke: `var(${name})`, "stroke-width": 2.5, "stroke-dasharray": dash ? "4 3" : "none" })) line.setAttribute(key, value);
  svg.append(line);
  return svg;
}

export function legend(target, entries) {
  target.replaceChildren(...entries.map(({ label, note, color: name, dash, ring, faint, band }) =>
    element("li", {}, ring || faint || band ? element("span", { class: ring ? "ring" : faint ? "faint" : "band" }) : sample(name, dash), element("b", {}, label), note ? element("span", {}, note) : "")));
}

// From zero where the quantity has one; else with air above and below.
function limits(low, high, zero) {
  if (low === null || high === null) return [0, 1];
  if (zero) return [0, high > 0 ? high * 1.12 : 1];
  const air = (high - low) * 0.15 || Math.abs(high) * 0.05 || 0.5;
  return [low - air, high + air];
}

// Where points would touch each other, only the rings are drawn.
function drawPoints(u, hollow, faint) {
  const { ctx } = u, ratio = devicePixelRatio, radius = 3.2 * ratio;
  const dense = u.bbox.width / ratio / Math.max(u.data[0].length, 1) < POINT_SPACE;
  ctx.save();
  u.data.slice(1).forEach((values, at) => {
    if (u.series[at + 1]._bare) return;
    const own = color(u.series[at + 1]._color);
    ctx.lineWidth = 1.6 * ratio;
    values.forEach((y, i) => {
      const grey = faint?.(at, i);
      if (y === null || y === undefined || (dense && !hollow(at, i) && !grey)) return;
      ctx.strokeStyle = grey ? color("--soft") : own;
      ctx.fillStyle = hollow(at, i) ? color("--card") : ctx.strokeStyle;
      ctx.beginPath();
      ctx.arc(u.valToPos(u.data[0][i], "x", true), u.valToPos(y, "y", true), radius, 0, 2 * Math.PI);
      ctx.fill();
      ctx.stroke();
    });
  });
  ctx.restore();
}

// A band between the bounds of neighbouring points; a whisker where a point has none beside it.
function drawBounds(u, bounds) {
  const { ctx, bbox } = u, ratio = devicePixelRatio;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  u.data.slice(1).forEach((values, at) => {
    ctx.fillStyle = ctx.strokeStyle = color(u.series[at + 1]._color);
    ctx.lineWidth = ratio;
    const place = (x, y) => [u.valToPos(u.data[0][x], "x", true), u.valToPos(y, "y", true)];
    for (let from = 0; from < values.length; from += 1) {
      const run = [];
      while (from < values.length && bounds(at, from)) { run.push([from, bounds(at, from)]); from += 1; }
      if (run.length === 0) continue;
      ctx.beginPath();
      if (run.length === 1) {
        const [[i, [low, high]]] = run;
        ctx.globalAlpha = 0.45;
        ctx.moveTo(...place(i, low));
        ctx.lineTo(...place(i, high));
        ctx.stroke();
        continue;
      }
      ctx.globalAlpha = 0.13;
      run.forEach(([i, [low]]) => ctx.lineTo(...place(i, low)));
      run.toReversed().forEach(([i, [, high]]) => ctx.lineTo(...place(i, high)));
      ctx.fill();
    }
  });
  ctx.restore();
}

// A delay may be a thousand times the usual one: both are to be seen.
function wholeDecades(low, high) {
  if (low === null || high === null) return [1, 1000];
  const [from, to] = [Math.floor(Math.log10(low)), Math.ceil(Math.log10(high))];
  return [10 ** from, 10 ** Math.max(to, from + 1)];
}

function powers({ min, max }) {
  const [from, to] = [Math.round(Math.log10(min)), Math.round(Math.log10(max))];
  return Array.from({ length: to - from + 1 }, (_, i) => 10 ** (from + i));
}

// A value between two gaps has no line to be seen by.
function alone(u, at) {
  const values = u.data[at], there = (i) => values[i] !== null && values[i] !== undefined;
  return [...values.keys()].filter((i) => there(i) && !there(i - 1) && !there(i + 1));
}

// Where versions took over: [{x, label, color}], in order of x. The newest of those before the axis
// begins is the one in service there: it is marked at the left edge.
function drawMarks(u, marks) {
  const { ctx, bbox } = u, ratio = devicePixelRatio, edge = bbox.left + bbox.width;
  const placed = marks.map((mark) => ({ ...mark, at: Math.round(u.valToPos(mark.x, "x", true)) }));
  const before = placed.filter(({ at }) => at < bbox.left - 1).slice(-1).map((mark) => ({ ...mark, at: Math.round(bbox.left) }));
  const within = placed.filter(({ at }) => at >= bbox.left - 1 && at <= edge + 1);
  ctx.save();
  ctx.font = `${11.5 * ratio}px system-ui, sans-serif`;
  ctx.textBaseline = "bottom";
  ctx.textAlign = "left";
  let free = -Infinity;
  for (const { at, label, color: name } of [...before, ...within]) {
    ctx.strokeStyle = ctx.fillStyle = color(name);
    ctx.lineWidth = ratio;
    ctx.setLineDash([4 * ratio, 4 * ratio]);
    ctx.beginPath();
    ctx.moveTo(at, bbox.top - 4 * ratio);
    ctx.lineTo(at, bbox.top + bbox.height);
    ctx.stroke();
    const wide = ctx.measureText(label).width;
    const start = Math.min(at, edge - wide);
    if (start > free) {
      ctx.fillText(label, start, bbox.top - 5 * ratio);
      free = start + wide + 8 * ratio;
    }
  }
  ctx.restore();
}

function showTip(u) {
  const { tip, tipText } = u, { idx, left } = u.cursor;
  if (!tip) return;
  const shown = idx !== null && idx !== undefined && left >= 0
    ? u.series.slice(1).map((series, at) => [series, u.data[at + 1][idx], tipText.note?.(at, idx)]).filter(([, value]) => value !== null && value !== undefined)
    : [];
  tip.hidden = shown.length === 0;
  if (tip.hidden) return;
  tip.replaceChildren(element("strong", {}, tipText.time(u.data[0][idx])), ...shown.map(([series, value, note]) => {
    const line = element("span", {}, element("em", {}, `${series.label} ${tipText.value(value)}`), note ? element("small", {}, ` ${note}`) : "");
    line.style.color = color(series._color);
    return line;
  }));
  const x = u.valToPos(u.data[0][idx], "x"), right = x > u.over.clientWidth / 2;
  tip.style.left = right ? "auto" : `${x + 12}px`;
  tip.style.right = right ? `${u.over.clientWidth - x + 12}px` : "auto";
  tip.style.top = "6px";
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => charts.forEach((made) => made.redraw(false, true)));
