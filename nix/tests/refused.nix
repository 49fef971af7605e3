# A new system that its own checks refuse: nothing changes, and the status names the check and what it says.
{
  self,
  pkgs,
  lib,
}:
{
  vmOnly = "the real nixos-rebuild needs a Nix store of its own";

  host =
    { options, lib, ... }:
    let
      # NixOS refuses a switch to a system that differs in one of these. Since 2026.
      inhibitors = options.system.switch ? inhibitors;
    in
    {
      imports = [ ./lib/real-rebuild.nix ];

      config = lib.mkMerge [
        {
          specialisation.unkeyed.configuration = {
            system.preSwitchChecks.fleetKey = ''
              echo "the key /var/keys/fleet is missing on this host"
              false
            '';
            environment.etc.fleet-test.text = "unkeyed";
          };
          specialisation.keyed.configuration = {
            system.preSwitchChecks.fleetKey = "true";
            environment.etc.fleet-test.text = "keyed";
          };
        }
        (lib.optionalAttrs inhibitors {
          system.switch.inhibitors.fleet-bus = lib.mkDefault "old bus";
          specialisation.otherbus.configuration.system.switch.inhibitors.fleet-bus = "new bus";
        })
      ];
    };

  script = builtins.readFile ./lib/systems.py + ''


    def refused(system: str) -> Message:
        """A switch to the system is refused, and changes nothing that runs. Returns its status."""
        before, agent = current(), unit("nixfleet-agent.service", "MainPID")
        failed = host_run("systemctl list-units --failed --plain --no-legend")
        choose(system)
        since = mark()
        send("switch")
        status = ended("switch", since)
        lines = show_log(status)
        assert (status["status"], status["outcome"]) == ("error", "refused"), status
        assert status["exit_code"] == 1, status
        assert any("Pre-switch check" in line for line in lines), "nixos-rebuild itself refused it"
        idle(since)
        told_once(since)
        never_offline(beats(since))
        assert current() == before, f"{current()} runs, and {before} did"
        assert unit("nixfleet-agent.service", "MainPID") == agent
        assert host_run("systemctl list-units --failed --plain --no-legend") == failed
        # nixos-rebuild sets the profile before the checks. The message must not hide that.
        assert profile() == system and "profile" in status["message"], (profile(), status)
        return status


    start_fleet()

    with step("a system whose check fails is refused by name, with what the check said"):
        message = refused(specialisation("unkeyed"))["message"]
        assert "fleetKey" in message, message
        assert "the key /var/keys/fleet is missing on this host" in message, message
        assert host_try("test -e /etc/fleet-test")[0] != 0, "something was activated"

    with step("a system that is only for the next boot is refused with that advice"):
        if host_try("test -e /run/booted-system/specialisation/otherbus")[0] == 0:
            message = refused(specialisation("otherbus"))["message"]
            assert "fleet-bus" in message, message
            assert "`boot`" in message and "`reboot`" in message, message
        else:
            print("skipped: this NixOS has no switch inhibitors")

    with step("a system whose check passes is activated"):
        keyed = specialisation("keyed")
        choose(keyed)
        since = mark()
        send("switch")
        status = ended("switch", since)
        show_log(status)
        assert (status["status"], status["outcome"]) == ("ok", "ok"), status
        assert current() == keyed, current()
        assert host_run("cat /etc/fleet-test") == "keyed"
        idle(since)
  '';
}
