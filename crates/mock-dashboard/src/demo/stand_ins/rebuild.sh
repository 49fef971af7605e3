#!/bin/sh
# A stand-in for nixos-rebuild: prints what that would print, slowly enough to watch, and makes a system of the
# checkout's commit: a folder in `systems`. The link `current-system` names the one that runs.
# The real one hands the activation to systemd unless NIXOS_REBUILD_NO_SYSTEMD_RUN is set. This one must not: it would
# make a unit of that name on a machine on which nothing may be changed. So its activation is always a child.
set -eu
folder=$(cd "$(dirname "$0")" && pwd)
systems=$folder/systems
profile=$folder/nix/profiles/system
nix_env=$folder/bin/nix-env

# make CHECKOUT HOST: makes a system of its commit.
make() {
  commit=$(git -C "$1" rev-parse HEAD)
  mkdir -p "$systems"
  number=$(($(ls "$systems" | wc -l) + 1))
  made=$systems/$number
  mkdir -p "$made/sw/bin" "$made/bin"
  echo 26.05.20260714.7beb50e >"$made/nixos-version"
  # Each system has an agent of its own, by its version: so a page shows that a switch replaced it.
  echo "@VERSION@+$number" >"$made/agent-version"
  ln -s "$folder/agent" "$made/sw/bin/nixfleet-agent"
  ln -s "$nix_env" "$made/sw/bin/nix-env"
  ln -s "$folder/bin/switch-to-configuration" "$made/bin/switch-to-configuration"
  printf '#!/bin/sh\necho %s\n' "'{\"configurationRevision\":\"$commit\"}'" >"$made/sw/bin/nixos-version"
  chmod +x "$made/sw/bin/nixos-version"
  for part in kernel initrd kernel-modules; do
    ln -s "/nix/store/00000000000000000000000000000000-linux-6.18.1/$part" "$made/$part"
  done
  if grep -q blockOutgoing "$1/hosts/$2/configuration.nix"; then
    : >"$made/network-down"
  fi
}

if [ "$1" = first ]; then
  make "$2" "$3"
  "$nix_env" -p "$profile" --set "$made"
  "$made/bin/switch-to-configuration" boot >/dev/null
  ln -sfn "$made" "$folder/current-system"
  ln -sfn "$made" "$folder/booted-system"
  exit
fi

action=$1
rollback=
json=
checkout=
host=
for argument in "$@"; do
  case $argument in
  --rollback) rollback=1 ;;
  internal-json) json=1 ;;
  *"#"*)
    checkout=${argument%"#"*}
    host=${argument##*"#"}
    ;;
  esac
done

echo "This stand-in for nixos-rebuild changes nothing on this machine. It was called as: nixos-rebuild $*"
exec >&2

# nix EVENT: a line of nix's log for machines, unless people read it.
nix() {
  if [ -n "$json" ]; then
    echo "@nix $1"
  fi
}

# say TEXT: a message of nix.
say() {
  if [ -n "$json" ]; then
    nix "{\"action\":\"msg\",\"level\":3,\"msg\":\"$1\"}"
  else
    echo "$1"
  fi
}

# count ACTIVITY DONE EXPECTED: the progress of an activity, of which nix tells machines only.
count() {
  nix "{\"action\":\"result\",\"id\":$1,\"type\":105,\"fields\":[$2,$3,$(($2 < $3)),0]}"
}

# begin ACTIVITY TYPE TEXT FIELDS
begin() {
  if [ -n "$json" ]; then
    nix "{\"action\":\"start\",\"id\":$1,\"level\":3,\"parent\":0,\"type\":$2,\"text\":\"$3\",\"fields\":[$4]}"
  elif [ -n "$3" ]; then
    echo "$3..."
  fi
}

end() {
  nix "{\"action\":\"stop\",\"id\":$1}"
}

# What nix does: fetches some paths, and builds some derivations.
realise() {
  store=/nix/store/00000000000000000000000000000000
  paths="zlib-1.3.1 pcre2-10.46 nginx-1.30.0"
  derivations="unit-nginx.service unit-nixfleet-agent.service system-units etc-hosts etc nixos-system-$host-26.05"
  say "these 6 derivations will be built:"
  for name in $derivations; do
    say "  $store-$name.drv"
  done
  say "these 3 paths will be fetched (4.21 MiB download, 17.90 MiB unpacked):"
  for name in $paths; do
    say "  $store-$name"
  done
  begin 1 103 "" ""
  begin 2 104 "" ""
  count 2 0 6
  number=0
  for name in $paths; do
    begin 3 100 "copying path '$store-$name' from 'https://cache.nixos.org'" ""
    sleep 0.3
    end 3
    number=$((number + 1))
    count 1 $number 3
  done
  end 1
  number=0
  for name in $derivations; do
    begin 4 105 "building '$store-$name.drv'" "\"$store-$name.drv\",\"\",1,1"
    sleep 0.5
    end 4
    number=$((number + 1))
    count 2 $number 6
  done
  end 2
}

if [ -n "$rollback" ]; then
  "$nix_env" -p "$profile" --rollback || {
    echo "Command '['nix-env', '--rollback', '-p', '$profile']' returned non-zero exit status 1."
    exit 1
  }
  exec "$(readlink -f "$profile")/bin/switch-to-configuration" "$action"
fi
echo "building the system configuration..."
sleep 1
realise
make "$checkout" "$host"
if [ "$action" = build ]; then
  ln -sfn "$made" result
  exit
fi
"$nix_env" -p "$profile" --set "$made"
exec "$made/bin/switch-to-configuration" "$action"
