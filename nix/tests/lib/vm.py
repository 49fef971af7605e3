# What is particular to virtual machines.

VM = True


def unplug() -> None:
    """Takes the host's network cable out. The machine is not told."""
    host.block()


def plug_in() -> None:
    host.unblock()


def up_again(connections: int) -> Message:
    """Starts the machine, which is down, from the same disk. Returns the registration of its agent."""
    host.start()
    # The first contact waits until the machine has booted.
    host.wait_for_unit("nixfleet-agent.service", timeout=PATIENCE)
    register = wait_for(
        "a new registration",
        lambda: messages("register")[-1],
        lambda seen: seen["connection"] > connections,
    )
    print("registered:", register["payload"])
    return register["payload"]
