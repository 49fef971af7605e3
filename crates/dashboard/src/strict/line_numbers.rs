//! The numbers of a job's lines: 1, 2, 3 and so on without a hole, and the number of the last one in the
//! status. A dashboard that checks them for holes must not find one in an ordinary job.

use serde_json::Value;

use nixfleet_jobs::journal::{REMARK, gap_count};

use super::Rule;
use super::shape::text;
use super::violations::Breach;

/// The lines of one job, as far as they have arrived.
#[derive(Debug, Default)]
pub(super) struct LineNumbers {
    /// Highest number; 0 before the first line.
    highest: u64,
    /// The connection of the newest line, and its number.
    newest: Option<(u64, u64)>,
    /// The job may be older than this dashboard, so an earlier one may have got the first lines.
    inherited: bool,
}

impl LineNumbers {
    pub(super) fn new(inherited: bool) -> Self {
        Self { inherited, ..Self::default() }
    }

    /// Highest number so far.
    pub(super) fn highest(&self) -> u64 {
        self.highest
    }

    /// A line arrived on connection `session`. A line without a number, from an older agent, is not judged.
    pub(super) fn line(&mut self, payload: &Value, session: u64) -> Option<Breach> {
        let number = payload.get("seq").and_then(Value::as_u64)?;
        // A remark about missing lines has the number of the last one of them.
        let step = text(payload, "line").and_then(missing).unwrap_or(1);
        let last = self.newest.replace((session, number)).filter(|(at, _)| *at == session);
        let highest = self.highest;
        self.highest = highest.max(number);
        let wrong = match last {
            Some((_, last)) => number != last + 1 && number != last + step,
            None if self.inherited && highest == 0 => number == 0,
            // A new connection may begin with a repeat. A remark may count lines that had arrived.
            None => number == 0 || number > highest + step,
        };
        let last = last.map_or(highest, |(_, last)| last);
        wrong.then(|| (Rule::LineNumbers, format!("line {number} of its job follows line {last}")))
    }

    /// The status arrived. Its counts are optional.
    pub(super) fn ended(&self, payload: &Value) -> Option<Breach> {
        let count = |field| payload.get(field).and_then(Value::as_u64);
        let (lines, dropped) = (count("lines")?, count("dropped_lines").unwrap_or_default());
        let Self { highest, .. } = *self;
        let unknown = self.inherited && highest == 0;
        let why = if lines != highest && !unknown {
            format!("`lines` is {lines}, but the last line has the number {highest}")
        } else if dropped > lines {
            format!("`dropped_lines` is {dropped}, of {lines} lines")
        } else {
            return None;
        };
        Some((Rule::LineNumbers, why))
    }
}

/// The count in a remark about missing lines.
fn missing(line: &str) -> Option<u64> {
    gap_count(line.strip_prefix(REMARK)?)
}
