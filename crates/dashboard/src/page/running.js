// The command that runs, how far it is, and the ends of those before.

import { $, ago, duration, elapsed, element, moment, setText, since, words } from "./text.js";
import { draws, store } from "./store.js";
import { ask, whyNot } from "./host.js";
import { showEnd } from "./output.js";

// The parts of each command that has some. Those of an earlier command are not shown while it runs.
const PARTS_OF = new Map([
  ["clone", ["pull"]],
  ["pull", ["pull"]],
  ["update", ["lock"]],
  ["test", ["tests"]],
  ["switch", ["system"]],
  ["boot", ["system"]],
  ["rollback", ["system"]],
  ["pull-switch", ["pull", "system"]],
]);
const RESULTS = { pass: "✓", fail: "✕", pending: "·" };

// Seconds without a word from which a command counts as silent.
const SILENT = 10;

const head = element("div", "head");
const name = element("b");
const time = element("span", "time");
const detail = element("span", "detail");
const stop = element("button", "stop", "Stop");
stop.type = "button";
stop.addEventListener("click", () => ask("stop"));
head.append(name, time, detail, stop);
const bars = element("ul", "bars");
$("running").append(head, bars);

const rows = new Map();

function row(part) {
  let made = rows.get(part);
  if (!made) {
    made = { item: element("li"), bar: element("progress"), text: element("span") };
    const label = element("b", "", part);
    label.id = `part-${part}`;
    made.bar.setAttribute("aria-labelledby", label.id);
    made.item.append(label, made.bar, made.text);
    bars.append(made.item);
    rows.set(part, made);
  }
  return made;
}

function far({ current, total }) {
  return total ? `${Math.round((Math.min(current, total) / total) * 100)} %` : "";
}

function describe(part) {
  const tests = part.results?.map((result) => RESULTS[result] ?? "?").join(" ");
  return [part.phase, part.detail || `${part.current}/${part.total}`, far(measure(part)), tests]
    .filter(Boolean)
    .join(" · ");
}

// "3/41 derivations" is finer than "step 1 of 3".
function measure(part) {
  const fine = /^(\d+)\/(\d+)\b/.exec(part.detail ?? "");
  return fine ? { current: Number(fine[1]), total: Number(fine[2]) } : part;
}

function draw() {
  const { view } = store;
  if (!view) return;
  const command = view.pending_command;
  $("running").hidden = !command;
  drawEnds(view);
  if (!command) return;
  const { phase, silent_s: silent } = view.command_activity ?? {};
  setText(name, command);
  // Nothing between its end and the heartbeat behind that.
  setText(time, view.started_at ? elapsed(since(view.started_at)) : "");
  setText(
    detail,
    [
      phase && phase !== command ? phase : "",
      view.command_pid ? `pid ${view.command_pid}` : "",
      silent >= SILENT ? `silent for ${elapsed(silent * 1000)}` : "",
    ]
      .filter(Boolean)
      .join(" · "),
  );
  stop.disabled = Boolean(whyNot(view));
  // Agents that tell no parts tell the progress of their tests alone.
  const { test_progress: tests } = view;
  const operation = { ...view.operation };
  if (command === "test" && tests?.running) {
    operation.tests ??= {
      current: tests.current - 1,
      total: tests.total,
      detail: `${tests.passed} of ${tests.total} passed`,
      status: "",
    };
  }
  const parts = PARTS_OF.get(command) ?? [];
  for (const [part, { item }] of rows) item.hidden = !parts.includes(part) || !operation[part];
  for (const part of parts) {
    const told = operation[part];
    if (!told) continue;
    const { item, bar, text } = row(part);
    const { current, total } = measure(told);
    item.hidden = false;
    item.dataset.status = told.status;
    bar.max = Math.max(total, 1);
    bar.value = current;
    setText(text, describe(told));
  }
}

// ---- the ends of commands ----

let drawnEnds = "";

function drawEnds(view) {
  const ends = [...(view.ends ?? [])].sort((a, b) => Date.parse(b.ended_at) - Date.parse(a.ended_at));
  $("ends-card").hidden = !ends.length;
  const text = JSON.stringify([view.id, ends]);
  if (text !== drawnEnds) {
    drawnEnds = text;
    $("ends").replaceChildren(...ends.map(makeEnd));
  }
  ends.forEach(({ ended_at: at }, index) => setText($("ends").children[index].querySelector("time"), ago(at)));
}

function makeEnd({ n, command, outcome, status, exit_code: code, duration_ms: took, ended_at: at, message }) {
  const bad = code !== 0;
  const item = element("li", bad ? "bad" : "good");
  const line = element("div", "line");
  const when = element("time");
  when.title = moment(at);
  const mark = element("i", "", bad ? "✕" : "✓");
  mark.ariaHidden = "true";
  const result = [words(outcome ?? status), bad ? `exit code ${code}` : ""].filter(Boolean).join(", ");
  line.append(mark, element("b", "", command), element("span", "", result), when);
  const more = element("div", "line more");
  const show = element("button", "plain show", "Output");
  show.type = "button";
  show.setAttribute("aria-label", `Output of ${command}, ${moment(at)}`);
  show.addEventListener("click", () => showEnd(n));
  more.append(element("p", "", message), element("small", "took", took == null ? "" : duration(took)), show);
  item.append(line, more);
  return item;
}

draws(["host", "clock"], draw);
