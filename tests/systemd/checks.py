#!/usr/bin/env python3
"""The checks, run as root in the test machine: checks.py PHASE

The phases are first, after-shutdown, after-power-cut, after-reboot, after-silent-shutdown and after-trial, and those
of activations.py.
Each check is a sentence about what the installed files do. A check that fails does not keep the next
ones from running. No check sleeps for a fixed time: `wait` polls for a state, with a time limit.
"""

import datetime
import fcntl
import glob
import json
import os
import pwd
import shutil
import socket
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request

AGENT = "nixfleet-agent.service"
USER = "nixfleet-agent"
HEARTBEAT = "nixfleet-heartbeat.service"
REGISTERED = "nixfleet-agent-registered.service"
GUARD = "nixfleet-rollback@.service"
HEARTBEAT_CONF = "/etc/heartbeat.conf"
STATE = "/var/lib/nixfleet-agent"
TEMPLATE = "/usr/lib/systemd/system/nixfleet-job@.service"
RULE = "/usr/share/polkit-1/rules.d/50-nixfleet-agent.rules"
CONFIG = "/etc/nixfleet/agent.toml"
TOKEN_FILE = "/etc/nixfleet/token"
KEPT = f"{STATE}/settings/last-good.json"
END_LINES = "/run/end-lines"
API = "http://127.0.0.1:8000/api"
HOST = "web-1"
HEX = "0123456789abcdef0123456789abcdef"

# Longest wait for a state, in seconds. Only a loaded machine needs some of it.
PATIENCE = 30.0

# After this many failures, further ones say nothing new, and each may take the full time limit.
MANY = 5

CHECKS = []


class Failed(Exception):
    """What was seen instead."""


def check(phase):
    """Registers a check; its name is its docstring."""

    def register(function):
        CHECKS.append((phase, function.__doc__, function))
        return function

    return register


def require(condition, seen):
    if not condition:
        raise Failed(seen)


def wait(what, look, patience=PATIENCE):
    """The first thing that `look` returns and that is true."""
    end = time.monotonic() + patience
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > end:
            raise Failed(f"waited {patience:.0f} s for {what}; last seen: {found!r}")
        time.sleep(0.05)


