# For tests that switch with the real nixos-rebuild (lib/real-rebuild.nix). Stands behind lib/fleet.py.

# The unit in which nixos-rebuild runs the activation, unless it is told not to.
SWITCH_UNIT = "nixos-rebuild-switch-to-configuration.service"

# Options of systemctl for units that run. It would mark a failed one with a dot before its name.
RUNS = "--state=active,activating"

# A switch with a boot or two, in seconds.
SLOW = STEP + PATIENCE


def specialisation(name: str) -> str:
    """Store path of a specialisation of the booted system."""
    path = f"/run/booted-system/specialisation/{name}"
    return host_run(f"test -e {path} && readlink -f {path}").strip()


def choose(system: str) -> None:
    """Makes a system the one that the next rebuild has built."""
    host_run(f"echo {system} > /run/chosen-system")


def current() -> str:
    """Store path of the system that runs."""
    return host_run("readlink -f /run/current-system").strip()


def profile() -> str:
    """Store path of the system of the newest generation."""
    return host_run("readlink -f /nix/var/nix/profiles/system").strip()


def menu_entry(mark: str) -> Message:
    """The entry of the boot menu that is `isDefault`, or `isSelected`: the one that was booted."""
    entries = json.loads(host_run("bootctl list --json=short"))
    marked = [entry for entry in entries if entry.get(mark)]
    assert len(marked) == 1, f"not one entry is {mark}: {entries}"
    return marked[0]


def in_boot_menu() -> str:
    """Store path of the system that the boot loader starts if nobody chooses."""
    entry = menu_entry("isDefault")
    init = [word for word in entry["options"].split() if word.startswith("init=")]
    assert len(init) == 1, entry
    return host_run(f"readlink -f $(dirname {init[0].removeprefix('init=')})").strip()


def job_unit(command: str) -> str:
    """The unit of a command that runs."""
    names = host_run(f"systemctl list-units --plain --no-legend {RUNS} 'nixfleet-job@{command}-*'").split()
    assert names, f"no unit for {command}"
    return names[0]


def job_of(name: str) -> str:
    """The id of the job in a unit, as messages have it."""
    return name.removesuffix(".service").rpartition("-")[2]


def programs(name: str) -> list[str]:
    """The command lines of all processes of a unit."""
    group = unit(name, "ControlGroup")
    if not group:
        return []
    # A process may end between two of these programs.
    shown = host_run(
        f"for pid in $(cat /sys/fs/cgroup{group}/cgroup.procs); do "
        "tr '\\0' ' ' < /proc/$pid/cmdline; echo; done 2> /dev/null || true"
    )
    return [line.strip() for line in shown.splitlines() if line.strip()]


def activates(name: str) -> bool:
    """Whether an activation runs in this unit. Its client is there as well, with the same words as arguments."""
    return any(line.split()[0].endswith("/bin/switch-to-configuration") for line in programs(name))


def at_the_gate() -> None:
    """The activation has begun, and waits until the gate is opened (lib/gate.nix)."""
    wait_for(
        "the activation to reach the gate",
        lambda: unit("gate.service", "ActiveState"),
        lambda state: state == "activating",
    )


def said(since: int) -> list[str]:
    """Lines of output that have come, from an index on."""
    return [
        line["line"]
        for message in messages(since=since)
        if message["type"] in ["output", "output_batch"]
        for line in message["payload"].get("lines", [message["payload"]])
    ]


def show_log(status: Message) -> list[str]:
    """The whole log of a job that has ended, which is printed."""
    lines = [line["line"] for line in whole_log(status)]
    print("\n".join(lines))
    return lines
