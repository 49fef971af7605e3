// The parts of the page that know no browser: which hosts are shown, how lines are judged, how values are written.

import assert from "node:assert/strict";
import { test } from "node:test";
import { grouped, matches, order, select, tally, urgency } from "../../crates/dashboard/src/page/query.js";
import { severity } from "../../crates/dashboard/src/page/severity.js";
import * as text from "../../crates/dashboard/src/page/text.js";

const online = {
  status: "online",
  connected: true,
  location: "home",
  device_type: "server",
  generation: "161c9c6",
  exit_code: 0,
};
const hosts = [
  { ...online, id: "web-10", cpu: 0.2 },
  { ...online, id: "web-2", cpu: 0.9, location: "work" },
  { ...online, id: "db", cpu: null, status: "offline" },
  {
    ...online,
    id: "mail",
    cpu: 0.5,
    exit_code: 1,
    lights: { git: "outdated", lock: "ok", system: "ok", tests: "" },
  },
];
const ids = (list) => list.map((host) => host.id);

test("what needs somebody is on top, and names sort as people count", () => {
  assert.deepEqual(ids(order(hosts, "state", false)), ["db", "mail", "web-2", "web-10"]);
  assert.deepEqual(ids(order(hosts, "name", false)), ["db", "mail", "web-2", "web-10"]);
  assert.deepEqual(ids(order(hosts, "name", true)), ["web-10", "web-2", "mail", "db"]);
});

test("an unknown value comes last in both directions", () => {
  assert.deepEqual(ids(order(hosts, "cpu", false)), ["web-10", "mail", "web-2", "db"]);
  assert.deepEqual(ids(order(hosts, "cpu", true)), ["web-2", "mail", "web-10", "db"]);
});

test("each word of the search must be in what describes a host", () => {
  assert.ok(matches(hosts[1], "WEB work"));
  assert.ok(!matches(hosts[1], "web home"));
  assert.deepEqual(ids(select(hosts, { text: "161c" })), ids(hosts));
});

test("filters go together", () => {
  assert.deepEqual(ids(select(hosts, { shown: "offline" })), ["db"]);
  assert.deepEqual(ids(select(hosts, { shown: "failed" })), ["mail"]);
  assert.deepEqual(ids(select(hosts, { shown: "outdated", location: "work" })), []);
  assert.deepEqual(tally(hosts), {
    all: 4,
    online: 3,
    trouble: 2,
    offline: 1,
    failed: 1,
    running: 0,
    outdated: 1,
    reboot: 0,
  });
});

test("an outage is more urgent than a failure, and that than a command that runs", () => {
  const ranks = [
    { status: "offline" },
    { exit_code: 2 },
    { lights: { git: "error" } },
    { connected: false },
    { pending: "pull" },
    { reboot: true },
    {},
  ].map((changes) => urgency({ ...online, ...changes }));
  assert.deepEqual(ranks, [0, 1, 2, 3, 4, 5, 6]);
});

test("groups keep the order of their first host and count their members", () => {
  const shown = grouped(order(hosts, "state", false), "location").map(
    (item) => item.host?.id ?? `${item.group} ${item.size}`,
  );
  assert.deepEqual(shown, ["home 3", "db", "mail", "web-10", "work 1", "web-2"]);
});

test("words decide how serious a line is", () => {
  for (const line of [
    "error: builder for '/nix/store/x.drv' failed with exit code 2",
    "  error (ignored): x",
    "fatal: not a git repository",
    "nginx[12]: error: no such file",
    "FAILED T02-disk.sh",
    "cp: error writing 'x': No space left on device",
    "ERROR",
  ])
    assert.equal(severity(line), "error", line);
  for (const line of ["warning: Git tree is dirty", "evaluation warning: x".slice(11), "ld: warning: x"]) {
    assert.equal(severity(line), "warning", line);
  }
  for (const line of [
    "building '/nix/store/abc-error-1.0.drv'...",
    "copying path '/nix/store/x-libgpg-error-1.51'",
    "0 errors, 0 warnings",
    "terror: x",
    "the following 3 units failed before and are fine now",
    "",
  ])
    assert.equal(severity(line), "", line);
});

test("sizes and times are written as people write them", () => {
  assert.equal(text.bytes(70.2e9), "70.2 GB");
  assert.equal(text.bytes(999_960), "1.0 MB");
  assert.equal(text.bytes(812), "812 B");
  assert.equal(text.bytes(null), "—");
  assert.equal(text.duration(61_200), "1 min 1 s");
  assert.equal(text.duration(3_599_999), "59 min 59 s");
  assert.equal(text.percent(null), "—");
  assert.equal(text.plural(1, "host"), "1 host");
  assert.equal(text.plural(4000, "line"), "4,000 lines");
});
