//! What all schedules of a run had together, for people and for the table in docs/reliability.md.

use std::collections::BTreeMap;
use std::fmt;

use nixfleet_protocol::AgentMessage;

use crate::audit;
use crate::evidence::Evidence;
use crate::machine::Needs;

/// Counts over schedules.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    schedules: u64,
    /// Faults that had an effect, and the schedules with one, by kind.
    faults: BTreeMap<&'static str, (u64, u64)>,
    outcomes: BTreeMap<String, u64>,
    requests: u64,
    lines: u64,
    beats: u64,
    connections: u64,
    agents: u64,
    gap: i64,
    rest: i64,
    needs: Needs,
    skipped: BTreeMap<String, u64>,
}

impl Tally {
    pub(crate) fn add(&mut self, evidence: &Evidence) {
        self.schedules += 1;
        let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
        for kind in evidence.done.iter().filter(|done| done.hit).filter_map(|done| done.act.kind()) {
            *kinds.entry(kind).or_default() += 1;
        }
        for (kind, count) in kinds {
            let (faults, schedules) = self.faults.entry(kind).or_default();
            *faults += count;
            *schedules += 1;
        }
        for recorded in &evidence.messages {
            match &recorded.message {
                AgentMessage::Heartbeat(_) => self.beats += 1,
                AgentMessage::Output(_) => self.lines += 1,
                AgentMessage::OutputBatch(batch) => self.lines += batch.lines.len() as u64,
                AgentMessage::Status(status) => {
                    let outcome = status.outcome.clone().unwrap_or_else(|| "no job".to_owned());
                    *self.outcomes.entry(outcome).or_default() += 1;
                }
                AgentMessage::CommandRejected(_) => {
                    *self.outcomes.entry("rejected".to_owned()).or_default() += 1
                }
                _ => {}
            }
        }
        self.requests += evidence.asked.iter().filter(|asked| !asked.sent.is_empty()).count() as u64;
        self.connections += evidence.connections.len() as u64;
        self.agents += evidence.starts;
        self.gap = self.gap.max(audit::longest_gap(evidence));
        self.rest = self.rest.max(evidence.rest.after.unwrap_or(i64::MAX));
        self.needs.threads = self.needs.threads.max(evidence.needs.threads);
        self.needs.files = self.needs.files.max(evidence.needs.files);
        self.needs.kib = self.needs.kib.max(evidence.needs.kib);
        for skipped in &evidence.skipped {
            *self.skipped.entry(skipped.clone()).or_default() += 1;
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (why, count) in &self.skipped {
            writeln!(f, "skipped: in {count} schedules, {why}")?;
        }
        writeln!(f, "{:<45} faults  schedules", "fault")?;
        for (kind, (faults, schedules)) in &self.faults {
            writeln!(f, "{kind:<45} {faults:>6}  {schedules:>9}")?;
        }
        writeln!(
            f,
            "{} schedules: {} requests, {} connections, {} agents, {} heartbeats, {} lines (repeats included)",
            self.schedules, self.requests, self.connections, self.agents, self.beats, self.lines
        )?;
        writeln!(f, "answers (repeats included): {:?}", self.outcomes)?;
        writeln!(f, "longest time between two heartbeats on an undisturbed connection: {} ms", self.gap)?;
        writeln!(f, "longest time from the end of the faults to rest: {} ms", self.rest)?;
        write!(
            f,
            "most that an agent needed: {} threads, {} descriptors, {} KiB of memory",
            self.needs.threads, self.needs.files, self.needs.kib
        )
    }
}
