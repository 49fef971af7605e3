// A real agent on this machine, with commands that a test holds in its hand.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { TOKEN, program } from "./dashboard.mjs";

export async function startAgent(dashboard, hostname = "web-1") {
  const folder = await mkdtemp(path.join(tmpdir(), "nixfleet-page-"));
  const config = path.join(folder, "agent.toml");
  await writeFile(path.join(folder, "token"), TOKEN, { mode: 0o600 });
  await writeFile(config, settings(dashboard, hostname, folder));
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("NIXFLEET_")));
  const child = spawn(program("nixfleet-agent"), ["--config", config, "run"], {
    env,
    stdio: ["ignore", "ignore", "ignore"],
  });
  return {
    folder,
    // Lets the command `wait` end.
    release: () => writeFile(path.join(folder, "released"), ""),
    async stop() {
      child.kill("SIGTERM");
      if (child.exitCode === null) await once(child, "exit");
      await rm(folder, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

const settings = (dashboard, hostname, folder) => `
url = "${dashboard.agents}"
token_file = "${folder}/token"
hostname = "${hostname}"
interval = 1
state_dir = "${folder}/state"
location = "home"
device_type = "server"
theme_color = "#7aa2f7"

[jobs]
stop_grace = 1

[commands.wait]
description = "Wait until the test says so"
run = ["sh", "-c", "echo waiting; until [ -e ${folder}/released ]; do sleep 0.05; done; echo released"]

[commands.many-lines]
run = ["seq", "1", "200000"]

[commands.good]
run = ["sh", "-c", "echo 'error: nothing, really' >&2; echo 'warning: deprecated' >&2; echo fine"]

[commands.bad]
run = ["sh", "-c", "echo 'error: it broke' >&2; exit 3"]
`;
