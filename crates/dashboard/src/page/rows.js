// One row of the table of hosts.

import {
  age,
  celsius,
  duration,
  elapsed,
  element,
  hashOf,
  percent,
  setAttribute,
  setText,
  since,
  words,
} from "./text.js";
import { failed } from "./query.js";

export const COLUMNS = [
  { name: "name", title: "Host" },
  { name: "state", title: "State" },
  { name: "lights", title: "Lights", fixed: true },
  { name: "generation", title: "Commit" },
  { name: "cpu", title: "CPU" },
  { name: "memory", title: "Memory" },
  { name: "disk", title: "Disk" },
  { name: "gpu", title: "GPU" },
  { name: "place", title: "Place" },
  { name: "seen", title: "Beat" },
];

export const LIGHTS = ["git", "lock", "system", "tests"];
// Each state has a shape of its own, for those who do not see the colours.
const SHAPES = { ok: "●", outdated: "▲", error: "✕", working: "◍" };
export const shape = (word) => SHAPES[word] ?? "○";
export const lightWord = (word) => word || "no opinion";

const METERS = ["cpu", "memory", "disk", "gpu"];
// Shares from which a meter warns.
const FULL = { cpu: 0.95, memory: 0.9, disk: 0.9, gpu: 2 };

const cells = new WeakMap();

export function makeRow() {
  const row = element("div", "row");
  row.setAttribute("role", "row");
  const cell = (name, role = "cell") => {
    const made = element("div", `cell ${name}`);
    made.setAttribute("role", role);
    row.append(made);
    return made;
  };
  const parts = { pick: element("input"), link: element("a"), lights: [], meters: {} };
  parts.pick.type = "checkbox";
  parts.pick.tabIndex = -1;
  const first = cell("pick");
  first.append(parts.pick);
  const name = cell("name", "rowheader");
  parts.dot = element("i", "dot");
  parts.dot.ariaHidden = "true";
  name.append(parts.dot, parts.link);
  const state = cell("state");
  parts.word = element("span", "word");
  parts.bar = element("progress");
  parts.bar.setAttribute("aria-label", "Progress");
  parts.tags = element("span", "tags");
  state.append(parts.word, parts.bar, parts.tags);
  const lights = cell("lights");
  parts.lightsText = element("span", "hidden");
  lights.append(parts.lightsText);
  for (const _ of LIGHTS) {
    const light = element("i", "light");
    light.ariaHidden = "true";
    lights.append(light);
    parts.lights.push(light);
  }
  parts.generation = cell("generation");
  for (const name of METERS) {
    const meter = cell(`meter ${name}`);
    const text = element("span");
    const bar = element("i");
    bar.ariaHidden = "true";
    meter.append(text, bar);
    parts.meters[name] = { meter, text, bar };
  }
  parts.place = cell("place");
  parts.seen = cell("seen");
  parts.group = element("div", "group");
  parts.group.setAttribute("role", "cell");
  row.append(parts.group);
  cells.set(row, parts);
  return row;
}

export const pickOf = (row) => cells.get(row).pick;
export const linkOf = (row) => cells.get(row).link;

export function fillRow(row, { host, group, size }, { index, picked, current }) {
  const parts = cells.get(row);
  setAttribute(row, "aria-rowindex", String(index + 2));
  row.classList.toggle("is-group", !host);
  row.classList.toggle("odd", index % 2 === 1);
  row.classList.toggle("picked", picked);
  row.classList.toggle("current", current);
  if (!host) {
    row.dataset.id = "";
    setText(parts.group, `${group} · ${size}`);
    return;
  }
  row.dataset.id = host.id;
  row.dataset.status = host.status === "online" && !host.connected ? "waiting" : host.status;
  if (parts.pick.checked !== picked) parts.pick.checked = picked;
  setAttribute(parts.pick, "aria-label", `Select ${host.id}`);
  setText(parts.link, host.id);
  setAttribute(parts.link, "title", host.id);
  setAttribute(parts.link, "href", hashOf(host.id));
  if (current) parts.link.setAttribute("aria-current", "true");
  else parts.link.removeAttribute("aria-current");
  row.style.setProperty("--host", /^#[0-9a-f]{3,8}$/i.test(host.color ?? "") ? host.color : "transparent");
  drawState(parts, host);
  LIGHTS.forEach((name, at) => {
    const word = host.lights?.[name] ?? "";
    parts.lights[at].dataset.status = word;
    setText(parts.lights[at], host.lights ? shape(word) : "");
  });
  const told = host.lights
    ? LIGHTS.map((name) => `${name} ${lightWord(host.lights[name])}`).join(", ")
    : "not told";
  setText(parts.lightsText, told);
  setAttribute(parts.lightsText.parentNode, "title", told);
  setText(parts.generation, (host.generation ?? "").slice(0, 7) || "—");
  for (const name of METERS) drawMeter(parts.meters[name], name, host);
  setText(parts.place, [host.location, host.device_type].filter(Boolean).join(" · "));
  setText(parts.seen, host.last_seen ? age(since(host.last_seen)) : "never");
}

function drawMeter({ meter, text, bar }, name, host) {
  // What an offline host measured last is no news.
  const share = host.status === "online" ? host[name] : null;
  setText(text, share == null ? "" : percent(share));
  meter.classList.toggle("full", share != null && share >= FULL[name]);
  bar.style.setProperty("--share", share ?? 0);
  if (name === "gpu") setAttribute(meter, "title", host.temp == null ? "" : `hottest GPU ${celsius(host.temp)}`);
}

// What runs, or else how the newest command ended.
export function stateText(host) {
  if (host.status !== "online") return host.last_seen ? `offline for ${age(since(host.last_seen))}` : "offline";
  if (!host.connected) return "reconnecting";
  if (host.pending) {
    const { phase, current, total } = host.progress ?? {};
    const far = total ? `${current}/${total}` : host.started_at ? elapsed(since(host.started_at)) : "";
    return [host.pending, phase === host.pending ? "" : phase, far].filter(Boolean).join(" · ");
  }
  if (!host.outcome) return "";
  const when = host.ended_at ? `, ${age(since(host.ended_at))} ago` : "";
  const what = host.ended_command ? `${host.ended_command} ` : "";
  return `${failed(host) ? "✕" : "✓"} ${what}${words(host.outcome)}${when}`;
}

// The longest silence of a command that is not worth a word, in seconds.
const SILENT = 60;

function drawState(parts, host) {
  setText(parts.word, stateText(host));
  parts.word.dataset.kind =
    host.status !== "online" || (failed(host) && !host.pending) ? "bad" : host.pending ? "busy" : "";
  const { current, total } = host.progress ?? {};
  parts.bar.hidden = !(host.pending && total && host.status === "online");
  if (!parts.bar.hidden) {
    parts.bar.max = total;
    parts.bar.value = current;
  }
  const tags = [
    host.pending && host.silent_s >= SILENT ? `silent ${duration(host.silent_s * 1000)}` : "",
    host.reboot ? "reboot" : "",
    host.prewarm ? "pre-warm" : "",
    host.violations ? "violations" : "",
  ].filter(Boolean);
  setText(parts.tags, tags.join(" · "));
}