def run(*command, user=None, limit=60):
    """Exit code and both outputs, trimmed."""
    if user:
        command = ("runuser", "-u", user, "--", *command)
    done = subprocess.run(
        command, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, timeout=limit, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout.strip()


def systemctl(*arguments):
    code, output = run("systemctl", *arguments)
    require(code == 0, f"systemctl {' '.join(arguments)}: exit code {code}: {output}")
    return output


def show(unit, name):
    return systemctl("show", "--property", name, "--value", unit)


def agent_pid():
    return int(show(AGENT, "MainPID"))


def job_units(*states):
    listed = systemctl("list-units", "--plain", "--no-legend", "--all", "nixfleet-job@*").splitlines()
    return [line.split()[0] for line in listed if not states or line.split()[2] in states]


def no_unit_left():
    """Waits until systemd has forgotten the units of all jobs; says what it knows about those that it keeps."""
    try:
        wait("the end of the unit", lambda: not job_units())
    except Failed as failed:
        known = [run("systemctl", "status", "--no-pager", "--full", unit)[1] for unit in job_units()]
        jobs = run("systemctl", "list-jobs", "--no-pager")[1]
        raise Failed("\n".join([str(failed), *known, jobs])) from None


def call(path, body=None):
    """Asks the dashboard; the answer to a refusal is its text."""
    request = urllib.request.Request(API + path, headers={"X-CSRF-Token": "c"})
    if body is not None:
        request.data = json.dumps(body).encode()
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        return json.load(error)
    except OSError:
        return {}


def host():
    return call(f"/hosts/{HOST}")


def messages(kind, since=0):
    found = []
    while True:
        page = call(f"/hosts/{HOST}/messages?type={kind}&since={since}")
        found += page.get("messages", [])
        if not page.get("messages") or page["next"] == since:
            return found
        since = page["next"]


def statuses(job=None):
    found = [message["payload"] for message in messages("status")]
    return [status for status in found if job is None or status.get("job_id") == job]


def of(command):
    """The statuses of a command."""
    return [status for status in statuses() if status["command"] == command]


def lines(job):
    """Text of a job's lines in order of their numbers, each once; holes are failures."""
    seen = {}
    for message in messages("output_batch"):
        batch = message["payload"]
        if batch["job_id"] == job:
            seen.update((line["seq"], line["line"]) for line in batch["lines"])
    numbers = sorted(seen)
    require(numbers == list(range(1, len(numbers) + 1)), f"line numbers with holes: {numbers}")
    return [seen[number] for number in numbers]


def online():
    return wait("the host to be connected and online", lambda: (
        (view := host()).get("connected") and view["status"] == "online" and view))  # fmt: skip


def send(command):
    """Sends a command that has to be accepted."""
    online()
    answer = call(f"/hosts/{HOST}/command", {"command": command})
    require(answer.get("status") == "accepted", f"{command} is refused: {answer}")


def started(command):
    """Sends a command and returns the unit and the job once it runs."""
    send(command)
    name = f"nixfleet-job@{command}-"
    unit = wait("its unit", lambda: [unit for unit in job_units("active") if unit.startswith(name)])[0]
    job = unit.removesuffix(".service").rsplit("-", 1)[1]
    wait("the beat with the command", lambda: host().get("pending_command") == command)
    return unit, job


def finished(command):
    """Sends a command and returns its status."""
    before = len(of(command))
    send(command)
    return wait(f"the status of {command}", lambda: of(command)[before:])[0]


def next_line(job):
    """Waits until the dashboard has a line more."""
    count = len(lines(job))
    wait("another line", lambda: len(lines(job)) > count)


def all_lines(job):
    """Ends `lines` and checks that everything of it arrived, once."""
    open(END_LINES, "w", encoding="ascii").close()
    try:
        status = wait("the status of lines", lambda: statuses(job))[0]
    finally:
        os.remove(END_LINES)
    require(status["status"] == "ok" and status["exit_code"] == 0, f"status {status}")
    wait("the last line", lambda: lines(job)[-1].startswith("end"))
    text = lines(job)
    count = len(text) - 1
    require(text == [f"line {n}" for n in range(1, count + 1)] + [f"end {count}"], f"lines {text}")
    # Two more heartbeats after the status: nothing else is reported.
    beats = len(messages("heartbeat"))
    wait("two more beats", lambda: len(messages("heartbeat")) >= beats + 2)
    require(len(statuses(job)) == 1, f"statuses {statuses(job)}")
    no_unit_left()
    return count


def start_dashboard():
    # The token is in a file, so that it is in no command line.
    code, output = run(
        "systemd-run", "--quiet", "--unit=dashboard", "nixfleet-mock-dashboard",
        "--token-file", TOKEN_FILE, "--csrf-token", "c",
    )  # fmt: skip
    require(code == 0, output)
    wait("the dashboard", lambda: "hosts" in call("/hosts"))


def results():
    """The result of each job, by its id."""
    found = {}
    for path in glob.glob(f"{STATE}/jobs/*/result.json"):
        with open(path, encoding="utf-8") as file:
            found[path.split("/")[-2]] = json.load(file)
    return found


def owner(path):
    status = os.stat(path)
    user = pwd.getpwuid(status.st_uid).pw_name
    group = run("stat", "--format=%G", path)[1]
    return f"{user}:{group} {status.st_mode & 0o7777:04o}"


def reload_polkit():
    """Returns once polkit has the rules that are there now."""
    systemctl("restart", "polkit.service")


# ---------------------------------------------------------------------------------------- units


@check("first")
def _():
    """systemd-analyze has nothing to say against the units"""
    units = [TEMPLATE, *(f"/usr/lib/systemd/system/{unit}" for unit in (AGENT, HEARTBEAT, REGISTERED, GUARD))]
    code, output = run("systemd-analyze", "verify", "--man=no", *units)
    require(code == 0 and not output, output)


@check("first")
def _():
    """the agent's unit exposes less than 2.0 of 10 to an attacker"""
    code, output = run("systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=20", AGENT)
    require(code == 0, output.splitlines()[-1])


@check("first")
def _():
    """the heartbeat needs no dashboard, is read again on reload, and is locked in"""
    code, output = run("systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=10", HEARTBEAT)
    require(code == 0, output.splitlines()[-1])

    def journal():
        return run("journalctl", "--unit", HEARTBEAT, "--output=json", "--no-pager")[1].splitlines()

    def entries(wanted):
        return [entry for entry in map(json.loads, journal()) if wanted(entry)]

    def configure(text):
        with open(HEARTBEAT_CONF, "w", encoding="ascii") as file:
            file.write(text)

    configure("INTERVAL=1 # often\nFORMAT=avocado\n")
    try:
        systemctl("start", HEARTBEAT)
        pid = show(HEARTBEAT, "MainPID")
        fields = ["uptime", "mem_free_kb", "mem_total_kb", "load_1m", "ts"]
        seen = wait("two lines", lambda: (
            (found := entries(lambda entry: entry["MESSAGE"].startswith("{"))) and len(found) > 1 and found))  # fmt: skip
        values = json.loads(seen[0]["MESSAGE"])
        require(list(values) == fields and None not in values.values(), seen[0]["MESSAGE"])
        require(seen[0]["_UID"] != "0", seen[0]["_UID"])
        configure("INTERVAL=1\nFORMAT=journal\n")
        systemctl("reload", HEARTBEAT)
        entry = wait("an entry with fields", lambda: entries(lambda entry: "NIXFLEET_CPU_USAGE" in entry))[0]
        require(entry["SYSLOG_IDENTIFIER"] == "nixfleet-heartbeat", entry)
        configure("INTERVAL=0\n")
        systemctl("reload", HEARTBEAT)
        complaint = f"{HEARTBEAT_CONF}:1: INTERVAL"
        entry = wait("the complaint", lambda: entries(lambda entry: complaint in entry["MESSAGE"]))[0]
        require(entry["PRIORITY"] == "3", entry)
        require(show(HEARTBEAT, "MainPID") == pid and show(HEARTBEAT, "NRestarts") == "0", "it was restarted")
        begun = time.monotonic()
        systemctl("stop", HEARTBEAT)
        require(time.monotonic() - begun < 2 and show(HEARTBEAT, "Result") == "success", "a slow or bad end")
        code, _ = run("systemctl", "start", HEARTBEAT)
        require(code != 0 and show(HEARTBEAT, "ExecMainStatus") == "64", "a wrong file at the start")
        wait("the error at the start", lambda: entries(lambda entry: (
            entry["MESSAGE"].startswith(f"nixfleet-agent: {complaint}") and entry["PRIORITY"] == "3")))  # fmt: skip
    finally:
        run("systemctl", "stop", HEARTBEAT)
        run("systemctl", "reset-failed", HEARTBEAT)
        os.remove(HEARTBEAT_CONF)


@check("first")
def _():
    """the extension for Avocado is merged as its page says, and runs with its own settings"""
    program = "/usr/bin/nixfleet-agent"
    before = os.stat(program)
    try:
        code, output = run("bash", "-eux", "/root/extension")
        require(code == 0, output)
        after = os.stat(program)
        require((before.st_dev, before.st_ino) != (after.st_dev, after.st_ino), "the old program is still in place")
        require(os.path.exists(HEARTBEAT_CONF), "no settings were merged")
        # Of this process: an earlier check has left lines of the same form.
        pid = wait("its process", lambda: (pid := show(HEARTBEAT, "MainPID")) != "0" and pid)
        line = wait("a line", lambda: [
            text for text in run("journalctl", "--unit", HEARTBEAT, f"_PID={pid}", "--output=cat")[1].splitlines()
            if text.startswith('{"uptime":')])[0]  # fmt: skip
        require(len(json.loads(line)) == 5, line)
        code, output = run("systemd-analyze", "verify", "--man=no", HEARTBEAT)
        require(code == 0 and not output, output)
    finally:
        run("systemctl", "stop", HEARTBEAT)
        run("systemd-confext", "unmerge")
        run("systemd-sysext", "unmerge")
        run("systemctl", "daemon-reload")
    require(os.stat(program).st_ino == before.st_ino, "the extension is still merged")
    require(not os.path.exists(HEARTBEAT_CONF), "its settings are still merged")


@check("first")
def _():
    """folders belong to whom they should"""
    expected = {
        STATE: "root:root 0755",
        f"{STATE}/agent": f"{USER}:{USER} 0700",
        f"{STATE}/jobs": f"root:{USER} 2750",
        f"{STATE}/settings": f"root:{USER} 2750",
        KEPT: f"root:{USER} 0640",
    }
    seen = {path: owner(path) for path in expected}
    require(seen == expected, seen)


@check("first")
def _():
    """the agent is READY without a dashboard"""
    wait("the unit to be active", lambda: show(AGENT, "ActiveState") == "active")
    require(show(AGENT, "NRestarts") == "0", "it was restarted")
    wait("a status line", lambda: show(AGENT, "StatusText"))


@check("first")
def _():
    """no core file can hold the token, neither by the unit's limit nor by the agent itself; jobs keep their limit"""
    require(show(AGENT, "LimitCORE") == "0", show(AGENT, "LimitCORE"))
    require(show("nixfleet-job@any-0.service", "LimitCORE") != "0", "a job has the agent's limit")
    # The kernel gives the files of a process that cannot be dumped to root.
    require(os.stat(f"/proc/{agent_pid()}/environ").st_uid == 0, "the agent can be dumped")


@check("first")
def _():
    """it registers and beats once there is a dashboard"""
    start_dashboard()
    online()
    wait("three beats", lambda: len(messages("heartbeat")) >= 3)


@check("first")
def _():
    """a unit succeeds once the agent is registered, and enabled it is needed for a complete boot"""
    online()
    systemctl("start", REGISTERED)
    require(show(REGISTERED, "ActiveState") == "active", show(REGISTERED, "ActiveState"))
    systemctl("enable", REGISTERED)
    link = f"/etc/systemd/system/boot-complete.target.requires/{REGISTERED}"
    require(os.path.islink(link), f"no {link}")
    systemctl("disable", REGISTERED)


@check("first")
def _():
    """its meters work in the sandbox, and units that failed are told"""
    known = ["cpu_usage", "memory_usage", "uptime_s", "load", "failed_units"]
    vitals = wait("vitals", lambda: (
        (seen := host()["vitals"]) and all(seen.get(name) is not None for name in known) and seen))  # fmt: skip
    require(0 < vitals["memory_usage"] < 1, vitals)


class Without:
    """Moves a file away, or puts another text in its place, and starts the agent anew at the end."""

    def __init__(self, path, text=None):
        self.path, self.text = path, text

    def __enter__(self):
        shutil.copy2(self.path, "/run/whole")
        if self.text is None:
            os.remove(self.path)
        else:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(self.text)

    def __exit__(self, *_):
        if not os.path.exists(self.path) or self.text is not None:
            shutil.copy2("/run/whole", self.path)
        run("systemctl", "reset-failed", AGENT)
        systemctl("restart", AGENT)
        online()


def of_agent(*names):
    return [show(AGENT, name) for name in names]


@check("first")
def _():
    """a wrong configuration ends with 64 where there never was a good one, and no restart follows"""
    systemctl("stop", AGENT)
    shutil.copy2(KEPT, "/run/kept")
    os.remove(KEPT)
    with Without(CONFIG, "\n[nonsense]\n"):
        code, output = run("systemctl", "start", AGENT)
        require(code != 0, "it started")
        seen = of_agent("ExecMainStatus", "ActiveState", "SubState", "NRestarts")
        require(seen == ["64", "failed", "failed", "0"], f"{seen}: {output}")
        code, output = run("nixfleet-agent", "logs", "--list")
        require("warning: the settings are wrong" in output and f"jobs in {STATE}/jobs" in output, output)
    require(os.path.exists(KEPT), "a good start leaves no copy")


@check("first")
def _():
    """a wrong configuration leaves no host dark: agent and root use the last good one, and everybody is told"""
    with Without(CONFIG, "\n[nonsense]\n"):
        before = len(messages("heartbeat"))
        systemctl("restart", AGENT)
        require(of_agent("ActiveState", "NRestarts") == ["active", "0"], of_agent("ActiveState", "NRestarts"))

        def told():
            beats = [message["payload"] for message in messages("heartbeat")[before:]]
            return [beat["last_good_settings"] for beat in beats if beat.get("last_good_settings")]

        settings = wait("a beat that tells it", told)[-1]
        require(settings["file"] == CONFIG and "nonsense" in settings["problems"][0], settings)
        status = finished("whoami")
        require(status["status"] == "ok", status)
        text = lines(status["job_id"])
        require(f"{CONFIG} is wrong, so the settings that were accepted at" in text[0], text)
        code, output = run("nixfleet-agent", "status", user="nobody")
        require(code == 0 and f"settings    {CONFIG} is wrong" in output, output)
        code, output = run("nixfleet-agent", "doctor")
        require(code == 64 and "FAIL    configuration   nonsense: unknown key" in output, output)
        journal = run("journalctl", "--no-pager", "--boot", "--unit", AGENT, "--priority=err", "--lines=20")[1]
        require("nonsense: unknown key" in journal, journal)
    # What the agent's user can write is not believed: not the copy itself, and not a folder in its place.
    with Without(CONFIG, "\n[nonsense]\n"):
        shutil.chown(KEPT, USER)
        code, output = run("nixfleet-agent", "exec-job", "--", f"whoami-{HEX[::-1]}")
        said = "unknown key" in output and "only root is believed" in output
        require(code == 64 and said and HEX[::-1] not in results(), output)
        os.remove(KEPT)


@check("first")
def _():
    """a missing token file is named by the unit, without restarts, and used as soon as it is there"""
    with Without(TOKEN_FILE):
        systemctl("restart", AGENT)
        missing = f"the token file {TOKEN_FILE} was missing when systemd started the agent"
        wait("the name of the file", lambda: missing in show(AGENT, "StatusText"))
        pid = agent_pid()
        code, output = run("nixfleet-agent", "status")
        require(code == 0 and missing in output, output)
        wait("another attempt", lambda: run("journalctl", "--boot", "--unit", AGENT)[1].count(missing) >= 2)
        require([agent_pid(), *of_agent("NRestarts")] == [pid, "0"], "it was restarted")
        shutil.copy2("/run/whole", TOKEN_FILE)
        online()
        require(agent_pid() != pid, "the agent is the same")
        require(of_agent("NRestarts") == ["1"], of_agent("NRestarts"))


@check("first")
def _():
    """in its sandbox it resolves names, sees StaSysMo's folder, reads GPUs, and can write to its own folder alone"""
    os.makedirs("/dev/shm/stasysmo", exist_ok=True)
    with open("/dev/shm/stasysmo/reading", "w", encoding="ascii") as file:
        file.write("1\n")
    os.makedirs("/srv/open", exist_ok=True)
    os.chmod("/srv/open", 0o777)
    # A GPU whose driver has no library: only the process that would load it can tell.
    gpu = "/srv/gpu/bus/pci/devices/0000:01:00.0"
    os.makedirs(gpu)
    for name, text in (("vendor", "0x10de"), ("class", "0x030000")):
        with open(f"{gpu}/{name}", "w", encoding="ascii") as file:
            file.write(text)
    os.symlink("../../../bus/pci/drivers/nvidia", f"{gpu}/driver")
    script = f"""
        getent hosts $(hostname) >/dev/null || echo no names
        cat /dev/shm/stasysmo/reading >/dev/null || echo no readings
        cat /proc/sys/kernel/random/boot_id /proc/loadavg >/dev/null || echo no facts
        exec 9<{STATE}/jobs/lock && flock --shared --nonblock 9 || echo no lock
        touch {STATE}/agent/probe && rm {STATE}/agent/probe || echo no state
        for folder in {STATE} {STATE}/jobs {STATE}/settings /etc /usr /srv/open /dev/shm/stasysmo /run; do
            touch $folder/probe 2>/dev/null && echo writes to $folder
        done
        NIXFLEET_PATHS__SYS=/srv/gpu NIXFLEET_PATHS__NVML=/srv/no.so nixfleet-agent vitals --json |
            grep --quiet '"status":"no_library"' || echo no reader of GPUs
        test -e /proc/1 && echo sees other processes
        grep --quiet 'CapBnd:.*[1-9a-f]' /proc/self/status && echo has capabilities
        true"""
    with open(f"/usr/lib/systemd/system/{AGENT}", encoding="utf-8") as file:
        unit = file.read()
    # The agent's own unit; only the program and its handling differ.
    for line, instead in (
        ("Type=notify", "Type=oneshot"), ("Restart=always", ""), ("WatchdogSec=30", ""),
        ("ExecStart=/usr/bin/nixfleet-agent run", "ExecStart=/bin/sh /usr/local/lib/probe"),
    ):  # fmt: skip
        require(f"\n{line}\n" in unit, f"the unit has no line {line}")
        unit = unit.replace(f"\n{line}\n", f"\n{instead}\n")
    unit += "\n[Service]\nStandardOutput=file:/run/probe\nStandardError=journal\n"
    os.makedirs("/usr/local/lib", exist_ok=True)
    with open("/usr/local/lib/probe", "w", encoding="utf-8") as file:
        file.write(script)
    with open("/run/systemd/system/probe.service", "w", encoding="utf-8") as file:
        file.write(unit)
    systemctl("daemon-reload")
    try:
        # The lock of the jobs.
        open(f"{STATE}/jobs/lock", "a", encoding="ascii").close()
        systemctl("start", "probe.service")
        with open("/run/probe", encoding="utf-8") as file:
            seen = file.read()
    finally:
        os.remove("/run/systemd/system/probe.service")
        systemctl("daemon-reload")
    require(not seen, seen)


# --------------------------------------------------------------------------------------- commands


@check("first")
def _():
    """a command runs as root in a cgroup of its own; output and status arrive"""
    status = finished("whoami")
    require(status["status"] == "ok", status)
    job = status["job_id"]
    text = lines(job)
    require(text[0] == "uid=0", text[0])
    group = f"/nixfleet-job@whoami-{job}.service"
    require(any(line.startswith("0::/") and line.endswith(group) for line in text), text)
    no_unit_left()


@check("first")
def _():
    """`journalctl -p warning` of the agent's unit shows a refused token and a failed command, and no ordinary line"""

    def journal(*options):
        options = ("--unit", AGENT, "--output=cat", "--no-pager", *options)
        return run("journalctl", *options)[1].splitlines()

    def having(text, *options):
        return [line for line in journal(*options) if text in line]

    status = finished("fail")
    require((status["status"], status["exit_code"]) == ("error", 3), status)
    shutil.copy2(TOKEN_FILE, "/run/token")
    with open(TOKEN_FILE, "w", encoding="ascii") as file:
        file.write("wrong\n")
    try:
        systemctl("restart", AGENT)
        refused = "Not connected: the dashboard refused the token"
        wait("the refusal", lambda: having(refused, "--priority=warning"))
    finally:
        shutil.copy2("/run/token", TOKEN_FILE)
        systemctl("restart", AGENT)
    online()
    require(having("The command ended: Fail: ", "--priority=warning"), journal("--priority=warning"))
    for ordinary in ("Started. version=", "Accepted a command.", "The command ended: Whoami: "):
        require(having(ordinary, "--priority=info"), f"{ordinary} is not in the journal")
        require(not having(ordinary, "--priority=warning"), f"{ordinary} is a warning")


@check("first")
def _():
    """the token is in no unit's properties, no environment, no command line, no job, not in the journal"""
    with open(TOKEN_FILE, encoding="ascii") as file:
        token = file.read().strip()
    found = []
    for path in glob.glob("/proc/[0-9]*/environ") + glob.glob("/proc/[0-9]*/cmdline"):
        try:
            with open(path, "rb") as file:
                found += [path] if token.encode() in file.read() else []
        except OSError:
            # The process has just ended.
            pass
    unit = systemctl("show", "--all", AGENT)
    found += ["systemctl show"] if token in unit else []
    found += ["the journal"] if token in run("journalctl", "--no-pager", "--all")[1] else []
    found += run("grep", "--recursive", "--files-with-matches", "--fixed-strings", token, STATE)[1].splitlines()
    require(not found, found)


@check("first")
def _():
    """root clones the repository unasked, the agent cannot read the checkout, and its beats name the commit all the same"""
    code, commit = run("git", "-C", "/srv/work", "rev-parse", "HEAD")
    require(code == 0, commit)
    # The checks before this one restart the agent. A restart may end the systemctl that starts the first attempt.
    cloned = wait("a clone", lambda: [status for status in of("clone") if status["status"] == "ok"])
    require(commit[:7] in cloned[0]["message"], cloned)
    require(owner(f"{STATE}/repo").startswith("root:"), owner(f"{STATE}/repo"))
    code, seen = run("ls", f"{STATE}/repo", user=USER)
    require(code != 0 and "Permission denied" in seen, seen)
    # The agent knows the commit from the note that the job left.
    wait("a beat with the commit", lambda: host()["generation"] == commit.strip()[:7])
    status = finished("refresh-lock")
    require(status["message"] == "Refresh lock: unknown: the checkout has no flake.lock", status)


@check("first")
def _():
    """people read logs as root and as the agent's group, and nobody else does"""
    logs = ("nixfleet-agent", "logs", "whoami")
    for user in (None, USER):
        code, output = run(*logs, user=user)
        require(code == 0 and "uid=0" in output and "whoami: ok (0), took " in output, f"{user}: {output}")
    code, output = run(*logs, user="nobody")
    require(code == 1 and "Permission denied" in output and "use sudo" in output, output)
    _, job = started("lines")
    next_line(job)
    follow = ("runuser", "-u", USER, "--", "nixfleet-agent", "logs", "--follow", job[-8:])
    with subprocess.Popen(follow, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as following:
        count = all_lines(job)
        output, _ = following.communicate(timeout=PATIENCE)
    require(following.returncode == 0 and f"line {count}\nend {count}\n" in output, output[-300:])
    require("\nlines: ok (0), took " in output, output[-300:])


@check("first")
def _():
    """doctor finds the settings, the token and the units of the installed agent, and evicts nobody"""
    # The unit of the sandbox check has the same runtime folder, and its end removed the agent's socket.
    systemctl("restart", AGENT)
    online()
    pid, registered = agent_pid(), len(messages("register"))
    code, output = run("nixfleet-agent", "doctor", "--json")
    found = {entry["check"]: entry for entry in json.loads(output)["checks"]}
    fine = ("configuration", "state folder", "token file", "tcp", "token", "clock", "repository", "remote",
            "launcher", "polkit", "user", "unit", "agent", "heartbeats")  # fmt: skip
    seen = {name: found[name] for name in fine if found[name]["verdict"] != "ok"}
    require(not seen, seen)
    require(AGENT in found["configuration"]["text"], found["configuration"])
    fails = [entry for entry in found.values() if entry["verdict"] == "fail"]
    require(code == (1 if fails else 0), f"{code}: {fails}")
    require({entry["check"] for entry in fails} <= {"rebuild", "disk space"}, fails)
    with open(TOKEN_FILE, encoding="ascii") as file:
        require(file.read().strip() not in output, "it shows the token")
    _, output = run("nixfleet-agent", "doctor", "--json", user="nobody")
    found = {entry["check"]: entry["verdict"] for entry in json.loads(output)["checks"]}
    seen = [found[name] for name in ("token file", "token", "repository", "remote")]
    require(seen == ["skipped"] * 4 and found["agent"] == "ok", found)
    require(agent_pid() == pid and len(messages("register")) == registered, "the agent was disturbed")


@check("first")
def _():
    """a command survives `systemctl restart` of the agent: every line once, one status"""
    unit, job = started("lines")
    next_line(job)
    supervisor, agent = show(unit, "MainPID"), agent_pid()
    systemctl("restart", AGENT)
    require(agent_pid() != agent, "the agent is the same")
    online()
    next_line(job)
    require(show(unit, "MainPID") == supervisor, "the supervisor is another one")
    all_lines(job)


@check("first")
def _():
    """a command survives `kill -9` of the agent: every line once, one status"""
    unit, job = started("lines")
    next_line(job)
    supervisor, agent = show(unit, "MainPID"), agent_pid()
    connections = host()["connections"]
    os.kill(agent, 9)
    wait("the next agent", lambda: host().get("connections", 0) > connections)
    require(agent_pid() not in (0, agent), "the agent is the same")
    online()
    next_line(job)
    require(show(unit, "MainPID") == supervisor, "the supervisor is another one")
    all_lines(job)


# systemd knows RefreshOnReload=credentials since this version.
REFRESHES = 260
DROP_INS = f"/etc/systemd/system/{AGENT}.d"
ADVICE = "systemctl restart nixfleet-agent"
UNCHANGED = "nothing has changed, and the connection stays"
NEW_TOKEN = "new token; connecting anew"
REFUSED = "Not connected: the dashboard refused the token"


def logged(text):
    """The lines of the agent's log of this boot that have this text."""
    entries = run("journalctl", "--no-pager", "--boot", "--unit", AGENT, "--output=cat")[1]
    return [line for line in entries.splitlines() if text in line]


class WrongToken:
    """Puts a token in place that the dashboard does not know. At the end the right one counts again."""

    def __enter__(self):
        shutil.copy2(TOKEN_FILE, "/run/right-token")
        with open(TOKEN_FILE, "w", encoding="ascii") as file:
            file.write("wrong\n")

    @staticmethod
    def put_back():
        shutil.copy2("/run/right-token", TOKEN_FILE)

    def __exit__(self, *_):
        self.put_back()
        systemctl("restart", AGENT)
        online()


def reload_that_passes_nothing():
    """The token's file was replaced, and a reload does not pass it on."""
    agent, connections = agent_pid(), host()["connections"]
    unchanged, refused = len(logged(UNCHANGED)), len(logged(REFUSED))
    systemctl("reload", AGENT)
    answer = wait("its answer", lambda: logged(UNCHANGED)[unchanged:])[0]
    require(ADVICE in answer, f"no advice: {answer}")
    seen = (agent_pid(), host()["connections"], len(logged(REFUSED)))
    require(seen == (agent, connections, refused), f"{seen}, not {(agent, connections, refused)}")
    systemctl("restart", AGENT)
    wait("the refusal of the new token", lambda: len(logged(REFUSED)) > refused)


@check("first")
def _():
    """a reload passes no new token: the agent says so and names the restart, which does; no command is lost"""
    unit, job = started("lines")
    next_line(job)
    supervisor = show(unit, "MainPID")
    with WrongToken():
        reload_that_passes_nothing()
    next_line(job)
    require(show(unit, "MainPID") == supervisor, "the supervisor is another one")
    all_lines(job)


@check("first")
def _():
    """with RefreshOnReload=credentials a reload passes a new token, if systemd knows it; no command is lost"""
    version = int(systemctl("--version").split()[1])
    os.makedirs(DROP_INS, exist_ok=True)
    with open(f"{DROP_INS}/refresh.conf", "w", encoding="ascii") as file:
        file.write("[Service]\nRefreshOnReload=credentials\n")
    try:
        systemctl("daemon-reload")
        # An unknown key is a warning at each start of systemd. That is why the shipped unit does not have it.
        warned = "RefreshOnReload" in run("journalctl", "--no-pager", "--boot", "_PID=1", "--priority=warning")[1]
        require(warned == (version < REFRESHES), f"systemd {version} {'warned' if warned else 'did not warn'}")
        unit, job = started("lines")
        next_line(job)
        supervisor, agent = show(unit, "MainPID"), agent_pid()
        with WrongToken():
            if version < REFRESHES:
                reload_that_passes_nothing()
            else:
                renewed, refused = len(logged(NEW_TOKEN)), len(logged(REFUSED))
                systemctl("reload", AGENT)
                wait("the new token", lambda: len(logged(NEW_TOKEN)) > renewed)
                wait("its refusal", lambda: len(logged(REFUSED)) > refused)
                WrongToken.put_back()
                systemctl("reload", AGENT)
                online()
                require((agent_pid(), show(AGENT, "NRestarts")) == (agent, "0"), "the agent is another one")
        next_line(job)
        require(show(unit, "MainPID") == supervisor, "the supervisor is another one")
        all_lines(job)
    finally:
        shutil.rmtree(DROP_INS)
        systemctl("daemon-reload")
    return f"systemd {version} {'knows' if version >= REFRESHES else 'does not know'} it"


@check("first")
def _():
    """a client certificate whose files are missing is named, by check-config too, and the unit runs all the same"""
    os.makedirs(DROP_INS, exist_ok=True)
    with open(f"{DROP_INS}/client.conf", "w", encoding="ascii") as file:
        # Without TLS it would be of no use, and so not be read.
        file.write("[Service]\nEnvironment=NIXFLEET_URL=wss://127.0.0.1:8000/ws\n")
        for name, path in (("client-cert", "/etc/nixfleet/client.pem"), ("client-key", "/etc/nixfleet/client.key")):
            file.write(f"LoadCredential={name}:{path}\nSetCredential={name}:no client certificate was passed\n")
    try:
        systemctl("daemon-reload")
        systemctl("restart", AGENT)
        wait("its name", lambda: "systemd passed no client_cert to the agent" in show(AGENT, "StatusText"))
        require(of_agent("ActiveState", "NRestarts") == ["active", "0"], of_agent("ActiveState", "NRestarts"))
        code, output = run("nixfleet-agent", "check-config")
        require(code == 64 and "client_cert: /etc/nixfleet/client.pem does not exist" in output, output)
    finally:
        shutil.rmtree(DROP_INS)
        systemctl("daemon-reload")
        systemctl("restart", AGENT)
        online()


@check("first")
def _():
    """the dashboard's stop ends the command and all its processes, with status stopped"""
    unit, job = started("nap")
    group = show(unit, "ControlGroup")
    with open(f"/sys/fs/cgroup{group}/cgroup.procs", encoding="ascii") as file:
        processes = file.read().split()
    require(len(processes) >= 3, f"processes {processes}")
    send("stop")
    status = wait("the status", lambda: statuses(job))[0]
    require((status["status"], status["exit_code"]) == ("stopped", 143), status)
    no_unit_left()
    left = [process for process in processes if os.path.exists(f"/proc/{process}")]
    require(not left, f"processes are left: {left}")


@check("first")
def _():
    """the dashboard's kill ends the command at once"""
    _, job = started("nap")
    call(f"/hosts/{HOST}/kill", {"signal": "SIGKILL"})
    status = wait("the status", lambda: statuses(job))[0]
    require((status["status"], status["exit_code"]) == ("stopped", 137), status)
    no_unit_left()


@check("first")
def _():
    """`systemctl stop` of the job's unit is a stop as well"""
    unit, job = started("nap")
    systemctl("stop", unit)
    status = wait("the status", lambda: statuses(job))[0]
    require((status["status"], status["outcome"]) == ("stopped", "stopped"), status)


@check("first")
def _():
    """a supervisor that is killed leaves no process, and the dashboard is told that the command was lost"""
    unit, job = started("nap")
    group = show(unit, "ControlGroup")
    os.kill(int(show(unit, "MainPID")), 9)
    status = wait("the status", lambda: statuses(job))[0]
    require((status["status"], status["outcome"]) == ("error", "lost"), status)
    wait("the unit to fail", lambda: show(unit, "ActiveState") == "failed")
    require(not os.path.exists(f"/sys/fs/cgroup{group}"), "processes are left")
    systemctl("reset-failed", unit)


# --------------------------------------------------------------------------------------- rights


@check("first")
def _():
    """the agent's user cannot write jobs, nor read token, keys and checkout"""
    with open("/etc/nixfleet/deploy-key", "w", encoding="ascii") as file:
        os.fchmod(file.fileno(), 0o400)
        file.write("key\n")
    job = max(results())
    seen = []
    jobs = (f"{STATE}/jobs", f"{STATE}/jobs/{job}", f"{STATE}/jobs/{job}/result.json")
    for path in (*jobs, STATE, CONFIG, f"{STATE}/settings", KEPT):
        seen += [f"writes {path}"] if run("test", "-w", path, user=USER)[0] == 0 else []
    for path in (TOKEN_FILE, "/etc/nixfleet/deploy-key", f"{STATE}/repo/file", "/etc/shadow"):
        require(os.path.exists(path), f"there is no {path}")
        seen += [f"reads {path}"] if run("cat", path, user=USER)[0] == 0 else []
    require(run("cat", f"{STATE}/jobs/{job}/log.jsonl", user=USER)[0] == 0, "it cannot read a job")
    require(run("cat", f"{STATE}/jobs/{job}/log.jsonl", user="nobody")[0] != 0, "others can read a job")
    require(not seen, seen)


@check("first")
def _():
    """polkit lets the agent's user start a job, and nobody else"""
    command = ("systemctl", "--no-ask-password", "start", f"nixfleet-job@whoami-{HEX}.service")
    code, seen = run(*command, user="nobody")
    require(code != 0 and HEX not in results(), f"nobody starts a job: {seen}")
    code, seen = run(*command, user=USER)
    require(code == 0, seen)
    wait("the result", lambda: HEX in results())
    no_unit_left()
    code, seen = run(*command, user=USER)
    require(code != 0, "the same job was started twice")
    errors = run("journalctl", "--unit", command[-1], "--priority=err", "--output=cat", "--no-pager")[1]
    require("nixfleet-agent: " in errors, f"the supervisor's error is not an error in the journal: {errors}")
    systemctl("reset-failed", command[-1])


def evil_unit(path):
    with open(path, "w", encoding="ascii") as file:
        file.write("[Service]\nExecStart=touch /run/pwned\n[Install]\nWantedBy=multi-user.target\n")


@check("first")
def _():
    """polkit lets the agent's user do nothing else"""
    evil_unit("/run/systemd/system/victim.service")
    evil_unit("/run/evil.service")
    systemctl("daemon-reload")
    job = f"nixfleet-job@whoami-{HEX}.service"
    fresh = f"nixfleet-job@whoami-{HEX[::-1]}"
    guard = GUARD.replace("@", f"@{HEX}")
    calls = [
        # Units that are not jobs.
        *(("systemctl", verb, "victim.service") for verb in ("start", "restart", "reload-or-restart")),
        *(("systemctl", verb, "dashboard.service") for verb in ("stop", "restart", "try-restart", "kill")),
        *(("systemctl", verb, AGENT) for verb in ("start", "stop", "restart", "kill")),
        *(("systemctl", verb, guard) for verb in ("start", "restart")),
        ("systemctl", "start", REGISTERED),
        ("systemctl", "start", "nosuchunit.service"),
        ("systemctl", "isolate", "rescue.target"),
        ("systemctl", "reset-failed"),
        # Jobs, but other verbs.
        *(("systemctl", verb, job) for verb in ("stop", "restart", "freeze", "clean", "enable")),
        ("systemctl", "--job-mode=isolate", "start", job),
        ("systemctl", "set-property", "--runtime", job, "CPUWeight=1"),
        # The manager.
        *(("systemctl", verb) for verb in ("daemon-reload", "daemon-reexec", "poweroff", "reboot", "kexec")),
        ("systemctl", "set-environment", "A=1"),
        ("systemctl", "set-property", AGENT, "CPUWeight=1"),
        ("systemctl", "link", "/run/evil.service"),
        ("systemctl", "enable", "victim.service"),
        ("systemctl", "mask", "--runtime", "nixfleet-job@.service"),
        # Units that the caller makes up, also under a name that a job could have.
        ("systemd-run", "touch", "/run/pwned"),
        ("systemd-run", "--scope", "touch", "/run/pwned"),
        ("systemd-run", f"--unit={fresh}", "touch", "/run/pwned"),
        ("systemd-run", f"--unit={fresh}.scope", "--scope", "touch", "/run/pwned"),
        ("systemd-run", f"--unit={fresh}", "--on-active=1us", "touch", "/run/pwned"),
    ]
    before = (agent_pid(), show("dashboard.service", "MainPID"), set(os.listdir(f"{STATE}/jobs")))
    for call_ in calls:
        no_password = "--no-ask-password"
        code, seen = run(call_[0], no_password, *call_[1:], user=USER)
        require(code != 0, f"allowed: {' '.join(call_)}: {seen}")
    after = (agent_pid(), show("dashboard.service", "MainPID"), set(os.listdir(f"{STATE}/jobs")))
    require(before == after, f"something has changed: {before} {after}")
    require(not os.path.exists("/run/pwned"), "something was run")
    # Without a trial, a guard ends with an error by itself.
    require(not show(guard, "InvocationID"), "a guard was started")
    require(not os.path.exists("/etc/systemd/system/evil.service"), "a unit was linked")


HOSTILE = [
    "", "x", HEX, f"-{HEX}", f"whoami-{HEX[1:]}", f"whoami-{HEX}0", f"whoami-{HEX.upper()}", f"WHOAMI-{HEX}",
    f"{'a' * 33}-{HEX}", f"whoami-{HEX}\n", f"who ami-{HEX}", f"../x-{HEX}", f"../../etc/x-{HEX}",
    f"..-x-{HEX}", f"%i-{HEX}", f"%n-{HEX}", f"$(touch /run/pwned)-{HEX}", f"a;touch /run/pwned;-{HEX}",
    "--config=/tmp/evil", r"--config=\x2ftmp\x2fevil", "--help", "-h", f"-c-{HEX}", f"{'a' * 4096}-{HEX}",
    f"whoami-{HEX}@x", f"whoami@{HEX}", f"wh\u00f6ami-{HEX}", f"whoami-{HEX}.service",
]  # fmt: skip


@check("first")
def _():
    """instance names that are no job's are refused by polkit, and by the supervisor when root asks"""
    before = set(os.listdir(f"{STATE}/jobs"))
    for user in (USER, None):
        for name in HOSTILE:
            code, seen = run(
                "systemctl", "--no-ask-password", "start", f"nixfleet-job@{name}.service", user=user
            )  # fmt: skip
            require(code != 0, f"{name[:80]!r} is started by {user or 'root'}: {seen}")
    require(set(os.listdir(f"{STATE}/jobs")) == before, "a job was made")
    require(not os.path.exists("/run/pwned"), "something was run")
    systemctl("reset-failed", "nixfleet-job@*")


@check("first")
def _():
    """a started job whose command is not configured runs nothing"""
    job = HEX[::-1]
    run("systemctl", "--no-ask-password", "start", f"nixfleet-job@nonsense-{job}.service", user=USER)
    wait("the result", lambda: job in results())
    require(results()[job]["outcome"] == "not_started", results()[job])


def refused_without(path, command="whoami"):
    """The status of a command while a file is missing."""
    shutil.move(path, "/run/missing")
    systemctl("daemon-reload")
    reload_polkit()
    try:
        status = finished(command)
    finally:
        shutil.move("/run/missing", path)
        systemctl("daemon-reload")
        reload_polkit()
    require(status["status"] == "error", status)
    return status["message"]


@check("first")
def _():
    """without the polkit rule, the dashboard is told what is missing"""
    message = refused_without(RULE)
    require("polkit" in message, message)
    return message


@check("first")
def _():
    """without the template unit, the dashboard is told what is missing"""
    message = refused_without(TEMPLATE)
    require("nixfleet-job@" in message, message)
    return message


@check("first")
def _():
    """without D-Bus, the dashboard is told that it is missing"""
    # Stopping D-Bus would stop half of the machine too.
    os.rename("/run/dbus/system_bus_socket", "/run/dbus/away")
    try:
        status = finished("whoami")
    finally:
        os.rename("/run/dbus/away", "/run/dbus/system_bus_socket")
    require(status["status"] == "error" and "D-Bus" in status["message"], status)
    return status["message"]


@check("first")
def _():
    """a command starts although polkit takes longer to start than the bus waits"""
    folder = "/run/systemd/system/polkit.service.d"
    os.makedirs(folder)
    with open(f"{folder}/slow.conf", "w", encoding="ascii") as file:
        file.write("[Service]\nExecStartPre=/bin/sleep 27\n")
    systemctl("daemon-reload")
    try:
        systemctl("stop", "polkit.service")
        begun = time.monotonic()
        before = len(of("whoami"))
        send("whoami")
        status = wait("the status of whoami", lambda: of("whoami")[before:], patience=80)[0]
        took = time.monotonic() - begun
    finally:
        shutil.rmtree(folder)
        systemctl("daemon-reload")
        reload_polkit()
    require(status["status"] == "ok", status)
    journal = run("journalctl", "--no-pager", "--boot", "--unit", AGENT)[1]
    require("trying once more" in journal, f"it took {took:.0f} s, and one attempt")
    no_unit_left()


@check("first")
def _():
    """without the template unit, the agent's user cannot make up a unit in its place"""
    shutil.move(TEMPLATE, "/run/missing")
    systemctl("daemon-reload")
    try:
        code, seen = run(
            "systemd-run", "--no-ask-password", f"--unit=nixfleet-job@whoami-{HEX}", "--wait",
            "touch", "/run/pwned", user=USER,
        )  # fmt: skip
    finally:
        shutil.move("/run/missing", TEMPLATE)
        systemctl("daemon-reload")
    require(code != 0 and not os.path.exists("/run/pwned"), seen)


@check("first")
def _():
    """after all of that a command still works"""
    status = finished("whoami")
    require(status["status"] == "ok", status)


# --------------------------------------------------------------------------------------- ends


@check("first")
def _():
    """on SIGTERM the agent ends within two seconds"""
    begun = time.monotonic()
    systemctl("stop", AGENT)
    took = time.monotonic() - begun
    require(took < 2, f"it took {took:.1f} s")
    require(show(AGENT, "Result") == "success", show(AGENT, "Result"))
    systemctl("start", AGENT)
    online()


def loopback(up):
    """Takes the machine's only network device down, with its address, or up: netdevice(7)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:

        def ask(request, value):
            return fcntl.ioctl(any_socket, request, struct.pack("16s16s", b"lo", value))

        siocgifflags, siocsifflags, siocsifaddr, iff_up = 0x8913, 0x8914, 0x8916, 1
        flags = struct.unpack_from("H", ask(siocgifflags, b""), 16)[0]
        if not up:
            # As long as it has an address, packets to it vanish; the kernel gives it a new one when it comes up.
            ask(siocsifaddr, struct.pack("HHI", socket.AF_INET, 0, 0))
        ask(siocsifflags, struct.pack("H", flags | iff_up if up else flags & ~iff_up))


@check("first")
def _():
    """in its sandbox the agent notices that the network has come, and is online within two and a half seconds"""

    def retry_in():
        code, output = run("nixfleet-agent", "status", "--json")
        at = code == 0 and json.loads(output)["connection"]["retry_at"]
        return datetime.datetime.fromisoformat(at).timestamp() - time.time() if at else 0

    systemctl("stop", AGENT)
    loopback(up=False)
    try:
        systemctl("start", AGENT)
        # In its first minute an agent that was never registered tries every two seconds.
        wait("a long delay", lambda: retry_in() > 5, patience=120)
        _, page = run("nixfleet-agent", "status")
        require("Network is unreachable" in page and "not yet connected" in page, page)
        require("healthy" not in page, page)
    finally:
        loopback(up=True)
    begun = time.monotonic()
    wait("a connection", lambda: "web-1: connected to" in run("nixfleet-agent", "status")[1])
    took = time.monotonic() - begun
    require(took < 2.5, f"it took {took:.1f} s")
    entry = "The network of this host has changed."
    wait("its log", lambda: entry in run("journalctl", "--no-pager", "--boot", "--unit", AGENT, "--lines=20")[1])
    online()


@check("first")
def _():
    """the watchdog restarts an agent that hangs, and the running command goes on"""
    unit, job = started("lines")
    supervisor, agent = show(unit, "MainPID"), agent_pid()
    os.kill(agent, 19)
    # The watchdog's limit, and the time that a process gets which cannot react to its signal.
    wait("another agent", lambda: agent_pid() not in (0, agent), patience=60)
    require("watchdog" in run("journalctl", "--no-pager", "--boot", "--unit", AGENT)[1].lower(), "no watchdog")
    online()
    next_line(job)
    require(show(unit, "MainPID") == supervisor, "the supervisor is another one")
    all_lines(job)


# --------------------------------------------------------------------------------------- boots


@check("first")
def _():
    """a command runs while the machine is shut down"""
    _, job = started("lines")
    next_line(job)
    note_job(job)


def note_job(job):
    with open("/root/job", "w", encoding="ascii") as file:
        file.write(job)
        file.flush()
        os.fsync(file.fileno())


def noted_job():
    with open("/root/job", encoding="ascii") as file:
        return file.read()


def interrupted(job):
    """The status of a job that a reboot has interrupted, told once by the next agent."""
    start_dashboard()
    status = wait("the status", lambda: statuses(job))[0]
    require(status["status"] == "error" and status["outcome"] == "interrupted_by_reboot", status)
    beats = len(messages("heartbeat"))
    wait("two more beats", lambda: len(messages("heartbeat")) >= beats + 2)
    require(len(statuses(job)) == 1, statuses(job))
    return status["message"]


@check("after-shutdown")
def _():
    """a command that the shutdown ended left a result that says so"""
    result = results().get(noted_job())
    require(result and result["outcome"] == "interrupted_by_reboot", result)


@check("after-shutdown")
def _():
    """the agent of the next boot tells that a reboot interrupted the command, once"""
    return interrupted(noted_job())


@check("after-shutdown")
def _():
    """a command runs while the power is cut"""
    _, job = started("lines")
    next_line(job)
    note_job(job)


@check("after-power-cut")
def _():
    """the power cut left no result"""
    require(noted_job() not in results(), results().get(noted_job()))


@check("after-power-cut")
def _():
    """the agent of the next boot tells that a reboot interrupted the command, once"""
    return interrupted(noted_job())


@check("after-power-cut")
def _():
    """a command works after it"""
    status = finished("whoami")
    require(status["status"] == "ok", status)


@check("after-power-cut")
def _():
    """a reboot is told before it begins"""
    status = finished("reboot")
    require(status["status"] == "ok" and status["exit_code"] == 0, status)
    return status["message"]


@check("after-reboot")
def _():
    """nothing more is told of the reboot that happened"""
    start_dashboard()
    online()
    beats = len(messages("heartbeat"))
    wait("two more beats", lambda: len(messages("heartbeat")) >= beats + 2)
    require(not statuses(), statuses())
    require(host().get("pending_command") is None, host())
    require(not glob.glob(f"{STATE}/agent/delivery/*.json"), "records are left")
    require(len(glob.glob(f"{STATE}/jobs/*/spec.json")) > 0, "no jobs")
    reboots = [result for result in results().values() if result["message"].startswith("Reboot")]
    require([result["outcome"] for result in reboots] in (["ok"], ["interrupted_by_reboot"]), reboots)


@check("after-reboot")
def _():
    """a command runs while the machine is shut down and systemd does not say so"""
    # The supervisor's systemctl hangs, as it does on a machine that is too busy to answer.
    os.makedirs("/root/slow", exist_ok=True)
    with open("/root/slow/systemctl", "w", encoding="ascii") as file:
        os.fchmod(file.fileno(), 0o755)
        file.write("#!/bin/sh\necho $* >>/root/slow/asked\nexec sleep 300\n")
    os.makedirs("/etc/systemd/system/nixfleet-job@.service.d", exist_ok=True)
    with open("/etc/systemd/system/nixfleet-job@.service.d/slow.conf", "w", encoding="ascii") as file:
        file.write("[Service]\nEnvironment=PATH=/root/slow:/usr/local/bin:/usr/bin:/bin\n")
    systemctl("daemon-reload")
    _, job = started("lines")
    next_line(job)
    note_job(job)


@check("after-silent-shutdown")
def _():
    """its result leaves open why it ended"""
    result = results().get(noted_job())
    require(result and (result["outcome"], result.get("unexplained")) == ("stopped", True), result)
    with open("/root/slow/asked", encoding="ascii") as file:
        require(file.read() == "is-system-running\n", "systemd was not asked")


@check("after-silent-shutdown")
def _():
    """the agent of the next boot knows that it was the shutdown, and tells it once"""
    return interrupted(noted_job())


REBUILD = """#!/bin/sh
[ "$1 $2" = "build --flake" ] && ln -s /srv/two result
"""

# As on NixOS: the activation of a system changes /run/current-system, and what it starts and stops.
ACTIVATE = """#!/bin/sh
echo $1 SYSTEM >>/srv/actions
[ $1 = test ] || exit 0
ln -sfn /srv/SYSTEM /run/current-system
case SYSTEM in
one) systemctl unmask --runtime nixfleet-agent; systemctl start --no-block nixfleet-agent ;;
two) if [ -e /srv/no-agent ]; then systemctl mask --runtime --now nixfleet-agent
     else systemctl restart nixfleet-agent; fi ;;
