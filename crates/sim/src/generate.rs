//! Schedules from seeds.

use std::time::Duration;

use crate::faults::Kind;
use crate::faults::{Act, DiskFault, Event, NetFault, Schedule, What};

/// Faults begin within this time.
pub(crate) const HORIZON: Duration = Duration::from_secs(40);

impl Schedule {
    /// The schedule of a seed.
    pub fn of(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut events = Vec::new();
        commands(&mut random, &mut events);
        for _ in 0..random.usize(0..6) {
            let at = Duration::from_millis(random.u64(500..HORIZON.as_millis() as u64));
            let lasts = Duration::from_millis(random.u64(200..12_000));
            let what = fault(&mut random);
            events.push(Event { at, lasts, what });
            if matches!(what, What::Net(NetFault::NoPongs | NetFault::Stall)) && random.u32(..4) > 0 {
                // Long enough for two commands. An acknowledged heartbeat is a proof as well, so there are none of them:
                // what had no proof by then has none at all.
                let long = lasts + Duration::from_secs(8);
                if let Some(event) = events.last_mut() {
                    event.lasts = long;
                }
                events.push(Event { at, lasts: long, what: What::Dashboard(Act::NoAcks) });
                let what = if random.u32(..3) > 0 { What::KillAgent } else { What::Net(NetFault::Reset) };
                events.push(Event { at: at + long, lasts: Duration::ZERO, what });
            }
        }
        events.sort_by_key(|event| event.at);
        Self { seed, events }
    }

    /// The events, one a line.
    pub fn describe(&self) -> String {
        let line = |event: &Event| {
            let lasts = if lasts(&event.what) { format!(" for {:?}", event.lasts) } else { String::new() };
            format!("  {:>6} ms {:?}{lasts}\n", event.at.as_millis(), event.what)
        };
        self.events.iter().map(line).collect()
    }

    /// The number of events.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether nothing happens.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// The same without one event.
    #[must_use]
    pub fn without(&self, index: usize) -> Self {
        let mut shorter = self.clone();
        shorter.events.remove(index);
        shorter
    }
}

/// Whether an event has a duration.
fn lasts(what: &What) -> bool {
    matches!(
        what,
        What::Dashboard(Act::NoAcks | Act::Maintenance)
            | What::Net(NetFault::NoPongs | NetFault::Mute | NetFault::Stall | NetFault::Refuse)
            | What::Hang(_)
            | What::PowerCut
            | What::Suspend
            | What::NoThread
            | What::Launcher { .. }
    )
}

fn commands(random: &mut fastrand::Rng, events: &mut Vec<Event>) {
    let mut at = Duration::ZERO;
    for number in 0..random.usize(1..5) {
        at += Duration::from_millis(random.u64(200..9000));
        let mut add = |at, act| events.push(Event { at, lasts: Duration::ZERO, what: What::Dashboard(act) });
        add(at, Act::Command(number));
        let later = |random: &mut fastrand::Rng| at + Duration::from_millis(random.u64(0..6000));
        match random.u32(..14) {
            0 => add(later(random), Act::Stop),
            1 => add(later(random), Act::Kill),
            2 | 3 => add(later(random), Act::Repeat(number)),
            4 => {
                add(later(random), Act::Stop);
                add(later(random), Act::Kill);
            }
            5 => add(later(random), Act::Clash(number)),
            6 => add(later(random), Act::Burst(random.usize(2..12))),
            _ => {}
        }
    }
}

fn fault(random: &mut fastrand::Rng) -> What {
    let who = if random.bool() { Kind::Agent } else { Kind::Supervisor };
    // Most runs have a few hundred operations of each.
    let most = if random.bool() { 60 } else { 700 };
    let from = random.u64(1..most);
    let disk = |fault, count| What::Disk { who, from, count, fault };
    match random.u32(..40) {
        0..3 => What::Net(NetFault::Reset),
        3 => What::Net(NetFault::HalfOpen),
        4 | 5 => What::Net(NetFault::NoPongs),
        6 => What::Net(NetFault::Mute),
        7 => What::Net(NetFault::Stall),
        8 => What::Net(NetFault::OneByte),
        9 => What::Net(NetFault::Close),
        10 => What::Net(NetFault::End),
        11 => What::Net(NetFault::Refuse),
        12 => What::Dashboard(Act::NoAcks),
        13 => What::Dashboard(Act::Maintenance),
        14 => What::Dashboard(Act::Garbage),
        15 => What::Dashboard(Act::Restart),
        16..19 => What::KillAgent,
        19 => What::StopAgent,
        20 | 21 => What::KillSupervisor,
        22 | 23 => What::PowerCut,
        24 | 25 => What::SetClock(if random.bool() { -1 } else { 1 } * random.i64(500..7_200_000)),
        26 => What::Suspend,
        27 => What::NoThread,
        28 => What::Launcher { starts: random.bool() },
        29 => What::Hang(who),
        30..32 => disk(DiskFault::Io, random.u64(1..4)),
        32 => disk(DiskFault::TooManyFiles, random.u64(1..40)),
        33 => disk(DiskFault::Full, random.u64(1..120)),
        34 => disk(DiskFault::Torn, 1),
        35 | 36 => disk(DiskFault::PowerCut, 1),
        _ => disk(DiskFault::Crash, 1),
    }
}
