//! A fleet that returns after an outage: how many agents register in the busiest second.
//!
//! Each agent is a real `Reconnect` with a real `PeerState`, which got the window from a `registered`. Everything else
//! is a list of events: no sockets, no runtime. So ten thousand agents take a second. All of them lose their
//! connection in the same nanosecond, which is worse than any real outage.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use tokio::time::Instant;

use nixfleet_agent::dial::Cause;
use nixfleet_agent::link::backoff::{Reconnect, Terms};
use nixfleet_agent::link::peer::PeerState;
use nixfleet_protocol::{Registered, ServerState, ServerStatus};

pub use outages::{Answer, BEYOND, Failure, OUTAGES, Outage};

mod outages;

/// Agents of the fleet.
pub const AGENTS: usize = 10_000;

/// Most registrations in a second, if the dashboard names a window of at least [`WINDOWS`].
pub const LIMIT: usize = 400;

/// Windows in seconds, after the column without one. The first is the shortest one that keeps [`LIMIT`].
pub const WINDOWS: [u64; 2] = [30, 60];

/// How long the agents were connected before the outage.
const BEFORE: Duration = Duration::from_secs(3600);

/// When a run ends, whatever has happened. The longest outage lasts for half an hour.
const END: Duration = Duration::from_secs(2 * 3600);

/// What came of one outage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storm {
    /// Registrations in each second from the loss of the connections on.
    pub registrations: Vec<usize>,
    /// Attempts that reached the dashboard or a proxy before it, in each second.
    pub attempts: Vec<usize>,
    /// From the end of the outage to the last registration.
    pub last: Duration,
}

impl Storm {
    /// The busiest second.
    pub fn peak(&self) -> usize {
        self.registrations.iter().max().copied().unwrap_or_default()
    }
}

struct Host {
    reconnect: Reconnect,
    peer: PeerState,
    /// When it does what comes next; events of other times are outdated.
    due: Option<Instant>,
    /// Since when it is registered.
    registered: Option<Instant>,
}

impl Host {
    fn register(&mut self, outage: &Outage, window: Option<u64>, now: Instant) {
        (self.registered, self.due) = (Some(now), None);
        self.peer.reset();
        let registered = Registered { reconnect_window_s: window, ..Registered::default() };
        assert_eq!(self.peer.registered(&registered).count(), 0);
        if outage.degraded {
            let status = ServerStatus { state: ServerState::Degraded, ..ServerStatus::default() };
            self.peer.set_status(status, None, jiff::Timestamp::UNIX_EPOCH, now);
        }
    }
}

/// What happens, in the order of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    /// All connections end.
    Cut,
    /// The network of all hosts changes.
    Network,
    /// This host tries to connect.
    Attempt(usize),
    /// Its attempt ends.
    Ends(usize, Answer),
}

struct Fleet<'a> {
    outage: &'a Outage,
    window: Option<u64>,
    begun: Instant,
    hosts: Vec<Host>,
    events: BinaryHeap<Reverse<(Instant, What)>>,
    rng: fastrand::Rng,
    storm: Storm,
}

/// Runs an outage with a window of so many seconds.
pub fn storm(outage: &Outage, agents: usize, window: Option<u64>) -> Storm {
    let begun = Instant::now() + BEFORE;
    let storm = Storm { registrations: Vec::new(), attempts: Vec::new(), last: Duration::ZERO };
    let mut fleet = Fleet {
        outage,
        window,
        begun,
        hosts: Vec::new(),
        events: BinaryHeap::new(),
        // Each run has draws of its own.
        rng: fastrand::Rng::with_seed(
            outage.name.bytes().fold(window.unwrap_or_default(), |seed, byte| {
                seed.wrapping_mul(31).wrapping_add(byte.into())
            }),
        ),
        storm,
    };
    for number in 0..agents {
        let mut host =
            Host { reconnect: Reconnect::default(), peer: PeerState::default(), due: None, registered: None };
        if outage.new_processes {
            host.due = Some(begun);
            fleet.events.push(Reverse((begun, What::Attempt(number))));
        } else {
            host.register(outage, window, begun - BEFORE);
        }
        fleet.hosts.push(host);
    }
    let seconds = |second: &u64| begun + Duration::from_secs(*second);
    fleet.events.extend(outage.cuts.iter().map(|at| Reverse((seconds(at), What::Cut))));
    fleet.events.extend(outage.network.iter().map(|at| Reverse((seconds(at), What::Network))));
    fleet.run();
    fleet.storm
}

