// What the trainer is doing: a line and a bar while it trains.

import { $ } from "./dom.js";

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

function draw(said) {
  const trains = said !== null && said.step !== "idle" && said.event_id !== "";
  $("training").hidden = !trains;
  if (!trains) return;
  $("training-bar").value = said.done;
  $("training-step").textContent =
    `${said.step}, ${Math.round(said.done * 100)} % of the training for event ${said.event_id}`;
}
