#!/usr/bin/env bash
# cross.sh WRITER READER : WRITER's agent and supervisor write, READER reads; a job ends while no agent runs.
set -euo pipefail
writer=$1 reader=$2 root=/tmp/nixfleet-cross port=18441
# Each agent gets the dashboard of its own version: the heartbeat changed between them.
wdash=$(dirname $writer)/nixfleet-mock-dashboard rdash=$(dirname $reader)/nixfleet-mock-dashboard
rm -rf $root; mkdir -p $root/origin
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null
git init -q -b main $root/origin; echo '{ }' >$root/origin/flake.nix
git -C $root/origin add -A; git -C $root/origin -c user.name=n -c user.email=n@e commit -qm one
printf '[commands.slow]\nrun = ["sh", "-c", "for i in 1 2 3 4 5 6; do echo line $i; sleep 1; done; exit 7"]\n' >$root/agent.toml
printf '#!/bin/sh\necho "error: builder failed" >&2; exit 1\n' >$root/rebuild; chmod 755 $root/rebuild
export NIXFLEET_CONFIG=$root/agent.toml NIXFLEET_URL=ws://127.0.0.1:$port/ws NIXFLEET_TOKEN=t NIXFLEET_HOSTNAME=cross \
 NIXFLEET_INTERVAL=1 NIXFLEET_STATE_DIR=$root/state NIXFLEET_REPO_URL=file://$root/origin NIXFLEET_LOG_LEVEL=debug \
 NIXFLEET_REBUILD__PROGRAM="[\"$root/rebuild\"]"
$wdash --listen 127.0.0.1:$port --token t --csrf-token c >$root/dash.log 2>&1 & d=$!
trap 'kill $d ${a:-} 2>/dev/null || true' EXIT
ask() { for _ in $(seq 40); do ask1 $1 && return; sleep 0.25; done; echo "not accepted: $1"; exit 1; }
ask1() { curl -s --fail-with-body -o /dev/null -H 'X-CSRF-Token: c' -d "{\"command\":\"$1\"}" http://127.0.0.1:$port/api/hosts/cross/command; }
$writer >$root/writer.log 2>&1 & a=$!
sleep 3; ask pull; sleep 1.5; ask switch; sleep 1.5; ask slow; sleep 2
echo "--- record of the running job, written by the writer"; cat $root/state/agent/delivery/*.json; echo
kill -9 $a; wait $a 2>/dev/null || true
echo "--- reader: logs --list while the writer's supervisor runs"; $reader logs --list 2>&1 || true
sleep 6
echo "--- reader: logs --list after its end (no agent ran)"; $reader logs --list 2>&1 || true
echo "--- reader: logs (newest)"; $reader logs 2>&1 || true
kill $d; wait $d || true
$rdash --listen 127.0.0.1:$port --token t --csrf-token c >$root/dash2.log 2>&1 & d=$!
sleep 0.5
$reader >$root/reader.log 2>&1 & a=$!
sleep 3
echo "--- reader: status"; $reader status 2>&1 || true
echo "--- what the dashboard got of slow"
curl -s http://127.0.0.1:$port/api/hosts/cross/messages | python3 -c '
import json,sys
d=json.load(sys.stdin); d=d if isinstance(d,list) else d.get("messages",d)
for m in d:
    m=m.get("message",m); t=m.get("type"); p=m.get("payload",m)
    if t in("status",): print(t, {k:p.get(k) for k in("command","status","exit_code","outcome","message","lines")})
    if t=="output": print(t,p.get("seq"),p.get("line"))
    if t=="output_batch" and p["command"]=="slow": print(t,[(l["seq"],l["line"]) for l in p["lines"]])
hb=[m for m in d if m.get("message",m).get("type")=="heartbeat"]
p=hb[-1].get("message",hb[-1]); p=p.get("payload",p); print("last heartbeat", p.get("generation"), json.dumps(p.get("update_status")))'
echo "--- records left: $(ls $root/state/agent/delivery)"
echo "--- reader pulls; history before and after"; head -c 200 $root/state/jobs/history.json; echo; ask pull; sleep 2.5; head -c 200 $root/state/jobs/history.json; echo
grep -o '"switch":{[^}]*}' $root/state/jobs/history.json
head -c 120 $root/state/agent/facts.json; echo
grep -iE "warn|error|newer" $root/reader.log || echo "no warnings in the reader's log"
kill $a; wait $a || true
