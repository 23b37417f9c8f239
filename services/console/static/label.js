// The labelling view: one input at a time, a key or a button an answer.

import { $, element, row, say } from "./dom.js";
import * as format from "./format.js";

const OFTEN_MS = 5_000; // the counts, or an input where none was there, are asked for again
const COMMANDS = { "?": "skip", "<": "undo", "=": "opinion" };
let task = null;
let person = "";
let item = null;
let busy = false;
let uncounted = false; // the problem that is shown is that the counts did not come

async function ask(path, body) {
  const sent = body && { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ person, ...body }) };
  let answer;
  try {
    answer = await fetch(`/api/label${path}`, sent);
  } catch {
    throw new Error("No connection to the console.");
  }
  const told = await answer.json();
  if (!answer.ok) throw Object.assign(new Error(told.error), { lost: answer.status === 409 });
  return told;
}

// One thing at a time: a second key while the first is on its way does nothing.
// It would be an answer to an input that nobody has seen yet.
async function once(work) {
  if (busy) return;
  busy = true;
  buttons();
  try {
    await work();
    problem("");
  } catch (error) {
    failed(error);
    if (error.lost) await next().catch(() => {});
  } finally {
    busy = false;
    buttons();
  }
}

async function state() {
  const told = await ask("");
  if (!task) describe(told);
  say("f-waiting", format.count(told.waiting));
  say("f-deferred", format.count(told.deferred));
  say("f-done", format.count(told.done));
  say("f-left", format.count(told.left));
  say("n-left", `of a budget of ${format.count(told.budget)}`);
  say("empty", told.left === 0 ? "The budget of this period is used up." : told.waiting === 0 ? "Nothing waits for a label." : "Others look at what waits, or nobody could tell.");
}

// Apart from `once`: whoever sees the next input may answer it before the counts are there.
async function counts() {
  try {
    await state();
    if (uncounted) problem("");
  } catch (error) {
    failed(error);
    uncounted = true;
  }
}

async function next() {
  if (!task) await state(); // what the input is shown with
  show((await ask("/next", {})).item);
  counts();
}

const did = {
  answer: async (answer) => {
    await ask("/answer", { request_id: item.request_id, answer });
    say("said", `${item.request_id}: ${words(answer)}`);
    await next();
  },
  skip: async () => {
    await ask("/skip", { request_id: item.request_id });
    say("said", `${item.request_id} was skipped`);
    await next();
  },
  undo: async () => {
    const back = (await ask("/undo", {})).item;
    if (!back) return say("said", "nothing to take back");
    show(back);
    counts();
  },
  opinion: async () => {
    const { opinion } = await ask("/opinion", { request_id: item.request_id });
    say("thinks", thinks(opinion));
    $("thinks").hidden = false;
  },
};

const act = (what, value) => {
  if (what === "undo" ? person : item) once(() => did[what](value));
};

function describe(told) {
  task = told;
  document.title = `Label · ${told.task} · Weir`;
  say("task", told.task);
  say("task-doc", told.doc);
  say("question", `${told.target}${told.unit ? ` in ${told.unit}` : ""}?`);
  const keys = Object.entries(told.keys);
  $("answers").replaceChildren(...keys.map(([key, answer]) => {
    const button = element("button", { type: "button", "data-key": key }, format.plain(words(answer)), " ", element("kbd", {}, key));
    button.addEventListener("click", () => act("answer", answer));
    return button;
  }));
  // Without a key for each answer it is typed, or chosen from a list.
  $("typed").hidden = keys.length > 0;
  const classes = keys.length === 0 && told.kind === "multiclass";
  $("class").hidden = !classes;
  $("answer").hidden = classes;
  say("answer-unit", told.unit);
  if (classes) $("class").replaceChildren(...told.classes.map((name) => element("option", { value: name }, format.plain(name))));
}

function show(given) {
  item = given;
  $("desk").hidden = !item;
  $("empty").hidden = Boolean(item);
  $("thinks").hidden = true;
  $("answer").value = "";
  if (!item) return;
  say("about", [task.question, `${format.plain(item.request_id)}, ${format.eventTime(item.event_time)} UTC`].filter(Boolean).join(" · "));
  $("features").replaceChildren(...task.features.map(({ name, doc, unit, range }) => row(
    ["Feature", element("b", {}, name)],
    ["Value", format.plain(words(item.features[name])), "num"],
    ["Unit", unit],
    ["Meaning", [doc, range].filter(Boolean).join(", "), "wide"],
  )));
}

function words(value) {
  if (value === null || value === undefined) return format.NONE;
  if (typeof value === "boolean") return value ? "yes" : "no";
  return typeof value === "number" ? String(Number(value.toPrecision(6))) : String(value);
}

function thinks({ version, status, answer, probability, gate_score: score }) {
  if (!version) return "No model looked at it.";
  const error = score === null ? "" : ` Chance of an error: ${format.decimals(score)}.`;
  if (status === "deferred") return `The gate held it back; the model was not asked.${error}`;
  const sure = probability === null ? "" : ` (probability ${format.decimals(probability)})`;
  return `The model answers ${format.plain(words(answer))}${sure}.${error}`;
}

function buttons() {
  for (const button of document.querySelectorAll("#desk button")) button.disabled = busy;
}

function failed({ message }) {
  problem(`${message}${/[.!?]$/.test(message) ? "" : "."}`);
}

function problem(text) {
  uncounted = false;
  $("problem").hidden = !text;
  if (text) say($("problem").querySelector("span"), text);
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (event.target.closest("input, select, textarea")) return;
  const key = event.key.toLowerCase();
  if (task && Object.hasOwn(task.keys, key)) act("answer", task.keys[key]);
  else if (Object.hasOwn(COMMANDS, key)) act(COMMANDS[key]);
  else return;
  event.preventDefault();
});

$("who").addEventListener("submit", (event) => {
  event.preventDefault();
  person = $("person").value.trim();
  localStorage.setItem("weir-person", person);
  if (person) once(next);
});
$("typed").addEventListener("submit", (event) => {
  event.preventDefault();
  if (task.kind === "multiclass") return act("answer", $("class").value);
  const number = Number($("answer").value);
  if ($("answer").value.trim() === "" || !Number.isFinite(number)) return problem("The answer is a number.");
  act("answer", number);
});
for (const what of Object.values(COMMANDS)) $(what).addEventListener("click", () => act(what));
$("retry").addEventListener("click", () => once(person ? next : state));
// Whoever leaves lets go of what they looked at.
addEventListener("pagehide", () => {
  if (person) fetch("/api/label/release", { method: "POST", keepalive: true, headers: { "Content-Type": "application/json" }, body: JSON.stringify({ person }) });
});
setInterval(() => {
  if (busy || document.hidden) return;
  if (person && !item) once(next);
  else counts();
}, OFTEN_MS);

$("person").value = localStorage.getItem("weir-person") ?? "";
once(state);
