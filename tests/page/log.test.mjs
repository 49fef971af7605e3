// The window of a log: whatever happens, it shows the lines from one to another, without a gap or a repeat.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { close, launch, open, pressOlder } from "./lib/browser.mjs";
import { startDashboard, until } from "./lib/dashboard.mjs";
import { startFleet } from "./lib/fleet.mjs";

let dashboard, fleet, browser, host;
let seq = 0;

before(async () => {
  browser = await launch();
  dashboard = await startDashboard();
  fleet = await startFleet(dashboard, 2);
  [host] = fleet.sockets;
});

after(async () => {
  await browser?.close();
  fleet?.stop();
  await dashboard?.stop();
});

// Lines of one command, numbered through all tests. `pieces`: each line comes in so many, of so many
// `words`.
function say(count, { pieces = 1, words = 0 } = {}) {
  for (let sent = 0; sent < count; sent += 100) {
    const lines = [];
    for (let at = 0; at < Math.min(100, count - sent); at += 1) {
      for (let piece = 1; piece <= pieces; piece += 1) {
        seq += 1;
        const text = `${piece === 1 ? "line" : "piece"} ${seq}.${" word".repeat(words)}`;
        lines.push({ seq, at: new Date().toISOString(), stream: "stdout", line: text, cont: piece < pieces });
      }
    }
    host.send("output_batch", { command: "switch", job_id: "j1", lines });
  }
}

const url = () => `${dashboard.url}#/${host.name}`;
const text = (page) => page.locator("#output .run").allTextContents();
const numbers = async (page) =>
  [...(await text(page)).join("\n").matchAll(/(\d+)\./g)].map(([, one]) => Number(one));
const follows = (page) => page.locator("#follow").getAttribute("aria-pressed");

async function whole(page) {
  const shown = await numbers(page);
  const odd = shown.findIndex((number, at) => at > 0 && number !== shown[at - 1] + 1);
  assert.equal(odd, -1, `${shown.slice(Math.max(0, odd - 2), odd + 3)} of ${shown.length} lines`);
  return shown;
}

async function upTo(page, number) {
  await until(async () => (await numbers(page)).at(-1) === number, `line ${number} is shown`);
  return whole(page);
}

// By way of the middle, which the page hears of in the next frame. So it hears of each way to an end, also when it has
// moved the place itself meanwhile.
const scrollTo = (page, to) =>
  page.locator("#output").evaluate(async (output, to) => {
    output.scrollTop = output.scrollHeight / 2;
    await new Promise(requestAnimationFrame);
    output.scrollTop = to === "end" ? output.scrollHeight : 0;
  }, to);

// Answers of the log come when the test lets them.
async function slow(page) {
  const waiting = [];
  await page.route(/\/log\?/, async (route) => {
    const answer = await route.fetch();
    waiting.push(() => route.fulfill({ response: answer }));
  });
  return {
    asked: (count) => until(() => waiting.length >= count, `${count} questions`),
    answer: (at) => waiting[at](),
    answerAll: () => Promise.all(waiting.map((answer) => answer())),
    count: () => waiting.length,
  };
}

test("who goes to the newest lines while more come misses none", async () => {
  const page = await open(browser, url());
  say(4000);
  await upTo(page, seq);
  await page.locator("#find").fill("line 700.");
  await page.keyboard.press("Enter");
  await page.locator("#output .hit", { hasText: /^line 700\.$/ }).waitFor();
  const answers = await slow(page);
  await page.locator("#newest").click();
  // Whether it asks with a question of its own, or in another way, is its affair.
  const end = seq;
  await until(
    async () => answers.count() || (await numbers(page)).at(-1) === end,
    "the newest line, or a question",
  );
  say(300);
  const last = async () => (await dashboard.get(`api/hosts/${host.name}/log?limit=1`)).entries[0].line;
  await until(async () => (await last()) === `line ${seq}.`, "the dashboard has all lines");
  await answers.answerAll();
  say(1);
  await upTo(page, seq);
  assert.equal(await follows(page), "true");
  await close(page);
});

test("an answer that comes late does not move the reader", async () => {
  const page = await open(browser, url());
  await upTo(page, seq);
  await page.locator("#find").fill("line 700.");
  await page.keyboard.press("Enter");
  await page.locator("#output .hit", { hasText: /^line 700\.$/ }).waitFor();
  const answers = await slow(page);
  await page.locator("#find").fill("line 2500.");
  await page.keyboard.press("Enter");
  await answers.asked(1);
  await answers.answer(0);
  // That was the search; this is the page around the match.
  await answers.asked(2);
  await page.locator("#newest").click();
  await upTo(page, seq);
  await answers.answer(1);
  say(1);
  await upTo(page, seq);
  assert.equal(await follows(page), "true");
  await close(page);
});

test("one can read on from a match to the newest line, and back to the oldest, in a window of bounded size", async () => {
  const page = await open(browser, url());
  await upTo(page, seq);
  await page.locator("#find").fill("line 50.");
  await page.keyboard.press("Enter");
  await page.locator("#output .hit", { hasText: /^line 50\.$/ }).waitFor();
  await until(async () => {
    await scrollTo(page, "end");
    const shown = await whole(page);
    assert.ok(shown.length <= 3600, `${shown.length} lines`);
    return shown.at(-1) === seq;
  }, "the newest line is reached");
  await until(async () => {
    await scrollTo(page, "begin");
    const shown = await whole(page);
    assert.ok(shown.length <= 3600, `${shown.length} lines`);
    return shown[0] === 1;
  }, "the oldest line is reached");
  await close(page);
});

