// Chromium, without anything that would ask the network.

import { chromium } from "playwright-core";
import { LIMIT } from "./dashboard.mjs";

const ARGUMENTS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

export const launch = () => chromium.launch({ executablePath: process.env.NIXFLEET_CHROMIUM, args: ARGUMENTS });

// A command that is refused is answered by 409, which Chromium reports as an error.
const REFUSED_COMMAND = /\(Conflict\)/;
// What is under way when a dashboard goes is reset, closed, cut or without an answer; what is asked later is refused.
const WITHOUT_DASHBOARD =
  /net::ERR_(CONNECTION|SOCKET_NOT_CONNECTED|EMPTY_RESPONSE|CONTENT_LENGTH_MISMATCH|INCOMPLETE_CHUNKED)|WebSocket/;

// A page that fails the test if a script of it fails, or if the browser misses one of its files or answers. A test that
// takes its dashboard away says so: `outage`.
export async function open(browser, url, { width = 1440, height = 900, scheme = "light", outage = false } = {}) {
  const context = await browser.newContext({
    viewport: { width, height },
    colorScheme: scheme,
    timezoneId: "UTC",
  });
  const page = await context.newPage();
  page.setDefaultTimeout(LIMIT);
  page.faults = [];
  page.on("pageerror", (error) => page.faults.push(error.stack));
  page.on("console", (message) => {
    const text = message.text();
    const expected = REFUSED_COMMAND.test(text) || (outage && WITHOUT_DASHBOARD.test(text));
    if (message.type() === "error" && !expected) page.faults.push(text);
  });
  await page.goto(url);
  await page.locator("#link[data-state=live]").waitFor();
  return page;
}

// Loads one page of older lines of the output. Playwright would scroll up to the button, which loads one already.
export async function pressOlder(page) {
  await page.locator("#output").evaluate((output) => {
    output.scrollTop = 200;
  });
  await page.locator("#follow[aria-pressed=false]").waitFor();
  await page.locator(".older").dispatchEvent("click");
}

export async function close(page) {
  await page.context().close();
  if (page.faults.length) throw new Error(`the page reported:\n${page.faults.join("\n")}`);
}
