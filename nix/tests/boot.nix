# `boot`: the new system is for the next boot, and nothing of the running one changes before it. The boot
# counts as good when the agent has registered.
{
  self,
  pkgs,
  lib,
}:
let
  generation = "fedcba98fedcba98fedcba98fedcba98fedcba98";
in
{
  vmOnly = "a container has no boot loader";

  host =
    { options, lib, ... }:
    {
      imports = [
        ./lib/real-rebuild.nix
        ./lib/boot-loader.nix
      ];

      config = lib.mkMerge [
        {
          services.nixfleet-agent = {
            reboot.enable = true;
            bootComplete.enable = true;
          };

          specialisation.next.configuration = {
            system.configurationRevision = generation;
            environment.etc.fleet-test.text = "next";
          };
        }
        # Since 2026.
        (lib.optionalAttrs (options.boot.loader.systemd-boot ? bootCounting) {
          boot.loader.systemd-boot.bootCounting.enable = true;
        })
      ];
    };

  script = builtins.readFile ./lib/systems.py + ''


    def system_in(beat: Message) -> Message:
        """What a heartbeat says of the host's systems."""
        return beat["payload"].get("system") or {}


    def boots(beat: Message) -> str:
        """The system that the next boot runs, as a heartbeat tells it."""
        return (system_in(beat).get("boots") or {}).get("system") or ""


    start_fleet()
    OLD, NEXT = current(), specialisation("next")
    print(f"old: {OLD}\nnext: {NEXT}")
    print(host_run("bootctl status --no-pager || true"))

    with step("the host runs what it boots"):
        assert (profile(), in_boot_menu()) == (OLD, OLD), (profile(), in_boot_menu())
        beat = wait_for(
            "a beat with the system of the next boot",
            lambda: beats()[-1],
            lambda beat: boots(beat) == OLD,
        )
        print(system_in(beat))
        assert system_in(beat)["current"] == OLD, beat
        assert system_in(beat)["reboot_required"] is False, beat

    with step("boot sets the profile and the boot loader, and activates nothing"):
        agent = unit("nixfleet-agent.service", "MainPID")
        connections = view()["connections"]
        choose(NEXT)
        since = mark()
        send("boot")
        status = ended("boot", since)
        show_log(status)
        assert (status["status"], status["exit_code"], status["outcome"]) == ("ok", 0, "ok"), status
        assert (profile(), in_boot_menu()) == (NEXT, NEXT), (profile(), in_boot_menu())
        assert current() == OLD, current()
        assert host_try("test -e /etc/fleet-test")[0] != 0, "something was activated"
        assert unit("nixfleet-agent.service", "MainPID") == agent
        # An entry that has not been good yet has a number of tries left in its file's name.
        COUNTED = "+" in menu_entry("isDefault")["path"]
        print(menu_entry("isDefault"))
        idle(since)
        told_once(since)
        assert view()["connections"] == connections, view()
        never_offline(beats(since))

    with step("the dashboard sees that the host runs one system and boots another"):
        beat = wait_for(
            "a beat with the new system of the next boot",
            lambda: beats(since)[-1],
            lambda beat: boots(beat) == NEXT and system_in(beat)["reboot_required"] is True,
        )
        print(system_in(beat))
        assert system_in(beat)["current"] == OLD, beat
        assert system_in(beat)["boots"]["source"] == "boot_loader", beat
        assert beat["payload"]["generation"] == "0123456", beat

    with step("after a reboot the new system runs", SLOW):
        connections = view()["connections"]
        since = mark()
        send("reboot")
        status = ended("reboot", since)
        assert status["status"] == "ok", status
        host.wait_for_shutdown()
        up_again(connections)
        booted = host_run("readlink -f /run/booted-system").strip()
        assert (booted, current(), profile()) == (NEXT, NEXT, NEXT), (booted, current(), profile())
        assert host_run("cat /etc/fleet-test") == "next"

        def settled(beat: Message) -> bool:
            return beat["payload"]["generation"] == "${generation}"[:7] and boots(beat) == NEXT

        beat = wait_for("a beat of the new system", lambda: beats(since)[-1], settled)
        print(system_in(beat))
        assert system_in(beat)["reboot_required"] is False, beat

    with step("the boot is good because the agent has registered"):
        if COUNTED:
            for name in ["nixfleet-agent-registered.service", "boot-complete.target"]:
                wait_for(name, lambda: unit(name, "ActiveState"), lambda state: state == "active")
            entry = wait_for(
                "the end of the tries",
                lambda: menu_entry("isSelected"),
                lambda entry: "+" not in entry["path"],
            )
            print(entry)
        else:
            print("skipped: this NixOS does not count boots")
  '';
}
