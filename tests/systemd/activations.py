"""The checks of switches: phases activations, after-cut-activation, after-shutdown-activation and
after-shutdown-of-activation.

The programs beside this file stand in for nixos-rebuild and switch-to-configuration; the units, the control groups, the
pipes and the lock are real. Most checks run twice: for a nixos-rebuild that runs the activation as its child, and for
an older one, which lets the service manager run it.
"""

import fcntl
import glob
import os
import signal
import subprocess
import time

from checks import (
    CHECKS, HOST, PATIENCE, STATE, agent_pid, call, check, host, job_units, lines, messages,
    note_job, noted_job, online, require, results, run, send, show, start_dashboard, statuses, systemctl, wait,
)  # fmt: skip

UNIT = "nixos-rebuild-switch-to-configuration.service"
GROUP = f"/sys/fs/cgroup/system.slice/{UNIT}"
LOCK = "/run/nixos/switch-to-configuration.lock"
RUNNING = "/run/current-system"
SYSTEMS = "/srv/systems"
OLD = "/srv/old-nixos-rebuild"
ACTIVATING = "/run/activating"
END = "/run/end-activation"

# Seconds until the second look at units that failed (`SECOND_LOOK` in crates/jobs), for which the status waits.
SECOND_LOOK = 30

NUMBER = iter(range(1, 1000))


def system(**knobs):
    """Makes a system, which the next switch activates; its files say what is to happen."""
    path = f"{SYSTEMS}/{time.time_ns()}"
    os.makedirs(f"{path}/bin")
    os.symlink("/usr/local/lib/switch-to-configuration", f"{path}/bin/switch-to-configuration")
    for name, text in knobs.items():
        with open(f"{path}/{name.replace('_', '-')}", "w", encoding="ascii") as file:
            file.write(str(text))
    os.symlink(path, f"{SYSTEMS}/new")
    os.replace(f"{SYSTEMS}/new", f"{SYSTEMS}/next")
    return path


def running():
    return os.readlink(RUNNING)


def unit_pids():
    try:
        with open(f"{GROUP}/cgroup.procs", encoding="ascii") as file:
            return [int(pid) for pid in file.read().split()]
    except OSError:
        return []


def is_active():
    return bool(unit_pids())


def quiet():
    """Waits until no switch is left from an earlier check, and forgets its traces."""
    open(END, "w", encoding="ascii").close()
    wait("the end of all activations", lambda: not is_active())
    wait("the end of all jobs", lambda: not job_units("active", "activating", "deactivating"))
    run("systemctl", "reset-failed")
    for path in (END, ACTIVATING):
        if os.path.exists(path):
            os.remove(path)
    wait("an idle host", lambda: host().get("pending_command") is None)


def end_activation():
    open(END, "w", encoding="ascii").close()


def release(knows):
    """Whether nixos-rebuild knows the variable."""
    if not knows:
        open(OLD, "w", encoding="ascii").close()
    elif os.path.exists(OLD):
        os.remove(OLD)


def ways(function):
    """Registers a check for each way in which nixos-rebuild activates."""
    for known in (True, False):
        how = "as a child" if known else "by the service manager"

        def one(known=known):
            quiet()
            release(known)
            return function(known)

        one.__doc__ = f"{function.__doc__} (activation {how})"
        check("activations")(one)
    return function


def switching(command="switch"):
    """Sends a switch, and returns unit and job once it is in the middle of the activation."""
    send(command)
    wait("the activation", lambda: os.path.exists(ACTIVATING))
    unit = wait("its unit", lambda: job_units("active"))[0]
    return unit, unit.removesuffix(".service").rsplit("-", 1)[1]


def status_of(job):
    status = wait("the status", lambda: statuses(job))[0]
    beats = len(messages("heartbeat"))
    wait("two more beats", lambda: len(messages("heartbeat")) >= beats + 2)
    require(len(statuses(job)) == 1, f"statuses {statuses(job)}")
    require(host().get("pending_command") is None, host())
    return status


