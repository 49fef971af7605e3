// Browsers and hosts that are not as usual: nothing may be kept, nobody looks, hosts and commands with names of
// properties, agents that tell next to nothing or very much.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { close, launch, open } from "./lib/browser.mjs";
import { LIMIT, startDashboard, until } from "./lib/dashboard.mjs";
import { startFleet, startHost } from "./lib/fleet.mjs";

let dashboard, fleet, browser, oldest;

const FACTS = { host_type: "nixos", agent_version: "0.1.0", os_version: "26.05", nixpkgs_version: "26.05" };
// The five fields that each heartbeat has had from the beginning.
const BEAT = {
  generation: "161c9c6",
  nixpkgs_version: "26.05",
  pending_command: null,
  command_pid: null,
  metrics: null,
};
const LONGEST = `${"long-".repeat(12)}end`;
const MARKUP = "<img src=x onerror=alert(1)><script>alert(2)</script>";

before(async () => {
  browser = await launch();
  dashboard = await startDashboard();
  fleet = await startFleet(dashboard, 40);
  const commands = [{ name: "constructor", own: true, description: MARKUP }];
  await startHost(
    dashboard,
    { ...FACTS, hostname: "constructor", location: "__proto__", commands },
    {
      ...BEAT,
      pending_command: "constructor",
      command_pid: 7,
    },
  );
  oldest = await startHost(dashboard, { ...FACTS, hostname: "oldest" }, BEAT);
  const much = await startHost(
    dashboard,
    {
      ...FACTS,
      hostname: LONGEST,
      location: "l".repeat(60),
      commands: Array.from({ length: 50 }, (_, at) => ({ name: `command-${at}`, own: true, description: MARKUP })),
    },
    {
      ...BEAT,
      pending_command: "switch",
      command_activity: { phase: "a phase of the future", silent_s: 4000 },
      update_status: {
        git: { status: "outdated", message: MARKUP, checked_at: "not a time" },
        lock: { status: "working", message: "", checked_at: "" },
        system: { status: "unknown", message: "x".repeat(300), checked_at: "" },
        tests: { status: "error", message: "", checked_at: "" },
      },
      vitals: {
        disks: Array.from({ length: 32 }, (_, at) => ({ path: `/volumes/${at}`, usage: at / 32 })),
        gpus: Array.from({ length: 8 }, (_, at) => ({
          vendor: "amd",
          pci_address: `${at}`,
          status: "a new word",
        })),
        temperatures: Array.from({ length: 40 }, (_, at) => ({ name: `core ${at}`, celsius: at })),
      },
    },
  );
  much.send("status", {
    status: "error",
    command: "switch",
    exit_code: 4,
    message: MARKUP,
    generation: "161c9c6",
    job_id: "j0",
    outcome: "an_outcome_of_the_future",
  });
  const line = (seq, text) => ({ seq, stream: "stdout", line: text, at: "not a time" });
  much.send("output_batch", {
    command: "switch",
    job_id: "j1",
    lines: [line(1, MARKUP), line(2, "w".repeat(8000)), line(3, "")],
  });
});

after(async () => {
  await browser?.close();
  fleet?.stop();
  await dashboard?.stop();
});

test("hosts and commands may have the names of properties", async () => {
  const page = await open(
    browser,
    `${dashboard.url}?show=constructor&sort=constructor&group=__proto__#/constructor`,
  );
  await page.locator("#running b", { hasText: "constructor" }).waitFor();
  await page.locator("#running .detail", { hasText: "pid 7" }).waitFor();
  await page.locator("#buttons button[value=constructor]").waitFor();
  await page.goto(`${dashboard.url}#/`);
  await page.locator("#rows .row[data-id=constructor]").waitFor();
  await page.goto(`${dashboard.url}#/%E0%A4%A`);
  await page.locator("#rows .row[data-id=constructor]").waitFor();
  await close(page);
});