impl Fleet<'_> {
    fn run(&mut self) {
        while let Some(Reverse((now, what))) = self.events.pop().filter(|next| next.0.0 < self.begun + END) {
            match what {
                What::Cut => (0..self.hosts.len()).for_each(|number| self.cut(number, now)),
                What::Network => (0..self.hosts.len()).for_each(|number| self.network(number, now)),
                What::Attempt(number) if self.hosts[number].due == Some(now) => self.attempt(number, now),
                What::Ends(number, answer) if self.hosts[number].due == Some(now) => {
                    self.ends(number, answer, now);
                }
                What::Attempt(_) | What::Ends(..) => {}
            }
        }
        assert!(
            self.hosts.iter().all(|host| host.registered.is_some()),
            "{}: all are back",
            self.outage.name
        );
    }

    fn terms(&mut self, number: usize, now: Instant) -> Terms {
        Terms { now, window: self.hosts[number].peer.reconnect_window(), draw: self.rng.f64() }
    }

    fn cut(&mut self, number: usize, now: Instant) {
        let terms = self.terms(number, now);
        let host = &mut self.hosts[number];
        if let Some(at) = host.registered.take() {
            let delay = host.reconnect.after_session(self.outage.closes, Some(now - at), terms);
            self.plan(number, now + delay);
        }
    }

    /// As the agent's loop does it: `fresh_start_from` says whether a change counts.
    fn network(&mut self, number: usize, now: Instant) {
        let terms = self.terms(number, now);
        let host = &mut self.hosts[number];
        if let Some(due) = host.due
            && host.reconnect.fresh_start_from(now).is_some_and(|from| from <= now)
        {
            let delay = host.reconnect.start_over(terms).min(due - now);
            self.plan(number, now + delay);
        }
    }

    fn plan(&mut self, number: usize, at: Instant) {
        // A change of the network may leave the attempt where it is.
        if self.hosts[number].due.replace(at) != Some(at) {
            self.events.push(Reverse((at, What::Attempt(number))));
        }
    }

    fn attempt(&mut self, number: usize, now: Instant) {
        let (answer, took) = (self.outage.answer)(now - self.begun);
        if !matches!(answer, Answer::Fails(Failure::Local | Failure::Unannounced)) {
            count(&mut self.storm.attempts, now - self.begun);
        }
        self.hosts[number].due = Some(now + took);
        self.events.push(Reverse((now + took, What::Ends(number, answer))));
    }

    fn ends(&mut self, number: usize, answer: Answer, now: Instant) {
        let terms = self.terms(number, now);
        let host = &mut self.hosts[number];
        host.due = None;
        let mut fails =
            |cause, announced, asked| host.reconnect.after_failure(cause, announced, asked, terms);
        let delay = match answer {
            Answer::Registers => {
                count(&mut self.storm.registrations, now - self.begun);
                let ended = self.begun + Duration::from_secs(self.outage.ends);
                self.storm.last = now.saturating_duration_since(ended);
                return host.register(self.outage, self.window, now);
            }
            Answer::Fails(Failure::Broken) => fails(Cause::Broken, false, None),
            Answer::Fails(Failure::Refused) => fails(Cause::Refused, false, None),
            Answer::Fails(Failure::Busy(asked)) => fails(Cause::Broken, false, Some(asked)),
            Answer::Fails(Failure::Local) => fails(Cause::Local, true, None),
            Answer::Fails(Failure::Unannounced) => fails(Cause::Local, false, None),
            Answer::Fails(Failure::NotRegistered) => host.reconnect.after_session(false, None, terms),
        };
        self.plan(number, now + delay);
    }
}

fn count(seconds: &mut Vec<usize>, at: Duration) {
    let second = usize::try_from(at.as_secs()).unwrap_or(usize::MAX);
    if seconds.len() <= second {
        seconds.resize(second + 1, 0);
    }
    seconds[second] += 1;
}

/// The table of docs/reliability.md.
pub fn table(agents: usize) -> String {
    let row = |outage: &Outage| {
        let peak = |window| storm(outage, agents, window).peak();
        let peaks = WINDOWS.map(|window| format!(" {} |", peak(Some(window)))).concat();
        let last = storm(outage, agents, Some(WINDOWS[WINDOWS.len() - 1])).last.as_secs_f64();
        format!("| {} | {} |{peaks} {last:.0} s |\n", outage.name, peak(None))
    };
    let rows: String = OUTAGES.iter().chain(BEYOND).map(row).collect();
    let windows = WINDOWS.map(|window| format!(" {window} s |")).concat();
    let longest = WINDOWS[WINDOWS.len() - 1];
    let ruler = " --- |".repeat(WINDOWS.len() + 3);
    format!(
        "| what happens | without a window |{windows} the last one is back, {longest} s |\n|{ruler}\n{rows}"
    )
}