def text(job):
    return "\n".join(lines(job))


def phases(job):
    """The reported phases of the system, in order."""
    found = []
    for message in messages("operation_progress"):
        phase = message["payload"]["progress"].get("system", {}).get("phase")
        if message["payload"].get("job_id") in (None, job) and phase and found[-1:] != [phase]:
            found.append(phase)
    return found


def finished_switch(command="switch", patience=PATIENCE):
    before = len(statuses())
    send(command)
    wait("the status", lambda: statuses()[before:], patience)
    return statuses()[before]


def unit_of_the_system(name, text):
    """Makes a unit. A system with `unit_fails` starts it."""
    with open(f"/run/systemd/system/{name}", "w", encoding="ascii") as file:
        file.write(f"[Service]\n{text}\n")
    systemctl("daemon-reload")


def begin(phase):
    def register():
        """a boot with a system"""
        os.makedirs(SYSTEMS, exist_ok=True)
        if not os.path.lexists(RUNNING):
            # As NixOS does at a boot. The system that was to be activated stays what it is.
            os.makedirs(f"{SYSTEMS}/booted", exist_ok=True)
            os.symlink(f"{SYSTEMS}/booted", RUNNING)
        start_dashboard()
        online()
        wait("the checkout", lambda: os.path.isdir(f"{STATE}/repo/.git"))
        wait("an idle host", lambda: host().get("pending_command") is None)

    check(phase)(register)


begin("activations")


@ways
def _(known):
    """a switch activates the new system and tells its output, each line once"""
    new = system(hold="")
    _, job = switching()
    require(is_active() != known, f"unit {unit_pids()}")
    with open(ACTIVATING, encoding="ascii") as file:
        group = open(f"/proc/{file.read()}/cgroup", encoding="ascii").read().strip()
    require(("nixfleet-job@" in group) == known, group)
    end_activation()
    status = status_of(job)
    require((status["status"], status["outcome"]) == ("ok", "ok") and running() == new, status)
    wanted = ["building the system configuration...", "activating the configuration...", "setting up tmpfiles"]
    require(lines(job) == wanted, lines(job))


@ways
def _(known):
    """an activation with a failed unit is told with its exit code and the lines of the real programs"""
    unit_of_the_system("web.service", "Type=oneshot\nExecStart=/bin/sh -c 'echo no certificate; exit 3'")
    new = system(unit_fails="web.service")
    begun = time.monotonic()
    status = finished_switch(patience=SECOND_LOOK + PATIENCE)
    require(time.monotonic() - begun >= SECOND_LOOK, "there was no second look")
    require((status["status"], status["exit_code"]) == ("error", 4), status)
    require(status["outcome"] == "activated_with_failures" and running() == new, status)
    require("web.service failed" in status["message"] and "Command '" not in status["message"], status)
    said = text(status["job_id"])
    require("\nwarning: the following units failed: web.service\n" in said and "no certificate" in said, said)
    closing = said.splitlines()[-2]
    require(("'systemd-run'" in closing) != known and closing.endswith("returned non-zero exit status 4."), said)
    require(said.endswith("\nnixfleet: failed: web.service; looking again in 30s"), said)
    return status["message"]


@ways
def _(_known):
    """a switch that fails in another way is told as what it is, with its exit code and the system that runs"""
    for knob, code, outcome, words in (
        ("check_fails", 1, "refused", "refused by the pre-switch check `switchInhibitors`"),
        ("boot_fails", 1, "bootloader_failed", "the boot loader could not be installed"),
        ("other_init", 100, "needs_reboot", "takes effect at the next boot"),
        ("snippet_fails", 2, "activated_with_failures", "the activation script failed in `users` (1)"),
    ):
        before, new = running(), system(**{knob: ""})
        status = finished_switch()
        require((status["status"], status["exit_code"], status["outcome"]) == ("error", code, outcome), status)
        require(words in status["message"], status)
        require(running() == (new if outcome == "activated_with_failures" else before), f"{knob}: {running()}")


