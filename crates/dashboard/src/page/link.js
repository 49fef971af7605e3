// The connection to the dashboard: one socket, opened again whenever it ends.

import { setLink } from "./store.js";

// Waits before the attempts to connect again.
const RETRY_MS = [500, 1000, 2000, 4000];

// Who has logged in. Without a login there is nobody.
const person = document.getElementById("person");

let socket = null;
let attempts = 0;

export function connect(receive) {
  const url = new URL("browser", location.href);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  url.hash = "";
  url.search = "";
  socket = new WebSocket(url);
  socket.onmessage = (event) => {
    receive(JSON.parse(event.data));
    // Not when it opens: only now the page shows what is true.
    attempts = 0;
    setLink("live");
  };
  socket.onclose = () => {
    setLink("lost");
    // An attempt to connect again has failed.
    if (attempts > 0) askForLogin();
    const wait = RETRY_MS[Math.min(attempts++, RETRY_MS.length - 1)];
    setTimeout(() => connect(receive), wait * (0.5 + Math.random() / 2));
  };
}

// Behind a login, a session that has ended looks like a dashboard that is lost: browsers do not tell pages why a socket
// was refused. Whoever asks for the page is sent to the login then, so this shows it.
async function askForLogin() {
  if (!person) return;
  try {
    const { type, status } = await fetch("./", { method: "HEAD", redirect: "manual", cache: "no-store" });
    if (type === "opaqueredirect" || status === 401) location.reload();
  } catch {
    // The dashboard is lost.
  }
}

// A socket lasts longer than the session that has opened it. So the window in which somebody logs out tells the others,
// when the answer to that is there.
if (person) {
  const out = new BroadcastChannel("logout");
  out.onmessage = askForLogin;
  person.addEventListener("submit", () => addEventListener("pagehide", () => out.postMessage(null)));
}

export function send(type, payload) {
  if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ type, payload }));
}
