//! The report as one screen of text, most important line first.

use std::time::Duration;

use jiff::Timestamp;

use super::report::{Report, State};
use crate::observe::stats::{Counts, Histogram};

/// The page, at the time `now`.
pub fn page(report: &Report, now: Timestamp) -> String {
    let mut page = Page { text: String::new(), now };
    page.connection(report);
    page.agent(report);
    page.beats(report);
    page.commands(report);
    page.output(report);
    page.collectors(report);
    page.text
}

struct Page {
    text: String,
    now: Timestamp,
}

impl Page {
    fn connection(&mut self, report: &Report) {
        let connection = &report.connection;
        let state = match connection.state {
            State::Connected => format!("connected to {}", report.dashboard),
            State::Connecting => format!("connecting to {}", report.dashboard),
            State::Waiting => format!("not connected to {}", report.dashboard),
        };
        let (hostname, since) = (plain(&report.hostname), self.since(&connection.since));
        self.text += &format!("{hostname}: {}, {since}\n", plain(&state));
        if let Some(why) = &connection.last_error {
            let when = connection.last_error_at.as_deref().map(|at| self.ago(at)).unwrap_or_default();
            self.row("last error", &format!("{when}: {}", plain(why)));
        }
        if let Some(at) = &connection.retry_at {
            self.row("next try", &self.ahead(at));
        }
        let server = &report.server;
        if !server.state.is_empty() {
            let until =
                if server.until.is_empty() { String::new() } else { format!(" until {}", server.until) };
            let why = if server.reason.is_empty() { String::new() } else { format!(": {}", server.reason) };
            let rtt = report.ack_rtt_ms.map(|rtt| format!("; acknowledges in {rtt} ms")).unwrap_or_default();
            self.row("dashboard", &plain(&format!("{}{until}{why}{rtt}", server.state)));
        }
        let reconnects = named(&report.stats.reconnects);
        if !reconnects.is_empty() {
            self.row("reconnects", &reconnects);
        }
    }

    fn agent(&mut self, report: &Report) {
        let process = &report.process;
        let mut parts =
            vec![plain(&report.version), format!("process {}", report.pid), self.since(&report.started_at)];
        parts.extend(process.rss.map(|bytes| format!("{:.1} MB", bytes as f64 / 1e6)));
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
        let last = report.last_beat_at.as_deref().map(|at| format!(", the last {}", self.ago(at)));
        let lost = format!("{} late, {} skipped", stats.beats_late, stats.beats_skipped);
        self.row(
            "heartbeats",
            &format!(
                "{}{}, every {} s; {lost}{}",
                stats.beats,
                last.unwrap_or_default(),
                report.interval_s,
                spread(&stats.lateness, "due")
            ),
        );
        if stats.ack_rtt.count() > 0 {
            let missing = stats.acks_missing;
            let spread = spread(&stats.ack_rtt, "sent");
            self.row("answers", &format!("{}, {missing} missing{spread}", stats.ack_rtt.count()));
        }
    }

    fn commands(&mut self, report: &Report) {
        match &report.running {
            None => self.row("running", "nothing"),
            Some(running) => {
                let pid = running.pid.map_or("no process yet".to_owned(), |pid| format!("process {pid}"));
                let since = self.since(&running.since);
                let (command, job) = (plain(&running.command), plain(&running.job_id));
                self.row("running", &format!("{command}, {pid}, {since}, job {job}"));
            }
        }
        for (n, result) in report.results.iter().rev().enumerate() {
            let took = length(Duration::from_millis(result.duration_ms));
            let text = format!(
                "{}: {} ({}), {}, took {took}",
                plain(&result.command),
                plain(&result.outcome),
                result.exit_code,
                self.ago(&result.ended_at)
            );
            self.row(if n == 0 { "ended" } else { "" }, &text);
        }
    }

