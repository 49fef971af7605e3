// The page of the mock dashboard: what comes from the dashboard goes to its owner; the address says which host is
// looked at; keys.

import { $, count, hashOf, setText } from "./text.js";
import { changed, draws, patchView, replaceHosts, setView, store, updateHosts } from "./store.js";
import { connect } from "./link.js";
import { tally } from "./query.js";
import { focusedHost, step } from "./fleet.js";
import { togglePick } from "./picked.js";
import { entriesOf } from "./entries.js";
import { backlog, choose, forget, live, toggleFollow, watch } from "./output.js";
import { reset } from "./find.js";
import "./bulk.js";
import "./gauges.js";
import "./host.js";
import "./plots.js";
import "./running.js";

// ---- what the dashboard says ----

function receive({ type, payload }) {
  switch (type) {
    case "hosts":
      // The first message of each connection, and what a browser gets that was too slow for the rest.
      if (replaceHosts(payload)) {
        reset();
        forget();
      }
      if (!route()) watch();
      away(payload.away);
      break;
    case "away":
      away(payload);
      break;
    case "updates": {
      const { size } = store.hosts;
      updateHosts(payload);
      if (store.hosts.size !== size) route();
      break;
    }
    case "host":
      setView(payload);
      break;
    case "backlog":
      backlog(payload);
      break;
    case "output":
    case "status":
    case "command_rejected":
      live(payload.host_id, entriesOf(type, payload));
      break;
    case "test_progress":
      patchView(payload.host_id, { test_progress: payload });
      break;
    case "operation_progress":
      patchView(payload.host_id, { operation: payload.progress });
      break;
  }
}

// Not all is heard of the hosts since then: what the page shows may be old.
function away(why) {
  $("away").hidden = !why;
  setText($("away"), why ? `${why.what} since ${new Date(why.since).toLocaleTimeString()}. ${why.hint}` : "");
}

// ---- which host ----

const wanted = () => {
  const [, id] = /^#\/(.+)$/.exec(location.hash) ?? [];
  try {
    return id ? decodeURIComponent(id) : null;
  } catch {
    return null;
  }
};

// Returns whether another host is looked at than before.
function route() {
  if (!store.loaded) return false;
  const { hosts } = store;
  // A fleet of one host has nothing to choose from.
  const only = hosts.size === 1 ? [...hosts.keys()][0] : null;
  if (only && !hosts.has(wanted())) history.replaceState(null, "", hashOf(only));
  const id = hosts.has(wanted()) ? wanted() : null;
  document.body.dataset.view = id ? "host" : "fleet";
  document.body.classList.toggle("only", Boolean(only));
  const another = id !== store.watched;
  if (another) {
    store.watched = id;
    store.view = null;
    reset();
    choose(id);
    watch();
    scrollTo(0, 0);
  }
  changed("fleet", "host", "link");
  return another;
}

addEventListener("hashchange", route);
connect(receive);

// ---- the head ----

const LINK = { connecting: "Connecting…", live: "Live", lost: "Dashboard lost, reconnecting…" };

draws(["link"], () => {
  $("link").dataset.state = store.link;
  setText($("link"), LINK[store.link]);
});

draws(["fleet", "link"], () => {
  const { all, online, failed, trouble } = tally([...store.hosts.values()]);
  $("fleet").hidden = !all;
  $("no-hosts").hidden = !store.loaded || all > 0;
  setText(
    $("counts"),
    all ? `${count(online)} of ${count(all)} online${failed ? ` · ${count(failed)} failed` : ""}` : "",
  );
  const name = store.watched ? `${store.watched} · NixFleet` : "NixFleet";
  const lost = store.link === "lost";
  document.title = lost ? `(!) ${name}` : trouble ? `(${trouble}) ${name}` : name;
  const icon = lost || trouble ? "icon-alert.svg" : "icon.svg";
  if ($("icon").getAttribute("href") !== icon) $("icon").setAttribute("href", icon);
});

draws(["host", "fleet"], () => {
  $("host").hidden = !store.view;
});

// The address for agents. Without a path this page is at the top of its server.
const agents = new URL("ws", location.href);
agents.protocol = agents.protocol === "https:" ? "wss:" : "ws:";
// A dashboard without sockets of its own leaves them to gateways.
const elsewhere = $("no-hosts").dataset.kind === "dashboard";
if (elsewhere) $("reach").textContent = "a gateway of the fleet";
$("start").textContent = [
  `NIXFLEET_URL=${elsewhere ? "wss://GATEWAY/ws" : `${agents.protocol}//${agents.host}${agents.pathname}`} \\`,
  "NIXFLEET_TOKEN_FILE=/path/to/token \\",
  "nixfleet-agent",
].join("\n");

// ---- keys ----

const typing = (target) => target.matches("input:not([type=checkbox]), select, textarea");

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || $("keys").open) return;
  if (typing(event.target)) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const act = {
    "/": () => $(store.watched ? "find" : "search").focus(),
    "?": () => $("keys").showModal(),
    j: () => step(1),
    k: () => step(-1),
    x: () => focusedHost() && togglePick(focusedHost(), null),
    f: () => store.watched && toggleFollow(),
    Escape: () => {
      location.hash = "#/";
    },
  }[event.key];
  // The arrows scroll whatever has the focus, unless that is a row of the table.
  const arrow = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (arrow && focusedHost()) step(arrow);
  else if (act) act();
  else return;
  event.preventDefault();
});

$("keys-open").addEventListener("click", () => $("keys").showModal());
