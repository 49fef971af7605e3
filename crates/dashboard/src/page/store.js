// What the page knows. Messages change it here, and everything that draws is called once per animation frame,
// however many messages came.

import { noteClock } from "./text.js";

export const store = {
  // "connecting", "live" or "lost": the connection to the dashboard.
  link: "connecting",
  // False until the first list of hosts has come.
  loaded: false,
  // When the dashboard started: another one counts the entries of all logs anew.
  started: null,
  // id -> summary of each host.
  hosts: new Map(),
  // The id of the host that is looked at, or null, and all that is known about that host.
  watched: null,
  view: null,
};

const drawers = [];
const dirty = new Set();
let frame = 0;

// Calls `draw` in the next frame after one of the topics has changed: "link", "fleet", "host" or "clock".
export function draws(topics, draw) {
  drawers.push({ topics, draw });
}

// A page that nobody sees has no frames, but its title and its icon are seen.
const HIDDEN_MS = 1000;

export function changed(...topics) {
  for (const topic of topics) dirty.add(topic);
  if (frame) return;
  frame = document.hidden ? setTimeout(drawAll, HIDDEN_MS) : requestAnimationFrame(drawAll);
}

// A frame that was asked for just before the page was hidden comes when it is seen again.
document.addEventListener("visibilitychange", () => {
  if (dirty.size) drawAll();
});

function drawAll() {
  frame = 0;
  const now = new Set(dirty);
  dirty.clear();
  for (const { topics, draw } of drawers) {
    if (!topics.some((topic) => now.has(topic))) continue;
    try {
      draw();
    } catch (error) {
      // One part that cannot be drawn leaves the others as they should be.
      reportError(error);
    }
  }
}

export function setLink(state) {
  if (store.link === state) return;
  store.link = state;
  changed("link", "host");
}

// Returns whether these are of another dashboard than those before.
export function replaceHosts({ now, started, hosts }) {
  const another = store.loaded && started !== store.started;
  store.started = started;
  noteClock(now);
  store.hosts = new Map(hosts.map((host) => [host.id, host]));
  store.loaded = true;
  changed("fleet", "host");
  return another;
}

export function updateHosts({ now, hosts }) {
  noteClock(now);
  for (const host of hosts) store.hosts.set(host.id, host);
  changed("fleet");
}

export function setView(view) {
  if (view.id !== store.watched) return;
  store.view = view;
  changed("host");
}

export function patchView(id, fields) {
  if (id !== store.watched || !store.view) return;
  Object.assign(store.view, fields);
  changed("host");
}

// Ages on the page grow without any message.
setInterval(() => changed("clock"), 1000);
