# Replaces nixos-rebuild, which would need the network and hours. It switches to a specialisation of the
# booted system. It prints "line 1", "line 2" and so on before, during and after the switch, and then
# "end". It ignores the arguments that the agent adds (`switch --flake ..`).
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
