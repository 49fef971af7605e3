# The nixos-rebuild of NixOS itself: its activation as a part of the command, and in a unit of its own, as
# with a release that cannot do otherwise.
{
  self,
  pkgs,
  lib,
}:
{
  vmOnly = "a switch to another system needs setuid wrappers, which a container of the test driver cannot make";

  host = {
    imports = [ ./lib/real-rebuild.nix ];

    specialisation.new.configuration.imports = [ ./lib/gate.nix ];
    specialisation.later.configuration = {
      imports = [ ./lib/gate.nix ];
      # Another unit, so that a switch from one to the other stands at the gate again.
      systemd.services.gate.environment.FLEET_TEST = "later";
    };
  };

  script = builtins.readFile ./lib/systems.py + ''


    def begins(system: str) -> tuple[int, str]:
        """A switch to the system stands at the gate. Returns a mark before it, and its unit."""
        choose(system)
        host_run("rm -f /run/gate")
        since = mark()
        send("switch")
        running("switch", since)
        at_the_gate()
        return since, job_unit("switch")


    def more_beats(since: int, count: int) -> list[Message]:
        """Waits for so many more heartbeats."""
        seen = len(beats(since))
        return wait_for(f"{count} more beats", lambda: beats(since), lambda now: len(now) >= seen + count)


    def phase(since: int) -> Any:
        """The phase of the rebuild, as the newest progress tells it."""
        parts = [message["payload"]["progress"].get("system") for message in messages("operation_progress", since)]
        return [part for part in parts if part][-1].get("phase") if any(parts) else None


    start_fleet()
    OLD, NEW, LATER = current(), specialisation("new"), specialisation("later")
    print(f"old: {OLD}\nnew: {NEW}\nlater: {LATER}")

    with step("which nixos-rebuild this is"):
        real = host_run("readlink -f $(command -v nixos-rebuild)").strip()
        package = real.removesuffix("/bin/nixos-rebuild")
        # Releases before the middle of 2026 do not know it.
        KNOWN = host_try(f"grep -rqs NIXOS_REBUILD_NO_SYSTEMD_RUN {package}/lib")[0] == 0
        print(f"{real} {'knows' if KNOWN else 'does not know'} NIXOS_REBUILD_NO_SYSTEMD_RUN")

    with step("an activation belongs to the command, and beats go on"):
        connections = view()["connections"]
        since, job = begins(NEW)
        print(job, programs(job), SWITCH_UNIT, programs(SWITCH_UNIT))
        assert activates(job) == KNOWN and activates(SWITCH_UNIT) != KNOWN
        during = more_beats(since, 8)
        assert not messages("status", since), "the switch is still being held"
        host_run("touch /run/gate")
        status = ended("switch", since)
        lines = show_log(status)
        assert (status["status"], status["exit_code"], status["outcome"]) == ("ok", 0, "ok"), status
        assert any("gate.service" in line for line in lines), "the log names the unit that was started"
        assert any(NEW in line for line in lines), "the log names the new system"
        idle(since)
        told_once(since)
        assert view()["connections"] == connections, view()
        in_time([beat for beat in during if pending(beat) == "switch"])
        never_offline(beats(since))

    with step("the new system runs, and is that of the profile"):
        assert (current(), profile()) == (NEW, NEW), (current(), profile())

    host_run("touch /run/no-variable")

    with step("an activation in a unit of its own is not stopped either"):
        since, job = begins(LATER)
        print(job, programs(job), SWITCH_UNIT, programs(SWITCH_UNIT))
        assert activates(SWITCH_UNIT) and not activates(job)
        wait_for("the phase `activate`", lambda: phase(since), lambda seen: seen == "activate")
        code, answer = post(f"/hosts/{HOST}/command", {"command": "stop"})
        assert code == 202, answer
        wait_for(
            "the refusal of the stop",
            lambda: said(since),
            lambda lines: any("stop refused" in line for line in lines),
        )
        assert activates(SWITCH_UNIT), "the activation goes on"
        assert unit(job, "ActiveState") == "active"

    with step("its supervisor is killed: no end is told while the activation goes on"):
        host_run(f"systemctl kill --kill-whom=main --signal=KILL {job}")
        wait_for(
            "the end of the command's unit",
            lambda: unit(job, "ActiveState"),
            lambda state: state in ["inactive", "failed"],
        )
        assert activates(SWITCH_UNIT), "nothing of the command's unit reaches the activation"
        more_beats(since, 5)
        told = [message["payload"] for message in messages("status", since)]
        assert not [status for status in told if status["command"] == "switch"], told

    with step("a second switch does nothing meanwhile"):
        choose(NEW)
        code, answer = post(f"/hosts/{HOST}/command", {"command": "switch"})
        print(f"a second switch: {code} {answer}")
        second = answer["id"]

        def answers() -> list[Message]:
            """It was rejected, or a job of its own has ended."""
            return [
                message
                for message in messages(since=since)
                if message["payload"].get("command_id") == second
                or message["type"] == "status"
                and message["payload"]["command"] == "switch"
                and message["payload"].get("job_id") != job_of(job)
            ]

        answered = wait_for("the answer to the second switch", answers, bool)[0]
        print(answered)
        # The one that was cut short still holds the host, or the second one has looked before it did anything.
        assert answered["type"] == "command_rejected" or answered["payload"]["outcome"] == "busy", answered
        assert activates(SWITCH_UNIT) and unit("gate.service", "ActiveState") == "activating"

    with step("what has become of it is told when the activation has ended"):
        host_run("touch /run/gate")

        def cut_short() -> list[Message]:
            told = [message["payload"] for message in messages("status", since)]
            return [status for status in told if status.get("job_id") == job_of(job)]

        status = wait_for("the status of the switch", cut_short, bool)[0]
        print(status)
        assert (status["status"], status["outcome"]) == ("error", "lost"), status
        assert unit(SWITCH_UNIT, "ActiveState") == "inactive", "the end was told too early"
        assert current() == LATER, current()
        assert LATER in status["message"] or SWITCH_UNIT in status["message"], status["message"]
        idle(since)
        more_beats(since, 3)
        assert len(cut_short()) == 1, cut_short()

    with step("a switch does nothing while somebody on the host switches"):
        host_run("rm -f /run/no-variable /run/gate")
        # As a person would do it: in a unit of its own, in any release.
        host_run(
            "systemd-run --unit=by-hand --no-ask-password "
            "--setenv=PATH=/run/current-system/sw/bin --setenv=HOME=/root "
            f"nixos-rebuild switch --store-path {NEW} --no-reexec"
        )
        at_the_gate()
        assert activates(SWITCH_UNIT), programs(SWITCH_UNIT)
        choose(LATER)
        since = mark()
        send("switch")
        status = ended("switch", since)
        show_log(status)
        assert (status["status"], status["outcome"]) == ("error", "busy"), status
        assert SWITCH_UNIT.removesuffix(".service") in status["message"], status["message"]
        assert activates(SWITCH_UNIT), "the other switch goes on"
        host_run("touch /run/gate")
        wait_for(
            "the end of the other switch",
            lambda: unit(SWITCH_UNIT, "ActiveState"),
            lambda state: state == "inactive",
        )
        assert (current(), profile()) == (NEW, NEW), (current(), profile())

    with step("the host switches again after it"):
        since = mark()
        send("switch")
        status = ended("switch", since)
        show_log(status)
        assert (status["status"], status["outcome"]) == ("ok", "ok"), status
        assert (current(), profile()) == (LATER, LATER), (current(), profile())
        idle(since)
        told_once(since)
  '';
}
