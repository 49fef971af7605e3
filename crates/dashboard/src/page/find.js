// The search in the output of a host. The dashboard searches the whole log, not only what is shown.

import { $, setText } from "./text.js";
import { BEFORE, page, show } from "./output.js";

const nothing = () => ({ text: "", matches: [], at: 0, before: null, more: false, busy: false });

// The matches that are known, in the order of the log, and which of them is shown. `more`: the log in front of `before`
// has not been searched yet. `busy`: it is being searched.
let found = nothing();

function draw() {
  const { text, matches, at, more } = found;
  const all = `${matches.length}${more ? "+" : ""}`;
  setText($("found"), !text ? "" : matches.length ? `${at + 1} of ${all}` : more ? "Searching…" : "No match");
  for (const id of ["found-up", "found-down"]) $(id).hidden = matches.length < 2 && !more;
}

export function reset() {
  found = nothing();
  $("find").value = "";
  draw();
}

// Searches backwards from where the last search ended, until there is a match. The dashboard looks at a part of the log
// at a time.
async function searchOlder() {
  const mine = found;
  while (mine.more) {
    draw();
    const got = await page({
      search: mine.text,
      limit: 500,
      ...(mine.before == null ? {} : { before: mine.before }),
    });
    if (!got || mine !== found) return 0;
    Object.assign(mine, { before: got.first, more: got.more });
    mine.matches.unshift(...got.entries.map(({ n }) => n));
    mine.at += got.entries.length;
    if (got.entries.length) return got.entries.length;
  }
  return 0;
}

// From the newest match upwards, as in a log one looks for what came last.
function search(text) {
  if (!text) return reset();
  found = { ...nothing(), text, more: true };
  go(-1);
}

async function go(by) {
  const mine = found;
  // One search at a time: two would find the same.
  if (mine.busy) return;
  mine.busy = true;
  try {
    if (mine.at + by < 0 && mine.more) await searchOlder();
  } catch {
    if (mine === found) setText($("found"), "The dashboard does not answer");
    return;
  } finally {
    mine.busy = false;
  }
  const { matches } = mine;
  if (mine !== found) return;
  if (matches.length) mine.at = (mine.at + by + matches.length) % matches.length;
  draw();
  if (matches.length) show(matches[mine.at] - BEFORE, { mark: matches[mine.at] });
}

$("find").addEventListener("keydown", (event) => {
  if (event.key !== "Enter") return;
  const text = event.target.value.trim();
  if (text && text === found.text) go(event.shiftKey ? 1 : -1);
  else search(text);
});
$("find").addEventListener("input", (event) => {
  if (!event.target.value) reset();
});
$("found-up").addEventListener("click", () => go(-1));
$("found-down").addEventListener("click", () => go(1));
