#!/usr/bin/env bash
# Records what an agent writes to its state folder: record.sh AGENT DASHBOARD OUT [ROOT]
#
# AGENT and DASHBOARD are the binaries `nixfleet-agent` and `nixfleet-mock-dashboard`. The files are copied to
# OUT as they were written; only ROOT, the folder of the throw-away host, is replaced by `/host`.
set -euo pipefail
agent=$1 dashboard=$2 out=$3 root=${4:-/tmp/nixfleet-formats}
port=${PORT:-18431} host=golden
rm -rf "$root" "$out"
mkdir -p "$root/bin" "$out"
script() { printf '#!/bin/sh\n%s\n' "$2" >"$1"; chmod 755 "$1"; }

# The repository that is cloned, with one test that passes and one that fails.
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null
git init --quiet --initial-branch=main "$root/origin"
mkdir -p "$root/origin/hosts/$host/tests"
script "$root/origin/hosts/$host/tests/T1-good.sh" 'echo good'
script "$root/origin/hosts/$host/tests/T2-bad.sh" 'echo bad; exit 3'
echo '{ }' >"$root/origin/flake.nix"
echo '{ "nodes": {}, "root": "root", "version": 7 }' >"$root/origin/flake.lock"
git -C "$root/origin" add --all
git -C "$root/origin" -c user.name=n -c user.email=n@example.org commit --quiet --message=one

# The rebuild fails while there is no file `good`. The machine never goes down.
script "$root/bin/rebuild" "[ -e $root/good ] || { echo 'error: builder failed' >&2; exit 1; }
ln -sfn /nix/store/new-nixos-system-golden-26.05 $root/current-system"
script "$root/bin/reload" 'echo reloaded; sleep 2'
# The reboot takes a while, as a real one does.
script "$root/bin/systemctl" 'if [ "$1" = reboot ]; then sleep 5; else echo running; fi'
ln -s /nix/store/old-nixos-system-golden-25.11 "$root/current-system"
export PATH="$root/bin:$PATH"
cat >"$root/agent.toml" <<TOML
[reboot]
enable = true
[commands.reload]
steps = [{ run = ["$root/bin/reload", "all"], activation = true }]
timeout = 60
cwd = "$root"
env = { LANG = "C" }
[commands.hang]
run = ["sleep", "60"]
TOML

"$dashboard" --listen "127.0.0.1:$port" --token t --csrf-token c >"$root/dashboard.log" 2>&1 &
dashboard_pid=$!
trap 'kill $dashboard_pid ${agent_pid:-} 2>/dev/null || true' EXIT
NIXFLEET_CONFIG="$root/agent.toml" NIXFLEET_URL="ws://127.0.0.1:$port/ws" NIXFLEET_TOKEN=t \
  NIXFLEET_HOSTNAME=$host NIXFLEET_INTERVAL=1 NIXFLEET_STATE_DIR="$root/state" \
  NIXFLEET_REPO_URL="file://$root/origin" NIXFLEET_REBUILD__PROGRAM="[\"$root/bin/rebuild\"]" \
  NIXFLEET_PATHS__CURRENT_SYSTEM="$root/current-system" "$agent" >"$root/agent.log" 2>&1 &
agent_pid=$!

jobs="$root/state/jobs"
job() { # The folder of the newest job of command $1.
  for spec in $(ls -r "$jobs"/*/spec.json 2>/dev/null); do
    if grep -q "\"command\":\"$1\"" "$spec"; then dirname "$spec"; return; fi
  done
}
until_file() { for _ in $(seq 200); do [ -n "$(ls $1 2>/dev/null)" ] && return; sleep 0.1; done; echo "no $1" >&2; exit 1; }
keep() { sed "s|$root|/host|g" "$1" >"$out/$2.json"; }
ended() { # Waits for the end of the newest job of command $1, and keeps its files under the name $2.
  for _ in $(seq 200); do [ -e "$(job "$1")/result.json" ] && break; sleep 0.1; done
  for file in spec state result; do
    if [ -e "$(job "$1")/$file.json" ]; then keep "$(job "$1")/$file.json" "$2.$file"; fi
  done
  # The next command is refused until this one's record is gone.
  for _ in $(seq 100); do [ -z "$(ls "$root"/state/agent/delivery/ 2>/dev/null)" ] && break; sleep 0.1; done
}
ask() { # The dashboard refuses a command while the one before it is not finished on its side.
  for _ in $(seq 100); do
    curl -s --fail -o /dev/null -H 'X-CSRF-Token: c' -d "{\"command\":\"$1\"}" \
      "http://127.0.0.1:$port/api/hosts/$host/command" && return
    sleep 0.1
  done
  echo "not accepted: $1" >&2; exit 1
}
until_file "$jobs/*/result.json"
ended clone clone
rm "$out"/clone.*
for command in pull switch test; do
  ask $command
  sleep 0.5
  ended $command $command
done
keep "$jobs/history.json" failed.history
ask reload
until_file "$root/state/agent/delivery/*.json"
keep "$(ls "$root"/state/agent/delivery/*.json)" reload.delivery
ended reload reload
touch "$root/good"
ask switch
sleep 0.5
ended switch switched
rm "$out/switched.spec.json" "$out/switched.state.json"
# Until the agent has written the facts that follow from it.
sleep 3
keep "$jobs/history.json" history
keep "$jobs/checkout.json" checkout
keep "$root/state/agent/facts.json" facts
ask reboot
for _ in $(seq 60); do
  if grep -q announced "$root"/state/agent/delivery/*.json 2>/dev/null; then
    keep "$(ls "$root"/state/agent/delivery/*.json)" reboot.delivery; break
  fi
  sleep 0.1
done
sed "s|$root|/host|g" "$(job test)/log.jsonl" >"$out/test.log.jsonl"
kill $agent_pid
until_file "$(job reboot)/result.json"

# Two supervisors without an agent: a command that a signal ends, and a step that runs as the owner of the checkout.
supervise() {
  NIXFLEET_CONFIG="$root/agent.toml" NIXFLEET_HOSTNAME=$host NIXFLEET_STATE_DIR="$root/state" \
    NIXFLEET_REPO_DIR="$root/origin" "$agent" exec-job -- "$1-01a2185791ea745f8bafdf9c354e$2" >/dev/null
}
supervise hang 0001 &
until_file "$jobs/*0001/state.json"
kill "$(sed 's/.*"supervisor_pid":\([0-9]*\).*/\1/' "$jobs"/*0001/state.json)"
wait $!
keep "$jobs"/*0001/result.json hang.result
if [ "$(id -u)" = 0 ]; then
  chmod 755 "$root"
  chown -R 65534:65534 "$root/origin"
  supervise update 0002
  keep "$jobs"/*0002/spec.json update.spec
fi
ls "$out"