@check("activations")
def _():
    """a unit that was between two starts is told as recovered, and one that had failed before is not blamed"""
    quiet()
    release(True)
    unit_of_the_system("old.service", "Type=oneshot\nExecStart=/bin/false")
    run("systemctl", "start", "old.service")
    fails_once = "/bin/sh -c 'test -e /run/started || { touch /run/started; exit 1; }; exec sleep 1000'"
    unit_of_the_system("flaky.service", f"Restart=always\nRestartSec=3\nExecStart={fails_once}")
    new = system(unit_fails="flaky.service")
    status = finished_switch(patience=SECOND_LOOK + PATIENCE)
    systemctl("stop", "flaky.service")
    require((status["outcome"], status["exit_code"]) == ("activated_despite_error", 4), status)
    require(running() == new and status["message"].endswith("recovered: flaky.service"), status)
    require("old.service" not in status["message"], status)
    return status["message"]


@ways
def _(known):
    """a stop is refused while a system is activated that writes nothing, and the phase is told"""
    new = system(hold="")
    _, job = switching()
    wait("the phase", lambda: phases(job)[-1:] == ["activate"])
    send("stop")
    wait("the refusal", lambda: "stop refused: the system is being activated" in text(job))
    require((UNIT in text(job)) != known, text(job))
    require(not statuses(job) and os.path.exists(ACTIVATING), "it was stopped")
    end_activation()
    status = status_of(job)
    require(status["outcome"] == "ok" and running() == new, status)


@ways
def _(known):
    """a kill ends the activation, wherever it runs, and says so"""
    before = running()
    system(hold="")
    _, job = switching()
    with open(ACTIVATING, encoding="ascii") as file:
        pid = int(file.read())
    call(f"/hosts/{HOST}/kill", {"signal": "SIGKILL"})
    status = status_of(job)
    require((status["status"], status["exit_code"]) == ("stopped", 137), status)
    require(not os.path.exists(f"/proc/{pid}") and not is_active(), "the activation goes on")
    require((f"SIGKILL also for {UNIT} (process {pid}, `" in text(job)) != known, text(job))
    require(running() == before, running())


@ways
def _(known):
    """a switch goes on when the agent is killed in the middle of the activation"""
    new = system(hold="")
    unit, job = switching()
    supervisor, agent = show(unit, "MainPID"), agent_pid()
    connections = host()["connections"]
    os.kill(agent, signal.SIGKILL)
    wait("the next agent", lambda: host().get("connections", 0) > connections)
    wait("the beat with the switch", lambda: host().get("pending_command") == "switch")
    require(show(unit, "MainPID") == supervisor and os.path.exists(ACTIVATING), "the supervisor is another one")
    end_activation()
    status = status_of(job)
    require(status["outcome"] == "ok" and running() == new, status)
    require(lines(job)[-1] == "setting up tmpfiles", lines(job))


def kill_clients():
    """Kills the systemd-run that waits for the activation."""
    killed = 0
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            with open(path, "rb") as file:
                if b"--unit=nixos-rebuild-switch-to-configuration" in file.read().split(b"\0"):
                    os.kill(int(path.split("/")[2]), signal.SIGKILL)
                    killed += 1
        except OSError:
            # The process has just ended.
            pass
    require(killed == 1, f"{killed} clients")


@check("activations")
def _():
    """an activation whose client was killed is awaited, with its output, before the switch has a result"""
    quiet()
    release(False)
    new = system(hold="")
    _, job = switching()
    kill_clients()
    wait("the remark", lambda: f"the activation goes on in {UNIT} (process " in text(job))
    send("stop")
    wait("the refusal", lambda: "stop refused: the system is being activated" in text(job))
    require(not statuses(job) and host().get("pending_command") == "switch", statuses(job))
    end_activation()
    status = status_of(job)
    require(running() == new and UNIT in status["message"], status)
    said = lines(job)
    require(said[-3:] == ["activating the configuration...", "setting up tmpfiles", f"nixfleet: the activation in {UNIT} has ended"],
            said)  # fmt: skip
    return status["message"]


