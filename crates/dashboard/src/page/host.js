// What is shown of one host above its output: state, warnings, lights, commands.

import { $, age, ago, count, element, moment, plural, rejection, setAttribute, setText, since } from "./text.js";
import { changed, draws, store } from "./store.js";
import { TWICE, TWICE_MS, offered, run } from "./commands.js";
import { LIGHTS, lightWord, shape } from "./rows.js";

// host -> why its newest command was refused. It stays until another one is asked for, or it is dismissed.
const notices = new Map();

// Requests under way, as "host/command".
const asking = new Set();

export function notify(host, text) {
  if (text) notices.set(host, text);
  else notices.delete(host);
  changed("host");
}

export async function ask(command) {
  const host = store.watched;
  const key = `${host}/${command}`;
  if (!host || asking.has(key)) return;
  asking.add(key);
  notify(host, null);
  const { error, unsent, status, current_command: current, current_pid: pid } = await run(host, command);
  asking.delete(key);
  if (unsent) notify(host, `“${command}” could not be sent: the dashboard does not answer`);
  else if (status === "unclear") notify(host, `It is not known whether “${command}” runs: ${error}`);
  else if (error) notify(host, `“${command}” was rejected: ${rejection(error, current, pid)}`);
  changed("host");
}

$("notice").lastElementChild.addEventListener("click", () => notify(store.watched, null));

// ---- commands ----

let drawnButtons = "";

function drawButtons(view) {
  const commands = offered(view);
  const text = JSON.stringify([view.id, commands]);
  if (text === drawnButtons) return;
  drawnButtons = text;
  $("buttons").replaceChildren(
    ...commands.map(({ name, description, own }) => {
      const button = element("button", own ? "own" : "", name);
      button.type = "button";
      button.value = name;
      if (description) button.title = description;
      button.addEventListener("click", () => press(button, name));
      return button;
    }),
  );
}

// Ends the wait for a second press.
let calm = () => {};

function press(button, name) {
  const wish = `${store.watched}/${name}`;
  const sure = button.dataset.sure === wish;
  calm();
  if (sure || !TWICE.has(name)) return ask(name);
  const text = button.textContent;
  button.dataset.sure = wish;
  button.textContent = `${name}: press again`;
  const timer = setTimeout(() => calm(), TWICE_MS);
  calm = () => {
    clearTimeout(timer);
    delete button.dataset.sure;
    button.textContent = text;
    calm = () => {};
  };
}

$("commands").addEventListener("submit", (event) => {
  event.preventDefault();
  const command = $("free").value.trim();
  if (command) press(event.target.querySelector("[type=submit]"), command);
});
$("commands").addEventListener("keydown", (event) => {
  // A key that is held is one press.
  if (event.key === "Enter" && event.repeat) event.preventDefault();
});

// Why no command can be sent, or "".
export function whyNot(view) {
  if (store.link !== "live") return "The dashboard does not answer, so no command can be sent.";
  if (view.status !== "online")
    return `${view.hostname} is offline: its last heartbeat came ${ago(view.last_seen)}.`;
  if (!view.connected) return `${view.hostname} has lost its connection and is expected back.`;
  return "";
}

// ---- lights ----

const lights = new Map();

function light(part) {
  const shown = {
    item: element("li"),
    mark: element("i", "light"),
    word: element("span", "word"),
    why: element("p"),
    when: element("time"),
  };
  shown.mark.ariaHidden = "true";
  const head = element("div", "head");
  head.append(shown.mark, element("b", "", part), shown.word);
  shown.item.append(head, shown.why, shown.when);
  $("lights").append(shown.item);
  lights.set(part, shown);
  return shown;
}

function drawLights({ update_status: status }) {
  $("lights").hidden = !status;
  if (!status) return;
  for (const part of LIGHTS) {
    const { status: word, message, checked_at: checked } = status[part];
    const { item, mark, word: shown, why, when } = lights.get(part) ?? light(part);
    item.dataset.status = word || "none";
    mark.dataset.status = word;
    setText(mark, shape(word));
    setText(shown, lightWord(word));
    setText(why, message);
    why.title = message;
    setText(when, checked ? `checked ${ago(checked)}` : "");
    when.title = moment(checked);
  }
}

// ---- warnings ----

function warnings(view) {
  const {
    violations,
    newest_violation: newest,
    last_good_settings: used,
    prewarm,
    vitals,
    dropped_records: dropped,
  } = view;
  const failed = vitals?.failed_units;
  const more = failed?.count > failed?.names.length ? ", …" : "";
  return [
    violations && ["bad", `${plural(violations, "violation")} of the protocol, the newest: ${newest}`],
    used && [
      "bad",
      `${used.file} is wrong; the settings of ${moment(used.accepted_at)} are in use: ${used.problems.join("; ")}`,
    ],
    prewarm?.phase === "start" && ["warn", `Pre-warm since ${age(since(prewarm.timestamp))}: ${prewarm.reason}`],
    failed?.count && ["warn", `${plural(failed.count, "failed unit")}: ${failed.names.join(", ")}${more}`],
    (vitals?.reboot_required ?? view.system?.reboot_required) && [
      "warn",
      "A reboot is needed for the running system to be complete.",
    ],
    dropped && view.lines === 0 && ["quiet", `${count(dropped)} older messages were dropped`],
  ].filter(Boolean);
}

let drawnWarnings = "";

function drawWarnings(view) {
  const told = warnings(view);
  const text = JSON.stringify(told);
  if (text === drawnWarnings) return;
  drawnWarnings = text;
  $("warnings").replaceChildren(...told.map(([kind, line]) => element("p", kind, line)));
}

// ---- all of it ----

const pace = (view) =>
  [view.last_seen ? `beat ${ago(view.last_seen)}` : "no beat yet", `every ${view.heartbeat_interval} s`].join(
    ", ",
  );

function draw() {
  const { view } = store;
  if (!view) return;
  setText($("name"), view.hostname);
  const waiting = view.status === "online" && !view.connected;
  setAttribute($("state"), "data-status", waiting ? "waiting" : view.status);
  setText($("state").lastChild, waiting ? "reconnecting" : view.status);
  setText($("place"), [view.location, view.device_type].filter(Boolean).join(" · "));
  setText($("beat"), pace(view));
  drawWarnings(view);
  drawLights(view);
  drawButtons(view);
  const reason = whyNot(view);
  for (const control of $("commands").elements) {
    control.disabled = Boolean(reason);
    // Not disabled, because a button that is would lose the focus.
    setAttribute(control, "aria-disabled", String(asking.has(`${view.id}/${control.value}`)));
  }
  $("why-not").hidden = !reason;
  setText($("why-not"), reason);
  const notice = notices.get(view.id);
  $("notice").hidden = !notice;
  setText($("notice").firstElementChild, notice ?? "");
}

draws(["host", "link", "clock"], draw);
