// One command to several hosts, and the answer of each.

import { $, element, hashOf, plural, rejection, setText, since, words } from "./text.js";
import { changed, draws, store } from "./store.js";
import { TWICE, TWICE_MS, USUAL_COMMANDS, runOnAll } from "./commands.js";
import { failed } from "./query.js";
import { picked, unpick } from "./picked.js";
import { visibleIds } from "./fleet.js";

// The command that was asked for, and what came of it: host -> { state, text }.
let asked = null;

// The command and the hosts that a second press would run it on.
let sure = "";
// Ends that.
let timer = 0;

const bar = element("div", "ask");
const chosen = element("b");
const label = element("label", "hidden", "Command for the selected hosts");
const command = element("input");
command.id = "bulk-command";
command.setAttribute("list", "bulk-commands");
command.placeholder = "Command";
command.maxLength = 64;
command.spellcheck = false;
command.autocapitalize = "off";
label.htmlFor = command.id;
const known = element("datalist");
known.id = "bulk-commands";
known.append(...[...USUAL_COMMANDS, "stop"].map((name) => new Option(name, name)));
const go = element("button", "strong", "Run");
go.type = "button";
const clear = element("button", "", "Clear selection");
clear.type = "button";
const results = element("div", "results");
const summary = element("p", "summary");
summary.setAttribute("role", "status");
const answers = element("ul");
const close = element("button", "plain", "×");
close.type = "button";
close.setAttribute("aria-label", "Close the answers");
results.append(summary, close, answers);
bar.append(chosen, label, command, known, go, clear);
$("bulk").append(bar, results);

clear.addEventListener("click", () => unpick([...picked]));
close.addEventListener("click", () => {
  asked = null;
  changed("picked");
});
command.addEventListener("input", () => changed("picked"));
command.addEventListener("keydown", (event) => {
  // Not by a click on the button, which is enabled only when it is drawn the next time.
  if (event.key === "Enter" && !event.repeat) request();
});
go.addEventListener("click", request);

async function request() {
  const name = command.value.trim();
  const hosts = [...picked];
  if (!name || !hosts.length || store.link !== "live") return;
  const what = exactly(name);
  if (TWICE.has(name) && sure !== what) {
    sure = what;
    clearTimeout(timer);
    timer = setTimeout(() => {
      sure = "";
      changed("picked");
    }, TWICE_MS);
    return changed("picked");
  }
  sure = "";
  asked = {
    command: name,
    at: Date.now(),
    hosts: new Map(hosts.map((id) => [id, { state: "asked", text: "asked…" }])),
  };
  changed("picked");
  const mine = asked;
  const { results: told, error } = await runOnAll(hosts, name);
  for (const id of hosts) mine.hosts.set(id, { state: "bad", text: error ?? "no answer" });
  for (const one of told ?? []) mine.hosts.set(one.host, answered(one));
  changed("picked");
}

function answered({ status, error, current_command: current, current_pid: pid }) {
  if (status === "accepted") return { state: "accepted", text: "accepted" };
  if (status === "sent") return { state: "accepted", text: "sent, and not answered yet" };
  if (status === "unclear") return { state: "unclear", text: error };
  return { state: "bad", text: rejection(error ?? status, current, pid) };
}

// A command that was sent is told by the newest summary of its host: it runs, and then it has ended.
function progress(id, { state, text }) {
  const host = store.hosts.get(id);
  if ((state !== "accepted" && state !== "unclear") || !host) return { state, text };
  if (host.pending === asked.command) return { state: "busy", text: "runs" };
  // The dashboard may have noted the end a little before it answered.
  if (
    host.ended_at &&
    host.ended_command === asked.command &&
    since(host.ended_at) <= Date.now() - asked.at + 2000
  ) {
    return { state: failed(host) ? "bad" : "good", text: words(host.outcome) };
  }
  return { state, text };
}

const wish = (name) => `Run ${name} on ${plural(picked.size, "host")}`;

// Other hosts are another wish, also if there are as many of them.
const exactly = (name) => [name, ...[...picked].sort()].join("\n");

function draw() {
  for (const id of picked) if (!store.hosts.has(id)) picked.delete(id);
  $("bulk").hidden = !picked.size && !asked;
  bar.hidden = !picked.size;
  results.hidden = !asked;
  const listed = new Set(visibleIds());
  const out = [...picked].filter((id) => !listed.has(id)).length;
  setText(chosen, `${plural(picked.size, "host")} selected${out ? `, ${out} of them not listed now` : ""}`);
  const name = command.value.trim();
  setText(go, !name ? "Run" : sure === exactly(name) ? `${wish(name)}: press again` : wish(name));
  go.disabled = !name || store.link !== "live";
  if (!asked) return;
  const rows = [...asked.hosts].map(([id, answer]) => ({ id, ...progress(id, answer) }));
  const tally = (state) => rows.filter((row) => row.state === state).length;
  const parts = [
    ["asked", "asked"],
    ["accepted", "accepted"],
    ["busy", "running"],
    ["good", "done"],
    ["unclear", "unclear"],
    ["bad", "refused or failed"],
  ]
    .map(([state, word]) => (tally(state) ? `${tally(state)} ${word}` : ""))
    .filter(Boolean);
  setText(summary, `${asked.command}: ${parts.join(", ")}`);
  // What needs somebody comes first.
  const rank = { bad: 0, unclear: 1, asked: 2, accepted: 3, busy: 4, good: 5 };
  rows.sort((a, b) => rank[a.state] - rank[b.state]);
  const text = rows.map((row) => `${row.id}\n${row.state}\n${row.text}`).join("\n");
  if (answers.dataset.drawn === text) return;
  answers.dataset.drawn = text;
  answers.replaceChildren(
    ...rows.map(({ id, state, text }) => {
      const item = element("li");
      item.dataset.state = state;
      const link = element("a", "", id);
      link.href = hashOf(id);
      item.append(link, element("span", "", text));
      return item;
    }),
  );
}

draws(["fleet", "picked", "link"], draw);