    fn output(&mut self, report: &Report) {
        let stats = &report.stats;
        let (sent, dropped) = (stats.lines_sent, stats.lines_dropped);
        self.row("output", &format!("{sent} lines sent, {dropped} dropped"));
        let (control, output) = (report.queue.control, report.queue.output);
        let dropped = stats.messages_dropped;
        self.row(
            "queue",
            &format!("{control} messages and {output} of output wait; {dropped} answers dropped"),
        );
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

    fn row(&mut self, name: &str, text: &str) {
        self.text += &format!("  {name:<11} {text}\n");
    }

    fn since(&self, at: &str) -> String {
        self.away(at, false).map_or_else(String::new, |length| format!("for {length}"))
    }

    fn ago(&self, at: &str) -> String {
        self.away(at, false).map_or_else(|| plain(at), |length| format!("{length} ago"))
    }

    fn ahead(&self, at: &str) -> String {
        self.away(at, true).map_or_else(|| plain(at), |length| format!("in {length}"))
    }

    /// The distance between now and `at`; zero if `at` is on the other side of now.
    fn away(&self, at: &str, ahead: bool) -> Option<String> {
        let at: Timestamp = at.parse().ok()?;
        let distance = if ahead { at.duration_since(self.now) } else { self.now.duration_since(at) };
        Some(length(Duration::try_from(distance).unwrap_or_default()))
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

/// A duration in at most two units.
pub(crate) fn length(length: Duration) -> String {
    let seconds = length.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, ..) => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

/// Text from elsewhere for a terminal, with control characters replaced.
fn plain(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '?' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::stats::Stats;
    use crate::observe::status::{Collector, Connection, Finished, ProcessUsage, Running, Server};

    fn now() -> Timestamp {
        "2026-01-01T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn lengths_are_for_people() {
        for (seconds, wanted) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min 0 s"),
            (3_725, "1 h 2 min"),
            (86_399, "23 h 59 min"),
            (90_000, "1 d 1 h"),
        ] {
            assert_eq!(length(Duration::from_secs(seconds)), wanted);
        }
    }

    #[test]
    fn the_page_of_a_busy_agent() {
        let mut stats = Stats { beats: 12, lines_sent: 40, ..Stats::default() };
        stats.late(Duration::from_millis(1));
        stats.ack_rtt.add(Duration::from_millis(3));
        stats.reconnect("closed");
        let finished = |command: &str, outcome: &str, exit_code| Finished {
            command: command.to_owned(),
            outcome: outcome.to_owned(),
            exit_code,
            ended_at: "2026-01-01T11:00:00Z".to_owned(),
            duration_ms: 61_000,
            ..Finished::default()
        };
        let report = Report {
            version: "0.1.0".to_owned(),
            pid: 77,
            hostname: "web-1".to_owned(),
            dashboard: "wss://fleet.example.org/ws".to_owned(),
            started_at: "2026-01-01T10:00:00Z".to_owned(),
            metrics_at: Some("127.0.0.1:9464".to_owned()),
            connection: Connection {
                state: State::Connected,
                since: "2026-01-01T11:59:00Z".to_owned(),
                last_error: Some("cannot reach it\u{1b}[31m".to_owned()),
                last_error_at: Some("2026-01-01T11:58:30Z".to_owned()),
                retry_at: None,
            },
            server: Server { state: "degraded".to_owned(), reason: "slow".to_owned(), until: String::new() },
            interval_s: 30,
            last_beat_at: Some("2026-01-01T11:59:48Z".to_owned()),
            ack_rtt_ms: Some(2.5),
            running: Some(Running {
                command: "switch".to_owned(),
                job_id: "a-b".to_owned(),
                pid: Some(4711),
                since: "2026-01-01T11:58:55Z".to_owned(),
                ..Running::default()
            }),
            results: vec![finished("pull", "ok", 0), finished("test", "failed", 1)],
            stats,
            process: ProcessUsage {
                rss: Some(6_100_000),
                cpu_s: Some(1.5),
                open_files: Some(21),
                threads: Some(9),
            },
            collectors: [
                ("cpu".to_owned(), Collector { runs: 4, total_s: 0.001, ..Collector::default() }),
                ("units".to_owned(), Collector::default()),
            ]
            .into(),
            ..Report::default()
        };
        let wanted = "\
web-1: connected to wss://fleet.example.org/ws, for 1 min 0 s
  last error  1 min 30 s ago: cannot reach it?[31m
  dashboard   degraded: slow; acknowledges in 2.5 ms
  reconnects  1 closed
  agent       0.1.0, process 77, for 2 h 0 min, 6.1 MB, 1.50 s of processor time, 21 files, 9 threads
  metrics     http://127.0.0.1:9464/metrics
  heartbeats  12, the last 12 s ago, every 30 s; 0 late, 0 skipped; all within 1 ms of being due
  answers     1, 0 missing; all within 5 ms of being sent
  running     switch, process 4711, for 1 min 5 s, job a-b
  ended       test: failed (1), 1 h 0 min ago, took 1 min 1 s
              pull: ok (0), 1 h 0 min ago, took 1 min 1 s
  output      40 lines sent, 0 dropped
  queue       0 messages and 0 of output wait; 0 answers dropped
  looks       cpu                  4 x    0.250 ms, 0 errors, 0 timeouts
";
        assert_eq!(page(&report, now()), wanted);
    }

    #[test]
    fn an_agent_that_waits_says_why_and_how_long() {
        let connection = Connection {
            state: State::Waiting,
            since: "2026-01-01T11:59:50Z".to_owned(),
            last_error: Some("the token is wrong".to_owned()),
            last_error_at: Some("2026-01-01T11:59:50Z".to_owned()),
            retry_at: Some("2026-01-01T12:00:20Z".to_owned()),
        };
        let dashboard = "ws://127.0.0.1/ws".to_owned();
        let page = page(&Report { connection, dashboard, ..Report::default() }, now());
        let lines: Vec<&str> = page.lines().collect();
        assert_eq!(
            lines[..3],
            [
                ": not connected to ws://127.0.0.1/ws, for 10 s",
                "  last error  10 s ago: the token is wrong",
                "  next try    in 20 s",
            ]
        );
        assert!(page.contains("\n  running     nothing\n"), "{page}");
    }

    #[test]
    fn a_document_of_another_version_is_read_as_far_as_it_is_known() {
        let report: Report =
            serde_json::from_str(r#"{"hostname": "web-1", "new": {"x": 1}, "queue": {"control": 2}}"#)
                .unwrap();
        assert_eq!((report.hostname.as_str(), report.queue.control), ("web-1", 2));
        assert!(page(&report, now()).starts_with("web-1: connecting"));
    }
}
