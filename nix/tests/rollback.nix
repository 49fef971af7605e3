# A new system that cuts the host off is taken back, by the host alone: when its firewall drops the
# dashboard, when the agent does not start in it, and when the power fails before anybody could confirm it.
{
  self,
  pkgs,
  lib,
}:
{
  vmOnly = "a container has no boot loader";

  # Three times two minutes of waiting, six activations and a boot come on top of the usual.
  timeLimit = 5400;

  host =
    { pkgs, lib, ... }:
    {
      imports = [
        ./lib/real-rebuild.nix
        ./lib/boot-loader.nix
      ];

      services.nixfleet-agent.rollback = {
        # An emulated machine takes a minute to activate a system, and the script some seconds to look.
        confirmTimeout = 120;
        hold = 5;
        checks = [
          {
            run = [
              "${pkgs.coreutils}/bin/test"
              "!"
              "-e"
              "/run/unwell"
            ];
          }
        ];
      };

      specialisation.fine.configuration.environment.etc.fleet-test.text = "fine";

      # The script looks for a rule also when there is no firewall.
      environment.systemPackages = [ pkgs.iptables ];

      # The dashboard's answers no longer arrive.
      specialisation.deaf.configuration.networking.firewall = {
        enable = lib.mkForce true;
        extraCommands = "ip46tables --insert nixos-fw 1 --protocol tcp --sport 8000 --jump DROP";
      };

      # The start of the agent is left out, which is no failure of the activation.
      specialisation.mute.configuration.systemd.services.nixfleet-agent.unitConfig.ConditionPathExists =
        "/run/never";
    };

  script = builtins.readFile ./lib/systems.py + ''


    # Whether the firewall of the deaf system is in force.
    DROPS = "iptables --check nixos-fw --protocol tcp --sport 8000 --jump DROP"


    def guards() -> list[str]:
        """Units of guards that run."""
        shown = host_run(f"systemctl list-units --plain --no-legend {RUNS} 'nixfleet-rollback@*'")
        return [line.split()[0] for line in shown.splitlines()]


    def begins(system: str) -> int:
        """Asks for a switch to the system, and waits until it has been activated. Returns a mark before it."""
        choose(system)
        since = mark()
        send("switch")

        def look() -> str:
            seen = current()
            told = [message["payload"] for message in messages("status", since)]
            assert seen == system or not told, f"ended before {system} ran: {told}"
            return seen

        wait_for("the new system to run", look, lambda seen: seen == system)
        return since


    def activations() -> str:
        """Processes that activate a system."""
        return host_run("pgrep --full --list-full '/bin/[s]witch-to-configuration (test|switch|boot)' || true")


    def on_trial(system: str, before: str) -> None:
        """The system runs, is guarded, and is that of the next boot in no way."""
        wait_for("the end of the activation", activations, lambda seen: not seen)
        running_guards = guards()
        print("guards:", running_guards, programs(running_guards[0]) if running_guards else "")
        assert len(running_guards) == 1, running_guards
        assert current() == system, current()
        assert (profile(), in_boot_menu()) == (before, before), (profile(), in_boot_menu())


    def rolled_back(since: int) -> Message:
        """The switch was taken back and told as that, once. Returns its status."""
        status = ended("switch", since)
        assert (status["status"], status["outcome"]) == ("error", "rolled_back"), status
        idle(since)
        told_once(since)
        return status


    def is_home(system: str) -> None:
        """The system runs, is that of the next boot, and nothing watches over it any more."""
        wait_for("the end of the guard", guards, lambda seen: not seen)
        assert current() == system, current()
        assert (profile(), in_boot_menu()) == (system, system), (profile(), in_boot_menu())
        wait_for("the host to be online", view, is_online)


    start_fleet()
    OLD, FINE, DEAF, MUTE = current(), *map(specialisation, ["fine", "deaf", "mute"])
    print(f"old: {OLD}\nfine: {FINE}\ndeaf: {DEAF}\nmute: {MUTE}")

    with step("a new system that the dashboard reaches is confirmed, and is that of the next boot", SLOW):
        before = view()["connections"]
        since = begins(FINE)
        status = ended("switch", since)
        show_log(status)
        assert (status["status"], status["exit_code"], status["outcome"]) == ("ok", 0, "ok"), status
        is_home(FINE)
        # The proof is a connection that was opened after the activation, so it came before the status.
        order = [
            (message["type"], message["connection"])
            for message in messages(since=since)
            if message["type"] in ["register", "status"]
        ]
        print("in this order:", order)
        proof = [index for index, (kind, connection) in enumerate(order) if kind == "register" and connection > before]
        told = [index for index, (kind, _) in enumerate(order) if kind == "status"]
        assert proof and proof[0] < told[0], f"confirmed without a new connection: {order}"
        idle(since)
        told_once(since)

    with step("a firewall that drops the dashboard is taken back", SLOW):
        since = begins(DEAF)
        on_trial(DEAF, before=FINE)
        assert host_try(DROPS)[0] == 0, "the firewall drops nothing"
        wait_for("the host to be offline", view, lambda seen: not is_online(seen))
        # Nobody on the host and nobody at the dashboard does anything now.
        wait_for("the old system to run", current, lambda seen: seen == FINE)
        status = rolled_back(since)
        show_log(status)
        assert "regist" in status["message"] or "connect" in status["message"], status["message"]
        is_home(FINE)
        assert host_try(DROPS)[0] != 0, "the firewall still drops the dashboard"

    with step("a system in which the agent does not start is taken back", SLOW):
        since = begins(MUTE)
        on_trial(MUTE, before=FINE)
        assert unit("nixfleet-agent.service", "ActiveState") == "inactive"
        wait_for("the old system to run", current, lambda seen: seen == FINE)
        show_log(rolled_back(since))
        is_home(FINE)

    with step("a check of the operator that fails is a reason to go back", SLOW):
        host_run("touch /run/unwell")
        status = rolled_back(begins(OLD))
        show_log(status)
        assert "check" in status["message"] or "bin/test" in status["message"], status["message"]
        is_home(FINE)
        host_run("rm /run/unwell")

    with step("a power cut before the confirmation boots the old system", SLOW):
        connections = view()["connections"]
        since = begins(DEAF)
        on_trial(DEAF, before=FINE)
        host.crash()
        up_again(connections)
        booted = host_run("readlink -f /run/booted-system").strip()
        assert booted == FINE, f"{booted} was booted, not {FINE}"
        status = rolled_back(since)
        assert "restart" in status["message"] or "boot" in status["message"], status["message"]
        is_home(FINE)

    with step("the host switches again after it", SLOW):
        since = begins(OLD)
        status = ended("switch", since)
        show_log(status)
        assert (status["status"], status["outcome"]) == ("ok", "ok"), status
        is_home(OLD)
  '';
}
