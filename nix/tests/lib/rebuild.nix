# Stands in for nixos-rebuild, which would need the network and hours: it switches to a
# specialisation of the system that was booted, and says "line 1", "line 2" .. before, during and
# after that, then "end". What the agent adds to its arguments (`switch --flake ..`) is ignored.
{ pkgs, lib }:
specialisation:
toString (
  pkgs.writeShellScript "rebuild" ''
    export PATH=${lib.makeBinPath [ pkgs.coreutils ]}:$PATH
    n=0
    say() {
      n=$((n + 1))
      echo "line $n"
      sleep 0.5
    }
    say; say; say
    # On standard error, so that nothing comes between the numbered lines.
    /run/booted-system/specialisation/${specialisation}/bin/switch-to-configuration switch >&2 &
    switch=$!
    while kill -0 "$switch" 2> /dev/null; do say; done
    wait "$switch"
    code=$?
    say; say; say
    echo end
    exit "$code"
  ''
)
