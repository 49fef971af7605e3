// Two thousand hosts on one page.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { close, launch, open } from "./lib/browser.mjs";
import { startDashboard, until } from "./lib/dashboard.mjs";
import { startFleet } from "./lib/fleet.mjs";

const SIZE = 2000;
// The most processor time that a jump to other rows may take, in milliseconds: a few times what it takes.
const SLOW = 150;

let dashboard, fleet, browser;

before(async () => {
  browser = await launch();
  dashboard = await startDashboard();
  // They send one heartbeat, and stay online for three intervals.
  fleet = await startFleet(dashboard, SIZE, 600);
});

after(async () => {
  await browser?.close();
  fleet?.stop();
  await dashboard?.stop();
});

const rows = (page) => page.locator("#rows .row:not(.is-group)");
const listed = (page) =>
  page
    .locator("#table")
    .getAttribute("aria-rowcount")
    .then((count) => Number(count) - 1);
const names = (page) =>
  rows(page).evaluateAll((found) =>
    found
      .sort((a, b) => a.getAttribute("aria-rowindex") - b.getAttribute("aria-rowindex"))
      .map((row) => row.dataset.id),
  );
// Milliseconds of processor time that the page's thread needs for something: other programs do not count.
async function busy(page, act) {
  const session = await page.context().newCDPSession(page);
  await session.send("Performance.enable", { timeDomain: "threadTicks" });
  const used = async () =>
    (await session.send("Performance.getMetrics")).metrics.find(({ name }) => name === "TaskDuration").value;
  const before = await used();
  await act();
  return ((await used()) - before) * 1000;
}

const chip = (page, name) => page.locator("#chips button", { hasText: name });

test("2,000 hosts are counted, and only the visible ones are drawn", async () => {
  const page = await open(browser, dashboard.url, { width: 1920, height: 960 });
  await page.locator("#counts", { hasText: "2,000 of 2,000 online" }).waitFor();
  const drawn = await rows(page).count();
  assert.ok(drawn >= 50 && drawn < 100, `${drawn} rows`);
  const visible = await rows(page).evaluateAll((found) => {
    const frame = document.getElementById("rows").getBoundingClientRect();
    return found.filter((row) => {
      const { top, bottom } = row.getBoundingClientRect();
      return top >= frame.top && bottom <= frame.bottom;
    }).length;
  });
  assert.ok(visible >= 50, `${visible} hosts on one screen`);
  await close(page);
});

test("scrolling to the end and searching keep the page quick", async () => {
  const page = await open(browser, dashboard.url);
  await page.locator("#counts", { hasText: "2,000 of" }).waitFor();
  const jumps = 40;
  const took = await busy(page, () =>
    page.evaluate(async (count) => {
      const found = document.getElementById("rows");
      for (let at = 0; at < count; at += 1) {
        found.scrollTop = at * 700;
        await new Promise(requestAnimationFrame);
        await new Promise(requestAnimationFrame);
      }
    }, jumps),
  );
  assert.ok(took / jumps < SLOW, `${took / jumps} ms for each jump`);
  await page.locator("#search").fill("gpu-0005");
  await until(async () => (await listed(page)) === 1, "one host is found");
  assert.deepEqual(await names(page), ["gpu-0005"]);
  await page.locator("#search").fill("nothing like that");
  await page.locator("#no-rows", { hasText: "None of the 2,000 hosts is like that." }).waitFor();
  await page.getByRole("button", { name: "Show all" }).click();
  await until(async () => (await listed(page)) === SIZE, "all hosts are back");
  await close(page);
});

