// A mock dashboard as a process of its own, on a free port.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import path from "node:path";

export const TOKEN = "page-token";
const CSRF = "page-csrf";

// How long anything may take on a busy machine, in milliseconds.
export const LIMIT = 30_000;

export const program = (name) => path.join(process.env.NIXFLEET_TEST_BIN, name);

export async function startDashboard(port = 0, csrf = CSRF) {
  const child = spawn(
    program("nixfleet-mock-dashboard"),
    ["--listen", `127.0.0.1:${port}`, "--token", TOKEN, "--csrf-token", csrf, "--log-level", "warn"],
    { stdio: ["ignore", "pipe", "inherit"] },
  );
  const lines = createInterface({ input: child.stdout });
  for await (const line of lines) {
    const [, url] = /^page:\s+(\S+)$/.exec(line) ?? [];
    if (url) return new Dashboard(child, url, csrf);
  }
  throw new Error("the mock dashboard ended at its start");
}

class Dashboard {
  constructor(child, url, csrf) {
    Object.assign(this, { child, url, csrf, port: Number(new URL(url).port) });
  }

  get agents() {
    return `${this.url.replace("http", "ws")}ws`;
  }

  async get(route) {
    const answer = await fetch(new URL(route, this.url));
    return answer.json();
  }

  async post(route, body) {
    const answer = await fetch(new URL(route, this.url), {
      method: "POST",
      headers: { "X-CSRF-Token": this.csrf },
      body: JSON.stringify(body),
    });
    return { status: answer.status, body: await answer.json() };
  }

  // Waits until a host is as wanted.
  async until(id, wanted, what) {
    return until(async () => {
      const { hosts } = await this.get("api/hosts");
      const host = hosts.find((one) => one.id === id);
      return host && wanted(host) ? host : null;
    }, what);
  }

  async stop() {
    if (this.child.exitCode !== null) return;
    this.child.kill("SIGTERM");
    await once(this.child, "exit");
  }
}

// Asks again and again until there is an answer.
export async function until(ask, what) {
  const end = Date.now() + LIMIT;
  for (;;) {
    const answer = await ask();
    if (answer) return answer;
    if (Date.now() > end) throw new Error(`not within ${LIMIT / 1000} s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
