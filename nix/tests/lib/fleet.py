# Functions for all test scripts: they query the dashboard over its HTTP API, on the dashboard's own
# machine, and wait for states. `dashboard` and `host` are the two machines. lib/fleet.nix defines TIME_LIMIT
# before this text, and appends lib/vm.py or lib/container.py to it.
import base64
import gzip
import json
import shlex
import signal
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, TypeVar

Seen = TypeVar("Seen")
Message = dict[str, Any]

API = "http://127.0.0.1:8000/api"
HOST = "host"

# Seconds between two heartbeats, as in lib/host.nix.
INTERVAL = 1.0

# Emulated machines that share few processors pause now and then: a heartbeat may be late by this many
# seconds. Not by more, because this time and the interval together are the three intervals after which
# the dashboard shows a host as offline.
STALL = 2.0

# The same for a heartbeat that waits for a new agent process, which systemd has to start first.
RESTART = 60.0

# Longest wait for a state, in seconds. Only a failing test waits that long.
PATIENCE = 600

# Longest run of one command on a machine, in seconds. Emulated machines take a minute for some.
COMMAND = 180

# Time limit of a step, in seconds: more than one wait, because a wait that fails says more.
STEP = 900

# The same for the start of both machines.
START = 1200

# What the test driver needs at the end of its own time limit, in seconds, to report a step that failed.
REPORT = 60

# Most messages in one answer of the dashboard.
PAGE = 5000

# Most characters that a command may print for the script. The console of a busy virtual machine has lost
# part of an answer of 75 KB.
PIECE = 20_000

# What a line of a job begins with that its supervisor has written, and not the command.
REMARK = "nixfleet: "

BEGUN = time.monotonic()


@contextmanager
def step(name: str, seconds: int = STEP) -> Generator[None, None, None]:
    """A subtest with a time limit, so that a hang names its step. The limit of the whole test would not."""
    left = TIME_LIMIT - REPORT - (time.monotonic() - BEGUN)
    limit = max(1.0, min(seconds, left))

    def expired(_number: int, _frame: object) -> None:
        raise Exception(f"step `{name}`: no end within {limit:.0f} s")

    # The driver runs the script in its main thread, which is the one that receives signals.
    signal.signal(signal.SIGALRM, expired)
    with subtest(name):
        # Repeated, in case that something in the driver takes the first exception for an error of its own.
        signal.setitimer(signal.ITIMER_REAL, limit, 30)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)


def wait_for(
    what: str,
    look: Callable[[], Seen],
    good: Callable[[Seen], bool],
    timeout: float = PATIENCE,
) -> Seen:
    """Calls the query once a second until its result is good, and returns that result."""
    deadline = time.monotonic() + timeout
    with dashboard.nested(f"waiting for {what}"):
        while True:
            seen = look()
            if good(seen):
                return seen
            if time.monotonic() >= deadline:
                raise Exception(f"no {what} within {timeout} s; last seen: {str(seen)[-4000:]}")
            time.sleep(1)


def alone(command: str) -> str:
    """The command without a person to ask. The shell of a virtual machine has a terminal as its standard
    input, so `rm` of a write-protected file would wait there for an answer."""
    return f"exec < /dev/null; {command}"


def host_try(command: str, timeout: int = COMMAND) -> tuple[int, str]:
    """Exit code and output of a command on the host. 124 is a time-out."""
    return host.execute(alone(command), timeout=timeout)


def host_run(command: str, timeout: int = COMMAND) -> str:
    """Output of a command on the host, which must succeed."""
    return host.succeed(alone(command), timeout=timeout)


def dashboard_run(command: str, timeout: int = COMMAND) -> str:
    """Output of a command on the dashboard's machine, which must succeed."""
    return dashboard.succeed(alone(command), timeout=timeout)


def unit(name: str, what: str) -> str:
    """A property of a unit of the host."""
    return host_run(f"systemctl show -P {what} {name}").strip()


def exposure(name: str, most: float) -> None:
    """Checks systemd's mark for the sandbox of a unit: 0 is best, 10 is no sandbox. The table in the log
    explains each point."""
    code, table = host_try(f"systemd-analyze security --no-pager --threshold={most * 10:.0f} {name}")
    print(table)
    assert code == 0, f"{name}: not at most {most}: {table.strip().splitlines()[-1:]}"


def warnings() -> list[str]:
    """What our units have logged since the boot with the priority of a warning or a higher one, and what
    the service manager has logged about them."""
    said = host_run(
        "journalctl --boot --quiet --no-pager --output=cat --lines=50 --priority=warning "
        "-u nixfleet-agent -u 'nixfleet-job@*' -u nixfleet-heartbeat"
    )
    # The dashboard and the network may come up after the agent, which says that it has to wait. A slow
    # machine may take longer for a measurement than the agent thinks possible.
    expected = ["Not connected: ", "A look at the host hangs", "The host was not examined within"]
    return [line for line in said.splitlines() if line.strip() and not any(text in line for text in expected)]


