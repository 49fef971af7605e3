// Texts for people, and DOM nodes for them. Data from messages is inserted as text, never as markup.

export const $ = (id) => document.getElementById(id);

export function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export const withPid = (command, pid) => (pid ? `${command} · pid ${pid}` : command);

// A heartbeat cannot arrive before it is sent, so the smallest difference seen is that of the two clocks.
let clockSkew = 0;

export function noteClock(view) {
  if (!view.last_seen || view.status !== "online") return;
  clockSkew = Math.min(clockSkew, Date.now() - Date.parse(view.last_seen));
}

export function ago(time) {
  if (!time) return "never";
  const seconds = Math.max(0, (Date.now() - clockSkew - Date.parse(time)) / 1000);
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86400)} d ago`;
}

export function duration(ms) {
  if (ms < 1000) return `${ms} ms`;
  if (ms < 60000) return `${(ms / 1000).toFixed(1)} s`;
  return `${Math.floor(ms / 60000)} min ${Math.round((ms % 60000) / 1000)} s`;
}

export function rejection(reason, command, pid) {
  if (!command) return reason;
  return `${reason} (${command}${pid ? `, pid ${pid}` : ""})`;
}
