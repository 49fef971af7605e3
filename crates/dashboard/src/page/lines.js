// Entries of a host's log as DOM nodes: each command is a block, so that its outcome can colour its lines.

import { clock, duration, element, rejection, words } from "./text.js";
import { severity } from "./severity.js";

// The longest line that is put together from its pieces, in characters.
const LONGEST = 100000;

function block(kind, job) {
  const made = element("div", "run");
  made.dataset.outcome = kind;
  if (job) made.dataset.job = job;
  return made;
}

function node(entry, kind, text) {
  const made = element("div", kind, text);
  made.dataset.n = entry.n;
  made.dataset.at = clock(entry.at);
  return made;
}

function endText({ command, status, outcome, exit_code: code, duration_ms: took, message }) {
  // The outcome is finer than the status, which existing dashboards show alone.
  const after = took == null ? "" : ` after ${duration(took)}`;
  const bad = code === 0 ? "" : `, exit code ${code}`;
  const mark = code === 0 ? "✓" : "✕";
  const said = message ? ` · ${message}` : "";
  return `${mark} ${command}: ${words(outcome ?? status)}${bad}${after}${said}`;
}

// Builds blocks of entries, the first of which may belong to a block before: then `open` is that block.
export class Blocks {
  constructor(parent, open = null) {
    this.parent = parent;
    this.open = open;
    this.last = null;
  }

  add(entry) {
    switch (entry.kind) {
      case "head":
        this.start(entry.job_id).append(node(entry, "head", `$ ${entry.command}`));
        this.last = null;
        break;
      case "line":
        this.line(entry);
        break;
      case "end": {
        const end = node(entry, "end", endText(entry));
        const own = this.open ?? this.start(entry.job_id);
        own.append(end);
        own.dataset.outcome = entry.exit_code === 0 ? "good" : "bad";
        this.open = null;
        this.last = null;
        break;
      }
      case "rejected": {
        const { command, reason, current_command: current, current_pid: pid } = entry;
        const text = `✕ ${command ?? "a command"} was rejected: ${rejection(reason, current, pid)}`;
        (this.open ?? this.start(null, "none")).append(node(entry, "rejected", text));
        this.last = null;
        break;
      }
    }
  }

  start(job, outcome = "running") {
    this.open = block(outcome, job);
    this.parent.append(this.open);
    const made = this.open;
    if (outcome === "none") this.open = null;
    return made;
  }

  // A piece of a long line is added to the line that it continues.
  line(entry) {
    const { last } = this;
    if (last?.cont && last.stream === entry.stream && last.node.textContent.length < LONGEST) {
      last.node.textContent += entry.line;
      last.node.dataset.to = entry.n;
      last.cont = entry.cont;
      return;
    }
    const made = node(entry, severity(entry.line), entry.line);
    (this.open ?? this.start(entry.job_id)).append(made);
    this.last = { node: made, cont: entry.cont, stream: entry.stream };
  }
}

// The number of the last entry that a node shows; not a number for none.
export const lastOf = (node) => Number(node?.dataset.to ?? node?.dataset.n);

// Joins two blocks of one command, which were loaded apart.
export function join(earlier, later) {
  if (!earlier || !later || earlier.dataset.outcome !== "running") return;
  if (later.firstElementChild?.classList.contains("head")) return;
  if (later.dataset.job && earlier.dataset.job && later.dataset.job !== earlier.dataset.job) return;
  later.prepend(...earlier.childNodes);
  later.dataset.job ||= earlier.dataset.job ?? "";
  earlier.remove();
}