test("an agent that tells next to nothing is shown without odd words", async () => {
  const page = await open(browser, `${dashboard.url}#/oldest`);
  await page.locator("#name", { hasText: "oldest" }).waitFor();
  await page.locator("#buttons button[value=pull]").waitFor();
  assert.doesNotMatch(await page.locator("body").innerText(), /undefined|NaN|null|\[object/);
  await close(page);
});

test("an agent that tells a lot is shown as text, and its output stays in sight", async () => {
  for (const width of [390, 1180, 1440, 1920, 2560]) {
    const page = await open(browser, `${dashboard.url}#/${LONGEST}`, { width });
    await page.locator("#name", { hasText: LONGEST }).waitFor();
    await page.locator("#disks li").nth(31).waitFor();
    await page.getByRole("log").getByText(MARKUP, { exact: true }).waitFor();
    assert.doesNotMatch(await page.locator("body").innerText(), /undefined|NaN|\[object/);
    assert.equal(await page.locator("img[src=x], main script").count(), 0);
    // Neither the page nor a part of it is wider than its place.
    const wide = await page.evaluate(() =>
      [document.documentElement, ...document.querySelectorAll("main, #host, .work, .aside, .bar, .buttons")]
        .filter((one) => one.scrollWidth > one.clientWidth + 1)
        .map((one) => `${one.tagName}.${one.className}: ${one.scrollWidth} of ${one.clientWidth}`),
    );
    assert.deepEqual(wide, [], `${width} pixels`);
    assert.ok((await page.locator("#buttons").boundingBox()).height <= 250, "the commands leave room");
    await close(page);
  }
});

test("the page works where nothing may be kept", async () => {
  const context = await browser.newContext();
  await context.addInitScript(() => {
    for (const area of ["localStorage", "sessionStorage"]) {
      Object.defineProperty(window, area, {
        get: () => {
          throw new DOMException("refused", "SecurityError");
        },
      });
    }
  });
  const page = await context.newPage();
  const faults = [];
  page.on("pageerror", (error) => faults.push(error.stack));
  await page.goto(`${dashboard.url}#/${LONGEST}`);
  await page.getByRole("log").getByText(MARKUP, { exact: true }).waitFor();
  await page.locator("#times").click();
  await page.locator("#output.times").waitFor();
  await page.locator("#follow").click();
  await page.locator("#follow[aria-pressed=false]").waitFor();
  await page.locator("#newest").click();
  await page.locator("#follow[aria-pressed=true]").waitFor();
  await context.close();
  assert.deepEqual(faults, []);
});

test("a page that nobody sees still counts in its title", async () => {
  const context = await browser.newContext();
  await context.addInitScript(() => {
    // What a browser does with a page in the background.
    let hidden = false;
    const frame = window.requestAnimationFrame.bind(window);
    Object.defineProperty(document, "hidden", { get: () => hidden });
    window.requestAnimationFrame = (draw) => (hidden ? 1 : frame(draw));
    window.hide = (now) => {
      hidden = now;
      document.dispatchEvent(new Event("visibilitychange"));
    };
  });
  const page = await context.newPage();
  await page.goto(dashboard.url);
  await page.locator("#rows .row").first().waitFor();
  const before = await page.title();
  await page.evaluate(() => window.hide(true));
  const victim = fleet.sockets[11];
  victim.send("status", { status: "error", command: "pull", exit_code: 1, message: "", job_id: "j2" });
  await until(async () => (await page.title()) !== before, "the title tells of the failure");
  await context.close();
});

test("the tab key goes from row to row as they are seen, also after they have moved", async () => {
  const page = await open(browser, dashboard.url);
  await page.locator("#rows .row").first().waitFor();
  const order = () =>
    page.locator("#rows .row").evaluateAll((rows) => rows.map((row) => Number(row.getAttribute("aria-rowindex"))));
  await page.locator("#rows .row a").nth(3).focus();
  const focused = () => page.evaluate(() => document.activeElement.textContent);
  const name = await focused();
  await page.locator("#rows").evaluate((rows) => (rows.scrollTop = 200));
  await page.locator(".heads .name button").dispatchEvent("click");
  await page.locator(".heads .name[aria-sort]").waitFor();
  const found = await until(async () => {
    const shown = await order();
    return shown.every((index, at) => at === 0 || index > shown[at - 1]) && shown;
  }, "the rows are in order");
  assert.ok(found.length > 10);
  if (await page.locator(`.row[data-id="${name}"]`).count()) assert.equal(await focused(), name);
  await close(page);
});

// It is online for three intervals after each heartbeat.
async function oldestIsOnline() {
  oldest.beat();
  await dashboard.until("oldest", (host) => host.status === "online", "oldest is online");
}

test("a button that was pressed keeps the focus", async () => {
  await oldestIsOnline();
  const page = await open(browser, `${dashboard.url}#/oldest`);
  const button = page.locator("#buttons button[value=pull]");
  await button.focus();
  await page.keyboard.press("Enter");
  await page.locator("#notice", { hasText: "not a real host" }).waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.value), "pull");
  await close(page);
});

// Holds the timers that end a wait for a second press. Returns how many there are.
async function holdTimers(page) {
  await page.evaluate(() => {
    const { setTimeout: set, clearTimeout: clear } = window;
    const held = new Set();
    let id = 0;
    window.setTimeout = (act, ms, ...more) => {
      if (ms !== 4000) return set(act, ms, ...more);
      held.add(--id);
      return id;
    };
    window.clearTimeout = (timer) => held.delete(timer) || clear(timer);
    window.heldTimers = () => held.size;
  });
  return () => page.evaluate(() => window.heldTimers());
}

