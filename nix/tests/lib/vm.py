# What is particular to virtual machines.

VM = True


def unplug() -> None:
    """Takes the host's network cable out. The machine is not told."""
    host.block()


def plug_in() -> None:
    host.unblock()
