// What the trainer is doing: a line and a bar while it trains.

import { $, say } from "./dom.js";
import * as format from "./format.js";

const SELDOM_TICKS = 2;
let ticks = 0;

export function start() { void ask(); }

export function tick() {
  ticks += 1;
  if (!document.hidden && ticks % SELDOM_TICKS === 0) void ask();
}

async function ask() {
  try {
    const response = await fetch("/api/training");
    if (response.ok) draw(await response.json());
  } catch { /* the stream tells of a lost connection */ }
}

// The training that failed last, unless a version came after it: which event, why, what to do.
export function failed(failure) {
  $("training-failed").hidden = !failure;
  $("versions-empty").textContent = failure ? "No version yet." : "No version yet: the trainer is making the first one.";
  if (failure) say("training-failed", `${capital(format.plain(failure.text))}. What to do: ${failure.what_to_do}.`);
}

const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

function draw(said) {
  const trains = said !== null && said.step !== "idle" && said.event_id !== "";
  $("training").hidden = !trains;
  if (!trains) return;
  $("training-bar").value = said.done;
  $("training-step").textContent =
    `${said.step}, ${Math.round(said.done * 100)} % of the training for event ${said.event_id}`;
}
