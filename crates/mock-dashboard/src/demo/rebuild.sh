#!/bin/sh
# A stand-in for nixos-rebuild. A system is a folder in `systems`, and `current-system` is a link to the one that runs.
# The real one hands the activation to systemd unless NIXOS_REBUILD_NO_SYSTEMD_RUN is set. This one must not: it would
# make a unit of that name on a machine on which nothing may be changed. So its activation is always a child.
set -eu
folder=$(cd "$(dirname "$0")" && pwd)
systems=$folder/systems
current=$folder/current-system

# set_next SYSTEM: sets the profile, and the boot loader's default entry.
set_next() {
  mkdir -p "$folder/boot/grub"
  ln -sfn "$1" "$folder/profile"
  printf 'menuentry "NixOS" {\n  linux /kernel init=%s/init\n}\n' "$1" >"$folder/boot/grub/grub.cfg"
}

# make CHECKOUT: makes a system of its commit, which the next boot runs.
make() {
  commit=$(git -C "$1" rev-parse HEAD)
  mkdir -p "$systems"
  made=$systems/$(($(ls "$systems" | wc -l) + 1))
  mkdir -p "$made/sw/bin"
  echo 26.05.20260714.7beb50e >"$made/nixos-version"
  printf '#!/bin/sh\necho %s\n' "'{\"configurationRevision\":\"$commit\"}'" >"$made/sw/bin/nixos-version"
  chmod +x "$made/sw/bin/nixos-version"
  set_next "$made"
}

if [ "$1" = first ]; then
  make "$2"
  ln -sfn "$made" "$current"
  ln -sfn "$made" "$folder/booted-system"
  exit
fi

echo "This stand-in for nixos-rebuild changes nothing on this machine. It was called as: nixos-rebuild $*"
exec >&2
store=/nix/store/00000000000000000000000000000000
case " $* " in
*" --rollback "*)
  number=$(basename "$(readlink "$current")")
  before=$((number - 1))
  if [ "$before" -eq 0 ]; then
    echo "error: no generation older than the current ($number) exists"
    echo "Command '['nix-env', '--rollback', '-p', '$folder/profile']' returned non-zero exit status 1."
    exit 1
  fi
  echo "switching profile from version $number to $before"
  ;;
*)
  checkout=
  for argument in "$@"; do
    case $argument in
    *"#"*) checkout=${argument%"#"*} ;;
    esac
  done
  echo "building the system configuration..."
  sleep 2
  names="unit-nginx.service system-units etc-hosts etc nixos-system-demo-host-26.05"
  echo "these 5 derivations will be built:"
  for name in $names; do
    echo "  $store-$name.drv"
  done
  echo "these 3 paths will be fetched (4.21 MiB download, 17.90 MiB unpacked):"
  for name in nginx-1.30.0 pcre2-10.46 zlib-1.3.1; do
    echo "  $store-$name"
  done
  for name in zlib-1.3.1 pcre2-10.46 nginx-1.30.0; do
    echo "copying path '$store-$name' from 'https://cache.nixos.org'..."
    sleep 0.5
  done
  for name in $names; do
    echo "building '$store-$name.drv'..."
    sleep 1
  done
  ;;
esac
if [ "$1" = boot ]; then
  make "$checkout"
  echo "updating GRUB 2 menu..."
  exit
fi
echo "stopping the following units: nginx.service"
sleep 1
echo "activating the configuration..."
sleep 2
case " $* " in
*" --rollback "*) made=$systems/$before && set_next "$made" ;;
*) make "$checkout" ;;
esac
ln -sfn "$made" "$current"
echo "setting up /etc..."
echo "starting the following units: nginx.service"
