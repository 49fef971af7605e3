// Which hosts the table shows, and in which order. Pure functions of summaries.

export const failed = (host) => host.exit_code != null && host.exit_code !== 0;

export const light = (host, word) => Boolean(host.lights) && Object.values(host.lights).includes(word);

// What one can ask for with one press, in the order of urgency.
export const SHOWN = {
  offline: { label: "Offline", is: (host) => host.status !== "online" },
  failed: { label: "Failed", is: (host) => failed(host) || light(host, "error") },
  running: { label: "Running", is: (host) => Boolean(host.pending) },
  outdated: { label: "Outdated", is: (host) => light(host, "outdated") },
  reboot: { label: "Reboot needed", is: (host) => host.reboot === true },
};

// The lower, the more a host needs somebody.
export function urgency(host) {
  if (host.status !== "online") return 0;
  if (failed(host)) return 1;
  if (light(host, "error") || host.violations > 0) return 2;
  if (!host.connected) return 3;
  if (host.pending) return 4;
  if (light(host, "outdated") || host.reboot) return 5;
  return 6;
}

const STATES = ["offline", "last command failed", "error", "reconnecting", "running", "outdated", "in order"];

export const stateName = (host) => STATES[urgency(host)];

// Each word must be in the name, or in one of the words that describe the host.
export function matches(host, text) {
  const about = [
    host.id,
    host.location,
    host.device_type,
    host.host_type,
    host.generation,
    host.version,
    host.pending,
    host.status,
  ]
    .join(" ")
    .toLowerCase();
  return text
    .toLowerCase()
    .split(/\s+/)
    .every((word) => about.includes(word));
}

export function select(hosts, { text = "", shown = "", location = "", device = "" }) {
  return hosts.filter(
    (host) =>
      (!text || matches(host, text)) &&
      (!shown || SHOWN[shown]?.is(host)) &&
      (!location || host.location === location) &&
      (!device || host.device_type === device),
  );
}

// Names with numbers sort as people count: web-2 comes before web-10.
const names = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

const byName = (a, b) => names.compare(a.id, b.id);

const KEYS = {
  name: { of: null },
  state: { of: urgency },
  generation: { of: (host) => host.generation, text: true },
  cpu: { of: (host) => host.cpu, high: true },
  memory: { of: (host) => host.memory, high: true },
  disk: { of: (host) => host.disk, high: true },
  gpu: { of: (host) => host.gpu, high: true },
  place: { of: (host) => `${host.location ?? ""} ${host.device_type ?? ""}`, text: true },
  seen: { of: (host) => host.last_seen ?? "", text: true },
};

// Whether a column is sorted from its highest value down when it is chosen for the first time.
export const highFirst = (column) => Boolean(KEYS[column]?.high);

// Unknown values come last, whatever the direction; equal ones by name.
export function order(hosts, column, down) {
  const { of, text } = KEYS[column] ?? KEYS.state;
  const sign = down ? -1 : 1;
  const sorted = [...hosts];
  if (!of) return sorted.sort((a, b) => sign * byName(a, b));
  return sorted.sort((a, b) => {
    const [x, y] = [of(a), of(b)];
    if (x == null || y == null) return (x == null) - (y == null) || byName(a, b);
    return sign * (text ? names.compare(x, y) : x - y) || byName(a, b);
  });
}

// The items of the list: hosts, and in front of each group its name. Groups are in the order of their first host,
// so that what needs somebody stays on top.
export function grouped(hosts, by) {
  if (!by) return hosts.map((host) => ({ host }));
  const groups = new Map();
  for (const host of hosts) {
    const name = (by === "state" ? stateName(host) : host[by]) || "not told";
    if (!groups.has(name)) groups.set(name, []);
    groups.get(name).push(host);
  }
  return [...groups].flatMap(([name, members]) => [
    { group: name, size: members.length },
    ...members.map((host) => ({ host })),
  ]);
}

export function tally(hosts) {
  const counts = { all: 0, online: 0, trouble: 0 };
  for (const name of Object.keys(SHOWN)) counts[name] = 0;
  for (const host of hosts) {
    counts.all += 1;
    if (host.status === "online") counts.online += 1;
    if (SHOWN.offline.is(host) || SHOWN.failed.is(host)) counts.trouble += 1;
    for (const [name, { is }] of Object.entries(SHOWN)) if (is(host)) counts[name] += 1;
  }
  return counts;
}
