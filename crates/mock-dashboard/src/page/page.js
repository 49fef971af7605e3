// The page of the mock dashboard: the connection, the hosts, their output, the commands.

import { drawFacts } from "./facts.js";
import { drawLights, drawParts, drawProgress, drawSettings, drawViolations } from "./parts.js";
import { $, ago, duration, element, noteClock, rejection, setText, withPid } from "./text.js";

// Most lines kept for each host, and most lines in the DOM for the selected host.
const KEPT_LINES = 5000;
const SHOWN_LINES = 1000;
// Distance from the end, in pixels, above which the reader has scrolled up.
const AT_END = 24;
const COMMANDS = ["pull", "switch", "pull-switch", "boot", "test", "test-long", "rollback", "stop"];
const RETRY_MS = [500, 1000, 2000, 4000];

const csrf = document.querySelector('meta[name="csrf-token"]').content;

// id -> { view, row, log, pending, lost, lastHead, notice }
const hosts = new Map();
let selected = null;
let following = true;
let frame = 0;
const dirty = new Set();

// ---- the connection ----

let attempts = 0;

function connect() {
  const url = new URL("browser", location.href);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  const socket = new WebSocket(url);
  socket.onopen = () => {
    attempts = 0;
    showLink("live", "Live");
  };
  socket.onmessage = (event) => receive(JSON.parse(event.data));
  socket.onclose = () => {
    showLink("lost", "Dashboard lost, reconnecting…");
    const wait = RETRY_MS[Math.min(attempts++, RETRY_MS.length - 1)];
    setTimeout(connect, wait * (0.5 + Math.random() / 2));
  };
}

function showLink(state, text) {
  $("link").dataset.state = state;
  setText($("link"), text);
  redraw(selected);
}

const live = () => $("link").dataset.state === "live";

function receive({ type, payload }) {
  switch (type) {
    case "hosts": {
      const known = new Set(payload.hosts.map((view) => view.id));
      for (const id of hosts.keys()) if (!known.has(id)) forget(id);
      for (const view of payload.hosts) {
        const host = update(view);
        host.log = [];
        host.pending = [];
        host.lost = 0;
        host.lastHead = null;
        if (view.id === selected) $("output").replaceChildren();
      }
      for (const shown of payload.output) {
        if (shown.kind === "lines") addOutput(shown);
        else addStatus(shown.host_id, shown);
      }
      if (!hosts.has(selected)) choose(wantedHost());
      break;
    }
    case "host_update":
      update(payload);
      if (!selected) choose(wantedHost());
      break;
    case "output":
      addOutput(payload);
      break;
    case "status":
      addStatus(payload.host_id, payload);
      break;
    case "command_rejected": {
      const asked = payload.command ? `“${payload.command}” was rejected: ` : "Rejected: ";
      notify(payload.host_id, asked + rejection(payload.reason, payload.current_command, payload.current_pid));
      break;
    }
    case "test_progress": {
      const host = hosts.get(payload.host_id);
      if (host) host.view.test_progress = payload;
      redraw(payload.host_id);
      break;
    }
    case "operation_progress": {
      const host = hosts.get(payload.host_id);
      if (host) host.view.operation = payload.progress;
      redraw(payload.host_id);
      break;
    }
  }
}

// ---- hosts ----

function update(view) {
  let host = hosts.get(view.id);
  if (!host) {
    host = { row: makeRow(view.id), log: [], pending: [], lost: 0, lastHead: null, notice: null };
    hosts.set(view.id, host);
    const after = [...hosts.keys()].sort().find((id) => id > view.id && hosts.get(id).row.item.isConnected);
    $("hosts").insertBefore(host.row.item, after ? hosts.get(after).row.item : null);
  }
  host.view = view;
  noteClock(view);
  redraw(view.id);
  return host;
}

function forget(id) {
  hosts.get(id).row.item.remove();
  hosts.delete(id);
}

function makeRow(id) {
  const item = element("li");
  const anchor = element("a");
  anchor.href = `#${encodeURIComponent(id)}`;
  const state = element("span", "state");
  state.append(element("i", "dot"), element("span"));
  state.firstChild.ariaHidden = "true";
  const row = {
    item, anchor, state,
    name: element("b", "", id),
    sub: element("span", "sub"),
    beat: element("span", "beat"),
  };
  anchor.append(row.name, state, row.sub, row.beat);
  item.append(anchor);
  return row;
}

