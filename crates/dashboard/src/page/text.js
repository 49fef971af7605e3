// Texts for people, and DOM nodes for them. Data from messages is inserted as text, never as markup.

export const $ = (id) => document.getElementById(id);

export function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function setAttribute(node, name, value) {
  if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

// The address of a host within the page.
export const hashOf = (id) => `#/${encodeURIComponent(id)}`;

// How far the clock of this browser is ahead of the dashboard's, in milliseconds.
let skew = 0;
// The newest differences. So many, because either clock may be set while the page is open.
const differences = [];
const DIFFERENCES = 16;

// A message cannot arrive before it was sent, so the smallest difference seen is nearest to that of the clocks.
export function noteClock(now) {
  const difference = Date.now() - Date.parse(now);
  if (!Number.isFinite(difference)) return;
  differences.push(difference);
  if (differences.length > DIFFERENCES) differences.shift();
  skew = Math.min(...differences);
}

// Milliseconds since a time of the dashboard.
export const since = (time) => Math.max(0, Date.now() - skew - Date.parse(time));

export function age(ms) {
  // Times of agents are what their clocks and their programs say.
  if (!Number.isFinite(ms)) return "an unknown time";
  const seconds = ms / 1000;
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} d`;
}

export const ago = (time) => (time ? `${age(since(time))} ago` : "never");

export function duration(ms) {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60000) return `${(ms / 1000).toFixed(1)} s`;
  if (ms < 3600000) return `${Math.floor(ms / 60000)} min ${Math.floor((ms % 60000) / 1000)} s`;
  return `${Math.floor(ms / 3600000)} h ${Math.floor((ms % 3600000) / 60000)} min`;
}

// For a time that goes on, without a fraction that flickers.
export const elapsed = (ms) => (ms < 60000 ? `${Math.floor(ms / 1000)} s` : duration(ms));

export const count = (number) => number.toLocaleString("en");

export const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

export const percent = (share) => (share == null ? "—" : `${Math.round(share * 100)}\u00a0%`);

export const celsius = (degrees) => (degrees == null ? "—" : `${Math.round(degrees)} °C`);

export const milliseconds = (ms) => (ms == null ? "—" : `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`);

// Sizes as vendors and df -H write them.
export function bytes(size) {
  if (size == null) return "—";
  let unit = 0;
  let shown = size;
  while (shown >= 999.5 && unit < 5) {
    shown /= 1000;
    unit += 1;
  }
  const digits = unit === 0 || shown >= 99.5 ? 0 : 1;
  return `${shown.toFixed(digits)} ${["B", "kB", "MB", "GB", "TB", "PB"][unit]}`;
}

const two = (number) => String(number).padStart(2, "0");

// Local time of day.
export function clock(time) {
  const at = new Date(time);
  if (Number.isNaN(at.getTime())) return "";
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
}

// Local date and time, for tooltips.
export function moment(time) {
  const at = new Date(time);
  if (Number.isNaN(at.getTime())) return "";
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${clock(time)}`;
}

// An outcome in words: "rolled_back" is "rolled back".
export const words = (name) => (name ?? "").replaceAll("_", " ");

export function rejection(reason, command, pid) {
  if (!command) return reason;
  return `${reason} (${command}${pid ? `, pid ${pid}` : ""})`;
}
