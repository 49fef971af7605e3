# Functions for all test scripts: they query the dashboard over its HTTP API, on the dashboard's own
# machine, and wait for states. `dashboard` and `host` are the two machines.
import json
import shlex
import time
from collections.abc import Callable
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

# Most messages in one answer of the dashboard.
PAGE = 5000


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


def curl(arguments: str) -> str:
    # `execute`, because `succeed` would log every query.
    code, answer = dashboard.execute(f"curl --silent --show-error --max-time 60 {arguments} 2>&1")
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


def messages(kind: str = "", since: int = 0) -> list[Message]:
    """What the agent has sent, oldest first: each with its `index`, the number of its `connection`,
    the time of its arrival `at_ms`, its `type` and its `payload`."""
    found: list[Message] = []
    while True:
        page = get(f"/hosts/{HOST}/messages?since={since}" + (f"&type={kind}" if kind else ""))
        if "messages" not in page:
            return found
        assert page["dropped"] == 0, f"the dashboard had to forget {page['dropped']} messages"
        found += page["messages"]
        if len(page["messages"]) < PAGE:
            return found
        since = page["next"]


def mark() -> int:
    """A value for `since`: messages that arrive from now on."""
    return get(f"/hosts/{HOST}/messages?type=none").get("next", 0)


def beats(since: int = 0) -> list[Message]:
    return messages("heartbeat", since)


def pending(beat: Message) -> Any:
    return beat["payload"]["pending_command"]


def sent_at(beat: Message) -> float:
    """Time of sending, by the clock of the host."""
    return datetime.fromisoformat(beat["payload"]["sent_at"]).timestamp()


def host_time() -> float:
    return float(host.succeed("date +%s.%N"))


def start_fleet() -> None:
    """Returns once the host is online."""
    start_all()
    dashboard.wait_for_unit("nixfleet-mock-dashboard.service")
    dashboard.wait_until_succeeds(f"curl --fail --silent {API}/hosts", timeout=PATIENCE)
    host.wait_for_unit("nixfleet-agent.service")
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


def running(command: str, since: int) -> int:
    """Waits for a heartbeat with the command and its process id; returns the process id."""
    seen = wait_for(
        f"a beat during {command}, with its process id",
        lambda: beats(since),
        lambda seen: bool(seen) and pending(seen[-1]) == command and bool(seen[-1]["payload"]["command_pid"]),
    )
    return int(seen[-1]["payload"]["command_pid"])


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
    seen = wait_for(
        f"the status of {command}",
        lambda: messages("status", since),
        lambda seen: any(status["payload"]["command"] == command for status in seen),
    )
    status = next(status["payload"] for status in seen if status["payload"]["command"] == command)
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
    """All lines of an ended job, in order. Checks that their positions have no gap."""
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


def numbered(lines: list[Message]) -> None:
    """Checks standard output: `line 1`, `line 2` .. and then `end`, no line lost, repeated or moved."""
    texts = [line["line"] for line in lines if line["stream"] == "stdout"]
    expected = [f"line {number}" for number in range(1, len(texts))] + ["end"]
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
