//! What is measured, one stage after the other.

use crate::Bench;
use crate::report::Report;

mod absent;
mod idle;
mod latency;
mod lateness;
mod link;
mod start;
mod throughput;

type Stage = fn(&Bench, &mut Report);

/// The stages by name.
pub(crate) const ALL: [(&str, Stage); 8] = [
    ("idle", idle::every_second),
    ("slow", idle::every_half_minute),
    ("start", start::run),
    ("throughput", throughput::run),
    ("latency", latency::run),
    ("lateness", lateness::run),
    ("absent", absent::run),
    ("link", link::run),
];