@check("activations")
def _():
    """an activation whose client was killed is ended by a kill"""
    quiet()
    before = running()
    system(hold="")
    _, job = switching()
    kill_clients()
    wait("the remark", lambda: f"the activation goes on in {UNIT} (process " in text(job))
    call(f"/hosts/{HOST}/kill", {"signal": "SIGKILL"})
    status = status_of(job)
    require(status["status"] == "stopped" and not is_active() and running() == before, status)


@check("activations")
def _():
    """when nobody reads the output of an activation any more, the log has what the journal says about its end"""
    quiet()
    with open(OLD, "w", encoding="ascii") as file:
        file.write("relay")
    new = system(hold="", wordless="")
    unit, job = switching()
    supervisor = int(show(unit, "MainPID"))
    with open(f"/sys/fs/cgroup{show(unit, 'ControlGroup')}/cgroup.procs", encoding="ascii") as file:
        others = [pid for pid in map(int, file.read().split()) if pid != supervisor]
    require(len(others) == 3, f"processes {others}")
    for pid in others:
        os.kill(pid, signal.SIGKILL)
    wait("the remark", lambda: f"the activation goes on in {UNIT} (process " in text(job))
    end_activation()
    status_of(job)
    said = text(job)
    require(f"nobody read the output of {UNIT}; its journal has:\n" in said and running() == new, said)
    require(f"\nfinished switching to system configuration {new}" in said, said)


def orphaned(kill, **knobs):
    """The supervisor is killed in the middle of an activation by the service manager; checks what is told."""
    quiet()
    release(False)
    before, new = running(), system(hold="", **knobs)
    # Nobody reads its output any more, so the first word ends it, as it does the real one.
    expected = new if "wordless" in knobs else before
    unit, job = switching()
    beats = len(messages("heartbeat"))
    kill(int(show(unit, "MainPID")))
    wait("the unit to fail", lambda: show(unit, "ActiveState") == "failed")
    wait("more beats", lambda: len(messages("heartbeat")) >= beats + 4)
    require(is_active() and not statuses(job), f"told too soon: {statuses(job)}")
    wait("the beat with the switch", lambda: host().get("pending_command") == "switch")
    wait("the process of the activation", lambda: host().get("command_pid") == unit_pids()[0])
    # Another supervisor, which root starts by hand, waits as well.
    next_job = f"{next(NUMBER):032x}"
    systemctl("start", "--no-block", f"nixfleet-job@whoami-{next_job}.service")
    log = f"{STATE}/jobs/{next_job}/log.jsonl"
    wait("its wait", lambda: os.path.exists(log) and "its end is awaited" in open(log, encoding="utf-8").read())
    require(next_job not in results(), "it did not wait")
    end_activation()
    status = status_of(job)
    require((status["status"], status["outcome"]) == ("error", "lost"), status)
    require(f"in {UNIT} and has ended; the running system is {expected}" in status["message"], status)
    require(running() == expected, running())
    wait("the result of the other job", lambda: next_job in results())
    require(results()[next_job]["outcome"] == "ok", results()[next_job])
    with open(log, encoding="utf-8") as file:
        require(f"the running system is {expected}" in file.read(), "the next log does not say it")
    systemctl("reset-failed", unit)
    return status["message"]


@check("activations")
def _():
    """the activation of a killed supervisor is awaited by the agent and by the next supervisor, and then told once"""
    return orphaned(lambda supervisor: os.kill(supervisor, signal.SIGKILL), wordless="")


@check("activations")
def _():
    """the activation of a supervisor that was killed with the agent is awaited by the next agent, and then told once"""

    def both(supervisor):
        connections, agent = host()["connections"], agent_pid()
        os.kill(supervisor, signal.SIGKILL)
        os.kill(agent, signal.SIGKILL)
        wait("the next agent", lambda: host().get("connections", 0) > connections)

    return orphaned(both)