def curl(arguments: str) -> str:
    """The answer comes packed, as text, in pieces: a first one with exit code and length, then the rest."""
    file = "/tmp/answer"
    ask = f"curl --silent --show-error --max-time 60 {arguments} 2>&1"
    pack = f"code=0; {ask} | gzip | base64 --wrap=0 > {file} || code=$?"
    # `execute`, because `succeed` would log every query.
    failed, first = dashboard.execute(
        alone(f"{pack}; echo $code $(wc -c < {file}); head -c {PIECE} {file}"), timeout=COMMAND
    )
    assert failed == 0, f"curl {arguments}: {failed}: {first}"
    head, _, packed = first.partition("\n")
    code, length = map(int, head.split())
    while len(packed) < length:
        failed, piece = dashboard.execute(
            alone(f"tail -c +{len(packed) + 1} {file} | head -c {PIECE}"), timeout=COMMAND
        )
        # `tail` may fail because `head` has enough.
        assert piece, f"curl {arguments}: {len(packed)} of {length} characters: {failed}"
        packed += piece
    answer = gzip.decompress(base64.b64decode(packed, validate=True)).decode()
    assert code == 0, f"curl {arguments}: exit code {code}: {answer}"
    return answer


def get(path: str) -> Any:
    return json.loads(curl(shlex.quote(API + path)))


def post(path: str, body: Message) -> tuple[int, Any]:
    """Returns the status of the answer, and the answer."""
    data, url = shlex.quote(json.dumps(body)), shlex.quote(API + path)
    answer = curl(f"--header 'X-CSRF-Token: csrf' --data {data} --write-out '\\n%{{http_code}}' {url}")
    text, _, code = answer.rpartition("\n")
    return int(code), json.loads(text)


def view() -> Message:
    """The host as the dashboard shows it; empty before its first registration."""
    known = [known for known in get("/hosts")["hosts"] if known["id"] == HOST]
    return known[0] if known else {}


class Inbox:
    """What the agent has sent, oldest first: each message with its `index`, the number of its
    `connection`, the time of its arrival `at_ms`, its `type` and its `payload`."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    def fetch(self) -> list[Message]:
        """All messages. Only the new ones are asked for."""
        while True:
            page = get(f"/hosts/{HOST}/messages?since={len(self.messages)}")
            if "messages" not in page:
                # The dashboard does not know the host yet.
                return self.messages
            assert page["dropped"] == 0, f"the dashboard had to forget {page['dropped']} messages"
            self.messages += page["messages"]
            assert self.messages == [] or self.messages[-1]["index"] == len(self.messages) - 1, page["next"]
            if len(page["messages"]) < PAGE:
                return self.messages


inbox = Inbox()

# Identifier of the newest request for each command.
requests: dict[str, str] = {}


def messages(kind: str = "", since: int = 0) -> list[Message]:
    """What the agent has sent, oldest first, from an index on."""
    return [message for message in inbox.fetch()[since:] if kind in ("", message["type"])]


def mark() -> int:
    """A value for `since`: messages that arrive from now on."""
    return len(inbox.fetch())


def beats(since: int = 0) -> list[Message]:
    return messages("heartbeat", since)


def pending(beat: Message) -> Any:
    return beat["payload"]["pending_command"]


def sent_at(beat: Message) -> float:
    """Time of sending, by the clock of the host."""
    return datetime.fromisoformat(beat["payload"]["sent_at"]).timestamp()


def host_time() -> float:
    return float(host_run("date +%s.%N"))


def start_fleet() -> None:
    """Returns once the host is online."""
    with step("the fleet starts", START):
        start_all()
        dashboard.wait_for_unit("nixfleet-mock-dashboard.service", timeout=PATIENCE)
        dashboard.wait_until_succeeds(f"curl --fail --silent {API}/hosts > /dev/null", timeout=PATIENCE)
        host.wait_for_unit("nixfleet-agent.service", timeout=PATIENCE)
        wait_for("the host to be online", view, is_online)


def is_online(seen: Message) -> bool:
    return seen.get("status") == "online"


def send(command: str) -> None:
    """Asks for a command, which must be accepted."""
    path = f"/hosts/{HOST}/command"
    # On a slow machine the host may be offline for a moment; then nothing is sent.
    code, answer = wait_for(
        f"the dashboard to send {command}",
        lambda: post(path, {"command": command}),
        lambda answered: answered[1].get("error") != "host is offline",
    )
    print(f"{command}: {code} {answer}")
    assert code == 202, f"{command} was not accepted: {code} {answer}"
    requests[command] = answer["id"]


def not_rejected(command: str, since: int) -> None:
    """Fails if the agent rejected the request that `send` made. On a slow machine its answer may come
    after that of the dashboard."""
    for message in messages("command_rejected", since):
        rejection = message["payload"]
        if command in requests and rejection.get("command_id") == requests[command]:
            raise Exception(f"{command} was rejected: {rejection}")


def running(command: str, since: int) -> int:
    """Waits for a heartbeat with the command and its process id; returns the process id."""

    def look() -> int:
        for beat in reversed(beats(since)):
            if pending(beat) == command and beat["payload"]["command_pid"]:
                return int(beat["payload"]["command_pid"])
        not_rejected(command, since)
        for message in messages("status", since):
            status = message["payload"]
            if status["command"] == command:
                raise Exception(f"{command} ended before a beat showed it with its process id: {status}")
        return 0

    return wait_for(f"a beat during {command}, with its process id", look, lambda pid: pid > 0)


def idle(since: int) -> None:
    """Waits for a heartbeat without a command."""
    last = wait_for(
        "a beat without a command",
        lambda: beats(since),
        lambda seen: bool(seen) and pending(seen[-1]) is None,
    )[-1]
    assert last["payload"]["command_pid"] is None, last


def ended(command: str, since: int) -> Message:
    """Waits for the command's status and returns it."""

    def look() -> list[Message]:
        not_rejected(command, since)
        return [message["payload"] for message in messages("status", since)]

    seen = wait_for(
        f"the status of {command}",
        look,
        lambda seen: any(status["command"] == command for status in seen),
    )
    status = next(status for status in seen if status["command"] == command)
    print(f"{command}: {status}")
    return status


