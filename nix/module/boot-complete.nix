# services.nixfleet-agent.bootComplete: a boot is good when the dashboard can reach the host.
{
  config,
  lib,
  ...
}:

let
  inherit (lib) mkIf mkOption types;
  inherit (import ./names.nix) module;

  cfg = config.services.nixfleet-agent;

  # NixOS can count boots with systemd-boot only.
  countsBoots =
    let
      inherit (config.boot.loader) systemd-boot;
    in
    systemd-boot.enable && systemd-boot.bootCounting.enable or false;
in
{
  options.services.nixfleet-agent.bootComplete.enable = mkOption {
    type = types.bool;
    default = false;
    description = ''
      Whether a boot counts as good only when the agent has registered with the dashboard:
      `boot-complete.target` then requires `nixfleet-agent-registered.service`.

      It is for boot counting (`boot.loader.systemd-boot.bootCounting.enable`): an entry of the boot menu that
      has not been good in any of its tries is no longer chosen, and the machine boots the one before. So a
      host that a new system cut off comes back after some resets. Nothing resets it by itself: somebody
      or a watchdog has to. A dashboard that is down while the host boots uses up a try as well.
    '';
  };

  config = mkIf (cfg.enable && cfg.bootComplete.enable) {
    systemd.services.nixfleet-agent-registered = {
      requiredBy = [ "boot-complete.target" ];
      before = [ "boot-complete.target" ];
      # It tells what this boot was like. A switch is no boot, and must not wait for the dashboard.
      restartIfChanged = false;
    };

    warnings = lib.optional (!countsBoots) ''
      ${module}.bootComplete.enable is set, but this host does not count boots, so nothing waits for boot-complete.target.
      Set boot.loader.systemd-boot.bootCounting.enable = true, or remove the option.
    '';
  };
}
