// What does not depend on taste: axe finds nothing in any view, size or theme, nothing is cut off at the side, and the
// head and the content begin and end at the same place. With NIXFLEET_TEST_SHOTS it also leaves screenshots.

import assert from "node:assert/strict";
import { mkdir, readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import path from "node:path";
import { after, before, test } from "node:test";
import { close, launch, open } from "./lib/browser.mjs";
import { startDashboard } from "./lib/dashboard.mjs";
import { startFleet } from "./lib/fleet.mjs";

const axe = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const shots = process.env.NIXFLEET_TEST_SHOTS;

const SIZES = [
  [390, 844],
  [1440, 900],
  [2560, 1440],
];
const THEMES = ["light", "dark"];

let browser;

before(async () => {
  browser = await launch();
  if (shots) await mkdir(shots, { recursive: true });
});

after(() => browser?.close());

async function look(page, name) {
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert.ok(wide <= 0, `${name}: ${wide} pixels are cut off`);
  // The policy of the page allows no script of others, so this one runs outside of it.
  const session = await page.context().newCDPSession(page);
  await session.send("Page.setBypassCSP", { enabled: true });
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() =>
    globalThis.axe.run(document, {
      runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
      // Compact rows are the reader's choice; the same hosts are in rows of the usual height.
      rules: { "target-size": { enabled: !document.querySelector(".fleet.compact") } },
    }),
  );
  const told = violations.map(
    ({ id, nodes }) =>
      `${id}: ${nodes
        .slice(0, 3)
        .map((node) => node.target.join(" "))
        .join(", ")}`,
  );
  assert.deepEqual(told, [], name);
  if (shots) await page.screenshot({ path: path.join(shots, `${name}.png`) });
}

// What has few parts is looked at in two forms only, unless somebody wants to see all of them.
const FEW = [
  [390, 844, "dark"],
  [1440, 900, "light"],
];
const ALL = SIZES.flatMap(([width, height]) => THEMES.map((scheme) => [width, height, scheme]));

for (const hosts of [0, 1, 50, 500]) {
  test(`${hosts} hosts look right in each size and theme`, async () => {
    const dashboard = await startDashboard();
    const fleet = await startFleet(dashboard, hosts);
    // One host with everything that can be shown.
    if (hosts) tell(fleet.sockets[0]);
    for (const [width, height, scheme] of shots || hosts === 50 ? ALL : FEW) {
      const page = await open(browser, dashboard.url, { width, height, scheme });
      if (hosts > 1) await page.locator("#rows .row").first().waitFor();
      if (hosts !== 1) await look(page, `${hosts}-hosts-${width}-${scheme}`);
      if (hosts > 1 && width > 1000) await aligned(page, "#search", ".choices");
      if (hosts) {
        await page.goto(`${dashboard.url}#/web-0000`);
        await page.locator("#output .end").waitFor();
        await page.locator("#plots figure").first().waitFor();
        await look(page, `${hosts}-hosts-one-${width}-${scheme}`);
      }
      // Beside a host the table has less room, and begins further out.
      if (width > 1000) await aligned(page, hosts === 1 ? ".title" : null);
      await close(page);
    }
    fleet.stop();
    await dashboard.stop();
  });
}

function tell({ beat, send }) {
  send("output_batch", {
    command: "switch",
    job_id: "j1",
    lines: [
      { seq: 1, at: "2026-01-01T00:00:00Z", stream: "stderr", line: "building the system configuration..." },
      { seq: 2, at: "2026-01-01T00:00:01Z", stream: "stderr", line: "warning: Git tree '/etc/nixos' is dirty" },
      {
        seq: 3,
        at: "2026-01-01T00:00:02Z",
        stream: "stderr",
        line: "error: builder for '/nix/store/x.drv' failed with exit code 1",
      },
    ],
  });
  send("status", {
    status: "error",
    command: "switch",
    exit_code: 1,
    message: "the system could not be built",
    generation: "161c9c6",
    job_id: "j1",
    outcome: "failed",
    duration_ms: 61200,
  });
  send("operation_progress", {
    progress: {
      system: { current: 1, total: 3, status: "in_progress", phase: "build", detail: "17/41 derivations" },
    },
  });
  send("prewarm", {
    device_id: "web-0000",
    timestamp: new Date().toISOString(),
    gpu_usage: 0.91,
    gpu_temp: 82,
    reason: "GPU usage is 91 %, over 80 %",
    phase: "start",
  });
  beat({
    pending_command: "switch",
    command_pid: 4711,
    ack_rtt_ms: 3.4,
    command_activity: { phase: "build", phase_age_s: 20, silent_s: 12 },
    update_status: {
      git: { status: "outdated", message: "3 commits behind origin/main", checked_at: new Date().toISOString() },
      lock: { status: "ok", message: "", checked_at: new Date().toISOString() },
      system: {
        status: "error",
        message: "the running system is not that of the profile",
        checked_at: new Date().toISOString(),
      },
      tests: { status: "", message: "", checked_at: "" },
    },
    vitals: {
      device_id: "web-0000",
      timestamp: new Date().toISOString(),
      cpu_usage: 0.43,
      memory_usage: 0.61,
      gpu_usage: 0.91,
      gpu_temp_celsius: 82,
      gpu_vram_usage: 0.75,
      disk_usage: 0.93,
      active_sessions: 2,
      pending_queries: 5,
      loaded_model: "llama-3.1-8b",
      uptime_s: 864321,
      load: [1.2, 0.8, 0.5],
      swap_usage: 0.02,
      memory_total: 16e9,
      memory_free: 4e9,
      pressure: { cpu: 0.02, memory: 0, io: 0.11 },
      disks: [
        { path: "/", usage: 0.93, used: 465e9, total: 500e9, inode_usage: 0.1 },
        { path: "/nix", usage: null, used: null, total: null, inode_usage: null },
      ],
      network: { received: 1.2e6, sent: 3e5 },
      temperatures: [{ name: "coretemp Package id 0", celsius: 61 }],
      gpus: [
        {
          vendor: "nvidia",
          name: "NVIDIA GeForce RTX 4090",
          pci_address: "0000:01:00.0",
          status: "ok",
          usage: 0.91,
          temp_celsius: 82,
          vram_used: 18.2e9,
          vram_total: 24e9,
          power_watts: 312,
        },
        {
          vendor: "amd",
          name: null,
          pci_address: "0000:41:00.0",
          status: "suspended",
          usage: null,
          temp_celsius: null,
          vram_used: null,
          vram_total: null,
          power_watts: null,
        },
      ],
      failed_units: { count: 2, names: ["nginx.service", "restic-backup.service"] },
      reboot_required: true,
    },
  });
}

// The head begins and ends where the content does, that is where the first and the last part of it do.
async function aligned(page, first, last) {
  const edges = await page.evaluate(
    ([first, last]) => {
      const box = (query) => query && document.querySelector(query).getBoundingClientRect();
      return {
        head: box(".brand").left,
        left: box(first)?.left,
        end: box(".top > :last-child").right,
        right: box(last)?.right,
        width: innerWidth,
      };
    },
    [first, last],
  );
  const told = JSON.stringify(edges);
  assert.ok(edges.width - edges.end <= 32, told);
  assert.ok(Math.abs(edges.head - 24) <= 1, told);
  if (first) assert.ok(Math.abs(edges.left - edges.head) <= 1, told);
  if (last) assert.ok(Math.abs(edges.right - edges.end) <= 1, told);
}
