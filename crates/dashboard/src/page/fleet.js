// The table of all hosts: search, filters, order, groups, keyboard. What is chosen is in the address of the page, so
// that it survives a reload and can be sent to somebody.

import { $, count, element, hashOf, plural, setAttribute, setText } from "./text.js";
import { changed, draws, store } from "./store.js";
import { SHOWN, grouped, highFirst, order, select, tally } from "./query.js";
import { COLUMNS, fillRow, linkOf, makeRow, pickOf } from "./rows.js";
import { VirtualList } from "./virtual.js";
import { picked, togglePick } from "./picked.js";

// Heights of rows in pixels: the usual one, the compact one, of which 50 fit on a full HD screen, and that of a narrow
// list, where each row has two lines.
const HEIGHT = { usual: 34, compact: 16, narrow: 54 };
// Width in pixels below which the table is a list, as in fleet.css.
const NARROW = 620;
// Columns whose values change with each beat: their order rests while the pointer is over the rows.
const RESTLESS = new Set(["cpu", "memory", "disk", "gpu", "seen"]);

const query = {
  text: "",
  shown: "",
  location: "",
  device: "",
  group: "",
  column: "state",
  down: false,
  compact: null,
};

let items = [];
let ranks = new Map();
let pointed = false;
let narrow = false;

const list = new VirtualList($("rows"), newRow, (row, item, index) => {
  const id = item.host?.id;
  fillRow(row, item, { index, picked: picked.has(id), current: id === store.watched });
});

function newRow() {
  const row = makeRow();
  pickOf(row).addEventListener("click", (event) => {
    togglePick(row.dataset.id, event.shiftKey ? visibleIds() : null);
  });
  row.addEventListener("click", (event) => {
    if (event.target.closest("a, input") || !row.dataset.id || getSelection().toString()) return;
    location.hash = linkOf(row).hash;
  });
  return row;
}

export const visibleIds = () => items.filter((item) => item.host).map((item) => item.host.id);

// ---- the address ----

const params = { q: "text", show: "shown", location: "location", device: "device", group: "group" };

function readAddress() {
  const given = new URLSearchParams(location.search);
  for (const [name, key] of Object.entries(params)) query[key] = given.get(name) ?? "";
  if (!Object.hasOwn(SHOWN, query.shown)) query.shown = "";
  if (![...$("group").options].some(({ value }) => value === query.group)) query.group = "";
  const sort = given.get("sort") ?? "state";
  query.down = sort.startsWith("-");
  const column = sort.replace(/^-/, "");
  query.column = COLUMNS.some(({ name, fixed }) => name === column && !fixed) ? column : "state";
  query.compact = given.has("compact") ? given.get("compact") === "1" : null;
}

function writeAddress() {
  const given = new URLSearchParams();
  for (const [name, key] of Object.entries(params)) if (query[key]) given.set(name, query[key]);
  if (query.column !== "state" || query.down) given.set("sort", (query.down ? "-" : "") + query.column);
  if (query.compact !== null) given.set("compact", query.compact ? "1" : "0");
  const text = given.toString();
  history.replaceState(null, "", `${location.pathname}${text ? `?${text}` : ""}${location.hash}`);
}

function ask(changes) {
  Object.assign(query, changes);
  writeAddress();
  ranks = new Map();
  $("rows").scrollTop = 0;
  changed("fleet");
}

// ---- tools ----

const chips = new Map();

for (const [name, { label }] of Object.entries(SHOWN)) {
  const chip = element("button", "chip");
  chip.type = "button";
  const number = element("b");
  chip.append(label, " ", number);
  chip.addEventListener("click", () => ask({ shown: query.shown === name ? "" : name }));
  $("chips").append(chip);
  chips.set(name, { chip, number });
}

$("search").addEventListener("input", () => ask({ text: $("search").value.trim() }));
for (const name of ["location", "device", "group"]) {
  $(name).addEventListener("change", () => ask({ [name]: $(name).value }));
}
$("density").addEventListener("click", () => ask({ compact: !isCompact() }));

function choices(select, values, chosen) {
  const wanted = ["", ...[...values].sort()];
  if (chosen && !values.has(chosen)) wanted.push(chosen);
  if (select.dataset.values !== wanted.join("\n")) {
    select.dataset.values = wanted.join("\n");
    select.replaceChildren(...wanted.map((value) => new Option(value || "all", value)));
  }
  select.value = chosen;
}

// ---- the head ----

