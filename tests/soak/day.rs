//! A day of timers. The clock of this test jumps by whole milliseconds, so each time is the exact one.
//!
//! | timer | due |
//! | --- | --- |
//! | heartbeat | `start + n x interval`; the interval counts from the last heartbeat when it changes |
//! | ping | 15 s after the ping before, which may be one behind a line |
//! | watchdog | `start + n x` half of its limit |
//! | positions in logs | at once, because none was written in the 250 ms before |
//! | end of a maintenance | when the dashboard said |
//! | answer to a stop without effect | the grace period and 10 s |
//! | no acknowledgement, no registration, no frame, no close frame | 10 s after the third heartbeat, 10 s, 45 s, 1 s |

use std::ffi::OsStr;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use jiff::Timestamp;
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::tungstenite::Message;

use nixfleet_agent::facts::Facts;
use nixfleet_agent::link::run::Exit;
use nixfleet_agent::link::session::{CLOSE_TIMEOUT, PING_INTERVAL, REGISTER_DEADLINE, SILENCE, acks};
use nixfleet_protocol::AgentMessage;

use crate::dashboard::INTERVAL;
use crate::executor::Plan;
use crate::host::{Machine, Socket};
use crate::run;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Less than the resolution of a timer: a timer that is one step late is too late.
const EXACT: Duration = Duration::from_micros(500);

/// The limit of the watchdog. It is fed in half of it, which is no multiple of any other time.
const WATCHDOG: Duration = Duration::from_secs(22);

/// The grace period of `stop` as configured, and the margin behind it.
const STOP_ANSWERED: Duration = Duration::from_secs(20);

/// Where the socket of the service manager is, for the process that runs the test.
const MANAGER: &str = "SOAK_MANAGER";

#[test]
fn a_day_of_timers_does_not_drift() {
    match std::env::var_os(MANAGER) {
        Some(path) => run(day(&path)),
        // The agent finds its service manager in its environment, which a program cannot safely change for itself.
        None => {
            let folder = tempfile::tempdir().unwrap();
            let manager = folder.path().join("manager");
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.args(["--exact", "day::a_day_of_timers_does_not_drift", "--nocapture"]);
            command.env(MANAGER, &manager).env("NOTIFY_SOCKET", &manager);
            command.env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string()).env_remove("WATCHDOG_PID");
            let ran = command.output().unwrap();
            let text =
                String::from_utf8_lossy(&ran.stdout).into_owned() + &String::from_utf8_lossy(&ran.stderr);
            println!("{text}");
            // Without a test of that name, none runs, and that is a success.
            assert!(ran.status.success() && text.contains("1 passed"));
        }
    }
}

/// Reads what the agent told its service manager, and checks the time of each feed.
async fn feeds(manager: UnixDatagram, start: Instant) {
    let mut buffer = [0; 4096];
    let mut fed = 0;
    for n in 0_u32.. {
        sleep_until(start + WATCHDOG / 2 * n + EXACT).await;
        while let Ok(length) = manager.recv(&mut buffer) {
            fed += u32::from(buffer[..length].starts_with(b"WATCHDOG=1"));
        }
        assert_eq!(fed, n + 1, "feeds of the watchdog after {:?}", start.elapsed());
    }
}

/// When heartbeats are due.
struct Beats {
    last: Instant,
    due: Instant,
    /// When the maintenance ends.
    until: Option<Instant>,
}

impl Beats {
    fn beat(&mut self, now: Instant) {
        assert!(now >= self.due && now <= self.due + EXACT, "a beat {:?} after it was due", now - self.due);
        let over = self.until.take_if(|until| now >= *until).is_some();
        let interval = if self.until.is_some() { 2 * INTERVAL } else { INTERVAL };
        // A maintenance that ends later than an interval after the last heartbeat ends with one, in the old grid.
        let from = if over && now > self.last + INTERVAL { self.last + INTERVAL } else { now };
        (self.last, self.due) = (now, from + interval);
        self.end_in_time();
    }

    fn maintenance(&mut self, until: Instant) {
        self.until = Some(until);
        self.due = self.last + 2 * INTERVAL;
        self.end_in_time();
    }

    /// The end of the maintenance comes before the next heartbeat.
    fn end_in_time(&mut self) {
        if let Some(until) = self.until.filter(|until| *until < self.due) {
            self.due = until.max(self.last + INTERVAL);
            if self.due > until {
                self.until = None;
            }
        }
    }
}

async fn send(socket: &mut Socket, text: impl Into<String>) {
    socket.send(Message::text(text.into())).await.unwrap();
}

/// The time by the dashboard's clock.
fn clock(passed: Duration) -> Timestamp {
    "2026-01-01T00:00:00Z".parse::<Timestamp>().unwrap() + passed
}

