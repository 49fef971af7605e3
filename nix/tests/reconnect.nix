# The connection is lost and restored while a command runs.
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
    def written() -> int:
        """Lines in the log of the running command."""
        return int(host_run("cat /var/lib/nixfleet-agent/jobs/*/log.jsonl | wc -l"))


    def reconnected(connection: int, restored: float) -> None:
        """The agent has come back with its command, at once and with fresh beats only."""
        seen = wait_for(
            f"five beats on connection {connection}",
            lambda: [message for message in messages(since=since) if message["connection"] == connection],
            lambda seen: sum(message["type"] == "heartbeat" for message in seen) >= 5,
        )
        register, first = seen[:2]
        print("registered:", register)
        assert [register["type"], first["type"]] == ["register", "heartbeat"], seen[:2]
        job = register["payload"]["running_job"]
        assert job and job["command"] == "long", register
        assert gaps([register, first])[0] <= STALL, "heartbeats resume immediately"
        after = [message for message in seen if message["type"] == "heartbeat"]
        assert all(pending(beat) == "long" and beat["payload"]["command_pid"] == pid for beat in after), after
        # Heartbeats that were due in between are skipped. (What was written to the old connection before
        # the loss was noticed may still arrive, because TCP delivers it. The dashboard ignores it once
        # the new connection exists.)
        early = [beat for beat in after if sent_at(beat) < restored]
        assert not early, f"beats from before {restored} were replayed: {early}"
        in_time(after)


    start_fleet()

    with step("a command runs"):
        since = mark()
        send("long")
        pid = running("long", since)

    with step("T02 scenario 6: the dashboard drops the connection"):
        connection = view()["connections"]
        lost = host_time()
        code, answer = post(f"/hosts/{HOST}/faults", {"action": "drop"})
        assert code == 202, answer
        reconnected(connection + 1, lost)
        host_run(f"kill -0 {pid}")

    with step("T02 scenario 6: the network is gone"):
        connection = view()["connections"]
        last = beats(since)[-1]["payload"]["seq"]
        unplug()
        wait_for("the host to be offline", view, lambda seen: not is_online(seen))
        before = written()
        # Nothing tells the agent that the cable is out. It notices when three heartbeats in a row have
        # not been acknowledged, or after 45 s of silence. Until then the connection could still resume.
        wait_for(
            "the agent to notice",
            lambda: unit("nixfleet-agent.service", "StatusText"),
            lambda seen: seen.startswith(("Connection lost", "Not connected")),
        )
        host_run(f"kill -0 {pid}")
        after = wait_for("lines that nobody gets yet", written, lambda seen: seen > before)
        print(f"the command wrote {after - before} lines meanwhile")
        restored = host_time()
        plug_in()
        reconnected(connection + 1, restored)
        first = next(beat for beat in beats(since) if beat["connection"] == connection + 1)
        print(f"beat {last} was the last before, beat {first['payload']['seq']} is the first after")

    with step("T02 scenario 6: the command is not affected"):
        host_run("touch /run/gate")
        status = ended("long", since)
        assert (status["status"], status["exit_code"]) == ("ok", 0), status
        lines = whole_log(status)
        numbered(lines)
        # Some of them were written while there was no connection, and all have arrived.
        print(f"lines by connection: {[line['connection'] for line in lines]}")
        assert len({line["connection"] for line in lines}) > 1, lines
        idle(since)
        told_once(since)
  '';
}
