// The output of the host that is looked at: a window of its log. It either follows the newest lines, or stays where the
// reader is. The dashboard keeps the log; what is not here is fetched.

import { $, count, element, plural, setAttribute, setText } from "./text.js";
import { draws, store } from "./store.js";
import { Blocks, join } from "./lines.js";

// Most lines in the DOM, and what is left after the oldest were removed, in one step, for each costs a layout.
const SHOWN = 3000;
const KEPT = 2000;
// Lines that are fetched at a time.
const PAGE = 500;
// Distance from an end, in pixels, within which the reader counts as being there.
const AT_END = 24;
// Lines that are shown in front of the one that was asked for.
export const BEFORE = 100;

const output = $("output");
const older = element("button", "older");
older.type = "button";
older.hidden = true;

// What is shown: entries first <= n < next. `newest` is the index behind the newest entry that is known.
let log = empty(null);
let blocks = null;
let pending = [];
let frame = 0;
let loading = false;

function empty(host) {
  return { host, first: 0, next: 0, newest: 0, dropped: 0, following: true };
}

const key = (host) => `output:${host}`;

// ---- what comes by itself ----

// The index behind which the dashboard continues for a page that comes back, or null.
export const position = (host) => (log.host === host && log.following && log.next > 0 ? log.next - 1 : null);

export function choose(host) {
  log = empty(host);
  pending = [];
  output.replaceChildren(older);
  older.hidden = true;
  blocks = new Blocks(output);
  const kept = JSON.parse(sessionStorage.getItem(key(host)) ?? "null");
  if (kept && !kept.following) show(kept.n - PAGE / 2, { at: kept.n });
  drawBar();
}

// Returns true if the dashboard has to be asked again, from the beginning.
export function backlog({ host_id: host, entries, end: next, dropped }) {
  if (host !== log.host) return false;
  flush();
  // The dashboard has started anew, and with it the log.
  if (next < log.next) {
    sessionStorage.removeItem(key(host));
    choose(host);
    return true;
  }
  log.newest = next;
  if (log.following) {
    const first = entries[0]?.n ?? next;
    if (first !== log.next) begin(first);
    log.dropped = dropped;
    append(entries);
  }
  drawBar();
  return false;
}

// Empties the window, which then begins at an entry.
function begin(first) {
  output.replaceChildren(older);
  blocks = new Blocks(output);
  pending = [];
  Object.assign(log, { first, next: first });
}

export function live(host, entries) {
  if (host !== log.host) return;
  const fresh = entries.filter(({ n }) => n >= log.newest);
  if (!fresh.length) return;
  log.newest = fresh.at(-1).n + 1;
  // A reader who is elsewhere fetches these later. One who has only scrolled up gets them below, up to a limit.
  if (
    fresh[0].n !== log.next + pending.length ||
    (log.next + pending.length - log.first > SHOWN && !log.following)
  )
    return drawBar();
  append(fresh);
}

function append(entries) {
  pending.push(...entries);
  if (!frame) frame = requestAnimationFrame(flush);
}

function flush() {
  frame = 0;
  // More than the window holds is not built at all.
  if (pending.length > SHOWN) {
    const rest = pending.slice(-KEPT);
    begin(rest[0].n);
    pending = rest;
  }
  for (const entry of pending) blocks.add(entry);
  if (pending.length) log.next = pending.at(-1).n + 1;
  pending = [];
  if (log.following) {
    trim();
    output.scrollTop = output.scrollHeight;
  }
  drawBar();
}

// Removes the oldest lines.
function trim() {
  if (log.next - log.first <= SHOWN) return;
  const limit = log.next - KEPT;
  for (const run of output.querySelectorAll(".run")) {
    if (Number(run.lastElementChild?.dataset.n) < limit) {
      run.remove();
      continue;
    }
    while (run.firstElementChild && Number(run.firstElementChild.dataset.n) < limit)
      run.firstElementChild.remove();
    break;
  }
  log.first = Number(output.querySelector("[data-n]")?.dataset.n ?? log.next);
}

// ---- what is fetched ----

export async function page(query) {
  const host = log.host;
  const answer = await fetch(`api/hosts/${encodeURIComponent(host)}/log?${new URLSearchParams(query)}`);
  if (!answer.ok) throw new Error(`the dashboard answered ${answer.status}`);
  const body = await answer.json();
  return host === log.host ? body : null;
}

