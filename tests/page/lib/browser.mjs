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

// A page that fails the test if a script of it fails, or if the browser refuses one of its files.
export async function open(browser, url, { width = 1440, height = 900, scheme = "light" } = {}) {
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
    // A command that is refused is answered by 409, which Chromium reports as an error.
    if (message.type() === "error" && !/\(Conflict\)|ERR_CONNECTION_REFUSED|WebSocket/.test(message.text())) {
      page.faults.push(message.text());
    }
  });
  await page.goto(url);
  await page.locator("#link[data-state=live]").waitFor();
  return page;
}

export async function close(page) {
  await page.context().close();
  if (page.faults.length) throw new Error(`the page reported:\n${page.faults.join("\n")}`);
}