const heads = new Map();
const pickAll = element("input");
{
  const cell = element("div", "cell pick");
  cell.setAttribute("role", "columnheader");
  pickAll.type = "checkbox";
  pickAll.setAttribute("aria-label", "Select all hosts that are listed");
  pickAll.addEventListener("click", () => togglePick(null, visibleIds()));
  cell.append(pickAll);
  $("heads").append(cell);
}
for (const { name, title, fixed } of COLUMNS) {
  const cell = element("div", `cell ${name}`);
  cell.setAttribute("role", "columnheader");
  if (fixed) cell.textContent = title;
  else {
    const button = element("button", "plain", title);
    button.type = "button";
    button.addEventListener("click", () => {
      const again = query.column === name;
      ask({ column: name, down: again ? !query.down : highFirst(name) });
    });
    cell.append(button);
  }
  $("heads").append(cell);
  heads.set(name, cell);
}

const none = element("span");
{
  const reset = element("button", "", "Show all");
  reset.type = "button";
  reset.addEventListener("click", () => ask({ text: "", shown: "", location: "", device: "" }));
  $("no-rows").append(none, reset);
}

// ---- drawing ----

// Compact rows are the choice where the usual ones do not fit.
function isCompact() {
  if (query.compact !== null) return query.compact;
  return items.length * HEIGHT.usual > Math.max($("rows").clientHeight, 300);
}

function draw() {
  const all = [...store.hosts.values()];
  const hosts = select(all, query);
  const sorted =
    pointed && RESTLESS.has(query.column) && ranks.size
      ? hosts.sort((a, b) => (ranks.get(a.id) ?? Infinity) - (ranks.get(b.id) ?? Infinity))
      : order(hosts, query.column, query.down);
  ranks = new Map(sorted.map((host, at) => [host.id, at]));
  items = grouped(sorted, query.group);
  drawTools(all);
  setAttribute($("table"), "aria-rowcount", String(items.length + 1));
  const compact = isCompact();
  $("fleet").classList.toggle("compact", compact && !narrow);
  setAttribute($("density"), "aria-pressed", String(compact));
  list.set(
    items,
    narrow ? HEIGHT.narrow : compact ? HEIGHT.compact : HEIGHT.usual,
    (item) => item.host?.id ?? `/${item.group}`,
  );
  $("no-rows").hidden = items.length > 0 || !all.length;
  setText(none, `None of the ${plural(all.length, "host")} is like that. `);
}

function drawTools(all) {
  const counts = tally(all);
  for (const [name, { chip, number }] of chips) {
    setText(number, count(counts[name]));
    chip.classList.toggle("none", counts[name] === 0);
    chip.dataset.kind = name;
    setAttribute(chip, "aria-pressed", String(query.shown === name));
  }
  choices($("location"), new Set(all.map((host) => host.location).filter(Boolean)), query.location);
  choices($("device"), new Set(all.map((host) => host.device_type).filter(Boolean)), query.device);
  if ($("group").value !== query.group) $("group").value = query.group;
  if (document.activeElement !== $("search") && $("search").value !== query.text) $("search").value = query.text;
  for (const [name, cell] of heads) {
    const sorted = query.column === name;
    if (sorted) setAttribute(cell, "aria-sort", query.down ? "descending" : "ascending");
    else cell.removeAttribute("aria-sort");
  }
  const listed = visibleIds();
  const chosen = listed.filter((id) => picked.has(id)).length;
  pickAll.checked = chosen > 0 && chosen === listed.length;
  pickAll.indeterminate = chosen > 0 && chosen < listed.length;
}

// ---- keyboard ----

// Moves to the next or previous host, from the focused or else the opened one.
export function step(by) {
  const focused = document.activeElement?.closest?.(".row")?.dataset.id;
  const ids = items.map((item) => item.host?.id);
  let at = ids.indexOf(focused || store.watched);
  do at += by;
  while (at >= 0 && at < ids.length && !ids[at]);
  if (at < 0 || at >= ids.length) return;
  const row = list.reveal(at);
  if (store.watched) location.hash = hashOf(ids[at]);
  // Where there is no room for the table beside a host, it may have no such row.
  if (row) linkOf(row).focus({ preventScroll: true });
}

export const focusedHost = () => document.activeElement?.closest?.(".row")?.dataset.id || null;

$("rows").addEventListener("pointerenter", () => {
  pointed = true;
});
$("rows").addEventListener("pointerleave", () => {
  pointed = false;
});

new ResizeObserver(() => {
  narrow = $("fleet").clientWidth < NARROW;
  changed("fleet");
}).observe($("fleet"));
new ResizeObserver(() => list.draw()).observe($("rows"));

readAddress();
draws(["fleet", "clock", "picked"], draw);
