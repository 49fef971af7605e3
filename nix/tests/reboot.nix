# The machine goes down in the middle of a command, by a shutdown and by a power cut: the next agent
# reports that, once. Then the machine reboots because the dashboard asks for it.
{
  self,
  pkgs,
  lib,
}:
{
  vmOnly = "a container has no boot id of its own";

  host = {
    services.nixfleet-agent.reboot.enable = true;
    services.nixfleet-agent.commands = {
      long.run = import ./lib/numbered.nix { inherit pkgs lib; };
      hello.run = [
        "${pkgs.coreutils}/bin/echo"
        "hello"
      ];
    };
  };

  script = ''
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


    def boot_id() -> str:
        return host_run("cat /proc/sys/kernel/random/boot_id").strip()


    def interrupted(since: int) -> Message:
        """The command was told as interrupted, once, and nothing is left of it. Returns its status."""
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
        return status


    def works() -> None:
        """The next command runs as if nothing had happened."""
        since = mark()
        send("hello")
        status = ended("hello", since)
        assert (status["status"], status["exit_code"]) == ("ok", 0), status
        assert [line["line"] for line in whole_log(status)] == ["hello"]
        idle(since)


    start_fleet()

    # A boot and a shutdown are part of each step.
    SLOW = STEP + PATIENCE

    with step("a reboot in the middle of a command", SLOW):
        connections = view()["connections"]
        boot = boot_id()
        since = begin()
        # The shell ends with the machine, so the test does not wait for an answer. The driver starts
        # QEMU so that a reboot ends it. The next start uses the same disk.
        host.execute(alone("systemctl reboot"), check_return=False, check_output=False)
        host.wait_for_shutdown()
        up_again(connections)
        assert boot_id() != boot, boot
        status = interrupted(since)
        # The supervisor had time to write the end of the log.
        numbered(whole_log(status), last="")

    with step("the host works after it"):
        works()

    with step("a power cut in the middle of a command", SLOW):
        connections = view()["connections"]
        since = begin()
        host.crash()
        up_again(connections)
        status = interrupted(since)
        # Nothing that had come before is different now. The newest lines of the log, those that the
        # kernel had not yet written to the disk, are lost, also if the dashboard has got them; so `lines`
        # may be smaller than the number of lines that have come. There is no hole in what has come.
        lines = log_lines(status["job_id"])
        positions = sorted(lines)
        assert positions == list(range(1, len(positions) + 1)), f"a hole in the log: {positions}"
        numbered([lines[position] for position in positions], last="")

    with step("the host works after the power cut"):
        works()

    with step("a reboot by command is told before it begins, and not again", SLOW):
        connections = view()["connections"]
        boot = boot_id()
        since = mark()
        send("reboot")
        status = ended("reboot", since)
        assert (status["status"], status["exit_code"]) == ("ok", 0), status
        host.wait_for_shutdown()
        up_again(connections)
        assert boot_id() != boot, boot
        told_once(since)

    with step("the host works after the reboot"):
        works()
  '';
}