@check("activations")
def _():
    """an activation that is a child ends with its killed supervisor, and the switch is told as lost"""
    quiet()
    release(True)
    before = running()
    system(hold="")
    unit, job = switching()
    os.kill(int(show(unit, "MainPID")), signal.SIGKILL)
    status = status_of(job)
    require(status["outcome"] == "lost" and running() == before, status)
    require(UNIT not in status["message"], status)
    systemctl("reset-failed", unit)
    return status["message"]


@check("activations")
def _():
    """a switch that finds the lock held runs nothing and names who holds it; a pull-switch says that it pulled"""
    quiet()
    before = running()
    system()
    os.makedirs(os.path.dirname(LOCK), exist_ok=True)
    with open(LOCK, "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        status = finished_switch()
        who = f"the lock {LOCK} is held by process {os.getpid()}, `"
        require((status["status"], status["outcome"], status["exit_code"]) == ("error", "busy", 1), status)
        require(who in status["message"] and "nothing was changed" in status["message"], status)
        require(lines(status["job_id"]) == [f"nixfleet: {status['message']}"], lines(status["job_id"]))
        pulled = finished_switch("pull-switch")
        require(pulled["outcome"] == "busy" and "the checkout was pulled" in pulled["message"], pulled)
    require(running() == before, running())
    status = finished_switch()
    require(status["outcome"] == "ok" and running() != before, status)
    return pulled["message"]


@check("activations")
def _():
    """a switch beside one of the administrator is refused with its unit, and that one goes on"""
    quiet()
    new = system(hold="")
    with subprocess.Popen(["nixos-rebuild", "switch"], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as other:
        wait("the activation", lambda: os.path.exists(ACTIVATING) and is_active())
        try:
            status = finished_switch()
            whoami = finished_switch("whoami")
            going_on = is_active()
        finally:
            end_activation()
            other.communicate(timeout=30)
    require(status["outcome"] == "busy" and f"the unit {UNIT} (process " in status["message"], status)
    # Another command is not affected.
    require(whoami["outcome"] == "ok" and going_on, whoami)
    require(other.returncode == 0 and running() == new, running())
    return status["message"]


def leave_activating(known, hold):
    """Leaves a switch in the middle of its activation. The next boot finds its job noted."""
    quiet()
    release(known)
    system(hold=hold)
    _, job = switching()
    note_job(job)


@check("activations")
def _():
    """the power is cut in the middle of an activation by the service manager"""
    leave_activating(False, hold="")


begin("after-cut-activation")


@check("after-cut-activation")
def _():
    """the agent of the next boot tells that a reboot interrupted the switch, once"""
    status = status_of(noted_job())
    require((status["status"], status["outcome"]) == ("error", "interrupted_by_reboot"), status)
    require(noted_job() not in results(), "there is a result")
    return status["message"]


@check("after-cut-activation")
def _():
    """the machine is shut down in the middle of an activation that is a child"""
    leave_activating(True, hold="3")


begin("after-shutdown-activation")


@check("after-shutdown-activation")
def _():
    """the shutdown has waited for the activation, and the agent of the next boot tells that it succeeded, once"""
    result = results().get(noted_job())
    require(result and result["outcome"] == "ok", result)
    require(result["system_after"] == os.readlink(f"{SYSTEMS}/next"), result)
    status = status_of(noted_job())
    require(status["outcome"] == "ok", status)


@check("after-shutdown-activation")
def _():
    """the machine is shut down in the middle of an activation by the service manager"""
    leave_activating(False, hold="30")


begin("after-shutdown-of-activation")


@check("after-shutdown-of-activation")
def _():
    """the service manager has ended its activation, and the switch is told as interrupted by the reboot, once"""
    result = results().get(noted_job())
    require(result and result["outcome"] == "interrupted_by_reboot", result)
    require(result["system_after"] == f"{SYSTEMS}/booted", result)
    status = status_of(noted_job())
    require(status["outcome"] == "interrupted_by_reboot", status)
    return status["message"]