def told_once(since: int) -> None:
    """Checks that there is exactly one status, also after some more heartbeats."""
    count = len(beats(since))
    wait_for("three more beats", lambda: beats(since), lambda seen: len(seen) >= count + 3)
    statuses = messages("status", since)
    assert len(statuses) == 1, f"not one status: {statuses}"


def log_lines(job: str) -> dict[int, Message]:
    """The lines of a job by their position. A repeat after a reconnect must be the same line."""
    lines: dict[int, Message] = {}
    for message in messages():
        payload = message["payload"]
        if message["type"] not in ["output", "output_batch"] or payload["job_id"] != job:
            continue
        for line in payload.get("lines", [payload]):
            known = lines.setdefault(line["seq"], {**line, "connection": message["connection"]})
            assert known["line"] == line["line"], f"two lines at one position: {known} and {line}"
    return lines


def whole_log(status: Message) -> list[Message]:
    """All lines of an ended job, in order. Checks that they have the positions 1 to `lines`: progress
    that was reported between two lines takes no position."""
    count = status["lines"]
    lines = wait_for(
        f"all {count} lines",
        lambda: log_lines(status["job_id"]),
        lambda seen: len(seen) >= count,
    )
    positions = sorted(lines)
    assert positions == list(range(1, count + 1)), f"a hole in the log, or too many lines: {positions}"
    assert status["dropped_lines"] == 0, status
    return [lines[position] for position in positions]


def numbered(lines: list[Message], last: str = "end") -> None:
    """Checks standard output: `line 1`, `line 2` .. and then `end`, no line lost, repeated or moved. The
    output of an interrupted command has no last line: then `last` is empty. Remarks do not count."""
    said = [line["line"] for line in lines if line["stream"] == "stdout"]
    texts = [line for line in said if not line.startswith(REMARK)]
    tail = [last] if last else []
    expected = [f"line {number}" for number in range(1, len(texts) - len(tail) + 1)] + tail
    assert texts == expected, f"not the lines that were written: {texts}"
    print(f"{len(texts)} lines, complete and in order")


def gaps(seen: list[Message]) -> list[float]:
    """Seconds between the arrivals of heartbeats, by the clock of the dashboard."""
    return [(later["at_ms"] - beat["at_ms"]) / 1000 for beat, later in zip(seen, seen[1:])]


def never_offline(seen: list[Message]) -> None:
    """Checks that no gap reached the three intervals after which the dashboard shows the host as offline."""
    late = [gap for gap in gaps(seen) if gap > INTERVAL + STALL]
    times = [(beat["payload"]["seq"], beat["payload"]["sent_at"], beat["at_ms"]) for beat in seen]
    assert not late, f"gaps of {late} s; seq, sent_at and arrival of each beat: {times}"


def in_time(seen: list[Message]) -> None:
    """Checks the heartbeats of one connection: in sequence, and at the pace of the interval."""
    sequence = [beat["payload"]["seq"] for beat in seen]
    first = sequence[0]
    assert sequence == list(range(first, first + len(sequence))), f"beats are missing: {sequence}"
    print(f"{len(seen)} beats, gaps {gaps(seen)} s")
    never_offline(seen)
    # One heartbeat for each interval. A machine that paused skips the heartbeats of that time, so half
    # of them are enough here. They never come faster.
    elapsed = (seen[-1]["at_ms"] - seen[0]["at_ms"]) / 1000
    due = (len(seen) - 1) * INTERVAL
    assert due - STALL <= elapsed <= 2 * due + STALL, f"{len(seen)} beats took {elapsed} s"
