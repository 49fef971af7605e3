//! From exec to the first heartbeat, and from SIGTERM to the exit.

use std::thread::{available_parallelism, sleep};
use std::time::Duration;

use crate::Bench;
use crate::agent::{Process, Seat};
use crate::dashboard::wait;
use crate::lateness::{middle, unix_ms};
use crate::lines;
use crate::report::Report;

/// Starts for the median.
const STARTS: usize = 30;

/// Starts before them: they fill caches of the kernel and of the agent, as on a host that has run it before.
const WARM_UP: usize = 2;

/// Busy processes for each core.
const SPINNERS: usize = 3;

/// Time that an agent is left alone before it is ended, so that its exit is not that of an agent that starts.
const SETTLED: Duration = Duration::from_millis(100);

pub(crate) fn run(bench: &Bench, report: &mut Report) {
    for busy in [false, true] {
        let count = available_parallelism().map_or(2, usize::from) * SPINNERS;
        let spinners = if busy { (0..count).map(|_| Process::helper("spin")).collect() } else { Vec::new() };
        let seats: Vec<Seat<'_>> = bench
            .candidates
            .iter()
            .map(|candidate| candidate.seat(bench.dashboard.address, 1, "print-lines 1"))
            .collect();
        for round in 0..WARM_UP + STARTS {
            for (agent, seat) in seats.iter().enumerate() {
                let Some((start, stop)) = once(bench, seat) else { return report.failed(agent) };
                if round < WARM_UP {
                    continue;
                }
                report.add(if busy { lines::START_LOAD } else { lines::START }, agent, start);
                if !busy {
                    report.add(lines::STOP, agent, stop);
                }
            }
        }
        drop::<Vec<Process>>(spinners);
    }
}

/// Milliseconds of a start and of its end.
fn once(bench: &Bench, seat: &Seat<'_>) -> Option<(f64, f64)> {
    let dashboard = &bench.dashboard;
    let from = dashboard.handle.next_index(&seat.host);
    let begun = unix_ms();
    let agent = seat.start();
    let arrived = dashboard.first_beat(&seat.host, from)?;
    sleep(SETTLED);
    let stop = agent.terminate().as_secs_f64() * 1000.0;
    wait("end of the connection", || (!dashboard.connected(&seat.host)).then_some(()))?;
    Some((middle(arrived) - begun, stop))
}
