//! The agent's answer to clients on this machine that ask for its status.

use tokio::time::Instant;

use nixfleet_jobs::record::Record;

use super::Agent;
use crate::observe::status::{
    Ask, CertificateReport, PartProgress, Queue, Report, Running, RunningActivity, Server, State,
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
            waits: self.contact.waits(),
            progress: if connected { self.progress() } else { Vec::new() },
            ..named(record)
        });
        let unreported = self.jobs.unreported_record();
        let unreported = unreported.map(|record| Running { ended: true, ..named(record) });
        let report = Report {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            hostname: self.host.hostname.clone(),
            started_at: self.history.started_at().to_owned(),
            connection: self.history.connection().clone(),
            server: self.peer.status().map(|(status, at)| Server::new(status, *at)),
            interval_s: self.peer.interval(self.interval, now).as_secs(),
            last_beat_at: self.history.last_beat_at(),
            ack_rtt_ms: self.peer.rtt().map(|rtt| (rtt.as_secs_f64() * 1e6).round() / 1e3),
            running,
            unreported,
            results: self.history.results(),
            client_certificate: self.rotation.certificate().map(CertificateReport::new),
            queue,
            stats: self.stats.clone(),
            ..Report::default()
        };
        // The client may have disconnected.
        drop(ask.0.send(report));
    }

    /// How far the parts of the running command have got, by what was read of its log.
    fn progress(&self) -> Vec<PartProgress> {
        let part = |(part, done, of): (&str, u32, u32)| PartProgress { part: part.to_owned(), done, of };
        self.jobs.progress().map(part).collect()
    }
}