const wantedHost = () => {
  const wanted = decodeURIComponent(location.hash.slice(1));
  return hosts.has(wanted) ? wanted : [...hosts.keys()].sort()[0] ?? null;
};

function choose(id) {
  if (selected) redraw(selected);
  selected = id;
  following = true;
  $("output").replaceChildren();
  $("free").value = "";
  if (id) {
    const host = hosts.get(id);
    host.pending = host.log.slice(-SHOWN_LINES);
    host.row.item.scrollIntoView({ block: "nearest", inline: "center" });
  }
  redraw(id);
}

// Changes are drawn once per animation frame, however many messages arrived.
function redraw(id) {
  dirty.add(id);
  if (!frame) frame = requestAnimationFrame(draw);
}

function draw() {
  frame = 0;
  for (const id of dirty) if (hosts.has(id)) drawRow(hosts.get(id), id);
  if (dirty.has(selected)) drawDetail();
  dirty.clear();
  $("no-hosts").hidden = hosts.size > 0;
  const online = [...hosts.values()].filter((host) => host.view.status === "online").length;
  setText($("counts"), hosts.size ? `${online} of ${hosts.size} online` : "");
}

function drawState(node, view) {
  node.dataset.status = view.status;
  const gap = view.status === "online" && !view.connected ? ", reconnecting" : "";
  setText(node.lastChild, view.status + gap);
}

function drawRow({ row, view }, id) {
  drawState(row.state, view);
  const pending = view.pending_command;
  setText(row.sub, pending ? withPid(pending, view.command_pid) : view.generation.slice(0, 7) || "—");
  row.sub.classList.toggle("busy", Boolean(pending));
  setText(row.beat, ago(view.last_seen));
  if (id === selected) row.anchor.setAttribute("aria-current", "true");
  else row.anchor.removeAttribute("aria-current");
}

// Seconds without a word from which a command counts as silent.
const SILENT = 10;

function silence({ command_activity: activity }) {
  const seconds = activity?.silent_s ?? 0;
  return seconds < SILENT ? "" : ` · ${activity.phase}, silent for ${duration(seconds * 1000)}`;
}

function drawDetail() {
  const host = hosts.get(selected);
  $("detail").hidden = !host;
  if (!host) return;
  const { view } = host;
  setText($("name"), view.hostname);
  drawState($("state"), view);
  $("running").hidden = !view.pending_command;
  setText($("running"), view.pending_command ? withPid(view.pending_command, view.command_pid) + silence(view) : "");
  drawFacts(view);
  drawLights(view);
  for (const control of $("commands").elements) {
    const waits = control.getAttribute("aria-busy") === "true";
    control.disabled = waits || !live() || !view.connected || view.status !== "online";
    if (control.tagName === "BUTTON" && control.value === "stop") control.disabled ||= !view.pending_command;
  }
  $("notice").hidden = !host.notice;
  setText($("notice").firstChild, host.notice ?? "");
  // The result stays visible until another command runs.
  const newest = view.pending_command ?? view.last_status?.command;
  drawProgress(newest === "test" ? view.test_progress : null);
  drawParts(view);
  drawViolations(view);
  drawSettings(view);
  drawOutput(host);
}

// ---- output ----

function addOutput({ host_id, command, job_id, lines }) {
  const host = hosts.get(host_id);
  if (!host) return;
  const head = job_id ?? command;
  if (host.lastHead !== head) {
    host.lastHead = head;
    append(host, { kind: "head", text: `$ ${command}` });
  }
  for (const { line, stream, cont } of lines) {
    append(host, { kind: stream === "stderr" ? "err" : "", text: line, cont });
  }
  redraw(host_id);
}

function addStatus(id, status) {
  const host = hosts.get(id);
  if (!host) return;
  host.lastHead = null;
  const took = status.duration_ms === undefined ? "" : ` after ${duration(status.duration_ms)}`;
  const said = status.message ? ` · ${status.message}` : "";
  const bad = status.exit_code !== 0;
  // The outcome is finer than the status, which existing dashboards show alone.
  const word = (status.outcome ?? status.status).replaceAll("_", " ");
  const text = `${status.command}: ${word}, exit code ${status.exit_code}${took}${said}`;
  append(host, { kind: bad ? "end bad" : "end", text: `${bad ? "✗" : "✓"} ${text}` });
  redraw(id);
}

