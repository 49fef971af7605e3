//! The agent's answer to clients on this machine that ask for its status.

use std::time::Duration;

use tokio::time::Instant;

use nixfleet_jobs::history::deploys;
use nixfleet_jobs::record::Record;
use nixfleet_protocol::UpdateStatus;

use super::Agent;
use crate::facts::update;
use crate::heartbeat;
use crate::observe::status::{
    Ask, CertificateReport, HostReport, PartProgress, Queue, Report, Running, RunningActivity, Server, State,
};

impl Agent {
    /// Answers a request for the agent's status; `queue` is what waits to be sent.
    pub fn answer(&self, ask: Ask, queue: Queue, now: Instant) {
        let current = self.jobs.current();
        let named = |record: &Record| Running {
            command: record.command.clone(),
            job_id: record.id.to_string(),
            command_id: record.command_id.clone(),
            since: record.accepted_at.clone(),
            ..Running::default()
        };
        let connected = self.history.connection().state == State::Connected;
        let running = self.jobs.current_record().map(|record| Running {
            pid: current.and_then(|current| current.pid),
            activity: self.jobs.activity().map(|activity| RunningActivity::new(&activity)),
            detail: self.jobs.detail().filter(|_| connected).map(str::to_owned),
            waits: self.contact.waits(),
            progress: if connected { self.progress() } else { Vec::new() },
            ..named(record)
        });
        let unreported = self.jobs.unreported_record();
        let unreported = unreported.map(|record| Running { ended: true, ..named(record) });
        let interval = self.peer.interval(self.interval, now);
        let report = Report {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            hostname: self.host.hostname.clone(),
            started_at: self.history.started_at().to_owned(),
            connection: self.history.connection().clone(),
            server: self.peer.status().map(|(status, at)| Server::new(status, *at)),
            interval_s: interval.as_secs(),
            last_beat_at: self.history.last_beat_at(),
            ack_rtt_ms: self.peer.rtt().map(|rtt| (rtt.as_secs_f64() * 1e6).round() / 1e3),
            running,
            unreported,
            results: self.history.results(),
            client_certificate: self.rotation.certificate().map(CertificateReport::new),
            host: Some(self.host_report(interval)),
            queue,
            stats: self.stats.clone(),
            ..Report::default()
        };
        // The client may have disconnected.
        drop(ask.0.send(report));
    }

    fn host_report(&self, interval: Duration) -> HostReport {
        let now = self.clock.system_time();
        let facts = self.snapshots.facts();
        let mut lights = heartbeat::lights(&facts, self.jobs.current(), interval, now);
        self.mark_trial(&mut lights);
        HostReport::new(&facts, lights)
    }

    /// Says that a system is on trial.
    pub(super) fn mark_trial(&self, status: &mut UpdateStatus) {
        // The thread may see a decision a moment later than the end of the command.
        if let Some(current) = self.jobs.current().filter(|current| deploys(current.command))
            && let Some(waits) = self.contact.waits()
        {
            update::mark_waiting(status, current.command, &waits);
        }
    }

    /// How far the parts of the running command have got, by what was read of its log.
    fn progress(&self) -> Vec<PartProgress> {
        let part = |(part, done, of): (&str, u32, u32)| PartProgress { part: part.to_owned(), done, of };
        self.jobs.progress().map(part).collect()
    }
}
