// Decisions about roles: which version moved, when, and why.

import { $, element, row } from "./dom.js";
import * as format from "./format.js";

const SELDOM_TICKS = 3;
let ticks = 0;
let shown = "";

export function start() { void ask(); }

export function tick() {
  ticks += 1;
  if (!document.hidden && ticks % SELDOM_TICKS === 0) void ask();
}

async function ask() {
  try {
    const response = await fetch("/api/decisions");
    if (response.ok) draw(await response.text());
  } catch { /* the stream tells of a lost connection */ }
}

function draw(text) {
  if (text === shown) return;
  shown = text;
  const list = JSON.parse(text);
  $("decisions-card").hidden = list.length === 0;
  $("decisions").replaceChildren(...list.map((d) => row(
    ["Decided", format.when(d.decided), "when"],
    ["Action", element("span", { class: "pill", title: `by ${d.changed_by}, rule: ${d.rule}` }, d.action)],
    ["Moves", moves(d.moves), "wide"],
    ["Outcomes", d.outcomes ? format.count(d.outcomes) : format.NONE, "num"],
    ["Why", element("span", { title: `weir rollout explain ${d.decision_id}` }, format.plain(d.reason)), "wide"],
  )));
}

const moves = (all) =>
  Object.entries(all).map(([version, move]) => `${format.shortVersion(version)}: ${move.replace(">", "►")}`).join(", ") || format.NONE;
