// One real agent, looked at and commanded through the page.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { startAgent } from "./lib/agent.mjs";
import { close, launch, open, pressOlder } from "./lib/browser.mjs";
import { LIMIT, startDashboard, until } from "./lib/dashboard.mjs";

let dashboard, agent, browser;

before(async () => {
  browser = await launch();
  dashboard = await startDashboard();
  agent = await startAgent(dashboard);
  await dashboard.until("web-1", (host) => host.status === "online", "the agent is online");
});

after(async () => {
  await browser?.close();
  await agent?.stop();
  await dashboard?.stop();
});

const output = (page) => page.locator("#output .run > div");
const press = (page, command) => page.locator(`#buttons button[value="${command}"]`).click();
const ended = (page, text) => page.locator("#output .end", { hasText: text }).last().waitFor();

test("the only host is shown at once, with what it measures and what it can do", async () => {
  const page = await open(browser, dashboard.url);
  await page.locator("#name", { hasText: "web-1" }).waitFor();
  await page.locator("#state[data-status=online]").waitFor();
  // The agent has no StaSysMo here, so these are its own measurements.
  for (const name of ["CPU", "Memory"]) {
    await page
      .locator("#plots figure", { hasText: name })
      .locator("b", { hasText: /^\d+\s%$/ })
      .waitFor();
  }
  await page.locator("#disks li", { hasText: "/" }).first().waitFor();
  await page.locator("#facts dd").first().waitFor();
  const offered = await page.locator("#buttons button").allTextContents();
  for (const own of ["wait", "many-lines", "good", "bad"])
    assert.ok(offered.includes(own), `${own} in ${offered}`);
  assert.ok(!offered.includes("reboot"), "this host may not be rebooted");
  assert.ok(!offered.includes("stop"), "stop is beside what runs");
  assert.equal(
    await page.locator("#buttons button[value=wait]").getAttribute("title"),
    "Wait until the test says so",
  );
  await page.waitForFunction(() => document.title === "web-1 · NixFleet");
  await close(page);
});

test("a second command is rejected with the reason, and a stop ends the first", async () => {
  const page = await open(browser, dashboard.url);
  await press(page, "wait");
  await page.locator("#running b", { hasText: "wait" }).waitFor();
  await output(page).filter({ hasText: "waiting" }).waitFor();
  await page.locator("#running .detail", { hasText: /pid \d+/ }).waitFor();
  await press(page, "good");
  await page
    .locator("#notice", { hasText: /“good” was rejected: command already running \(wait, pid \d+\)/ })
    .waitFor();
  // The reason stays until somebody dismisses it, or asks for another command.
  await page.getByRole("button", { name: "Dismiss" }).click();
  await page.locator("#notice").waitFor({ state: "hidden" });
  await page.locator("#running .stop").click();
  await ended(page, "wait: stopped");
  await page.locator("#running").waitFor({ state: "hidden" });
  await page.locator("#ends li.bad", { hasText: "wait" }).waitFor();
  await close(page);
});

test("lines are red where a command failed, and nowhere else", async () => {
  const page = await open(browser, dashboard.url);
  const colour = (text) =>
    output(page)
      .filter({ hasText: text })
      .last()
      .evaluate((node) => getComputedStyle(node).color);
  await press(page, "good");
  await ended(page, "good: ");
  const plain = await colour("fine");
  assert.equal(await colour("error: nothing, really"), plain);
  assert.equal(await colour("warning: deprecated"), plain);
  await press(page, "bad");
  await ended(page, "exit code 3");
  assert.notEqual(await colour("error: it broke"), plain);
  await page.waitForFunction(() => document.title === "(1) web-1 · NixFleet");
  assert.equal(await page.locator("#icon").getAttribute("href"), "icon-alert.svg");
  await close(page);
});

test("a reload shows the same output, what runs, and the ends of earlier commands", async () => {
  const page = await open(browser, dashboard.url);
  await press(page, "wait");
  await page.locator("#running b", { hasText: "wait" }).waitFor();
  const ends = await page.locator("#ends li").count();
  assert.ok(ends >= 3, `${ends} ends`);
  await page.reload();
  await page.locator("#running b", { hasText: "wait" }).waitFor();
  await output(page).filter({ hasText: "waiting" }).last().waitFor();
  assert.equal(await page.locator("#ends li").count(), ends);
  await agent.release();
  await ended(page, "wait: ok");
  await close(page);
});

