//! The step `clock`: this host's clock compared with the dashboard's.

use jiff::{SignedDuration, Timestamp};

use super::super::{Finding, fail, ok, skipped, warning};
use crate::dial::clock_skew::WRONG;
use crate::dial::{self, Probe};

/// Clock difference above which there is a warning. A second or two may be network delay.
const ODD_SKEW: SignedDuration = SignedDuration::from_secs(5);

/// The dashboard's time from the Date header, in whole seconds.
pub(super) fn date(probe: &Probe) -> Option<Timestamp> {
    dial::date(probe.seen.headers.as_ref()?)
}

/// The least amount by which this clock is ahead of the dashboard's (negative: behind). The answer was made at
/// an unknown time between sending and receiving, and its time is cut to whole seconds.
fn skew(date: Timestamp, (sent, received): (Timestamp, Timestamp)) -> SignedDuration {
    let second = SignedDuration::from_secs(1);
    let ahead = sent.duration_since(date) - second;
    let behind = received.duration_since(date);
    if ahead.is_positive() { ahead } else { behind.min(SignedDuration::ZERO) }
}

pub(super) fn clock(date: Option<Timestamp>, span: (Timestamp, Timestamp)) -> Finding {
    let Some(date) = date else { return skipped("clock", "the dashboard does not say what time it is") };
    let skew = skew(date, span);
    let side = if skew.is_negative() { "behind" } else { "ahead of" };
    let text = format!("{} s {side} the dashboard's", skew.abs().as_secs());
    let fix = "which of the two is wrong? timedatectl; services.timesyncd, chrony or ntp keep a clock right";
    match skew.abs() {
        skew if skew > WRONG => fail("clock", text, fix),
        skew if skew > ODD_SKEW => warning("clock", text, fix),
        skew if skew.is_zero() => ok("clock", "the same as the dashboard's"),
        _ => ok("clock", text),
    }
}
