//! Outages, and what an attempt gets at each time of them.

use std::time::Duration;

/// What an attempt comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answer {
    /// The dashboard registers the agent.
    Registers,
    /// There is no connection, or no registration on it.
    Fails(Failure),
}

/// Why an attempt fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// Refused, reset, no answer, a proxy without a dashboard.
    Broken,
    /// 401.
    Refused,
    /// 503 with `Retry-After`.
    Busy(Duration),
    /// Within the host, which is told of changes of its network.
    Local,
    /// Within the host, which is not told.
    Unannounced,
    /// Connected, and `registered` did not come.
    NotRegistered,
}

/// An outage of the whole fleet, which begins at second 0.
#[derive(Debug, Clone, Copy)]
pub struct Outage {
    /// What happens, for people.
    pub name: &'static str,
    /// When all connections end, in seconds.
    pub cuts: &'static [u64],
    /// They end with a close frame.
    pub closes: bool,
    /// When the network of all hosts changes.
    pub network: Option<u64>,
    /// The agents have just started: no dashboard has told them a window.
    pub new_processes: bool,
    /// The dashboard says that it is degraded.
    pub degraded: bool,
    /// From when on agents are registered.
    pub ends: u64,
    /// What an attempt at this time comes to, and after how long.
    pub answer: fn(Duration) -> (Answer, Duration),
}

/// Everything goes well.
const NONE: Outage = Outage {
    name: "",
    cuts: &[0],
    closes: false,
    network: None,
    new_processes: false,
    degraded: false,
    ends: 0,
    answer: |_| (Answer::Registers, Duration::ZERO),
};

/// The agent's own limits of an attempt and of a registration.
const ATTEMPT: Duration = Duration::from_secs(15);
const REGISTRATION: Duration = Duration::from_secs(10);

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Fails until `ends`, after `took`.
fn until(ends: u64, now: Duration, failure: Failure, took: Duration) -> (Answer, Duration) {
    if now < s(ends) { (Answer::Fails(failure), took) } else { (Answer::Registers, Duration::ZERO) }
}

/// All of them.
pub const OUTAGES: &[Outage] = &[
    Outage { name: "the dashboard is killed and back at once", ..NONE },
    Outage { name: "the dashboard closes all connections and goes on", closes: true, ..NONE },
    Outage { name: "the same three times within 6 s", closes: true, cuts: &[0, 3, 6], ends: 6, ..NONE },
    Outage {
        name: "the dashboard is down for 5 s",
        ends: 5,
        answer: |now| until(5, now, Failure::Broken, s(0)),
        ..NONE
    },
    Outage { name: "for 1 min", ends: 60, answer: |now| until(60, now, Failure::Broken, s(0)), ..NONE },
    Outage { name: "for 5 min", ends: 300, answer: |now| until(300, now, Failure::Broken, s(0)), ..NONE },
    Outage { name: "for 30 min", ends: 1800, answer: |now| until(1800, now, Failure::Broken, s(0)), ..NONE },
    Outage {
        name: "it is down for 5 s, back for 10 s, and down for 20 s",
        cuts: &[0, 15],
        ends: 35,
        answer: |now| match now.as_secs() {
            5..15 => (Answer::Registers, s(0)),
            _ => until(35, now, Failure::Broken, s(0)),
        },
        ..NONE
    },
    Outage {
        name: "packets to it are lost for 5 min: each attempt takes 15 s",
        ends: 300,
        answer: |now| until(300, now, Failure::Broken, ATTEMPT),
        ..NONE
    },
    Outage {
        name: "it accepts connections and registers nobody for 1 min",
        ends: 60,
        answer: |now| until(60, now, Failure::NotRegistered, REGISTRATION),
        ..NONE
    },
    Outage {
        name: "a proxy says 503 with `Retry-After: 30` for 2 min",
        ends: 120,
        answer: |now| until(120, now, Failure::Busy(s(30)), s(0)),
        ..NONE
    },
    Outage {
        name: "with a date for all, 2 min from the beginning",
        ends: 120,
        answer: |now| until(120, now, Failure::Busy(s(120).saturating_sub(now)), s(0)),
        ..NONE
    },
    Outage {
        name: "401 for 5 min",
        ends: 300,
        answer: |now| until(300, now, Failure::Refused, s(0)),
        ..NONE
    },
    Outage {
        name: "all hosts are without a network for 2 min, and are told of its return",
        network: Some(120),
        ends: 120,
        answer: |now| until(120, now, Failure::Local, s(0)),
        ..NONE
    },
    Outage {
        name: "the same, and are not told",
        ends: 120,
        answer: |now| until(120, now, Failure::Unannounced, s(0)),
        ..NONE
    },
    Outage { name: "a degraded dashboard is killed and back at once", degraded: true, ..NONE },
];

/// Outages that no window helps against, with their own rows in the text.
pub const BEYOND: &[Outage] = &[
    Outage { name: "all agents are started at the same moment", cuts: &[], new_processes: true, ..NONE },
    Outage {
        name: "the dashboard is stopped for 1 min and then answers those who still wait",
        ends: 60,
        answer: |now| match s(60).saturating_sub(now) {
            left if left > ATTEMPT => (Answer::Fails(Failure::Broken), ATTEMPT),
            left => (Answer::Registers, left),
        },
        ..NONE
    },
];
