// Drifts: a list, the newest first, and of the one that is opened both distributions.

import { $, element, row, say } from "./dom.js";
import * as format from "./format.js";

const AGAIN_TICKS = 5;
const SHOWN = 20;

let ticks = 0;
let list = [];
let listed = "";
let open = null; // the id of the one whose evidence is shown

let followed = "";

export function start() {
  void ask();
  follow();
}

// A link to one, as alerts have it: #drift-ID.
function follow() {
  const [, id] = /^#drift-(.+)$/.exec(location.hash) ?? [];
  if (!id || id === followed) return;
  followed = id;
  if (open !== id) void toggle(id);
}

window.addEventListener("hashchange", follow);

export function tick() {
  ticks += 1;
  if (!document.hidden && ticks % AGAIN_TICKS === 0) void ask();
}

async function ask() {
  try {
    const response = await fetch("/api/drifts");
    if (!response.ok) return;
    const text = await response.text();
    if (text === listed) return;
    listed = text;
    list = JSON.parse(text);
    draw();
  } catch { /* the stream tells of a lost connection */ }
}

function draw() {
  $("drifts-empty").hidden = list.length > 0;
  $("drifts-table").hidden = list.length === 0;
  $("drifts-more").hidden = list.length <= SHOWN;
  say("drifts-more", `The newest ${SHOWN} of ${list.length}; weir drift lists all.`);
  $("drifts").replaceChildren(...list.slice(0, SHOWN).map((one) => row(
    ["What", opener(one)],
    ["Since", element("span", { title: `found ${format.when(one.found)}` }, format.eventTime(one.changed)), "when"],
    ["Effect", format.plain(one.effect || one.message), "wide"],
    ["Verdict", element("span", { class: `pill ${one.alerting ? "alerting" : "recorded"}`, title: one.verdict }, one.alerting ? "alerting" : "recorded")],
    ["Version", element("span", { class: "id", title: one.version }, format.shortVersion(one.version)), "when"],
  )));
}

function opener(one) {
  const button = element("button", { type: "button", class: "open", "aria-expanded": String(one.drift_id === open), "aria-controls": "drift-detail" }, format.plain(one.about));
  button.addEventListener("click", () => void toggle(one.drift_id));
  return button;
}

async function toggle(id) {
  open = open === id ? null : id;
  const wanted = open;
  $("drift-detail").hidden = true;
  draw();
  if (wanted === null) return;
  try {
    const response = await fetch(`/api/drift?${new URLSearchParams({ id: wanted })}`);
    const found = response.ok ? await response.json() : null;
    if (open !== wanted) return; // another one was opened meanwhile
    show(found);
  } catch { /* as above */ }
}

function show(found) {
  if (!found) {
    say("drift-message", "ClickHouse, which has the evidence, does not answer now.");
    $("drift-facts").replaceChildren();
  } else {
    say("drift-message", format.plain(found.message));
    $("drift-facts").replaceChildren(...facts(found).filter(([, value]) => value).map(
      ([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, format.plain(value)))));
  }
  bins(found?.bars ?? []);
  $("drift-detail").hidden = false;
  $("drift-detail").scrollIntoView({ block: "nearest" });
}

const facts = (found) => [
  ["Since", format.eventTime(found.changed)],
  ["Effect", found.effect],
  ["Verdict", found.verdict],
  ["Statistic", `${found.statistic} ${number(found.value)}, threshold ${number(found.threshold)}`],
  ["e-value", found.e_value === null ? "" : number(found.e_value)],
  ["p-value", found.p_value === null ? "" : number(found.p_value)],
  ["Window", `${format.eventTime(found.begins)} to ${format.eventTime(found.ends)}, ${format.count(found.window_size)} records`],
  ["Reference", `${found.reference}, ${format.count(found.reference_size)} records`],
  ["Found", `${format.when(found.found)} by ${found.detector}`],
  ["Id", found.drift_id],
];

const number = (value) => (value === null ? format.NONE : value !== 0 && (Math.abs(value) >= 1e6 || Math.abs(value) < 1e-4) ? value.toExponential(1) : format.measured(value));

// Each bin as two bars, one above the other, on a scale of the largest share.
function bins(bars) {
  $("drift-bins").hidden = bars.length === 0;
  const most = Math.max(...bars.flatMap((bar) => [bar.reference, bar.window]), Number.MIN_VALUE);
  const bar = (share, kind) => {
    const drawn = element("span", { class: `bar ${kind}` });
    drawn.style.width = `${(share / most) * 100}%`;
    return element("span", { class: "track" }, drawn, element("small", {}, format.withPercent(share)));
  };
  $("drift-bars").replaceChildren(...bars.map((one) => element("tr", {},
    element("th", { scope: "row" }, format.plain(one.label)),
    element("td", {}, bar(one.reference, "before")),
    element("td", {}, bar(one.window, "now")))));
}
