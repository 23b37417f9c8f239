// Versions, dead letters, processes: tables that are made anew when they change.

import { $, element, row, say } from "./dom.js";
import * as format from "./format.js";
import { offer } from "./moves.js";

const HELD_OUT = ["roc_auc", "accuracy", "log_loss", "mae", "rmse", "r2"];
const NAMES = { roc_auc: "AUC", accuracy: "accuracy", log_loss: "log loss", mae: "MAE", rmse: "RMSE", r2: "R²" };

const colors = new Map();

// Each version keeps its colour: in the order in which they came to be.
export function colorOf(version) {
  if (!version) return "--s-none";
  if (!colors.has(version)) colors.set(version, `--s${colors.size % 6}`);
  return colors.get(version);
}

let versions = [];

export function showVersions(list, byVersion = {}) {
  versions = list;
  [...list].sort((a, b) => a.changed_at - b.changed_at).forEach(({ version }) => colorOf(version));
  $("versions-empty").hidden = list.length > 0;
  $("versions-table").hidden = list.length === 0;
  const champion = list.find(({ role }) => role === "champion");
  say("f-champion", champion ? format.shortVersion(champion.version) : format.NONE);
  $("f-champion").title = champion?.version ?? "";
  say("n-champion", champion ? `answers since ${format.when(champion.changed_at)}` : "no version answers yet");
  $("versions").replaceChildren(...list.map((v) => {
    const swatch = element("span", { class: "swatch" });
    swatch.style.background = `var(${colorOf(v.version)})`;
    return row(
      ["Version", element("span", { class: "id", title: v.version }, swatch, format.shortVersion(v.version)), "when"],
      ["Role", element("span", { class: `pill ${v.role}` }, v.share ? `${v.role}, ${format.withPercent(v.share)}` : v.role)],
      ["Since", element("span", { title: v.changed_by ? `by ${v.changed_by}` : null }, format.when(v.changed_at)), "when"],
      ["Answering", element("span", { "data-version": v.version, title: "share of the last minute's predictions" }, share(byVersion[v.version])), "num"],
      ["Trained on", v.rows ? `${format.count(v.rows)} rows, ${format.eventDate(v.data_from)} – ${format.eventDate(v.data_to)}` : format.NONE],
      ["On held-out time", heldOut(v.metrics)],
      ["Why", v.reason, "wide"],
      ["Change", offer(v), "when"],
    );
  }));
}

export function showShares(byVersion) {
  for (const cell of $("versions").querySelectorAll("[data-version]")) say(cell, share(byVersion[cell.dataset.version]));
}

export const champion = () => versions.find(({ role }) => role === "champion");

export function showLetters(letters) {
  $("letters-empty").hidden = letters.length > 0;
  $("letters-table").hidden = letters.length === 0;
  $("letters").replaceChildren(...letters.map((letter) => row(
    ["Time", format.when(letter.failed_at), "when"],
    ["Reason", element("span", { class: "pill reason", title: `refused by ${letter.stage}` }, format.plain(letter.reason))],
    ["Message", format.plain(letter.message), "wide"],
    ["Origin", element("span", { class: "id", title: `${letter.origin}, ${letter.size === null ? "no value" : `${format.count(letter.size)} bytes`}` }, origin(letter)), "origin"],
    ["Request", letter.request_id ? element("span", { class: "id" }, format.plain(letter.request_id)) : format.NONE],
  )));
}

// Open ones say how urgent they are, the others that they are over.
export function showAlerts({ open, over }) {
  const all = [...open.map((alert) => [alert, alert.severity, alert.severity]), ...over.map((alert) => [alert, "over", alert.change])];
  $("alerts-empty").hidden = all.length > 0;
  $("alerts-table").hidden = all.length === 0;
  $("alerts").replaceChildren(...all.map(([alert, kind, state]) => {
    const made = row(
      ["Since", format.when(alert.opened_at ?? alert.raised_at), "when"],
      ["State", element("span", { class: `pill ${kind}` }, state)],
      ["Alert", format.plain(alert.title || alert.about)],
      ["Message", episode(alert), "wide"],
      ["Seen", format.count(alert.count), "num"],
      ["Evidence", element("a", { href: alert.link, title: alert.command }, alert.kind), "origin"],
    );
    made.id = `alert-${alert.episode || alert.alert_id}`;
    return made;
  }));
}

const unfolded = new Set();

// Of drift the most likely cause, and behind it what else belongs to it.
function episode(alert) {
  const [cause, ...rest] = alert.findings ?? [];
  if (!rest.length) return format.plain(alert.message);
  const text = alert.change === "resolved" ? alert.message : cause.message;
  const more = element("details", { class: "findings" },
    element("summary", {}, `${rest.length} more finding${rest.length === 1 ? "" : "s"} of the same episode`),
    element("ol", {}, ...rest.map((one) => element("li", {},
      element("a", { href: `#drift-${one.drift_id}` }, format.plain(`${one.kind} drift${one.subject ? ` of ${one.subject}` : ""}`)),
      ` since ${format.eventTime(one.begins)}: ${format.plain(one.effect)}`))));
  more.open = unfolded.has(alert.episode);
  more.addEventListener("toggle", () => (more.open ? unfolded.add(alert.episode) : unfolded.delete(alert.episode)));
  return element("div", {}, format.plain(text), more);
}

let shownProcesses = "";

export function showProcesses(processes) {
  const text = JSON.stringify(processes);
  if (text === shownProcesses) return;
  shownProcesses = text;
  $("processes-card").hidden = processes.length === 0;
  $("processes").replaceChildren(...processes.map((p) => {
    const restarts = p.restarts ? `, ${p.restarts} restart${p.restarts === 1 ? "" : "s"}` : "";
    const word = p.state === "ready" ? "runs" : p.state.replace("-", " ");
    return element("li", {}, element("b", {}, p.name), element("span", { class: `pill ${p.state}` }, word),
      element("small", {}, `since ${format.when(Date.parse(p.since))}${restarts}`));
  }));
  $("ends").replaceChildren(...processes.filter((p) => p.trouble).map(({ trouble }) => element("li",
    { class: trouble.crash_loop ? "bad" : null },
    `${format.when(Date.parse(trouble.at))}: ${format.plain(trouble.text)}. Its log: ${trouble.log}`)));
}

// Without the task's name: "requests[1]@20968".
const origin = (letter) => format.plain(letter.origin.slice(letter.origin.indexOf(".") + 1));

const share = (value) => (value === undefined ? format.NONE : format.withPercent(value));

function heldOut(metrics) {
  const shown = HELD_OUT.filter((name) => name in metrics).slice(0, 2);
  return shown.map((name) => `${NAMES[name]} ${format.decimals(metrics[name])}`).join(", ") || format.NONE;
}
