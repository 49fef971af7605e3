# A switch succeeds, but one unit fails: the new system is active, and the status says so.
{
  self,
  pkgs,
  lib,
}:
{
  name = "nixfleet-failed-unit";
  imports = [ (import ./lib/fleet.nix { inherit self; }) ];

  nodes.host =
    { pkgs, lib, ... }:
    {
      services.nixfleet-agent = {
        repo.dir = "/etc/fleet";
        settings.rebuild.program = [ (import ./lib/rebuild.nix { inherit pkgs lib; } "broken") ];
      };
      environment.etc."fleet/flake.nix".text = "{ outputs = _: { }; }";

      specialisation.broken.configuration.systemd.services.broken = {
        description = "Cannot start";
        wantedBy = [ "multi-user.target" ];
        serviceConfig = {
          Type = "oneshot";
          ExecStart = "${pkgs.coreutils}/bin/false";
        };
      };
    };

  testScript = builtins.readFile ./lib/fleet.py + ''

    start_fleet()
    since = mark()
    connections = view()["connections"]

    with subtest("a switch with a failed unit is told as such"):
        send("switch")
        running("switch", since)
        status = ended("switch", since)
        lines = whole_log(status)
        print("\n".join(f"{line['stream']}: {line['line']}" for line in lines))
        assert (status["status"], status["exit_code"]) == ("error", 4), status
        assert status["outcome"] == "activated_with_failures", status
        numbered(lines)
        assert any("broken.service" in line["line"] for line in lines), "the log names the unit"

    with subtest("the new system is active all the same"):
        system = host.succeed("readlink -f /run/current-system")
        wanted = host.succeed("readlink -f /run/booted-system/specialisation/broken")
        assert system == wanted, f"{system} runs, not {wanted}"
        state = host.succeed("systemctl show -P ActiveState broken.service").strip()
        assert state == "failed", f"broken.service is {state}"

    with subtest("the agent goes on beating"):
        idle(since)
        told_once(since)
        assert view()["connections"] == connections, view()
        in_time([beat for beat in beats(since) if pending(beat) == "switch"])
        never_offline(beats(since))
  '';
}