test("filters, order and groups are in the address, so a reload keeps them", async () => {
  const page = await open(browser, dashboard.url);
  await chip(page, "Outdated").click();
  await until(async () => (await listed(page)) === 222, "the outdated hosts");
  await page.locator("#location").selectOption("work");
  await page.locator("#group").selectOption("device_type");
  await page.locator("#rows .is-group").first().waitFor();
  await page.getByRole("button", { name: "CPU" }).click();
  await page.locator(".heads .cpu[aria-sort=descending]").waitFor();
  const before = (await names(page)).slice(0, 10);
  await page.reload();
  await page.locator("#rows .is-group").first().waitFor();
  await page.locator(".heads .cpu[aria-sort=descending]").waitFor();
  assert.deepEqual((await names(page)).slice(0, 10), before);
  assert.equal(await chip(page, "Outdated").getAttribute("aria-pressed"), "true");
  await close(page);
});

test("a host that fails or goes away rises to the top and is counted in the title", async () => {
  const page = await open(browser, dashboard.url);
  const victim = fleet.sockets.find(({ name }) => name === "web-1000");
  victim.send("status", {
    status: "error",
    command: "switch",
    exit_code: 1,
    message: "broke",
    generation: "161c9c6",
    job_id: "j1",
    outcome: "failed",
  });
  victim.beat();
  await until(async () => (await names(page))[0] === "web-1000", "the failed host is the first");
  await page.locator(".row[data-id=web-1000] .word[data-kind=bad]", { hasText: "failed" }).waitFor();
  assert.match(await page.title(), /^\(\d+\) NixFleet$/);
  await chip(page, "Failed").click();
  await until(async () => (await names(page)).includes("web-1000"), "it is among the failed ones");
  await close(page);
});

test("one can walk, select and open hosts with keys alone", async () => {
  const page = await open(browser, dashboard.url);
  await page.keyboard.press("/");
  await page.keyboard.type("edge");
  await until(async () => (await listed(page)) === SIZE / 8, "the edge hosts");
  await page.keyboard.press("Escape");
  await page.keyboard.press("j");
  const [first, second] = await names(page);
  await page.locator(`.row[data-id="${first}"] a:focus`).waitFor();
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("x");
  await page.locator("#bulk b", { hasText: "1 host selected" }).waitFor();
  await page.keyboard.press("Enter");
  await page.locator("#name", { hasText: second }).waitFor();
  assert.ok(page.url().endsWith(`#/${second}`));
  await page.keyboard.press("Escape");
  await page.locator("#host").waitFor({ state: "hidden" });
  await page.keyboard.press("?");
  await page.locator("#keys[open]").waitFor();
  await page.keyboard.press("Escape");
  await page.locator("#keys").waitFor({ state: "hidden" });
  await close(page);
});

test("the next host is one key away also where the table has no room", async () => {
  const page = await open(browser, `${dashboard.url}#/edge-1004`, { width: 600 });
  await page.locator("#name", { hasText: "edge-1004" }).waitFor();
  await page.keyboard.press("j");
  await page.locator("#name", { hasText: /^(?!edge-1004)/ }).waitFor();
  await page.keyboard.press("k");
  await page.locator("#name", { hasText: "edge-1004" }).waitFor();
  await close(page);
});

test("one command to several hosts shows the answer of each", async () => {
  const page = await open(browser, dashboard.url);
  await page.locator("#search").fill("mail-00");
  await until(async () => (await listed(page)) === 12, "the first mail hosts");
  await page.getByLabel("Select all hosts that are listed").click();
  await page.locator("#bulk b", { hasText: "12 hosts selected" }).waitFor();
  await page.locator("#bulk-command").fill("pull");
  await page.getByRole("button", { name: "Run pull on 12 hosts" }).click();
  await page.locator(".results .summary", { hasText: "pull: 12 refused or failed" }).waitFor();
  await page
    .locator(".results li", { hasText: "mail-0007" })
    .locator("span", { hasText: "not a real host" })
    .waitFor();
  await page.getByRole("button", { name: "Clear selection" }).click();
  await page.getByRole("button", { name: "Close the answers" }).click();
  await page.locator("#bulk").waitFor({ state: "hidden" });
  await close(page);
});