// A piece of a long line is added to the entry of this line.
function append(host, entry) {
  const last = host.log.at(-1);
  if (last?.cont && entry.kind === last.kind && last.text.length < 100000) {
    last.text += entry.text;
    last.cont = entry.cont;
    if (last.node) last.node.textContent = last.text;
    return;
  }
  host.log.push(entry);
  if (host.view.id === selected) host.pending.push(entry);
  // Old lines are removed in large steps: moving the array for every line would be too slow.
  if (host.log.length > KEPT_LINES * 1.2) {
    host.lost += host.log.length - KEPT_LINES;
    host.log.splice(0, host.log.length - KEPT_LINES);
  }
  if (host.pending.length > SHOWN_LINES * 2) host.pending.splice(0, host.pending.length - SHOWN_LINES);
}

function drawOutput(host) {
  const output = $("output");
  setText($("lost"), host.lost ? `${host.lost.toLocaleString("en")} older lines are not shown` : "");
  if (host.pending.length) {
    const fresh = document.createDocumentFragment();
    for (const entry of host.pending.slice(-SHOWN_LINES)) {
      const node = element("div", entry.kind, entry.text);
      if (entry.cont) entry.node = node;
      fresh.append(node);
    }
    host.pending = [];
    output.append(fresh);
    // While the reader has scrolled up, the visible lines stay, up to a limit.
    const limit = following ? SHOWN_LINES : KEPT_LINES;
    const excess = output.childElementCount - limit;
    if (excess > 0) {
      const range = document.createRange();
      range.setStart(output, 0);
      range.setEnd(output, excess);
      range.deleteContents();
    }
  }
  if (following) output.scrollTop = output.scrollHeight;
  $("follow").hidden = following;
}

// Where the output was when it was last scrolled.
let scrolledTo = 0;

$("output").addEventListener("scroll", () => {
  const output = $("output");
  const atEnd = output.scrollHeight - output.scrollTop - output.clientHeight < AT_END;
  // The end also moves away when the output becomes smaller, above which something else appears. Only a reader
  // scrolls up.
  const up = output.scrollTop < scrolledTo;
  scrolledTo = output.scrollTop;
  if (following ? up && !atEnd : atEnd) {
    following = atEnd;
    $("follow").hidden = following;
  }
}, { passive: true });

new ResizeObserver(() => {
  if (following) $("output").scrollTop = $("output").scrollHeight;
}).observe($("output"));

$("follow").addEventListener("click", () => {
  following = true;
  redraw(selected);
});

$("clear").addEventListener("click", () => {
  const host = hosts.get(selected);
  Object.assign(host, { log: [], pending: [], lost: 0, lastHead: null });
  $("output").replaceChildren();
  redraw(selected);
});

// ---- commands ----

function notify(id, text) {
  const host = hosts.get(id);
  if (!host) return;
  host.notice = text;
  redraw(id);
}

$("notice").lastElementChild.addEventListener("click", () => notify(selected, null));

async function run(command, button) {
  const id = selected;
  notify(id, null);
  button.setAttribute("aria-busy", "true");
  redraw(id);
  try {
    const answer = await fetch(`api/hosts/${encodeURIComponent(id)}/command`, {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-CSRF-Token": csrf },
      body: JSON.stringify({ command }),
    });
    if (!answer.ok) {
      const { error, current_command, current_pid } = await answer.json();
      notify(id, `“${command}” was rejected: ${rejection(error, current_command, current_pid)}`);
    }
  } catch {
    notify(id, `“${command}” could not be sent: the dashboard does not answer`);
  }
  button.removeAttribute("aria-busy");
  redraw(selected);
}

for (const command of COMMANDS) {
  const button = element("button", command === "stop" ? "stop" : "", command);
  button.type = "button";
  button.value = command;
  button.addEventListener("click", () => run(command, button));
  $("buttons").append(button);
}

$("commands").addEventListener("submit", (event) => {
  event.preventDefault();
  const command = $("free").value.trim();
  if (command) run(command, event.submitter ?? $("commands").querySelector('[type="submit"]'));
});

// ---- start ----

addEventListener("hashchange", () => {
  const wanted = wantedHost();
  if (wanted !== selected) choose(wanted);
});

setInterval(() => {
  for (const id of hosts.keys()) redraw(id);
}, 1000);

connect();
