// The connection to the dashboard: one socket, opened again whenever it ends.

import { setLink } from "./store.js";

// Waits before the attempts to connect again.
const RETRY_MS = [500, 1000, 2000, 4000];

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
    const wait = RETRY_MS[Math.min(attempts++, RETRY_MS.length - 1)];
    setTimeout(() => connect(receive), wait * (0.5 + Math.random() / 2));
  };
}

export function send(type, payload) {
  if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ type, payload }));
}
