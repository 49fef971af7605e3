# Only heartbeats decide whether a host is online.
{
  self,
  pkgs,
  lib,
}:
{
  host = { };

  script = ''
    def dashboard_time() -> float:
        return float(dashboard_run("date +%s.%N"))


    def goes_offline() -> None:
        """The beats have ended: the host is online for three intervals from the last one, and no longer."""

        def look() -> tuple[Message, float]:
            # The time is taken after the query, so the computed silence is not shorter than the real
            # one.
            seen = view()
            return seen, dashboard_time()

        def judge(looked: tuple[Message, float]) -> bool:
            seen, now = looked
            silence = now - beats()[-1]["at_ms"] / 1000
            print(f"{seen['status']} after {silence:.1f} s without a beat")
            if is_online(seen):
                # The query takes time as well.
                assert silence <= 3 * INTERVAL + 30, f"online {silence} s after the last beat"
                return False
            assert silence > 3 * INTERVAL, f"offline {silence} s after the last beat"
            return True

        wait_for("the host to be offline", look, judge)


    start_fleet()

    with step("T02 scenario 5: online while heartbeats come"):
        count = len(beats())
        seen = wait_for("five more beats", beats, lambda seen: len(seen) >= count + 5)
        never_offline(seen[count:])
        assert is_online(view()), view()

    with step("T02 scenario 5: offline when the agent has stopped, online when it is back"):
        host_run("systemctl stop nixfleet-agent.service")
        goes_offline()
        since = mark()
        host_run("systemctl start nixfleet-agent.service")
        wait_for("the host to be online", view, is_online)
        assert beats(since), "online without a beat"

    with step("an agent that hangs goes offline, and its watchdog brings it back"):
        connections = view()["connections"]
        # The connection stays open, but the agent does nothing.
        host_run("systemctl kill --signal=STOP nixfleet-agent.service")
        goes_offline()
        # systemd waits half a minute for the watchdog, and ten seconds for the abort.
        shown = wait_for("the host to be online", view, is_online)
        assert shown["connections"] > connections, f"the same agent went on: {shown}"
        print(unit("nixfleet-agent.service", "NRestarts"), "restarts")
  '';
}
