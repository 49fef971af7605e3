// Requests for commands, to one host and to several.

const tokenOf = (page) => page.querySelector('meta[name="csrf-token"]').content;

let csrf = tokenOf(document);

// How long an answer may take, in milliseconds. The dashboard waits two seconds for the agents, at most.
const ANSWER_MS = 30000;

const send = (path, body) =>
  fetch(path, {
    method: "POST",
    signal: AbortSignal.timeout(ANSWER_MS),
    headers: { "Content-Type": "application/json", "X-CSRF-Token": csrf },
    body: JSON.stringify(body),
  });

async function post(path, body) {
  let answer = await send(path, body);
  if (answer.status === 403) {
    // The dashboard has started anew, and with another token: that of the page as it is now.
    const page = await fetch("./", { cache: "no-store" });
    csrf = tokenOf(new DOMParser().parseFromString(await page.text(), "text/html"));
    answer = await send(path, body);
  }
  return { ok: answer.ok, body: await answer.json() };
}

// The answer has `error` if the command was refused, with the command that runs. If its `status` is `unclear`, the
// command may run all the same.
export async function run(host, command) {
  try {
    const { ok, body } = await post(`api/hosts/${encodeURIComponent(host)}/command`, { command });
    return ok ? {} : body;
  } catch {
    return { unsent: true };
  }
}

// One answer for each host.
export async function runOnAll(hosts, command) {
  try {
    const { ok, body } = await post("api/commands", { command, hosts });
    return ok ? body : { error: body.error };
  } catch {
    return { error: "the dashboard does not answer" };
  }
}

// Commands that ask a second time, because nobody wants them by accident.
export const TWICE = new Set(["reboot"]);
// How long the second press is waited for, in milliseconds.
export const TWICE_MS = 4000;

// The commands of an agent that does not tell its own.
const USUAL = ["pull", "switch", "pull-switch", "boot", "test", "update", "rollback"];
// Those that have a place of their own, or that no person needs.
const ELSEWHERE = new Set([
  "stop",
  "kill",
  "clone",
  "check-version",
  "refresh-git",
  "refresh-lock",
  "refresh-system",
  "refresh-all",
]);
const ORDER = [...USUAL, "restart", "reboot"];

// What is offered for a host: the built-in commands in the order in which they are used, then the host's own.
export function offered(view) {
  const told = view.commands ?? USUAL.map((name) => ({ name }));
  const rank = ({ name, own }) => (own ? 100 : ORDER.indexOf(name) < 0 ? 50 : ORDER.indexOf(name));
  return told.filter(({ name }) => !ELSEWHERE.has(name)).sort((a, b) => rank(a) - rank(b));
}

export const USUAL_COMMANDS = USUAL;
