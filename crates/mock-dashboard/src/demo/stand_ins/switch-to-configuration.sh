#!/bin/sh
# A stand-in for a system's own program that activates it: it changes a link, and restarts the agent, as the real one
# does at the end of a switch if the new system has another agent.
# switch-to-configuration boot|switch|test
set -eu
system=$(cd "$(dirname "$0")/.." && pwd)
folder=$(cd "$system/../.." && pwd)
if [ "$1" != test ]; then
  echo "updating GRUB 2 menu..."
  mkdir -p "$folder/boot/grub"
  printf 'menuentry "NixOS" {\n  linux /kernel init=%s/init\n}\n' "$system" >"$folder/boot/grub/grub.cfg"
fi
if [ "$1" = boot ]; then
  exit
fi
before=$(cat "$folder/current-system/agent-version")
now=$(cat "$system/agent-version")
echo "stopping the following units: nginx.service"
sleep 1
echo "activating the configuration..."
sleep 1
ln -sfn "$system" "$folder/current-system"
echo "setting up /etc..."
if [ "$before" != "$now" ]; then
  # systemd does the same: SIGTERM, and a start with the program of the new system.
  echo "restarting the following units: nixfleet-agent.service"
  kill -TERM "$(cat "$folder/agent.pid" 2>/dev/null)" 2>/dev/null || true
  sleep 1
  echo "nixfleet-agent $before was replaced by $now"
  sleep 1
fi
echo "starting the following units: nginx.service"
sleep 1