esac
"""


# NixOS sets this link at each boot, to the system that the boot loader has chosen.
BOOTED = """[Unit]
DefaultDependencies=no
Before=sysinit.target
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'ln -sfn $(readlink /nix/var/nix/profiles/system) /run/current-system'
[Install]
WantedBy=sysinit.target
"""


def trial_host(timeout=8):
    """A host that runs /srv/one and takes a new system back after that many seconds."""
    run("rm", "-rf", "/etc/systemd/system/nixfleet-job@.service.d", "/srv/actions", "/srv/no-agent")
    scripts = {"/srv/rebuild": REBUILD}
    for system in ("one", "two"):
        scripts[f"/srv/{system}/bin/switch-to-configuration"] = ACTIVATE.replace("SYSTEM", system)
        scripts[f"/srv/{system}/sw/bin/nix-env"] = "#!/bin/sh\nln -sfn $4 $2\n"
    for path, text in scripts.items():
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="ascii") as file:
            os.fchmod(file.fileno(), 0o755)
            file.write(text)
    os.makedirs("/nix/var/nix/profiles", exist_ok=True)
    for name in ("/run/current-system", "/nix/var/nix/profiles/system"):
        run("ln", "-sfn", "/srv/one", name)
    with open(CONFIG, encoding="ascii") as file:
        settings = file.read().split("[rebuild]")[0]
    settings += f'[rebuild]\nprogram = ["/srv/rebuild"]\n[rollback]\nconfirm_timeout = {timeout}\nhold = 1\n'
    with open(CONFIG, "w", encoding="ascii") as file:
        file.write(settings)
    systemctl("daemon-reload")
    systemctl("restart", AGENT)
    online()


def guards():
    listed = systemctl("list-units", "--plain", "--no-legend", "--all", "nixfleet-rollback@*").splitlines()
    return [line.split()[0] for line in listed]


def actions():
    with open("/srv/actions", encoding="ascii") as file:
        return file.read().split("\n")[:-1]


@check("after-silent-shutdown")
def _():
    """a new system that restarts the agent is kept when the new agent has registered"""
    trial_host()
    before = agent_pid()
    status = finished("switch")
    require(status["outcome"] == "ok", status)
    require(agent_pid() != before, "the same agent")
    require(actions() == ["test two", "boot two"], actions())
    profile = os.readlink("/nix/var/nix/profiles/system")
    require(profile == "/srv/two", profile)
    wait("the end of the guard", lambda: not guards())
    require(not os.listdir("/nix/var/nix/gcroots/nixfleet-agent"), "roots are left")


@check("after-silent-shutdown")
def _():
    """a new system without the agent is taken back, although the job and its guard were killed"""
    trial_host()
    open("/srv/no-agent", "w", encoding="ascii").close()
    unit, job = started("switch")
    wait("the new system", lambda: os.readlink("/run/current-system") == "/srv/two")
    wait("the end of the agent", lambda: show(AGENT, "ActiveState") == "inactive")
    guard = f"nixfleet-rollback@{job}.service"
    require(guards() == [guard], guards())
    group = show(guard, "ControlGroup")
    require(group.endswith(f"/{guard}"), f"the guard is in {group}")
    systemctl("kill", "--signal=KILL", guard)
    systemctl("kill", "--signal=KILL", unit)
    wait("another guard", lambda: show(guard, "NRestarts") == "1")
    wait("the system before", lambda: os.readlink("/run/current-system") == "/srv/one")
    status = wait("its status", lambda: statuses(job))[0]
    require(status["outcome"] == "rolled_back", status)
    require("it was not confirmed within 8 s" in status["message"], status)
    require(actions() == ["test two", "test one"], actions())
    wait("the end of the guard", lambda: not guards())


@check("after-silent-shutdown")
def _():
    """a new system waits for its confirmation while the machine is shut down"""
    with open("/etc/systemd/system/booted.service", "w", encoding="ascii") as file:
        file.write(BOOTED)
    trial_host(timeout=600)
    systemctl("enable", "booted.service")
    open("/srv/no-agent", "w", encoding="ascii").close()
    _, job = started("switch")
    wait("the new system", lambda: os.readlink("/run/current-system") == "/srv/two")
    wait("the end of the activation", lambda: '"activation":{' in file_of(job, "trial.json"))
    note_job(job)


def file_of(job, name):
    with open(f"{STATE}/jobs/{job}/{name}", encoding="ascii") as file:
        return file.read()


@check("after-trial")
def _():
    """the system before was booted, and its agent tells that this took the new one back"""
    require(os.readlink("/run/current-system") == "/srv/one", os.readlink("/run/current-system"))
    job = noted_job()
    require(job not in results(), results().get(job))
    start_dashboard()
    status = wait("its status", lambda: statuses(job))[0]
    require(status["outcome"] == "rolled_back", status)
    require(actions() == ["test two"], actions())
    require(not guards(), guards())
    return status["message"]


def main():
    # It imports this file under another name, so it has a list of its own.
    import activations  # pylint: disable=import-outside-toplevel,cyclic-import

    failed = 0
    first = sys.argv[1] in {phase for phase, _, _ in CHECKS}
    for phase, name, function in CHECKS if first else activations.CHECKS:
        if phase != sys.argv[1]:
            continue
        begun = time.monotonic()
        try:
            note = function()
            verdict, text = "ok   ", f"\n        it says: {note}" if note else ""
        except Exception as error:  # pylint: disable=broad-except
            failed += 1
            verdict, text = "FAIL ", f"\n        {type(error).__name__}: {error}"
        print(f"{verdict} {name} ({time.monotonic() - begun:.1f} s){text}", flush=True)
        if failed == MANY:
            print("      the rest is not tried", flush=True)
            break
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
