//! What `--verbose` adds: how the agent itself is, and what it costs.

use nixfleet_os::size;

use super::{Page, plain, server_state};
use crate::observe::stats::{Counts, Histogram};
use crate::observe::status::{Queue, Report, Server};

impl Page<'_> {
    pub(super) fn details(&mut self, report: &Report) {
        self.text.push('\n');
        self.way(report);
        self.systems(report);
        self.agent(report);
        self.beats(report);
        self.output(report);
        self.collectors(report);
    }

    /// The dashboard, and the way to it.
    fn way(&mut self, report: &Report) {
        self.dashboard(report);
        if let Some(proxy) = &report.proxy {
            self.row("proxy", &plain(proxy));
        }
        if let Some(certificate) = &report.client_certificate
            && certificate.remark(self.now).is_none()
        {
            let (file, end) = (plain(&certificate.file), self.style.zone.time_of(&certificate.not_after));
            self.row("certificate", &format!("{file}, valid until {}", plain(&end)));
        }
        let reconnects = named(&report.stats.reconnects);
        match (reconnects.is_empty(), report.never_connected()) {
            (true, _) => {}
            (false, true) => self.row("attempts", &format!("none succeeded yet: {reconnects}")),
            (false, false) => self.row("reconnects", &reconnects),
        }
    }

    /// What the dashboard said about itself. Without a connection that may be long ago.
    fn dashboard(&mut self, report: &Report) {
        // Agents of earlier versions report a healthy dashboard before they ever connected.
        let known = |server: &&Server| !server.state.is_empty() && !report.never_connected();
        let Some(server) = report.server.as_ref().filter(known) else { return };
        let state = server_state(server);
        let text = if report.is_connected() {
            state
        } else {
            let when = server.said_at.as_deref().map(|at| format!(" {}", self.ago(at)));
            format!("last said{}: {state}", when.unwrap_or_default())
        };
        self.row("dashboard", &plain(&text));
    }

    /// Store paths in full.
    fn systems(&mut self, report: &Report) {
        let Some(host) = &report.host else { return };
        let next = host.system.boots.as_ref().map(|boots| &boots.system);
        for (name, path) in [
            ("runs", host.system.current.as_ref()),
            ("booted", host.system.booted.as_ref()),
            ("boots next", next),
        ] {
            if let Some(path) = path {
                self.row(name, &plain(path));
            }
        }
    }

    fn agent(&mut self, report: &Report) {
        let process = &report.process;
        let commit = report.host.as_ref().map(|host| plain(&host.source_commit));
        let commit = commit.filter(|commit| !commit.is_empty() && commit != crate::facts::UNKNOWN);
        let mut parts = vec![plain(&report.version)];
        parts.extend(commit.map(|commit| format!("commit {commit}")));
        parts.extend([format!("process {}", report.pid), self.since(&report.started_at)]);
        parts.extend(process.rss.map(size));
        parts.extend(process.cpu_s.map(|seconds| format!("{seconds:.2} s of processor time")));
        parts.extend(process.open_files.map(|files| format!("{files} files")));
        parts.extend(process.threads.map(|threads| format!("{threads} threads")));
        self.row("agent", &parts.join(", "));
        if let Some(at) = &report.metrics_at {
            self.row("metrics", &format!("http://{}/metrics", plain(at)));
        }
    }

    fn beats(&mut self, report: &Report) {
        let stats = &report.stats;
        if stats.beats == 0 && !report.is_connected() {
            self.row("heartbeats", &format!("none yet, every {} s once it is connected", report.interval_s));
        } else {
            let last = report.last_beat_at.as_deref().map(|at| format!(", the last {}", self.ago(at)));
            let pace = match report.is_connected() {
                true => format!("every {} s", report.interval_s),
                false => "none without a connection".to_owned(),
            };
            let lost = format!("{} late, {} skipped", stats.beats_late, stats.beats_skipped);
            let spread = spread(&stats.lateness, "due");
            let last = last.unwrap_or_default();
            self.row("heartbeats", &format!("{}{last}, {pace}; {lost}{spread}", stats.beats));
        }
        if stats.ack_rtt.count() > 0 {
            let missing = stats.acks_missing;
            let spread = spread(&stats.ack_rtt, "sent");
            self.row("answers", &format!("{}, {missing} missing{spread}", stats.ack_rtt.count()));
        }
    }

    fn output(&mut self, report: &Report) {
        let stats = &report.stats;
        let (sent, dropped) = (stats.lines_sent, stats.lines_dropped);
        self.row("output", &format!("{sent} lines sent, {dropped} dropped"));
        let Queue { control, output } = report.queue;
        let waits = match report.is_connected() {
            true => format!("{control} messages and {output} of output wait"),
            false => "empty without a connection".to_owned(),
        };
        self.row("queue", &format!("{waits}; {} answers dropped", stats.messages_dropped));
        let ignored = named(&stats.messages_ignored);
        match (ignored.is_empty(), stats.log_lines_left_out) {
            (true, 0) => {}
            (true, lines) => self.row("ignored", &format!("{lines} log lines left out")),
            (false, lines) => {
                self.row("ignored", &format!("messages: {ignored}; {lines} log lines left out"))
            }
        }
    }

    fn collectors(&mut self, report: &Report) {
        let mut first = "looks";
        for (name, stats) in &report.collectors {
            if stats.runs == 0 && stats.errors == 0 && stats.timeouts == 0 {
                continue;
            }
            let mean = if stats.runs == 0 { 0.0 } else { stats.total_s / stats.runs as f64 * 1e3 };
            let text = format!(
                "{:<13} {:>8} x {mean:>8.3} ms, {} errors, {} timeouts",
                plain(name),
                stats.runs,
                stats.errors,
                stats.timeouts
            );
            self.row(first, &text);
            first = "";
        }
        if report.gpu_timeouts > 0 {
            self.row("gpu", &format!("{} times no answer from a driver", report.gpu_timeouts));
        }
    }
}

/// The bound that all durations are within, or at least 99 % of them.
fn spread(histogram: &Histogram, what: &str) -> String {
    let share = |share| histogram.at_most(share).map(|bound| bound.as_millis());
    match (histogram.count(), share(1.0), share(0.99)) {
        (0, ..) => String::new(),
        (_, Some(most), _) => format!("; all within {most} ms of being {what}"),
        (_, None, Some(most)) => format!("; 99 % within {most} ms of being {what}"),
        (_, None, None) => format!("; over 1 % later than 5 s after being {what}"),
    }
}

/// The counters above zero.
fn named(counts: &Counts) -> String {
    let happened = counts.iter().filter(|(_, count)| **count > 0);
    happened.map(|(name, count)| format!("{count} {}", plain(name))).collect::<Vec<_>>().join(", ")
}
