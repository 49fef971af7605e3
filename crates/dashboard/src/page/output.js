// The output of the host that is looked at: a window of its log. It either follows the newest lines, or stays where the
// reader is. The dashboard keeps the log; what is not here is fetched.

import { $, count, element, plural, setAttribute, setText } from "./text.js";
import { draws, store } from "./store.js";
import { keep, kept } from "./kept.js";
import { send } from "./link.js";
import { Blocks, join, lastOf } from "./lines.js";

// Most lines in the DOM, and what is left after the oldest were removed, in one step, for each costs a layout.
const SHOWN = 3000;
const KEPT = 2000;
// Lines that are fetched at a time.
const PAGE = 500;
// Distance from an end, in pixels, within which the reader counts as being there.
const AT_END = 24;
// Newest lines whose height is known: more than a large screen has.
const NEAR = 80;
// Lines that are shown in front of the one that was asked for.
export const BEFORE = 100;

const output = $("output");
const older = element("button", "older");
older.type = "button";
older.hidden = true;

// How long an answer may take, in milliseconds: the dashboard answers within some, also when it is busy.
const ANSWER_MS = 20000;

// What is shown: entries first <= n < next. `newest` is the index behind the newest entry that is known.
let log = empty(null);
let blocks = null;
// What is shown with the next frame. It goes on where the window ends.
let pending = [];
let frame = 0;
let loading = false;
// Where the output was when it was last scrolled.
let scrolledTo = 0;
// Each wish to be elsewhere in the log makes the answers to earlier ones void.
let turn = 0;

function empty(host) {
  return { host, first: 0, next: 0, newest: 0, dropped: 0, following: true };
}

const key = (host) => `output:${host}`;

// ---- what comes by itself ----

// The number of the entry behind those that have come without a gap.
const reached = () => (pending.length ? pending.at(-1).n + 1 : log.next);

// Asks for the host and for what is behind the entries that are here. The answer is in order with all that comes by
// itself, so that nothing is missing in between.
export const watch = () =>
  send("watch", { host: log.host, after: log.following && reached() > 0 ? reached() - 1 : null });

export function choose(host) {
  log = empty(host);
  turn += 1;
  loading = false;
  begin(0);
  const place = host && kept("sessionStorage", key(host));
  if (place && !place.following && place.started === store.started) show(place.n - PAGE / 2, { at: place.n });
  drawBar();
}

// The dashboard has started anew, and with it the log.
export const forget = () => choose(log.host);

export function backlog({ host_id: host, entries, end, dropped }) {
  if (host !== log.host) return;
  log.newest = Math.max(log.newest, end);
  log.dropped = dropped;
  if (log.following) {
    // Some of them may have come by themselves, before the dashboard heard the question.
    const fresh = entries.filter(({ n }) => n >= reached());
    if ((fresh[0]?.n ?? end) === reached()) append(fresh);
    else {
      begin(entries[0]?.n ?? end);
      append(entries);
    }
  }
  drawBar();
}

// Empties the window, which then begins at an entry.
function begin(first) {
  output.replaceChildren(older);
  blocks = new Blocks(output);
  pending = [];
  // That is no reader who scrolls up.
  scrolledTo = 0;
  Object.assign(log, { first, next: first });
}

// Adds entries that go on where the window ends.
function add(entries) {
  for (const entry of entries) blocks.add(entry);
  if (entries.length) log.next = entries.at(-1).n + 1;
}

export function live(host, entries) {
  if (host !== log.host) return;
  const fresh = entries.filter(({ n }) => n >= log.newest);
  if (!fresh.length) return;
  log.newest = fresh.at(-1).n + 1;
  // A reader who is elsewhere fetches these later. One who has only scrolled up gets them below, up to a limit.
  if (fresh[0].n !== reached() || (reached() - log.first > SHOWN && !log.following)) return drawBar();
  append(fresh);
}

