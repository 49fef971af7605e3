# The agent is killed in the middle of a switch: the switch continues, and the next agent reports it.
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
        settings.rebuild.program = [ (import ./lib/rebuild.nix { inherit pkgs lib; } "slow") ];
      };
      environment.etc."fleet/flake.nix".text = "{ outputs = _: { }; }";

      specialisation.slow.configuration.imports = [ ./lib/gate.nix ];
    };

  script = ''
    start_fleet()

    with step("a switch is in the middle of its activation"):
        since = mark()
        connection = view()["connections"]
        send("switch")
        pid = running("switch", since)
        # The activation has begun, and waits until the gate is opened.
        wait_for(
            "the activation to reach the gate",
            lambda: unit("gate.service", "ActiveState"),
            lambda state: state == "activating",
        )

    with step("a killed agent is started again and picks the switch up"):
        killed = unit("nixfleet-agent.service", "MainPID")
        host_run("systemctl kill --signal=KILL nixfleet-agent.service")
        seen = wait_for(
            "five beats of another agent",
            lambda: [message for message in messages(since=since) if message["connection"] > connection],
            lambda seen: sum(message["type"] == "heartbeat" for message in seen) >= 5,
        )
        register = seen[0]["payload"]
        print(register)
        assert seen[0]["type"] == "register", seen[0]
        assert register["running_job"]["command"] == "switch", register
        assert unit("nixfleet-agent.service", "MainPID") != killed
        after = [message for message in seen if message["type"] == "heartbeat"]
        assert all(pending(beat) == "switch" for beat in after), after
        assert after[-1]["payload"]["command_pid"] == pid, after
        in_time(after)
        before = [beat for beat in beats(since) if beat["connection"] == connection]
        gap = gaps([before[-1], after[0]])[0]
        print(f"{gap} s without a beat while there was no agent")
        assert gap <= RESTART, gap

    with step("the switch was not hurt"):
        host_run(f"kill -0 {pid}")
        assert unit("gate.service", "ActiveState") == "activating"
        assert not messages("status", since), "the switch is still being held"
        host_run("touch /run/gate")
        status = ended("switch", since)
        lines = whole_log(status)
        print("\n".join(f"{line['connection']} {line['stream']}: {line['line']}" for line in lines))
        assert (status["status"], status["exit_code"], status["outcome"]) == ("ok", 0, "ok"), status
        numbered(lines)
        assert {line["connection"] for line in lines} == {connection, connection + 1}
        idle(since)
        told_once(since)
  '';
}