// Follows lines in pieces until so many entries are shown, at a moment when the oldest have gone. How many are left
// then depends on the frames of the browser.
async function followPieces(page, enough) {
  const from = seq + 1;
  await until(async () => {
    say(100, { pieces: 3 });
    const shown = await upTo(page, seq);
    return shown[0] > from && enough(shown.length);
  }, "a window of that length");
}

// Loads a page of older lines, all of which came in pieces, and expects them to be whole up to the end of the window.
async function olderPieces(page) {
  const first = (await numbers(page))[0];
  await pressOlder(page);
  await until(async () => (await numbers(page))[0] < first, "older lines");
  const shown = await whole(page);
  assert.equal(await page.locator("#output .run").count(), 1, "one command is one block");
  await untorn(page);
  return shown;
}

async function untorn(page) {
  const newest = (await page.locator("#output .run > div").allTextContents()).slice(-200);
  assert.deepEqual(
    newest.filter((line) => !/^line \d+\.piece \d+\.piece \d+\.$/.test(line)),
    [],
  );
}

test("long lines that came in pieces are neither torn nor repeated", async () => {
  const page = await open(browser, url());
  await upTo(page, seq);
  // There is room for a page of 500 below the 3,000 that a window may have.
  await followPieces(page, (length) => length <= 2500);
  const shown = await olderPieces(page);
  assert.equal(shown.at(-1), seq, "the newest line is still shown");
  // A match in the middle of such a line is shown.
  await page.locator("#find").fill(`piece ${seq - 1}.`);
  await page.keyboard.press("Enter");
  await page.locator("#output .hit", { hasText: `piece ${seq - 1}.` }).waitFor();
  await close(page);
});

test("a full window is cut between lines that came in pieces, and goes on where it was cut", async () => {
  const page = await open(browser, url());
  await upTo(page, seq);
  await followPieces(page, (length) => length > 2600);
  const shown = await olderPieces(page);
  assert.ok(shown.at(-1) < seq, "the newest lines have gone");
  await until(async () => {
    await scrollTo(page, "end");
    return (await whole(page)).at(-1) === seq;
  }, "the newest line is reached");
  await untorn(page);
  await close(page);
});

test("who follows stays at the end, however long the lines are", async () => {
  const page = await open(browser, url());
  await upTo(page, seq);
  for (let round = 0; round < 40; round += 1) {
    say(100, { words: (round * 37) % 400 });
    if (round % 10 === 9) await upTo(page, seq);
  }
  const below = () =>
    page.locator("#output").evaluate((output) => output.scrollHeight - output.scrollTop - output.clientHeight);
  // Two frames later also what was seen for the first time has its height.
  await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
  assert.ok((await below()) < 24, `${await below()} pixels below`);
  assert.equal(await follows(page), "true");
  // And who scrolls up does not.
  await page.locator("#output").hover();
  await page.mouse.wheel(0, -600);
  await page.locator("#follow[aria-pressed=false]").waitFor();
  await close(page);
});

test("a match is shown also behind lines that are longer than a page", async () => {
  const page = await open(browser, url());
  await upTo(page, seq);
  for (let round = 0; round < 14; round += 1) say(10, { words: 2400 });
  say(200);
  await upTo(page, seq);
  await page.locator("#find").fill(`line ${seq - 205}.`);
  await page.keyboard.press("Enter");
  await page.locator("#output .hit", { hasText: `line ${seq - 205}.` }).waitFor();
  await whole(page);
  await close(page);
});

test("a look at another host and back leaves nothing of either in the other's window", async () => {
  const page = await open(browser, url());
  await upTo(page, seq);
  const [, other] = fleet.sockets;
  for (let round = 0; round < 20; round += 1) {
    say(20);
    await page.evaluate((hash) => (location.hash = hash), `#/${round % 2 ? host.name : other.name}`);
  }
  await page.locator("#name", { hasText: host.name }).waitFor();
  await upTo(page, seq);
  await close(page);
});

test("another dashboard has another log, however long it is already", async () => {
  const page = await open(browser, url(), { outage: true });
  await upTo(page, seq);
  await page.locator("#find").fill("line 700.");
  await page.keyboard.press("Enter");
  await page.locator("#found", { hasText: "1 of 1" }).waitFor();
  const { port } = dashboard;
  await dashboard.stop();
  await page.locator("#link[data-state=lost]").waitFor();
  dashboard = await startDashboard(port, "another-token");
  fleet = await startFleet(dashboard, 2);
  [host] = fleet.sockets;
  seq = 100_000;
  say(9000);
  await page.locator("#link[data-state=live]").waitFor();
  // While the other host is the only one that has come, the page may show that.
  await page.locator("#counts", { hasText: "2 of 2 online" }).waitFor();
  await page.evaluate((name) => (location.hash = `#/${name}`), host.name);
  await upTo(page, seq);
  // What was found was in the other log.
  assert.equal(await page.locator("#found").textContent(), "");
  // Its token is another one, too.
  await page.locator("#buttons button[value=pull]").click();
  await page.locator("#notice", { hasText: "not a real host" }).waitFor();
  assert.ok(
    page.faults.every((fault) => /403/.test(fault)),
    page.faults.join("\n"),
  );
  page.faults.length = 0;
  await close(page);
});