function append(entries) {
  pending.push(...entries);
  // More than the window holds is not built at all, and not kept for a page that nobody sees, which has no frames.
  if (pending.length > SHOWN) {
    const rest = pending.slice(-KEPT);
    begin(rest[0].n);
    pending = rest;
  }
  if (!frame) frame = requestAnimationFrame(flush);
}

function flush() {
  frame = 0;
  add(pending);
  pending = [];
  if (log.following) {
    trim();
    drawNear();
    toEnd();
  }
  drawBar();
}

// The heights of lines that are not seen are guesses. Those of the newest are not, so that the end is where it seems.
let near = new Set();

function drawNear() {
  const now = new Set();
  for (let run = output.lastElementChild; run !== older && now.size < NEAR; run = run.previousElementSibling) {
    for (let line = run.lastElementChild; line && now.size < NEAR; line = line.previousElementSibling)
      now.add(line);
  }
  for (const line of near) if (!now.has(line)) line.classList.remove("near");
  for (const line of now) line.classList.add("near");
  near = now;
}

// Removes the oldest lines.
function trim() {
  if (log.next - log.first <= SHOWN) return;
  const limit = log.next - KEPT;
  for (const run of output.querySelectorAll(".run")) {
    if (lastOf(run.lastElementChild) < limit) {
      run.remove();
      continue;
    }
    while (lastOf(run.firstElementChild) < limit) run.firstElementChild.remove();
    break;
  }
  log.first = Number(output.querySelector("[data-n]")?.dataset.n ?? log.next);
}

// Removes the newest lines, of which a reader of old ones has no need.
function trimEnd() {
  if (log.next - log.first <= SHOWN) return;
  const limit = log.first + KEPT;
  for (const run of [...output.querySelectorAll(".run")].reverse()) {
    while (Number(run.lastElementChild?.dataset.n) >= limit) run.lastElementChild.remove();
    if (run.lastElementChild) break;
    run.remove();
  }
  const run = output.querySelector(".run:last-child");
  const ended = run?.dataset.outcome === "none" || run?.lastElementChild.classList.contains("end");
  blocks = new Blocks(output, ended ? null : run);
  log.next = run ? lastOf(run.lastElementChild) + 1 : log.first;
}

// ---- what is fetched ----

// Null if another host, or another dashboard, is looked at meanwhile.
export async function page(query) {
  const mine = log;
  const answer = await fetch(`api/hosts/${encodeURIComponent(log.host)}/log?${new URLSearchParams(query)}`, {
    signal: AbortSignal.timeout(ANSWER_MS),
  });
  if (!answer.ok) throw new Error(`the dashboard answered ${answer.status}`);
  const body = await answer.json();
  return mine === log ? body : null;
}

// Fetches one more page for the window. `place(got)` adds it, if the window is still as it was.
async function load(query, place) {
  if (loading) return;
  loading = true;
  // Otherwise lines would go while one reads them.
  log.following = false;
  flush();
  drawBar();
  const [mine, now, { first, next }] = [log, turn, log];
  try {
    const got = await page({ ...query, limit: PAGE });
    if (!got || now !== turn || first !== log.first) return;
    log.dropped = got.dropped;
    place(got, next);
  } catch {
    // The button stays, for another attempt.
  } finally {
    if (mine === log) {
      loading = false;
      remember();
      drawBar();
    }
  }
}

function loadOlder() {
  if (log.first <= log.dropped) return;
  load({ before: log.first }, (got) => {
    if (!got.entries.length) return;
    // What came meanwhile goes on where the window ends now, and not where it ends when it is cut.
    flush();
    const height = output.scrollHeight;
    const top = output.scrollTop;
    const fragment = document.createDocumentFragment();
    const built = new Blocks(fragment);
    for (const entry of got.entries) built.add(entry);
    const [last, next] = [fragment.lastElementChild, output.querySelector(".run")];
    older.after(fragment);
    join(last, next);
    log.first = got.entries[0].n;
    output.scrollTop = top + output.scrollHeight - height;
    trimEnd();
  });
}

