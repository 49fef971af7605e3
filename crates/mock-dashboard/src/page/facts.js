// The table of facts about a host.

import { $, ago, element, setText } from "./text.js";

const pace = (view) => {
  const trip = view.ack_rtt_ms === null ? "" : `, the last one took ${view.ack_rtt_ms.toFixed(1)} ms`;
  return `beats every ${view.heartbeat_interval} s${trip}`;
};
const share = (value) => percent(value == null ? undefined : value * 100);
const gpu = (vitals) => {
  if (!vitals?.gpus?.length) return "—";
  const warm = vitals.gpu_temp_celsius == null ? "" : `, ${vitals.gpu_temp_celsius.toFixed(0)} °C`;
  return vitals.gpu_usage == null ? vitals.gpus[0].status : share(vitals.gpu_usage) + warm;
};
// The name of the system that the next boot runs, or "what runs" if that is the running one.
const boots = (system) => {
  if (!system?.boots) return "—";
  const same = system.boots.system === system.current;
  const name = same ? "what runs" : system.boots.system.replace(/^.*\//, "");
  return system.boots.source === "boot_loader" ? name : `${name} (by the profile)`;
};
const percent = (value) => (value === undefined ? "—" : `${value.toFixed(1)} %`);

const facts = new Map();

export function drawFacts(view) {
  const metrics = view.metrics ?? {};
  const shown = [
    ["Generation", view.generation.slice(0, 12) || "—", "mono", view.generation],
    ["Nixpkgs", view.nixpkgs_version || "—", "mono wide", view.nixpkgs_version],
    ["Last beat", ago(view.last_seen), "", view.last_seen ?? ""],
    ["CPU", percent(metrics.cpu)],
    ["RAM", percent(metrics.ram)],
    ["Swap", percent(metrics.swap)],
    ["Load", metrics.load === undefined ? "—" : metrics.load.toFixed(2)],
    ["Disk", share(view.vitals?.disk_usage), "", (view.vitals?.disks ?? []).map((disk) => `${disk.path} ${share(disk.usage)}`).join("\n")],
    ["GPU", gpu(view.vitals), "", view.prewarm ? `pre-warm ${view.prewarm.phase}: ${view.prewarm.reason}` : ""],
    ["Boots", boots(view.system), "", view.system?.boots ? `runs ${view.system.current}\nboots ${view.system.boots.system}` : ""],
    ["Agent", view.agent_version || "—", "", pace(view)],
  ];
  for (const [name, value, kind = "", title = ""] of shown) {
    let fact = facts.get(name);
    if (!fact) {
      const box = element("div", kind.includes("wide") ? "wide" : "");
      fact = element("dd", kind.replace("wide", "").trim());
      box.append(element("dt", "", name), fact);
      $("facts").append(box);
      facts.set(name, fact);
    }
    setText(fact, value);
    fact.title = title;
  }
}