test("several hosts are not rebooted by one press", async () => {
  const page = await open(browser, dashboard.url);
  const timers = await holdTimers(page);
  await page.locator("#rows .row").first().waitFor();
  await page.locator("#search").fill("web-");
  // The head and five hosts: the list is drawn in the next frame.
  await page.locator("#table[aria-rowcount='6']").waitFor();
  await page.getByLabel("Select all hosts that are listed").click();
  await page.locator("#bulk b", { hasText: "5 hosts selected" }).waitFor();
  const again = page.getByRole("button", { name: /^Run reboot on 5 hosts: press again$/ });
  await page.locator("#bulk-command").fill("reboot");
  await page.keyboard.press("Enter");
  await again.waitFor();
  // As many hosts, and not the same.
  await page.getByLabel("Select web-", { exact: false }).first().click();
  await page.locator("#search").fill("oldest");
  await page.getByLabel("Select oldest").click();
  await page.locator("#bulk b", { hasText: "5 hosts selected" }).waitFor();
  assert.equal(await again.count(), 0);
  await page.locator("#bulk-command").press("Enter");
  await again.waitFor();
  assert.equal(await timers(), 1, "the first wait does not end the second one");
  await again.click();
  await page.locator(".results .summary", { hasText: "reboot: 5 refused or failed" }).waitFor();
  await close(page);
});

test("the way out of a search without a match keeps the focus, however often the table is drawn", async () => {
  const page = await open(browser, dashboard.url);
  await page.locator("#search").fill("nothing like that");
  await page.getByRole("button", { name: "Show all" }).focus();
  const running = page.locator("#chips button", { hasText: "Running" }).locator("b");
  const before = Number(await running.textContent());
  fleet.sockets[3].beat({ pending_command: "pull" });
  await until(async () => Number(await running.textContent()) === before + 1, "the table is drawn again");
  fleet.sockets[3].beat();
  await until(async () => Number(await running.textContent()) === before, "and again");
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Show all");
  await page.keyboard.press("Enter");
  await page.locator("#no-rows").waitFor({ state: "hidden" });
  await close(page);
});

test("one host is not rebooted by one press either, whether its name is typed or pressed", async () => {
  await oldestIsOnline();
  const page = await open(browser, `${dashboard.url}#/oldest`);
  const run = page.locator(".free button");
  const again = page.locator(".free button", { hasText: /^reboot: press again$/ });
  const refused = page.locator("#notice", { hasText: "“reboot” was rejected: not a real host" });
  await page.locator("#free").fill("reboot");
  await page.keyboard.press("Enter");
  await again.waitFor();
  // Another command is not the second press.
  await page.locator("#free").fill("pull");
  await run.click();
  await page.locator("#notice", { hasText: "“pull” was rejected" }).waitFor();
  await page.locator("#free").fill("reboot");
  await run.click();
  await again.waitFor();
  await run.click();
  await refused.waitFor();
  // Neither is a third press of the same.
  await page.getByRole("button", { name: "Dismiss" }).click();
  await run.click();
  await again.waitFor();
  assert.ok(await page.locator("#notice").isHidden());
  await close(page);
});

test("the name of a group is not selected, whatever was in its row before", async () => {
  const page = await open(browser, `${dashboard.url}?compact=0`);
  await page.locator("#rows .row").first().waitFor();
  await page.getByLabel("Select all hosts that are listed").click();
  await page.locator("#rows .row.picked").nth(5).waitFor();
  await page.locator("#group").selectOption("location");
  await page.locator("#rows .is-group").first().waitFor();
  assert.equal(await page.locator("#rows .is-group.picked").count(), 0);
  await close(page);
});

test("who logs out in one window is shown the login in the others", async () => {
  const context = await browser.newContext();
  // What the login of a real dashboard does with browsers. The answer with the page itself must come from the server:
  // Chromium lets no other page open a socket to this machine.
  await context.addInitScript(() => {
    document.addEventListener("readystatechange", () => {
      if (document.readyState !== "interactive") return;
      const form = '<form id="person" method="post" action="logout"><button>Log out</button></form>';
      document.querySelector("header")?.insertAdjacentHTML("beforeend", form);
    });
  });
  let person = true;
  const login = { status: 303, headers: { location: "/login" } };
  await context.route(dashboard.url, (route) => (person ? route.continue() : route.fulfill(login)));
  await context.route(`${dashboard.url}logout`, (route) => {
    person = false;
    return route.fulfill(login);
  });
  const [here, there] = [await context.newPage(), await context.newPage()];
  for (const page of [here, there]) {
    page.setDefaultTimeout(LIMIT);
    await page.goto(dashboard.url);
    await page.locator("#link[data-state=live]").waitFor();
  }
  await here.getByRole("button", { name: "Log out" }).click();
  for (const page of [here, there]) await page.waitForURL(`${dashboard.url}login`);
  await context.close();
});
