# A switch succeeds, but one unit fails: the new system is active, and the status says so.
{
  self,
  pkgs,
  lib,
}:
{
  vmOnly = "a switch to another system needs setuid wrappers, which a container of the test driver cannot make";

  host =
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

  script = ''
    start_fleet()

    with step("a switch with a failed unit is told as such"):
        since = mark()
        connections = view()["connections"]
        send("switch")
        running("switch", since)
        status = ended("switch", since)
        lines = whole_log(status)
        print("\n".join(f"{line['stream']}: {line['line']}" for line in lines))
        assert (status["status"], status["exit_code"]) == ("error", 4), status
        assert status["outcome"] == "activated_with_failures", status
        numbered(lines)
        texts = [line["line"] for line in lines]
        named = [text for text in texts if "broken.service" in text]
        assert any(not text.startswith(REMARK) for text in named), "the log names the unit"
        # The unit might be between two starts, so the status waits for a second look, 30 s later.
        assert any(text.startswith(REMARK) and "looking again in 30s" in text for text in named), "no second look"
        assert "broken.service" in status["message"], status

    with step("the new system is active all the same"):
        system = host_run("readlink -f /run/current-system")
        wanted = host_run("readlink -f /run/booted-system/specialisation/broken")
        assert system == wanted, f"{system} runs, not {wanted}"
        state = unit("broken.service", "ActiveState")
        assert state == "failed", f"broken.service is {state}"

    with step("the agent goes on beating"):
        idle(since)
        told_once(since)
        assert view()["connections"] == connections, view()
        in_time([beat for beat in beats(since) if pending(beat) == "switch"])
        never_offline(beats(since))
  '';
}
