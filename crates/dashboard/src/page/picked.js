// The hosts that are selected for a command to several.

import { changed } from "./store.js";

export const picked = new Set();

let newest = null;

// Selects a host or gives it up. With a list: everything from the one before to this one, as in lists of files; or,
// without a host, all of the list.
export function togglePick(id, list) {
  if (id === null) {
    const all = list.every((one) => picked.has(one));
    for (const one of list)
      if (all) picked.delete(one);
      else picked.add(one);
  } else if (list?.includes(newest)) {
    const [from, to] = [list.indexOf(newest), list.indexOf(id)].sort((a, b) => a - b);
    for (const one of list.slice(from, to + 1)) picked.add(one);
  } else if (!picked.delete(id)) picked.add(id);
  newest = id;
  changed("picked");
}

export function unpick(ids) {
  for (const id of ids) picked.delete(id);
  changed("picked");
}
