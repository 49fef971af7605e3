#!/bin/sh
# Changes the repository of the demo, as somebody does who works on the fleet.
# commit.sh motd HOST          a harmless change
# commit.sh break HOST         blocks the network of a host
# commit.sh mend HOST          and allows it again
set -eu
origin='@ORIGIN@'
file=hosts/$2/configuration.nix
cd "$origin"
case $1 in
motd)
  number=$(($(grep -c motd "$file" || true) + 1))
  sed "s/^}\$/  users.motd = \"message $number\";\n}/" "$file" >"$file.new"
  message="$2: message $number"
  ;;
break)
  sed 's/^}$/  networking.firewall.blockOutgoing = true;\n}/' "$file" >"$file.new"
  message="$2: a firewall without exceptions"
  if grep -q blockOutgoing "$file"; then
    rm "$file.new"
    echo "The network is blocked already in the newest commit; press pull-switch, or mend-network."
    exit
  fi
  ;;
mend)
  if ! grep -q blockOutgoing "$file"; then
    echo "There is nothing to mend in the newest commit."
    exit
  fi
  grep -v blockOutgoing "$file" >"$file.new"
  message="$2: a firewall that lets the agent out"
  ;;
esac
mv "$file.new" "$file"
git commit --quiet --message "$message" -- "$file"
echo "Committed $(git rev-parse --short=7 HEAD): $message"
echo "The hosts get it with pull, and run it with switch."
