//! The report as one screen of text, most important line first.

use std::time::Duration;

use jiff::Timestamp;
use nixfleet_os::text::one_line;
pub(crate) use nixfleet_os::time::length;

use super::report::{Queue, Report, Running, RunningActivity, Server, State};
use crate::observe::stats::{Counts, Histogram};

/// How long a command may say nothing before that is told. A build that writes a line now and then is not silent.
const SILENT: Duration = Duration::from_secs(10);

/// Columns of a row on a terminal: those of the narrowest one that is usual.
pub const WIDTH: usize = 80;

/// Columns in front of the text of a row.
const NAME: usize = 13;

/// The page, at the time `now`. With a `width`, a row takes as many lines as it needs; programs get each in one line.
pub fn page(report: &Report, now: Timestamp, width: Option<usize>) -> String {
    let mut page = Page { text: String::new(), now, width };
    page.connection(report);
    page.settings(report);
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
    width: Option<usize>,
}

impl Page {
    fn connection(&mut self, report: &Report) {
        let connection = &report.connection;
        let place = &report.dashboard;
        let absence = report.disconnected_since().map(|at| self.since(at)).unwrap_or_default();
        let state = match connection.state {
            State::Connected => format!("connected to {place}, {}", self.since(&connection.since)),
            State::Connecting => format!("connecting to {place}, not connected {absence}"),
            State::Waiting if report.never_connected() => format!("not yet connected to {place}, {absence}"),
            State::Waiting => format!("not connected to {place}, {absence}"),
        };
        self.text += &format!("{}: {}\n", plain(&report.hostname), plain(&state));
        if let Some(why) = &connection.last_error {
            let when = connection.last_error_at.as_deref().map(|at| self.ago(at)).unwrap_or_default();
            self.row("last error", &format!("{when}: {}", plain(why)));
        }
        if let Some(at) = &connection.retry_at {
            self.row("next try", &self.ahead(at));
        }
        if let Some(proxy) = &report.proxy {
            self.row("proxy", &plain(proxy));
        }
        self.dashboard(report);
        if let Some(certificate) = &report.client_certificate {
            let (file, end) = (plain(&certificate.file), plain(&certificate.not_after));
            let text = match certificate.remark(self.now) {
                Some(remark) => plain(&remark.text),
                None => format!("{file}, valid until {end}"),
            };
            self.row("certificate", &text);
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
        let until = if server.until.is_empty() { String::new() } else { format!(" until {}", server.until) };
        let why = if server.reason.is_empty() { String::new() } else { format!(": {}", server.reason) };
        let state = format!("{}{until}{why}", server.state);
        let text = if report.is_connected() {
            let rtt = report.ack_rtt_ms.map(|rtt| format!("; acknowledges in {rtt} ms"));
            state + &rtt.unwrap_or_default()
        } else {
            let when = server.said_at.as_deref().map(|at| format!(" {}", self.ago(at)));
            format!("last said{}: {state}", when.unwrap_or_default())
        };
        self.row("dashboard", &plain(&text));
    }

    /// Which settings are in use, if they are not those of the file.
    fn settings(&mut self, report: &Report) {
        let Some(used) = &report.last_good_settings else { return };
        let file = plain(&used.file);
        self.row("settings", &format!("{file} is wrong; those of {} are in use", plain(&used.accepted_at)));
        for problem in &used.problems {
            self.row("", &plain(problem));
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

    fn commands(&mut self, report: &Report) {
        let mut first = "ended";
        match report.running() {
            None => self.row("running", "nothing"),
            Some(running) => {
                let pid = running.pid.map_or("no process yet".to_owned(), |pid| format!("process {pid}"));
                let since = self.since(&running.since);
                let (command, job) = (plain(&running.command), plain(&running.job_id));
                let waits =
                    running.waits.as_ref().map(|waits| format!(", {}", plain(waits))).unwrap_or_default();
                self.row("running", &format!("{command}{waits}, {pid}, {since}, job {job}"));
                if let Some(activity) = &running.activity {
                    let text = self.activity(activity);
                    self.row("", &text);
                }
            }
        }
        if let Some(Running { command, job_id, .. }) = report.unreported() {
            let text =
                format!("{}: not reported to the dashboard yet, job {}", plain(command), plain(job_id));
            self.row(first, &text);
            first = "";
        }
        for result in report.results.iter().rev() {
            let took = length(Duration::from_millis(result.duration_ms));
            let text = format!(
                "{}: {} ({}), {}, took {took}",
                plain(&result.command),
                plain(&result.outcome),
                result.exit_code,
                self.ago(&result.ended_at)
            );
            self.row(first, &text);
            first = "";
        }
    }

    /// The phase of a command, and how long it has said nothing.
    fn activity(&self, activity: &RunningActivity) -> String {
        let since = activity.phase_since.as_deref().map(|at| format!(" {}", self.since(at)));
        let silent =
            activity.last_output_at.as_deref().and_then(|at| self.age(at)).filter(|age| *age >= SILENT);
        let silent = silent.map(|age| format!(", silent for {}", length(age)));
        format!("{}{}{}", plain(&activity.phase), since.unwrap_or_default(), silent.unwrap_or_default())
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

    /// A row. A word is never cut: it may be a path.
    fn row(&mut self, name: &str, text: &str) {
        let mut line = format!("  {name:<width$}", width = NAME - 2);
        let mut has_word = false;
        for word in text.split(' ') {
            let columns = line.chars().count() + 1 + word.chars().count();
            if has_word && self.width.is_some_and(|width| columns > width) {
                self.text += line.trim_end();
                self.text.push('\n');
                line = " ".repeat(NAME);
            }
            line.push(' ');
            line += word;
            has_word |= !word.is_empty();
        }
        self.text += line.trim_end();
        self.text.push('\n');
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

    /// How long ago `at` was.
    fn age(&self, at: &str) -> Option<Duration> {
        let at: Timestamp = at.parse().ok()?;
        Some(Duration::try_from(self.now.duration_since(at)).unwrap_or_default())
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

/// Longest text from elsewhere in a row, in characters.
const LONGEST: usize = 1000;

/// Text from elsewhere for a terminal.
fn plain(text: &str) -> String {
    one_line(text, LONGEST)
}

#[cfg(test)]
mod tests;
