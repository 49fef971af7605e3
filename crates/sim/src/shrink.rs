//! A shorter schedule that fails, too.

use crate::faults::Schedule;
use crate::run::run;

/// Removes events one by one, as long as the run still has findings. The result fails, and does not without any one of
/// its events.
pub fn shrink(schedule: &Schedule) -> Schedule {
    let mut shortest = schedule.clone();
    let mut index = shortest.len();
    while index > 0 {
        index -= 1;
        let shorter = shortest.without(index);
        if !run(&shorter, false).findings.is_empty() {
            shortest = shorter;
            // What an event hid may be superfluous now.
            index = shortest.len();
        }
    }
    shortest
}