async function loadOlder() {
  if (loading || log.first <= log.dropped) return;
  loading = true;
  drawBar();
  try {
    const got = await page({ before: log.first, limit: PAGE });
    if (!got) return;
    log.dropped = got.dropped;
    const height = output.scrollHeight;
    const top = output.scrollTop;
    const fragment = document.createDocumentFragment();
    const built = new Blocks(fragment);
    for (const entry of got.entries) built.add(entry);
    const [last, next] = [fragment.lastElementChild, output.querySelector(".run")];
    older.after(fragment);
    join(last, next);
    if (got.entries.length) log.first = got.entries[0].n;
    log.following = false;
    output.scrollTop = top + output.scrollHeight - height;
  } catch {
    // The button stays, for another attempt.
  } finally {
    loading = false;
    remember();
    drawBar();
  }
}

// Shows the lines from `n` on, with the entry `at` in sight; `mark` is in sight and marked.
export async function show(n, { at, mark }) {
  log.following = false;
  try {
    const got = await page({ after: Math.max(-1, Math.floor(n) - 1), limit: PAGE });
    if (!got) return;
    // The place that was kept is of an earlier dashboard.
    if (!got.entries.length) return toNewest();
    begin(got.entries[0].n);
    for (const entry of got.entries) blocks.add(entry);
    log.next = got.entries.at(-1).n + 1;
    log.newest = Math.max(log.newest, got.end);
    log.dropped = got.dropped;
    const line = output.querySelector(`[data-n="${mark ?? at}"]`);
    if (mark !== undefined) line?.classList.add("hit");
    line?.scrollIntoView({ block: mark === undefined ? "start" : "center" });
    remember();
    drawBar();
  } catch {
    setText($("found"), "The dashboard does not answer");
  }
}

// Shows the end of a command, and what it wrote before.
export async function showEnd(n) {
  await show(n - PAGE + BEFORE, { mark: n });
  output.scrollIntoView({ block: "nearest" });
}

async function toNewest() {
  log.following = true;
  if (log.next < log.newest) {
    try {
      const got = await page({ limit: PAGE });
      if (!got) return;
      begin(got.entries[0]?.n ?? got.end);
      Object.assign(log, { newest: got.end, dropped: got.dropped });
      append(got.entries);
    } catch {
      log.following = false;
    }
  }
  output.scrollTop = output.scrollHeight;
  remember();
  drawBar();
}

// ---- following ----

// Where the reader is survives a reload.
function remember() {
  if (!log.host) return;
  const top = output.getBoundingClientRect().top;
  const line = log.following
    ? null
    : [...output.querySelectorAll("[data-n]")].find((one) => one.getBoundingClientRect().bottom > top);
  sessionStorage.setItem(
    key(log.host),
    JSON.stringify({ following: log.following, n: Number(line?.dataset.n ?? log.next) }),
  );
}

export function toggleFollow() {
  if (log.following) {
    log.following = false;
    remember();
    drawBar();
  } else toNewest();
}

// Where the output was when it was last scrolled.
let scrolledTo = 0;
let settle = 0;

output.addEventListener(
  "scroll",
  () => {
    const atEnd = output.scrollHeight - output.scrollTop - output.clientHeight < AT_END;
    // The end also moves away when the output becomes smaller, above which something else appears. Only a reader
    // scrolls up.
    const up = output.scrollTop < scrolledTo;
    scrolledTo = output.scrollTop;
    if (log.following && up && !atEnd) log.following = false;
    else if (!log.following && atEnd && !up && log.next >= log.newest) log.following = true;
    if (up && output.scrollTop < AT_END) loadOlder();
    clearTimeout(settle);
    settle = setTimeout(remember, 200);
    drawBar();
  },
  { passive: true },
);

new ResizeObserver(() => {
  if (log.following) output.scrollTop = output.scrollHeight;
}).observe(output);

older.addEventListener("click", loadOlder);
$("newest").addEventListener("click", toNewest);
$("follow").addEventListener("click", toggleFollow);
$("times").addEventListener("click", () => {
  localStorage.setItem("times", output.classList.contains("times") ? "" : "1");
  drawTimes();
});

function drawTimes() {
  const shown = localStorage.getItem("times") === "1";
  output.classList.toggle("times", shown);
  setAttribute($("times"), "aria-pressed", String(shown));
  if (log.following) output.scrollTop = output.scrollHeight;
}

function drawBar() {
  const before = log.first - log.dropped;
  older.hidden = log.first === 0;
  older.disabled = before <= 0 || loading;
  const gone = log.dropped ? `${plural(log.dropped, "line")} before are no longer kept` : "";
  setText(older, loading ? "Loading…" : before > 0 ? `Load older lines (${count(before)} more)` : gone);
  const below = log.newest - log.next;
  $("newest").hidden = log.following || !log.host;
  setText($("newest"), below > 0 ? `${plural(below, "newer line")} ↓` : "Newest lines ↓");
  setAttribute($("follow"), "aria-pressed", String(log.following));
}

draws(["host"], () => {
  if (store.watched) setAttribute($("download"), "href", `api/hosts/${encodeURIComponent(store.watched)}/log.txt`);
});
drawTimes();
