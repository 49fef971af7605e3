//! Schedules that failed once, as short as they were made. What they found is in docs/reliability.md.

use std::time::Duration;

use crate::faults::{Act, DiskFault, Event, Kind, NetFault, Schedule, What};

/// All of them, each with what was wrong.
pub fn kept() -> Vec<(&'static str, Schedule)> {
    let of = |name, seed, events: &[(u64, u64, What)]| {
        let event = |&(at, lasts, what): &(u64, u64, What)| Event {
            at: Duration::from_millis(at),
            lasts: Duration::from_millis(lasts),
            what,
        };
        (name, Schedule { seed, events: events.iter().map(event).collect() })
    };
    let command = |number| What::Dashboard(Act::Command(number));
    let disk = |who, from, count, fault| What::Disk { who, from, count, fault };
    vec![
        of(
            "a stop after the end changes it",
            56,
            &[(6090, 0, command(1)), (7589, 0, What::Dashboard(Act::Kill))],
        ),
        of(
            "a power cut takes lines under a result",
            94,
            &[(4759, 3196, What::Net(NetFault::Stall)), (6157, 0, command(1)), (9678, 0, What::PowerCut)],
        ),
        of(
            "never started, and later lost",
            80,
            &[
                (5813, 0, command(0)),
                (18382, 0, What::PowerCut),
                (22452, 0, disk(Kind::Supervisor, 12, 1, DiskFault::Crash)),
            ],
        ),
        of(
            "a record that cannot be read is skipped",
            90,
            &[(215, 0, command(0)), (14233, 0, disk(Kind::Agent, 76, 26, DiskFault::TooManyFiles))],
        ),
        of(
            "an answered request runs again after a restart",
            391,
            &[
                (9172, 0, command(1)),
                (12522, 0, What::KillAgent),
                (13578, 0, What::Dashboard(Act::Repeat(1))),
            ],
        ),
        of(
            "without a thread a job counts as lost",
            459,
            &[(5036, 0, command(0)), (5147, 6683, What::NoThread)],
        ),
        of(
            "a read error drops entries",
            626,
            &[(627, 0, command(0)), (18667, 0, disk(Kind::Agent, 45, 26, DiskFault::TooManyFiles))],
        ),
        of(
            "the supervisor dies before it is ready",
            164,
            &[(4123, 0, command(0)), (24108, 0, disk(Kind::Supervisor, 30, 1, DiskFault::Crash))],
        ),
        of(
            "the launcher fails while the supervisor starts",
            210,
            &[(3425, 5320, What::Launcher { starts: true }), (4807, 0, command(0))],
        ),
        of(
            "a rejection that waits for a process spins",
            561,
            &[
                (6846, 0, command(0)),
                (7387, 0, command(1)),
                (7840, 0, What::Net(NetFault::Reset)),
                (17295, 0, disk(Kind::Supervisor, 44, 1, DiskFault::Io)),
                (37830, 0, disk(Kind::Agent, 59, 28, DiskFault::TooManyFiles)),
            ],
        ),
        of(
            "a request is accepted that an earlier agent may have accepted",
            22512,
            &[
                (1604, 0, command(0)),
                (5289, 0, What::Dashboard(Act::Repeat(0))),
                (22892, 0, disk(Kind::Agent, 34, 18, DiskFault::TooManyFiles)),
                (30057, 0, disk(Kind::Agent, 35, 1, DiskFault::Crash)),
            ],
        ),
    ]
}
