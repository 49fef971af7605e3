# A host that switches with the nixos-rebuild of its own NixOS, the real one.
#
# It has neither a network nor the time to build a flake. So a wrapper gives nixos-rebuild the system that
# the test has chosen (`choose` in systems.py), a specialisation of the booted one, instead of the flake that
# the agent names. Everything else is as the agent calls it.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  wrapper = pkgs.writeShellScript "rebuild-without-flake" ''
    export PATH=${lib.makeBinPath [ pkgs.coreutils ]}:$PATH
    real=${config.system.build.nixos-rebuild}/bin/nixos-rebuild

    # The activation then runs in a unit of its own, as it does with a nixos-rebuild that does not know the
    # variable.
    if [ -e /run/no-variable ]; then
      unset NIXOS_REBUILD_NO_SYSTEMD_RUN
    fi

    action= given=() flake=
    while [ $# -gt 0 ]; do
      case $1 in
        --flake) flake=$2; shift ;;
        --*) given+=("$1") ;;
        *) action="''${action:-$1}" given+=("$1") ;;
      esac
      shift
    done
    if [ -z "$flake" ]; then
      exec "$real" "''${given[@]}" --no-reexec
    fi

    system=$(cat /run/chosen-system) || exit
    if [ "$action" = build ]; then
      # This does what nixos-rebuild does once the system is built.
      ln --symbolic --force --no-dereference "$system" result
      echo "Done. The new configuration is $system"
      exit
    fi
    # It would build itself anew first, out of nixpkgs.
    exec "$real" "''${given[@]}" --store-path "$system" --no-reexec
  '';
in
{
  services.nixfleet-agent = {
    # A plain folder is enough, because nobody reads the flake.
    repo.dir = "/etc/fleet";
    settings.rebuild.program = [ "${wrapper}" ];
  };
  environment.etc."fleet/flake.nix".text = "{ outputs = _: { }; }";

  # Unless the test imports a boot loader, QEMU boots the machine.
  boot.loader.grub.enable = lib.mkDefault false;
}
