// How up to date a host is, the progress of its command, the violations of the strict mode, and a wrong settings file.

import { $, ago, element, setText } from "./text.js";

const PARTS = ["git", "lock", "system", "tests"];
const WORDS = { in_progress: "", pending: "waits", complete: "done", error: "failed" };
const RESULTS = { pass: "✓", fail: "✗", pending: "·" };

// ---- the lights ----

const lights = new Map();

function light(part) {
  let shown = lights.get(part);
  if (!shown) {
    const dot = element("i", "dot");
    dot.ariaHidden = "true";
    shown = { item: element("li"), word: element("span", "word"), more: element("span", "hidden") };
    shown.item.append(dot, element("span", "", part), shown.word, shown.more);
    $("lights").append(shown.item);
    lights.set(part, shown);
  }
  return shown;
}

export function drawLights({ update_status: status }) {
  $("lights").hidden = !status;
  if (!status) return;
  for (const part of PARTS) {
    const { status: word, message, checked_at: checked } = status[part];
    const { item, word: shown, more } = light(part);
    const known = word || "no opinion";
    item.dataset.status = word || "none";
    // Colour alone is not accessible, so there is a word too. The word for "ok" is hidden.
    setText(shown, word === "ok" || !word ? "" : word);
    const rest = [message, checked ? `checked ${ago(checked)}` : ""].filter(Boolean).join(", ");
    setText(more, `${shown.textContent ? "" : ` ${known}`}${rest ? `: ${rest}` : ""}`);
    item.title = `${part}: ${known}${message ? `\n${message}` : ""}${checked ? `\nchecked ${checked}` : ""}`;
  }
}

// ---- the parts of an operation ----

// The parts of each command that has some. Those of an earlier command are not shown while it runs.
const PARTS_OF = {
  clone: ["pull"], pull: ["pull"], update: ["lock"], test: ["tests"],
  switch: ["system"], boot: ["system"], rollback: ["system"], "pull-switch": ["pull", "system"],
};

const rows = new Map();

function row(name) {
  let made = rows.get(name);
  if (!made) {
    made = { item: element("li"), bar: element("progress"), text: element("span") };
    const label = element("b", "", name);
    label.id = `part-${name}`;
    made.bar.setAttribute("aria-labelledby", label.id);
    made.item.append(label, made.bar, made.text);
    $("parts").append(made.item);
    rows.set(name, made);
  }
  return made;
}

export function drawParts({ operation, pending_command: pending }) {
  let any = false;
  for (const name of ["pull", "lock", "system", "tests"]) {
    const part = operation?.[name];
    // Of an operation that has ended, only failed parts are shown.
    const shown = part && (pending
      ? PARTS_OF[pending]?.includes(name)
      : part.status === "in_progress" || part.status === "error");
    if (!shown && !rows.has(name)) continue;
    const { item, bar, text } = row(name);
    item.hidden = !shown;
    if (!shown) continue;
    any = true;
    item.dataset.status = part.status;
    bar.max = Math.max(part.total, 1);
    bar.value = part.current;
    setText(text, describe(part));
  }
  $("parts").hidden = !any;
}

function describe({ current, total, status, phase, detail, results }) {
  const tests = results?.map((result) => RESULTS[result] ?? "?").join("");
  return [`${current}/${total}`, WORDS[status] ?? status, phase, detail, tests].filter(Boolean).join(" · ");
}

// ---- the test command ----

export function drawProgress(progress) {
  $("progress").hidden = !progress;
  if (!progress) return;
  const bar = $("progress").firstElementChild;
  bar.max = Math.max(progress.total, 1);
  bar.value = progress.running ? Math.max(progress.current - 1, 0) : progress.total;
  const text = progress.running
    ? `Test ${progress.current} of ${progress.total}, ${progress.passed} passed`
    : progress.result ?? `${progress.passed}/${progress.total} passed`;
  setText($("progress-text"), text);
}

// ---- the strict mode ----

export function drawViolations({ violations, newest_violation: newest }) {
  $("violations").hidden = !violations;
  setText($("violations"), violations ? `${violations === 1 ? "1 violation" : `${violations} violations`}, the newest: ${newest}` : "");
}

// ---- the settings ----

export function drawSettings({ last_good_settings: used }) {
  $("settings").hidden = !used;
  setText($("settings"), used ? `${used.file} is wrong; the settings of ${used.accepted_at} are in use: ${used.problems.join("; ")}` : "");
}
