# Heartbeats while a command runs, and a request for a second command at that time.
{
  self,
  pkgs,
  lib,
}:
{
  host = {
    services.nixfleet-agent.commands.long.run = import ./lib/numbered.nix { inherit pkgs lib; };
  };

  script = ''
    start_fleet()

    with step("T02 scenario 2: heartbeat during command execution"):
        since = mark()
        send("long")
        pid = running("long", since)

        # The command runs until eight heartbeats have arrived.
        during = wait_for(
            "eight beats with command and process id",
            lambda: [beat for beat in beats(since) if beat["payload"]["command_pid"]],
            lambda seen: len(seen) >= 8,
        )
        assert all(pending(beat) == "long" for beat in during), during
        assert {beat["payload"]["command_pid"] for beat in during} == {pid}, during
        in_time(during)
        shown = view()
        print("the dashboard shows", shown)
        assert is_online(shown), shown
        assert (shown["pending_command"], shown["command_pid"]) == ("long", pid), shown

        # The process belongs to the command: it runs as root, in a unit of its own, and is no child of
        # the agent.
        process = host_run(f"tr '\\0' ' ' < /proc/{pid}/cmdline; cat /proc/{pid}/cgroup; stat -c %U /proc/{pid}")
        print(process)
        assert "numbered" in process and "/nixfleet-job@long-" in process, process
        assert process.splitlines()[-1] == "root", process
        agent = unit("nixfleet-agent.service", "MainPID")
        # The folder in /proc belongs to root, because nobody may read the agent's memory.
        owner = host_run(f"id -nu $(sed -n 's/^Uid:\\t\\([0-9]*\\).*/\\1/p' /proc/{agent}/status)").strip()
        assert owner == "nixfleet-agent", f"the agent runs as {owner}"

        host_run("touch /run/gate")
        status = ended("long", since)
        assert (status["status"], status["exit_code"]) == ("ok", 0), status
        numbered(whole_log(status))
        idle(since)
        told_once(since)
        never_offline(beats(since))
        assert is_online(view()), view()

    with step("T02 scenario 7: concurrent command rejection"):
        host_run("rm -f /run/gate")
        since = mark()
        send("long")
        pid = running("long", since)

        # Another command, and then the same command again.
        for count, command in enumerate(["test", "long"], start=1):
            code, answer = post(f"/hosts/{HOST}/command", {"command": command})
            print(f"{command}: {code} {answer}")
            # The dashboard waits two seconds for the agent's answer, which may take longer on a slow
            # machine. Then it answers 202 without a confirmation, and the agent's answer arrives later.
            assert code == 409 or answer["confirmed_by"] is None, answer
            if code == 409:
                assert answer["error"] == "command already running", answer
                assert (answer["current_command"], answer["current_pid"]) == ("long", pid), answer
            rejections = wait_for(
                f"the rejection of {command}",
                lambda: messages("command_rejected", since),
                lambda seen: len(seen) >= count,
            )
            rejection = rejections[-1]["payload"]
            print(rejection)
            assert rejection["reason"] == "command already running", rejection
            assert (rejection["current_command"], rejection["current_pid"]) == ("long", pid), rejection

        # The current command continues.
        count = len(beats(since))
        more = wait_for("three more beats", lambda: beats(since), lambda seen: len(seen) >= count + 3)
        assert all(pending(beat) == "long" and beat["payload"]["command_pid"] == pid for beat in more[count:]), more
        host_run("touch /run/gate")
        status = ended("long", since)
        assert (status["status"], status["exit_code"]) == ("ok", 0), status
        numbered(whole_log(status))
        idle(since)
        told_once(since)
        never_offline(beats(since))
  '';
}
