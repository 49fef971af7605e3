# Regular heartbeats, with and without StaSysMo's readings.
{
  self,
  pkgs,
  lib,
}:
let
  # Imitates StaSysMo: replaces each file by rename, and writes the time stamp last.
  stasysmo = pkgs.writeShellScript "stasysmo-stand-in" ''
    export PATH=${lib.makeBinPath [ pkgs.coreutils ]}
    mkdir -p /dev/shm/stasysmo
    cd /dev/shm/stasysmo
    put() {
      echo "$2" > "$1.tmp"
      mv "$1.tmp" "$1"
    }
    while true; do
      put cpu "$1"
      put ram "$2"
      put swap "$3"
      put load "$4"
      put timestamp "$(date +%s)"
      sleep 1
    done
  '';
in
{
  host.services.nixfleet-agent = {
    heartbeat.enable = true;
    commands.hello.run = [
      "${pkgs.coreutils}/bin/echo"
      "hello"
    ];
  };

  script = ''
    # The revision in host.nix, shortened to the seven digits that are shown.
    GENERATION = "0123456"


    def measure(unit: str, cpu: str, ram: str, swap: str, load: str) -> None:
        """StaSysMo runs and finds these."""
        host_run(f"systemd-run --unit={unit} ${stasysmo} {cpu} {ram} {swap} {load}")


    def metrics(beat: Message) -> Any:
        # Null if there are no readings, but never absent.
        return beat["payload"]["metrics"]


    start_fleet()

    with step("T02 scenario 1: regular heartbeat"):
        readings = {"cpu": 15.5, "ram": 42.0, "swap": 0.0, "load": 0.5}
        measure("stasysmo-quiet", "15.5", "42.0", "0.0", "0.5")
        wait_for("readings in a beat", lambda: beats()[-1], lambda beat: metrics(beat) == readings)
        connection = view()["connections"] + 1
        # A new agent, so that the test sees its first heartbeat.
        host_run("systemctl restart nixfleet-agent.service")

        def of_new_agent() -> list[Message]:
            return [message for message in messages() if message["connection"] == connection]

        def known(beat: Message) -> bool:
            return bool(beat["payload"]["generation"] == GENERATION and metrics(beat) == readings)

        # The agent waits a quarter of a second for the first values, and then sends heartbeats without
        # them. Under emulation this can be too short for the first heartbeats. A value that was known
        # once is always sent.
        seen = wait_for(
            "eight beats with generation and metrics",
            of_new_agent,
            lambda seen: sum(message["type"] == "heartbeat" and known(message) for message in seen) >= 8,
        )
        print("registered:", seen[0])
        assert [message["type"] for message in seen[:2]] == ["register", "heartbeat"], seen[:2]
        assert seen[0]["payload"]["heartbeat_interval"] == INTERVAL, seen[0]
        assert gaps(seen[:2])[0] <= STALL, "the first beat is immediate"
        regular = [message for message in seen if message["type"] == "heartbeat"]
        assert regular[0]["payload"]["seq"] == 1, regular[0]
        in_time(regular)
        since = next(number for number, beat in enumerate(regular) if known(beat))
        assert all(known(beat) for beat in regular[since:]), regular[since:]
        assert gaps([regular[0], regular[since]])[0] <= 30, f"first beat with all of it: {since}"
        for beat in regular:
            assert pending(beat) is None and beat["payload"]["command_pid"] is None, beat
            assert beat["payload"]["nixpkgs_version"], beat

    with step("T02 scenario 3: heartbeat with StaSysMo metrics"):
        host_run("systemctl stop stasysmo-quiet.service")
        measure("stasysmo-busy", "85", "60", "1", "2.5")
        wait_for(
            "the new readings in a beat",
            lambda: metrics(beats()[-1]),
            lambda seen: seen == {"cpu": 85.0, "ram": 60.0, "swap": 1.0, "load": 2.5},
        )
        print("the dashboard shows", view()["metrics"])

        # StaSysMo leaves its files behind when it stops. They are reported while they are fresh.
        index = mark()
        host_run("systemctl stop stasysmo-busy.service")
        measured = float(host_run("cat /dev/shm/stasysmo/timestamp"))
        seen = wait_for(
            "a beat that leaves the old readings out",
            lambda: beats(index),
            lambda seen: bool(seen) and metrics(seen[-1]) is None,
        )
        reported = [sent_at(beat) - measured for beat in seen if metrics(beat) is not None]
        print("age of the readings in beats, by the host's clock:", reported)
        # The readings are reported for a while and not longer. The time stamp is in whole seconds. The
        # change time of the files counts as well, and is newer by less than a second.
        assert reported and reported[-1] <= 31, reported

    with step("T02 scenario 4: heartbeat without StaSysMo"):
        host_run("rm -rf /dev/shm/stasysmo")
        connection = view()["connections"] + 1
        host_run("systemctl restart nixfleet-agent.service")
        seen = wait_for(
            "five beats of a new agent",
            lambda: [beat for beat in beats() if beat["connection"] == connection],
            lambda seen: len(seen) >= 5,
        )
        assert all(metrics(beat) is None for beat in seen), seen
        shown = view()
        print("the dashboard shows", shown)
        assert shown["metrics"] is None and is_online(shown), shown

    with step("a command, and the whole of its log"):
        since = mark()
        send("hello")
        status = ended("hello", since)
        assert (status["status"], status["exit_code"]) == ("ok", 0), status
        assert [line["line"] for line in whole_log(status)] == ["hello"]

    with step("the host's vitals are in its journal"):

        def vitals() -> list[str]:
            said = host_run(
                "journalctl --boot --quiet --no-pager --output=cat --lines=5 "
                "_SYSTEMD_UNIT=nixfleet-heartbeat.service"
            )
            return [line for line in said.splitlines() if line.startswith("{")]

        line = wait_for("a line with vitals", vitals, lambda seen: bool(seen))[-1]
        print(line)
        assert json.loads(line)["memory_total"] > 0, line

    with step("the sandboxes are tight"):
        exposure("nixfleet-agent.service", 1.5)
        exposure("nixfleet-heartbeat.service", 0.8)

    # In a container the service manager may warn about what the kernel does not let it do.
    if VM:
        with step("none of our units has a warning in the journal"):
            assert warnings() == [], "\n".join(warnings())
  '';
}
