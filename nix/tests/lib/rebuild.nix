# Replaces nixos-rebuild, which would need the network and hours. It switches to a specialisation of the
# booted system, and activates it as the real one does (nixos_rebuild/nix.py, `switch_to_configuration`): by
# systemd-run in a unit of its own, or as a child if it is told so or there is no systemd. It prints "line 1",
# "line 2" and so on before, during and after the switch, and then "end". It ignores the arguments that the
# agent adds (`switch --flake ..`).
{ pkgs, lib }:
specialisation:
toString (
  pkgs.writeShellScript "rebuild" ''
    export PATH=${
      lib.makeBinPath [
        pkgs.coreutils
        pkgs.systemd
      ]
    }:$PATH
    n=0
    say() {
      n=$((n + 1))
      echo "line $n"
      sleep 0.5
    }
    activation=(/run/booted-system/specialisation/${specialisation}/bin/switch-to-configuration switch)
    if [ -z "$NIXOS_REBUILD_NO_SYSTEMD_RUN" ] && [ -d /run/systemd/system ]; then
      activation=(
        systemd-run -E LOCALE_ARCHIVE -E NIXOS_INSTALL_BOOTLOADER -E NIXOS_NO_CHECK
        --collect --no-ask-password --pipe --quiet --service-type=exec
        --unit=nixos-rebuild-switch-to-configuration "''${activation[@]}"
      )
    fi
    say; say; say
    # On standard error, so that nothing comes between the numbered lines.
    "''${activation[@]}" >&2 &
    switch=$!
    while kill -0 "$switch" 2> /dev/null; do say; done
    wait "$switch"
    code=$?
    say; say; say
    echo end
    if [ "$code" != 0 ]; then
      # As Python shows the command that failed.
      words=$(printf ", '%s'" "''${activation[@]}")
      echo "Command '[''${words#, }]' returned non-zero exit status $code." >&2
    fi
    exit "$code"
  ''
)
