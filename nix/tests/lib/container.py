# What is particular to containers.

VM = False

# Interface of the dashboard, as the test driver names it.
CABLE = "eth1"

# Its IPv6 addresses, which the kernel forgets when an interface goes down.
addresses: list[str] = []


def unplug() -> None:
    """Takes the cable out, at the dashboard's end: the host's own interface stays up, so nothing tells the
    agent. The scripts reach the dashboard all the same, because they query it on its own machine."""
    shown = dashboard_run(f"ip -6 -oneline address show dev {CABLE} scope global")
    addresses[:] = [line.split()[3] for line in shown.splitlines()]
    dashboard_run(f"ip link set dev {CABLE} down")


def plug_in() -> None:
    dashboard_run(f"ip link set dev {CABLE} up")
    for address in addresses:
        # Without a search for duplicates, during which nobody could connect to the address.
        dashboard_run(f"ip -6 address replace {address} dev {CABLE} nodad")