function loadNewer() {
  if (log.following || reached() >= log.newest) return;
  flush();
  load({ after: log.next - 1 }, (got, next) => {
    // What goes on at the end of the window only.
    if (next !== log.next || got.entries[0]?.n !== next) return;
    const line = [...output.querySelectorAll("[data-n]")].at(-1);
    const top = line?.getBoundingClientRect().top;
    add(got.entries);
    trim();
    // The reader goes on where the lines ended before.
    if (line) output.scrollTop += line.getBoundingClientRect().top - top;
  });
}

// The line that an entry is in.
const lineOf = (n) =>
  output.querySelector(`[data-n="${n}"]`) ??
  [...output.querySelectorAll("[data-to]")].find((one) => Number(one.dataset.n) < n && n <= lastOf(one));

// Shows the lines from `n` on, with the entry `at` in sight; `mark` is in sight and marked.
export async function show(n, { at, mark }) {
  log.following = false;
  turn += 1;
  const now = turn;
  try {
    const wanted = mark ?? at;
    let got = await page({ after: Math.max(-1, Math.floor(n) - 1), limit: PAGE });
    // The lines in front of it may be so long that the page ends before it.
    if (got && now === turn && got.next <= wanted && got.next < got.end) {
      got = await page({ after: wanted - 1, limit: PAGE });
    }
    if (!got || now !== turn) return;
    if (!got.entries.length) return toNewest();
    begin(got.entries[0].n);
    add(got.entries);
    log.newest = Math.max(log.newest, got.end);
    log.dropped = got.dropped;
    const line = lineOf(wanted);
    if (mark !== undefined) line?.classList.add("hit");
    line?.scrollIntoView({ block: mark === undefined ? "start" : "center" });
    remember();
    drawBar();
  } catch {
    if (now !== turn) return;
    setText($("found"), "The dashboard does not answer");
    // Rather than nothing.
    if (log.next === log.first) toNewest();
  }
}

// Shows the end of a command, and what it wrote before.
export async function showEnd(n) {
  await show(n - PAGE + BEFORE, { mark: n });
  output.scrollIntoView({ block: "nearest" });
}

function toNewest() {
  log.following = true;
  turn += 1;
  if (reached() < log.newest || reached() === 0) watch();
  toEnd();
  remember();
  drawBar();
}

function toEnd() {
  output.scrollTop = output.scrollHeight;
  scrolledTo = output.scrollTop;
}

// ---- following ----

// Where the reader is survives a reload.
function remember() {
  if (!log.host) return;
  const top = output.getBoundingClientRect().top;
  const line = log.following
    ? null
    : [...output.querySelectorAll("[data-n]")].find((one) => one.getBoundingClientRect().bottom > top);
  const place = { following: log.following, n: Number(line?.dataset.n ?? log.next), started: store.started };
  keep("sessionStorage", key(log.host), place);
}

export function toggleFollow() {
  if (log.following) {
    log.following = false;
    remember();
    drawBar();
  } else toNewest();
}

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
    if (up && !log.following && output.scrollTop < AT_END) loadOlder();
    else if (!up && atEnd) loadNewer();
    clearTimeout(settle);
    settle = setTimeout(remember, 200);
    drawBar();
  },
  { passive: true },
);

new ResizeObserver(() => {
  if (log.following) toEnd();
}).observe(output);

older.addEventListener("click", loadOlder);
$("newest").addEventListener("click", toNewest);
$("follow").addEventListener("click", toggleFollow);
$("times").addEventListener("click", () => {
  const shown = !output.classList.contains("times");
  keep("localStorage", "times", shown);
  drawTimes(shown);
});

function drawTimes(shown) {
  output.classList.toggle("times", shown);
  setAttribute($("times"), "aria-pressed", String(shown));
  if (log.following) toEnd();
}

function drawBar() {
  output.classList.toggle("follows", log.following);
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
drawTimes(Boolean(kept("localStorage", "times")));