async fn day(manager: &OsStr) {
    let manager = UnixDatagram::bind(manager).unwrap();
    manager.set_nonblocking(true).unwrap();
    let start = Instant::now();
    let mut machine = Machine::new(1, INTERVAL, Facts::default(), None);
    let feeds = tokio::spawn(feeds(manager, start));
    {
        let mut work = machine.executor.work.lock().unwrap();
        (work.next, work.deaf) = (Some(Plan { lines: 2000, gap: MINUTE }), true);
    }
    let mut socket = machine.attempt().await.accept().await;
    send(&mut socket, r#"{"type":"registered","payload":{"ack":true}}"#).await;
    send(&mut socket, r#"{"type":"command","payload":{"command":"pull"}}"#).await;
    let mut beats = Beats { last: start, due: start, until: None };
    let (mut count, mut lines, mut pings, mut stops) = (0, Vec::<Instant>::new(), 0, 0);
    let (mut last_ping, mut stopped, mut behind_status) = (start, None, false);
    // Until the heartbeat that ends the day.
    while start.elapsed() < DAY || beats.last < start + DAY {
        let message = timeout(INTERVAL, socket.next()).await.expect("a message in time").unwrap().unwrap();
        let now = Instant::now();
        let text = match message {
            Message::Ping(_) => {
                assert!(now - last_ping <= PING_INTERVAL + EXACT, "{:?}", now - last_ping);
                (last_ping, pings) = (now, pings + 1);
                continue;
            }
            Message::Text(text) => text,
            other => panic!("{other:?}"),
        };
        match AgentMessage::decode(&text).unwrap() {
            AgentMessage::Heartbeat(beat) => {
                let scheduled = !std::mem::take(&mut behind_status);
                if scheduled {
                    beats.beat(now);
                    count += 1;
                } else {
                    beats.last = now;
                }
                let passed = now - start;
                // Each hour begins with a maintenance. Every other one ends when no heartbeat is due.
                let hour = passed.as_secs() / 3600;
                if beats.until.is_none() && passed.as_secs() % 3600 < 30 && (1..24).contains(&hour) {
                    let length = Duration::from_secs(if hour.is_multiple_of(2) { 610 } else { 650 });
                    beats.maintenance(now + length);
                }
                let status = match beats.until {
                    Some(until) => format!(r#""state":"maintenance","until":"{}""#, clock(until - start)),
                    None => r#""state":"healthy""#.to_owned(),
                };
                let (seq, time) = (beat.seq.unwrap(), clock(passed));
                send(&mut socket, format!(
                    r#"{{"type":"heartbeat_ack","payload":{{"seq":{seq},"server_status":{{{status}}},"server_time":"{time}"}}}}"#
                )).await;
                if scheduled && stopped.is_none() && (1800..1830).contains(&(passed.as_secs() % 3600)) {
                    stopped = Some(now);
                    send(&mut socket, r#"{"type":"command","payload":{"command":"stop"}}"#).await;
                }
            }
            AgentMessage::Output(_) => {
                let first = *lines.first().unwrap_or(&now);
                let due = first + MINUTE * u32::try_from(lines.len()).unwrap();
                assert!(now >= due && now <= due + EXACT, "line {}: {:?}", lines.len(), now - start);
                if let Some(line) = lines.last() {
                    let saved = machine.executor.work.lock().unwrap().saved_at.unwrap();
                    assert!(saved - *line <= EXACT, "saved after {:?}", saved - *line);
                }
                lines.push(now);
            }
            AgentMessage::Status(status) => {
                assert_eq!((status.command.as_str(), status.exit_code), ("stop", 1));
                let took = now - stopped.take().unwrap();
                assert!(took >= STOP_ANSWERED && took <= STOP_ANSWERED + EXACT, "answered after {took:?}");
                (stops, behind_status) = (stops + 1, true);
            }
            AgentMessage::Register(_) => {}
            other => panic!("{other:?}"),
        }
    }
    let stats = machine.report().await.stats;
    println!("{count} beats, {pings} pings, {} lines, {stops} stops; {stats:?}", lines.len());
    assert_eq!(stops, 24);
    assert!((1438..=1440).contains(&lines.len()), "{}", lines.len());
    // One every 15 s and one behind each line and each status, from which the next 15 s are counted.
    assert!((5760..=5760 + 1440 + 24).contains(&pings), "{pings}");
    assert_eq!((stats.beats_late, stats.beats_skipped, stats.acks_missing), (0, 0, 0), "{stats:?}");
    deadlines(machine, socket, beats).await;
    assert!(!feeds.is_finished(), "{:?}", feeds.await);
    feeds.abort();
}

/// Reads until the connection ends; returns when the last `heartbeats` were.
async fn until_end(socket: &mut Socket) -> Vec<Instant> {
    let mut heartbeats = Vec::new();
    while let Some(Ok(message)) = timeout(HOUR, socket.next()).await.unwrap() {
        if message.is_text() && message.to_text().unwrap().contains("\"heartbeat\"") {
            heartbeats.push(Instant::now());
        }
    }
    heartbeats
}

#[track_caller]
fn assert_took(since: Instant, wanted: Duration) {
    let took = since.elapsed();
    assert!(took >= wanted && took <= wanted + EXACT, "took {took:?}, not {wanted:?}");
}

/// Each of the deadlines that end a connection, once.
async fn deadlines(mut machine: Machine, mut socket: Socket, beats: Beats) {
    // The last heartbeat of the day was acknowledged.
    assert_eq!(beats.until, None);
    let unanswered = until_end(&mut socket).await;
    assert_took(unanswered[acks::LIMIT - 1], acks::TIMEOUT);

    let mut socket = machine.attempt().await.accept().await;
    let begun = Instant::now();
    until_end(&mut socket).await;
    assert_took(begun, REGISTER_DEADLINE);

    let mut socket = machine.attempt().await.accept().await;
    send(&mut socket, r#"{"type":"registered","payload":{}}"#).await;
    let begun = Instant::now();
    // Bytes instead of frames: no ping is answered.
    let mut socket = socket.into_inner();
    while socket.read(&mut [0; 4096]).await.unwrap() > 0 {}
    assert_took(begun, SILENCE);

    let mut socket = machine.attempt().await.accept().await;
    send(&mut socket, r#"{"type":"registered","payload":{}}"#).await;
    assert!(socket.next().await.unwrap().unwrap().is_text());
    let begun = Instant::now();
    assert_eq!(machine.shut_down().await, Exit::Shutdown);
    assert_took(begun, CLOSE_TIMEOUT);
    drop(socket);
    assert!(begun.elapsed() >= SECOND);
}
