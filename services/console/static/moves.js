// Giving a version a role: a button in its row, and a dialog that asks who and why.

import { $, element, say } from "./dom.js";
import * as format from "./format.js";

const NAME = "weir-person"; // whose name was typed last, in this browser
let asked = null;

// What the row of a version offers; nothing for one that was rejected: that takes a command.
export function offer(version) {
  if (version.role === "rejected") return format.NONE;
  if (version.role !== "champion") return button("Promote", "promote", version.version);
  return version.can_roll_back ? button("Roll back", "rollback", "") : format.NONE;
}

function button(text, act, version) {
  const made = element("button", { class: "open", type: "button", "data-act": act }, text);
  made.addEventListener("click", () => open(act, version));
  return made;
}

function open(act, version) {
  asked = { act, version };
  say("move-title", act === "promote" ? `Make ${format.shortVersion(version)} the champion` : "Go back to the champion before");
  say("move-what", act === "promote"
    ? "It answers every request from the next batch on; the present champion is kept for a rollback."
    : "It answers every request from the next batch on; the present champion is archived.");
  $("move-by").value = remembered();
  $("move-why").value = "";
  $("move-error").hidden = true;
  $("move").showModal();
  ($("move-by").value ? $("move-why") : $("move-by")).focus();
}

async function go() {
  const by = $("move-by").value.trim();
  const why = $("move-why").value.trim();
  if (!by || !why) return fail("Say who you are, and why: both are kept with the version.");
  $("move-go").disabled = true;
  try {
    const headers = { "Content-Type": "application/json" };
    if ($("move-token").value) headers.Authorization = `Bearer ${$("move-token").value}`;
    const answer = await fetch("/api/models", { method: "POST", headers, body: JSON.stringify({ ...asked, by, why }) });
    if (answer.status === 401) $("move-token-field").hidden = false;
    if (!answer.ok) return fail((await answer.json()).error);
    remember(by);
    $("move").close(); // the table changes when the record has passed through Kafka
  } catch {
    fail("No connection to the console.");
  } finally {
    $("move-go").disabled = false;
  }
}

function fail(text) {
  say("move-error", format.plain(text));
  $("move-error").hidden = false;
}

// A browser may keep nothing for a page: then the name is typed again.
function remembered() {
  try { return localStorage.getItem(NAME) ?? ""; } catch { return ""; }
}

function remember(name) {
  try { localStorage.setItem(NAME, name); } catch { /* see above */ }
}

$("move-go").addEventListener("click", go);
$("move-cancel").addEventListener("click", () => $("move").close());
