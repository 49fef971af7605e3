//! The report for people: what is wrong, how up to date the host is, what runs. `--verbose` adds the rest.

use std::time::Duration;

use jiff::Timestamp;
use nixfleet_jobs::git;
use nixfleet_os::text::one_line;
use nixfleet_os::time::length;
use nixfleet_protocol::HostSystem;

use super::super::logs::SHORT;
use super::super::terminal::Paint;
use super::super::zone::Zone;
use crate::observe::status::{Finished, HostReport, Light, Report, Running, RunningActivity, Server, State};

mod details;

/// How long a command may say nothing before that is told. A build that writes a line now and then is not silent.
const SILENT: Duration = Duration::from_secs(10);

/// Columns in front of the text of a row.
const NAME: usize = 14;

/// Columns of the word of a light, with the blanks behind it.
const WORD: usize = 10;

/// How the page is shown.
#[derive(Debug, Clone)]
pub(super) struct Style {
    /// Columns of the terminal. Programs get each row in one line.
    pub(super) width: Option<usize>,
    pub(super) colours: bool,
    pub(super) zone: Zone,
    /// With everything that only matters when something is wrong with the agent itself.
    pub(super) verbose: bool,
}

/// The page, at the time `now`.
pub(super) fn page(report: &Report, now: Timestamp, style: &Style) -> String {
    let mut page = Page { text: String::new(), now, style };
    page.headline(report);
    page.warnings(report);
    if let Some(host) = &report.host {
        page.lights(host);
        page.software(host);
    }
    page.commands(report);
    if report.is_connected() {
        page.last_error(report);
    }
    if style.verbose {
        page.details(report);
    }
    page.text
}

struct Page<'a> {
    text: String,
    now: Timestamp,
    style: &'a Style,
}

