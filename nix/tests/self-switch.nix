# A host switches to a system with a new agent: the switch replaces the agent that follows it.
{
  self,
  pkgs,
  lib,
}:
let
  old = self.packages.${pkgs.stdenv.hostPlatform.system}.nixfleet-agent;
  commit = "89abcdef89abcdef89abcdef89abcdef89abcdef";
  new = old.override { sourceCommit = commit; };
  generation = "fedcba98fedcba98fedcba98fedcba98fedcba98";
in
{
  vmOnly = "a switch to another system needs setuid wrappers, which a container of the test driver cannot make";

  host =
    { pkgs, lib, ... }:
    {
      services.nixfleet-agent = {
        package = old;
        # A plain folder is enough, because the stand-in for nixos-rebuild does not read it.
        repo.dir = "/etc/fleet";
        settings.rebuild.program = [ (import ./lib/rebuild.nix { inherit pkgs lib; } "new") ];
      };
      environment.etc."fleet/flake.nix".text = "{ outputs = _: { }; }";

      specialisation.new.configuration = {
        imports = [ ./lib/gate.nix ];
        services.nixfleet-agent.package = lib.mkForce new;
        systemd.services.nixfleet-agent.environment.FLEET_TEST = "new";
        system.configurationRevision = generation;
      };
    };

  script = ''
    OLD, NEW, COMMIT = "${old}", "${new}", "${commit}"


    start_fleet()

    with step("the old agent is at work"):
        since = mark()
        connection = view()["connections"]
        old_agent = unit("nixfleet-agent.service", "MainPID")
        seen = wait_for("three beats", lambda: beats(since), lambda seen: len(seen) >= 3)
        beat = seen[-1]["payload"]
        print(beat)
        assert beat["store_path"] == OLD and beat["source_commit"] != COMMIT, beat

    with step("beats go on while the switch replaces the agent"):
        send("switch")
        pid = running("switch", since)
        # The switch is held up until the new agent has been seen at work.
        seen = wait_for(
            "five beats of a new agent during the switch",
            lambda: [message for message in messages(since=since) if message["connection"] > connection],
            lambda seen: sum(message["type"] == "heartbeat" for message in seen) >= 5,
        )
        register, first = seen[:2]
        assert [register["type"], first["type"]] == ["register", "heartbeat"], seen[:2]
        after = [message for message in seen if message["type"] == "heartbeat"]
        assert {beat["connection"] for beat in after} == {connection + 1}, after
        assert unit("nixfleet-agent.service", "MainPID") != old_agent
        # The command is the same process as before.
        assert all(pending(beat) == "switch" for beat in after), after
        assert after[-1]["payload"]["command_pid"] == pid, after
        assert {beat["payload"]["command_pid"] for beat in after} <= {pid, None}, after
        assert register["payload"]["running_job"]["command"] == "switch", register
        in_time(after)
        before = [beat for beat in beats(since) if beat["connection"] == connection]
        in_time(before)
        gap = gaps([before[-1], after[0]])[0]
        print(f"{gap} s without a beat while the agent was replaced")
        assert gap <= RESTART, gap
        host_run(f"kill -0 {pid}")

    with step("the new unit and the new program run"):
        beat = after[-1]["payload"]
        print(beat)
        assert (beat["store_path"], beat["source_commit"]) == (NEW, COMMIT), beat
        environment = unit("nixfleet-agent.service", "Environment")
        assert "FLEET_TEST=new" in environment, environment

    with step("one status with exit code 0"):
        assert not messages("status", since), "the switch is still being held"
        host_run("touch /run/gate")
        status = ended("switch", since)
        assert (status["status"], status["exit_code"], status["outcome"]) == ("ok", 0, "ok"), status
        idle(since)
        told_once(since)
        system = host_run("readlink -f /run/current-system")
        wanted = host_run("readlink -f /run/booted-system/specialisation/new")
        assert system == wanted, f"{system} runs, not {wanted}"

    with step("the log has no hole"):
        lines = whole_log(status)
        numbered(lines)
        shown = [f"{line['connection']} {line['stream']}: {line['line']}" for line in lines]
        print("\n".join(shown))
        assert {line["connection"] for line in lines} == {connection, connection + 1}, shown
        assert any("nixfleet-agent.service" in line["line"] for line in lines if line["stream"] == "stderr"), shown

    with step("the new store path and commit are registered"):
        # Dashboards complete a switch when the agent registers again after its status.
        registers = wait_for(
            "a second registration of the new agent",
            lambda: [message for message in messages("register", since) if message["connection"] > connection],
            lambda seen: len(seen) >= 2,
        )
        assert {message["connection"] for message in registers} == {connection + 1}, registers
        register = registers[-1]["payload"]
        print(register)
        assert (register["store_path"], register["source_commit"]) == (NEW, COMMIT), register
        wait_for(
            "the new generation in a beat",
            lambda: beats(since)[-1]["payload"]["generation"],
            lambda seen: seen == "${generation}"[:7],
        )
  '';
}