test("200,000 lines arrive in order, can be loaded again, searched and kept as a file", async () => {
  const page = await open(browser, dashboard.url);
  await press(page, "many-lines");
  await page.locator("#output .end", { hasText: "many-lines: ok" }).waitFor({ timeout: 4 * LIMIT });
  const shown = await output(page).count();
  assert.ok(shown <= 3100, `${shown} lines in the DOM`);
  await output(page)
    .filter({ hasText: /^200000$/ })
    .waitFor();
  const numbers = (await output(page).allTextContents()).filter((line) => /^\d+$/.test(line)).map(Number);
  assert.ok(
    numbers.every((number, at) => at === 0 || number === numbers[at - 1] + 1),
    "without a gap",
  );
  const told = await page.locator(".older").textContent();
  assert.match(told, /^Load older lines \(19\d,\d{3} more\)$/);
  const first = numbers[0];
  await pressOlder(page);
  await until(async () => (await output(page).first().textContent()) === String(first - 500), "500 older lines");
  assert.equal(await page.locator("#follow").getAttribute("aria-pressed"), "false");

  await page.locator("#find").fill("123456");
  await page.keyboard.press("Enter");
  await page.locator(".hit", { hasText: /^123456$/ }).waitFor();
  // The dashboard has not searched what is older than this match.
  assert.match(await page.locator("#found").textContent(), /^1 of 1\+?$/);
  // Where the reader is survives a reload.
  await until(
    () => page.evaluate(() => /"following":false,"n":123\d{3}/.test(sessionStorage.getItem("output:web-1"))),
    "the place is kept",
  );
  await page.reload();
  await output(page)
    .filter({ hasText: /^123456$/ })
    .waitFor();
  assert.equal(await page.locator("#follow").getAttribute("aria-pressed"), "false");
  await page.locator("#newest").click();
  await output(page)
    .filter({ hasText: /^200000$/ })
    .waitFor();
  assert.equal(await page.locator("#follow").getAttribute("aria-pressed"), "true");

  const waiting = page.waitForEvent("download");
  await page.locator("#download").click();
  const file = await waiting;
  assert.match(file.suggestedFilename(), /^web-1.*\.(txt|log)$/);
  const lines = (await (await import("node:fs/promises")).readFile(await file.path(), "utf8")).split("\n");
  assert.ok(lines.includes("1") && lines.includes("200000"), "the whole log");
  await close(page);
});

test("times can be shown, and stay", async () => {
  const page = await open(browser, dashboard.url);
  await page.locator("#times").click();
  await page.locator("#output.times").waitFor();
  assert.match(await output(page).last().getAttribute("data-at"), /^\d\d:\d\d:\d\d$/);
  await page.reload();
  await page.locator("#output.times").waitFor();
  await close(page);
});

test("the output of an earlier command is one press away", async () => {
  const page = await open(browser, dashboard.url);
  await page.getByRole("button", { name: /^Output of bad/ }).click();
  await page.locator(".hit", { hasText: "bad: failed, exit code 3" }).waitFor();
  await output(page).filter({ hasText: "error: it broke" }).first().waitFor();
  await close(page);
});

test("without its dashboard the page says so, keeps what it has, and comes back by itself", async () => {
  const page = await open(browser, dashboard.url, { outage: true });
  await press(page, "good");
  await ended(page, "good: ");
  const { port } = dashboard;
  await dashboard.stop();
  await page.locator("#link[data-state=lost]").waitFor();
  await page.locator("#why-not", { hasText: "The dashboard does not answer" }).waitFor();
  assert.ok(await page.locator("#buttons button").first().isDisabled());
  await output(page).filter({ hasText: "fine" }).last().waitFor();
  dashboard = await startDashboard(port);
  await page.locator("#link[data-state=live]").waitFor();
  await page.locator("#state[data-status=online]").waitFor();
  await press(page, "bad");
  await ended(page, "exit code 3");
  await close(page);
});

test("a host that goes away is called offline, and its buttons say why they are off", async () => {
  const page = await open(browser, dashboard.url);
  await agent.stop();
  await page.locator("#state[data-status=offline]").waitFor();
  await page.locator("#why-not", { hasText: /web-1 is offline: its last heartbeat came/ }).waitFor();
  await close(page);
});