impl Page<'_> {
    /// Whether the host is connected, since when, and how quick the dashboard answers.
    fn headline(&mut self, report: &Report) {
        let connection = &report.connection;
        let place = plain(&report.dashboard);
        let absence = report.disconnected_since().map(|at| self.since(at)).unwrap_or_default();
        let state = match connection.state {
            State::Connected => {
                let trip = report.ack_rtt_ms.map(|trip| format!(", round trip {trip:.1} ms"));
                let state = self.paint(Paint::Green, "connected");
                let since = self.since(&connection.since);
                format!("{state} to {place}, {since}{}", trip.unwrap_or_default())
            }
            State::Connecting => {
                format!("{} to {place}, not connected {absence}", self.paint(Paint::Yellow, "connecting"))
            }
            State::Waiting => {
                let yet = if report.never_connected() { "not yet connected" } else { "not connected" };
                format!("{} to {place}, {absence}", self.paint(Paint::Red, yet))
            }
        };
        let line = self.wrapped(&format!("{}:", plain(&report.hostname)), &state, 2);
        self.text += &line;
        if !report.is_connected() {
            self.last_error(report);
            if let Some(at) = &connection.retry_at {
                self.row("next try", &self.ahead(at));
            }
        }
    }

    fn last_error(&mut self, report: &Report) {
        let Some(why) = &report.connection.last_error else { return };
        let when = report.connection.last_error_at.as_deref().map(|at| self.ago(at)).unwrap_or_default();
        self.row("last error", &format!("{when}: {}", plain(why)));
    }

    /// What is unusual, and would be a detail otherwise.
    fn warnings(&mut self, report: &Report) {
        if let Some(used) = &report.last_good_settings {
            let (file, at) = (plain(&used.file), plain(&self.style.zone.time_of(&used.accepted_at)));
            let wrong = self.paint(Paint::Red, "wrong");
            self.row("settings", &format!("{file} is {wrong}; those of {at} are in use"));
            for problem in &used.problems {
                self.row("", &plain(problem));
            }
        }
        let remark = report.client_certificate.as_ref().and_then(|certificate| certificate.remark(self.now));
        if let Some(remark) = remark {
            self.row("certificate", &plain(&remark.text));
        }
        let is_odd = |server: &&Server| !["", "healthy"].contains(&server.state.as_str());
        if report.is_connected()
            && !self.style.verbose
            && let Some(server) = report.server.as_ref().filter(is_odd)
        {
            let state = self.paint(Paint::Yellow, &plain(&server_state(server)));
            self.row("dashboard", &state);
        }
    }

    /// How up to date the host is. Nothing is said before the agent has looked.
    fn lights(&mut self, host: &HostReport) {
        let lights = &host.lights;
        if [&lights.lock, &lights.system, &lights.tests].iter().all(|light| light.status.is_empty()) {
            return;
        }
        let remote = match host.system.repo_commit.as_deref() {
            Some(commit) => {
                let commit = git::short(commit).unwrap_or_else(|| plain(commit));
                format!("the checkout is at {commit}; the dashboard compares it with the remote")
            }
            None => "there is no checkout".to_owned(),
        };
        let git = Light { message: remote, ..lights.git.clone() };
        for (name, light) in
            [("git", &git), ("lock", &lights.lock), ("system", &lights.system), ("tests", &lights.tests)]
        {
            self.light(name, light);
        }
    }

    fn light(&mut self, name: &str, light: &Light) {
        let (word, paint) = match light.status.as_str() {
            "" => ("-".to_owned(), Paint::Dim),
            "ok" => ("ok".to_owned(), Paint::Green),
            "outdated" => ("outdated".to_owned(), Paint::Yellow),
            "error" => ("error".to_owned(), Paint::Red),
            "working" => ("working".to_owned(), Paint::Cyan),
            // `unknown`, and those of later versions.
            other => (plain(other), Paint::Dim),
        };
        let word = self.paint(paint, &word) + &" ".repeat(WORD.saturating_sub(word.chars().count() + 1));
        // A test that passed long ago still counts: the time is that of the look.
        let when =
            Some(&light.checked_at).filter(|at| !at.is_empty()).map(|at| match light.status.as_str() {
                "working" => self.since(at),
                _ => format!("checked {}", self.ago(at)),
            });
        let parts = [Some(plain(&light.message)).filter(|text| !text.is_empty()), when];
        let text = parts.into_iter().flatten().collect::<Vec<_>>().join(", ");
        let line = self.wrapped(&format!("  {name:<width$} {word}", width = NAME - 3), &text, NAME + WORD);
        self.text += &line;
    }

    /// What is deployed, and what the next boot runs.
    fn software(&mut self, host: &HostReport) {
        let HostReport { generation, nixpkgs_version, system, .. } = host;
        let known = |text: &String| !text.is_empty() && text != crate::facts::UNKNOWN;
        let parts = [
            Some(plain(generation)).filter(known),
            Some(nixpkgs_version)
                .filter(|version| known(version))
                .map(|version| format!("nixpkgs {}", plain(version))),
        ];
        let text = parts.into_iter().flatten().collect::<Vec<_>>().join(", ");
        if !text.is_empty() {
            self.row("generation", &text);
        }
        if let Some(next) = next_boot(system) {
            self.row("next boot", &next);
        }
        if system.reboot_required == Some(true) {
            let why = if host.waits_for_boot {
                "the next boot runs another system than the running one"
            } else {
                "kernel, initrd or kernel modules are others than those that were booted"
            };
            let needed = self.paint(Paint::Yellow, "needed");
            self.row("reboot", &format!("{needed}: {why}"));
        }
    }

    /// What runs, how far it is, and how the last command ended.
    fn commands(&mut self, report: &Report) {
        match report.running() {
            None => self.row("running", "nothing"),
            Some(running) => {
                let pid = running.pid.map_or("no process yet".to_owned(), |pid| format!("process {pid}"));
                let since = self.since(&running.since);
                let command = self.paint(Paint::Cyan, &plain(&running.command));
                let waits = running.waits.as_ref().map(|waits| format!(", {}", plain(waits)));
                let (waits, job) = (waits.unwrap_or_default(), plain(&short_end(&running.job_id)));
                self.row("running", &format!("{command}{waits}, {pid}, {since}, job {job}"));
                if let Some(activity) = &running.activity {
                    let text = self.activity(activity, running.detail.as_deref());
                    self.row("", &text);
                }
            }
        }
        let mut first = "ended";
        if let Some(Running { command, job_id, .. }) = report.unreported() {
            let (command, job) = (plain(command), plain(&short_end(job_id)));
            self.row(first, &format!("{command}: not reported to the dashboard yet, job {job}"));
            first = "";
        }
        let shown = if self.style.verbose { report.results.len() } else { 1 };
        for result in report.results.iter().rev().take(shown) {
            let text = self.finished(result);
            self.row(first, &text);
            first = "";
            if result.outcome != "ok" && !result.message.is_empty() {
                self.row("", &plain(&result.message));
            }
        }
    }

    /// The phase of a command, how far it is, and how long it has said nothing.
    fn activity(&self, activity: &RunningActivity, detail: Option<&str>) -> String {
        let detail = detail.map(|detail| format!(", {}", plain(detail)));
        let since = activity.phase_since.as_deref().map(|at| format!(", {}", self.since(at)));
        let silent =
            activity.last_output_at.as_deref().and_then(|at| self.age(at)).filter(|age| *age >= SILENT);
        let silent = silent.map(|age| format!(", silent for {}", length(age)));
        [Some(plain(&activity.phase)), detail, since, silent].into_iter().flatten().collect()
    }

    fn finished(&self, result: &Finished) -> String {
        let took = length(Duration::from_millis(result.duration_ms));
        let paint = match result.outcome.as_str() {
            // Somebody wanted that.
            "stopped" => Paint::Yellow,
            _ if result.exit_code == 0 => Paint::Green,
            _ => Paint::Red,
        };
        let outcome = self.paint(paint, &plain(&result.outcome).replace('_', " "));
        let (command, ago) = (plain(&result.command), self.ago(&result.ended_at));
        format!("{command}: {outcome} ({}), {ago}, took {took}", result.exit_code)
    }

    fn paint(&self, paint: Paint, text: &str) -> String {
        paint.on(text, self.style.colours)
    }

    fn row(&mut self, name: &str, text: &str) {
        let line = self.wrapped(&format!("  {name:<width$}", width = NAME - 3), text, NAME);
        self.text += &line;
    }

    /// `head`, a blank and the text, wrapped to the width of the terminal with an indent. A word is never cut: it may
    /// be a path.
    fn wrapped(&self, head: &str, text: &str, indent: usize) -> String {
        let (mut lines, mut line) = (String::new(), head.to_owned());
        let mut columns = visible(head);
        let mut has_word = false;
        for word in text.split(' ') {
            let wide = columns + 1 + visible(word);
            if has_word && self.style.width.is_some_and(|width| wide > width) {
                lines += line.trim_end();
                lines.push('\n');
                line = " ".repeat(indent.saturating_sub(1));
                columns = line.len();
            }
            line.push(' ');
            line += word;
            columns += 1 + visible(word);
            has_word |= !word.is_empty();
        }
        lines += line.trim_end();
        lines.push('\n');
        lines
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

/// What the next boot runs; none where nobody knows.
fn next_boot(system: &HostSystem) -> Option<String> {
    let next = &system.boots.as_ref()?.system;
    let name = next.rsplit('/').next().unwrap_or(next);
    Some(match next {
        _ if system.current.as_ref() == Some(next) => "the running system".to_owned(),
        _ if system.booted.as_ref() == Some(next) => {
            "the system that was booted, not the running one".to_owned()
        }
        _ => plain(name),
    })
}

/// What the dashboard said about itself.
fn server_state(server: &Server) -> String {
    let until = if server.until.is_empty() { String::new() } else { format!(" until {}", server.until) };
    let why = if server.reason.is_empty() { String::new() } else { format!(": {}", server.reason) };
    format!("{}{until}{why}", server.state)
}

/// The last digits of a job's id, by which `logs` finds it.
fn short_end(id: &str) -> String {
    id.chars().skip(id.chars().count().saturating_sub(SHORT)).collect()
}

/// Columns of a text on a terminal, without the codes of colours.
fn visible(text: &str) -> usize {
    let (mut columns, mut in_code) = (0, false);
    for letter in text.chars() {
        in_code |= letter == '\x1b';
        columns += usize::from(!in_code);
        in_code &= letter != 'm';
    }
    columns
}

/// Longest text from elsewhere in a row, in characters.
const LONGEST: usize = 1000;

/// Text from elsewhere for a terminal.
fn plain(text: &str) -> String {
    one_line(text, LONGEST)
}

#[cfg(test)]
mod tests;
