// Many hosts at once: sockets that register and send heartbeats as agents do, without a machine behind each.

import WebSocket from "ws";
import { TOKEN } from "./dashboard.mjs";

// Connections that are opened at a time.
const AT_A_TIME = 50;

const ROLES = ["web", "db", "cache", "build", "edge", "gpu", "desk", "mail"];
const PLACES = ["home", "work", "cloud"];
const DEVICES = ["server", "desktop", "laptop"];

// Hosts differ by their number alone, so that a test knows each of them.
export function host(number) {
  const name = `${ROLES[number % ROLES.length]}-${String(number).padStart(4, "0")}`;
  const word = number % 9 === 4 ? "outdated" : number % 25 === 7 ? "error" : "ok";
  const verdict = (status, message = "") => ({ status, message, checked_at: "2026-01-01T00:00:00Z" });
  return {
    name,
    location: PLACES[number % 3],
    device: DEVICES[number % 4 === 3 ? 1 : number % 5 === 2 ? 2 : 0],
    beat: {
      generation: number % 7 === 0 ? "9fe02b1" : "161c9c6",
      nixpkgs_version: "26.05.20260714.7beb50e",
      pending_command: null,
      command_pid: null,
      metrics: null,
      update_status: {
        git: verdict(word, word === "ok" ? "" : "3 commits behind origin/main"),
        lock: verdict("ok"),
        system: verdict("ok"),
        tests: verdict(""),
      },
      vitals: {
        device_id: name,
        timestamp: "2026-01-01T00:00:00Z",
        cpu_usage: ((number * 37) % 100) / 100,
        memory_usage: ((number * 53) % 100) / 100,
        gpu_usage: ROLES[number % ROLES.length] === "gpu" ? (number % 10) / 10 : null,
        gpu_temp_celsius: null,
        gpu_vram_usage: null,
        disk_usage: ((number * 71) % 100) / 100,
        active_sessions: null,
        pending_queries: null,
        loaded_model: null,
        reboot_required: number % 40 === 9,
      },
    },
  };
}

export async function startFleet(dashboard, size, interval = 30) {
  const sockets = [];
  for (let from = 0; from < size; from += AT_A_TIME) {
    const part = Array.from({ length: Math.min(AT_A_TIME, size - from) }, (_, at) =>
      join(dashboard, host(from + at), interval),
    );
    sockets.push(...(await Promise.all(part)));
  }
  return { sockets, stop: () => sockets.forEach(({ socket }) => socket.terminate()) };
}

function join(dashboard, { name, location, device, beat }, interval) {
  const facts = {
    hostname: name,
    host_type: "nixos",
    agent_version: "0.1.0",
    os_version: "26.05",
    nixpkgs_version: beat.nixpkgs_version,
    generation: beat.generation,
    heartbeat_interval: interval,
    location,
    device_type: device,
    theme_color: "#7aa2f7",
  };
  return startHost(dashboard, facts, beat);
}

// One host, which registers with these facts and rejects each command.
export function startHost(dashboard, facts, beat) {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(dashboard.agents, { headers: { Authorization: `Bearer ${TOKEN}` } });
    const send = (type, payload) => socket.send(JSON.stringify({ type, payload }));
    const name = facts.hostname;
    const one = { name, socket, send, beat: (changes = {}) => send("heartbeat", { ...beat, ...changes }) };
    socket.on("open", () => send("register", facts));
    socket.on("message", (data) => {
      const { type, payload } = JSON.parse(data);
      if (type === "registered") {
        one.beat();
        resolve(one);
      }
      if (type === "command")
        send("command_rejected", { reason: "not a real host", command: payload.command, command_id: payload.id });
    });
    socket.on("error", reject);
  });
}
