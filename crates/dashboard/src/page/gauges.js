// Disks, GPUs, and the facts about a host.

import { $, age, bytes, celsius, element, milliseconds, percent, setText } from "./text.js";
import { draws, store } from "./store.js";

// Share from which a disk is nearly full.
const FULL = 0.9;

// A list of bars with a text each. Its nodes are kept, so that nothing flickers.
function gauges(list, items) {
  while (list.children.length > items.length) list.lastChild.remove();
  while (list.children.length < items.length) {
    const item = element("li");
    const bar = element("meter");
    item.append(element("b"), element("span", "figure"), bar, element("p"));
    list.append(item);
  }
  items.forEach(({ name, figure, share, more, full }, at) => {
    const [label, text, bar, below] = list.children[at].children;
    list.children[at].classList.toggle("full", Boolean(full));
    setText(label, name);
    setText(text, figure);
    bar.hidden = share == null;
    bar.value = share ?? 0;
    bar.setAttribute("aria-label", `${name}: ${figure}`);
    setText(below, more);
  });
}

const disk = ({ path, usage, used, total, inode_usage: inodes }) => ({
  name: path,
  figure: percent(usage),
  share: usage,
  full: usage >= FULL || inodes >= FULL,
  more:
    usage == null
      ? "does not answer"
      : [
          total ? `${bytes(used)} of ${bytes(total)}` : "",
          inodes >= FULL ? `${percent(inodes)} of the inodes` : "",
        ]
          .filter(Boolean)
          .join(", "),
});

const gpu = (one) => ({
  name: one.name ?? `${one.vendor} GPU`,
  figure: one.usage == null ? (one.status === "ok" ? "—" : one.status.replaceAll("_", " ")) : percent(one.usage),
  share: one.usage,
  more: [
    one.temp_celsius == null ? "" : celsius(one.temp_celsius),
    one.vram_total ? `${bytes(one.vram_used)} of ${bytes(one.vram_total)}` : "",
    one.power_watts == null ? "" : `${Math.round(one.power_watts)} W`,
    one.usage_is_estimate ? "estimated" : "",
    one.pci_address,
  ]
    .filter(Boolean)
    .join(" · "),
});

// The name of a system without the folder of the store and the hash.
const systemName = (path) => (path ?? "").replace(/^.*\//, "").replace(/^[0-9a-z]{32}-/, "");

function nextBoot(system) {
  if (!system?.boots) return null;
  const { system: path, source } = system.boots;
  const name = path === system.current ? "what runs" : systemName(path);
  return source === "boot_loader" ? name : `${name}, by the profile`;
}

const rate = ({ received, sent }) => `${bytes(received)}/s in, ${bytes(sent)}/s out`;

// Sensors that are named, the warmest first: a server has one for each core.
const SENSORS = 6;

function warmest(temperatures) {
  const known = temperatures.filter((one) => one.celsius != null).sort((a, b) => b.celsius - a.celsius);
  const named = known.slice(0, SENSORS).map((one) => `${one.name} ${celsius(one.celsius)}`);
  const more = known.length - named.length;
  return [...named, more > 0 ? `${more} cooler ones` : ""].filter(Boolean).join(", ");
}

const short = (commit) => commit?.slice(0, 7);

function facts(view) {
  const { system, vitals, metrics } = view;
  const swap = vitals?.swap_usage ?? (metrics ? metrics.swap / 100 : null);
  const load = vitals?.load ?? (metrics ? [metrics.load] : null);
  const pressure = vitals?.pressure;
  const workload =
    vitals &&
    [
      vitals.loaded_model,
      vitals.active_sessions == null ? "" : `${vitals.active_sessions} sessions`,
      vitals.pending_queries == null ? "" : `${vitals.pending_queries} waiting`,
    ]
      .filter(Boolean)
      .join(", ");
  return [
    ["Commit", view.generation, "mono"],
    ["Checkout", short(system?.repo_commit) !== short(view.generation) && short(system?.repo_commit), "mono"],
    ["Nixpkgs", view.nixpkgs_version !== "unknown" && view.nixpkgs_version, "mono"],
    ["Next boot", nextBoot(system), "mono"],
    ["Uptime", vitals?.uptime_s && age(vitals.uptime_s * 1000)],
    ["Load", load?.map((value) => value.toFixed(2)).join("  ")],
    ["Swap", swap != null && percent(swap)],
    [
      "Pressure",
      pressure &&
        [
          ["cpu", pressure.cpu],
          ["memory", pressure.memory],
          ["io", pressure.io],
        ]
          .filter(([, share]) => share != null)
          .map(([name, share]) => `${name} ${percent(share)}`)
          .join(", "),
    ],
    ["Network", vitals?.network && rate(vitals.network)],
    [
      "Disk traffic",
      vitals?.disk_io && `${bytes(vitals.disk_io.read)}/s read, ${bytes(vitals.disk_io.written)}/s written`,
    ],
    ["Temperature", warmest(vitals?.temperatures ?? [])],
    ["Workload", workload],
    ["System", [view.host_type, view.os_version].filter(Boolean).join(" ")],
    ["Agent", view.agent_version],
    ["Round trip", view.ack_rtt_ms != null && milliseconds(view.ack_rtt_ms)],
    ["Connections", String(view.connections)],
  ].filter(([, value]) => value);
}

const rows = new Map();

function drawFacts(view) {
  const shown = facts(view);
  const names = new Set(shown.map(([name]) => name));
  for (const [name, { row }] of rows) row.hidden = !names.has(name);
  for (const [name, value, kind = ""] of shown) {
    let fact = rows.get(name);
    if (!fact) {
      fact = { row: element("div"), value: element("dd", kind) };
      fact.row.append(element("dt", "", name), fact.value);
      rows.set(name, fact);
    }
    setText(fact.value, value);
  }
  // In the order of the list, also when one came later.
  const wanted = shown.map(([name]) => rows.get(name).row);
  if (wanted.some((row, at) => $("facts").children[at] !== row)) $("facts").replaceChildren(...wanted);
}

draws(["host"], () => {
  const { view } = store;
  if (!view) return;
  const { gpus = [], disks = [] } = view.vitals ?? {};
  $("gpus-card").hidden = !gpus.length;
  $("disks-card").hidden = !disks.length;
  gauges($("gpus"), gpus.map(gpu));
  gauges($("disks"), disks.map(disk));
  drawFacts(view);
});
