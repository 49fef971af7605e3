# The machine goes down in the middle of a command, by a shutdown and by a power cut: the next agent
# reports that, once. Then the machine reboots because the dashboard asks for it.
{
  self,
  pkgs,
  lib,
}:
{
  name = "nixfleet-reboot";
  imports = [ (import ./lib/fleet.nix { inherit self; }) ];

  nodes.host = {
    services.nixfleet-agent.reboot.enable = true;
    services.nixfleet-agent.commands = {
      long.run = import ./lib/numbered.nix { inherit pkgs lib; };
      hello.run = [
        "${pkgs.coreutils}/bin/echo"
        "hello"
      ];
    };
  };

  testScript = builtins.readFile ./lib/fleet.py + ''

    def begin() -> int:
        """A command runs, and some of its lines have come."""
        since = mark()
        send("long")
        running("long", since)
        wait_for(
            "some lines",
            lambda: messages("output", since) + messages("output_batch", since),
            lambda seen: len(seen) >= 3,
        )
        return since


    def interrupted(since: int, connections: int) -> None:
        """The machine is up again: the command was told as interrupted, once, and nothing is left of it."""
        host.wait_for_unit("nixfleet-agent.service")
        register = wait_for(
            "a new registration",
            lambda: messages("register")[-1],
            lambda seen: seen["connection"] > connections,
        )
        print("registered:", register["payload"])
        # The agent has to report the end of the command now, unless it did so before the machine went
        # down.
        status = ended("long", since)
        idle(since)
        count = len(beats(since))
        wait_for("three more beats", lambda: beats(since), lambda seen: len(seen) >= count + 3)
        told = messages("status", since)
        print("told:", told)
        assert (status["status"], status["outcome"]) == ("error", "interrupted_by_reboot"), status
        # The machine may have gone down before the agent knew that its status was read. Then the agent
        # sends the same status again, and the dashboard counts it as a repeat.
        assert all(again["payload"] == status for again in told), told
        assert len({again["connection"] for again in told}) == len(told), told

        lines = log_lines(status["job_id"])
        positions = sorted(lines)
        assert positions == list(range(1, len(positions) + 1)), f"a hole in the log: {positions}"

        since = mark()
        send("hello")
        status = ended("hello", since)
        assert (status["status"], status["exit_code"]) == ("ok", 0), status
        assert [line["line"] for line in whole_log(status)] == ["hello"]
        idle(since)


    start_fleet()

    with subtest("a reboot in the middle of a command"):
        connections = view()["connections"]
        since = begin()
        # The shell ends with the machine, so the test does not wait for an answer. The driver starts
        # QEMU so that a reboot ends it. The next start uses the same disk.
        host.execute("systemctl reboot", check_return=False, check_output=False)
        host.wait_for_shutdown()
        host.start()
        interrupted(since, connections)

    with subtest("a power cut in the middle of a command"):
        connections = view()["connections"]
        since = begin()
        host.crash()
        host.start()
        interrupted(since, connections)

    with subtest("a reboot by command is told before it begins, and not again"):
        connections = view()["connections"]
        since = mark()
        send("reboot")
        status = ended("reboot", since)
        assert (status["status"], status["exit_code"]) == ("ok", 0), status
        host.wait_for_shutdown()
        host.start()
        host.wait_for_unit("nixfleet-agent.service")
        wait_for(
            "a new registration",
            lambda: messages("register")[-1],
            lambda seen: seen["connection"] > connections,
        )
        told_once(since)
  '';
}
