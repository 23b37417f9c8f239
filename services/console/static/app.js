// The page: follows the console's stream and hands each event to what shows it.

import { $, say } from "./dom.js";
import * as drift from "./drift.js";
import * as format from "./format.js";
import * as now from "./now.js";
import * as quality from "./quality.js";
import * as rollout from "./rollout.js";
import * as system from "./system.js";
import * as training from "./training.js";
import { champion, showAlerts, showLetters, showProcesses, showShares, showVersions } from "./tables.js";

const SILENT_MS = 6000; // a tick comes each second: after this long something is wrong
let source = null;
let heard = 0;
let last = null;

const on = {
  hello(hello) {
    document.title = `${hello.task} · Weir`;
    say("task", hello.task);
    say("task-doc", hello.doc);
    now.start(hello);
    quality.start(hello);
    drift.start();
    rollout.start();
    system.start();
    training.start();
  },
  tick(tick) {
    last = tick;
    now.tick(tick);
    quality.tick(tick);
    drift.tick();
    rollout.tick();
    system.tick();
    training.tick();
    showShares(tick.figures.by_version);
    showProcesses(tick.processes);
    training.failed(tick.failed_training);
    const loops = tick.processes.filter((one) => one.state === "crash-loop");
    banner("banner-crash", loops.map(({ trouble }) => `${capital(format.plain(trouble.text))}. Its log: ${trouble.log}`).join(" "));
    banner("banner-kafka", !tick.kafka.ok && `${capital(tick.kafka.message)}.`);
    banner("banner-history", !tick.history.ok && `${tick.history.message}. Live figures go on; windows are as of the last answer.`);
    state(...word(tick));
  },
  versions(versions) { showVersions(versions, last?.figures.by_version); },
  letters: showLetters,
  alerts: showAlerts,
};

function connect() {
  source?.close();
  source = new EventSource("/live");
  for (const [name, take] of Object.entries(on)) {
    source.addEventListener(name, (event) => {
      heard = Date.now();
      banner("banner-connection", false);
      take(JSON.parse(event.data));
    });
  }
  source.addEventListener("error", lost);
}

function lost() {
  const since = last ? `Figures are of ${format.clock(last.now)}` : "Nothing was heard yet";
  banner("banner-connection", `No connection to the console. ${since}; trying again.`);
  state("bad", "Connection lost");
}

// A stream that was refused is not tried again by the browser; one that hangs says nothing.
setInterval(() => {
  if (Date.now() - heard < SILENT_MS) return;
  if (heard) lost();
  if (source.readyState === EventSource.CLOSED || heard) {
    heard = Date.now();
    connect();
  }
}, 2000);

function word({ kafka, figures, processes }) {
  if (processes.some((one) => one.state === "crash-loop")) return ["bad", "Crash loop"];
  if (!kafka.ok) return ["bad", "Waiting for Kafka"];
  if (!champion()) return ["waiting", "No version in service yet"];
  if (!figures.requests_per_s && !figures.predictions_per_s) return ["idle", "No requests now"];
  return ["live", "Live"];
}

function state(kind, text) {
  if ($("state").dataset.state !== kind) $("state").dataset.state = kind;
  say("state-text", text);
}

function banner(id, text) {
  $(id).hidden = !text;
  if (text) say($(id).querySelector("span"), text);
}

const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

document.addEventListener("visibilitychange", () => { now.draw(); quality.draw(); system.draw(); });
$("retry").addEventListener("click", connect);
connect();
