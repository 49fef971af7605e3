#!/bin/sh
# A stand-in for nix-env: keeps a profile with its generations, as links beside it.
# nix-env -p PROFILE --set SYSTEM
# nix-env -p PROFILE --rollback
set -eu
profile=$2
mkdir -p "$(dirname "$profile")"
current=$(readlink "$profile" 2>/dev/null | sed 's/.*-\([0-9]*\)-link$/\1/')
current=${current:-0}
# numbers: the generations that there are.
numbers() {
  for link in "$profile"-*-link; do
    if [ -L "$link" ]; then
      link=${link%-link}
      echo "${link##*-}"
    fi
  done | sort -n
}
case $3 in
--set)
  next=$(($(numbers | tail -n 1) + 1))
  ln -s "$4" "$profile-$next-link"
  ;;
--rollback)
  next=
  for number in $(numbers); do
    if [ "$number" -lt "$current" ]; then
      next=$number
    fi
  done
  if [ -z "$next" ]; then
    echo "error: no generation older than the current ($current) exists"
    exit 1
  fi
  echo "switching profile from version $current to $next"
  ;;
esac
ln -sfn "$(basename "$profile")-$next-link" "$profile"
