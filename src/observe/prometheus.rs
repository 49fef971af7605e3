//! The page that Prometheus reads: its text format, version 0.0.4.

use std::fmt::Display;

use jiff::Timestamp;

use super::stats::{Counts, Histogram};
use super::status::{Collector, Report, State};

/// Content type of the format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Prefix of every metric name.
const PREFIX: &str = "nixfleet_agent_";

#[cfg(test)]
mod tests;

/// The page for a report. Unknown values are left out.
pub fn page(report: &Report) -> String {
    let mut page = Page::default();
    page.agent(report);
    page.beats(report);
    page.work(report);
    page.collectors(report);
    page.0
}

#[derive(Debug, Default)]
struct Page(String);

impl Page {
    fn agent(&mut self, report: &Report) {
        self.family("info", "gauge", "The agent's version and its name for the dashboard.");
        let labels = [("version", report.version.as_str()), ("hostname", report.hostname.as_str())];
        self.sample("info", &labels, 1);
        self.time("start_time_seconds", "When the agent started.", Some(&report.started_at));
        let connected = u8::from(report.connection.state == State::Connected);
        self.gauge("connected", "Whether the dashboard has accepted the registration.", Some(connected));
        let last_good = u8::from(report.last_good_settings.is_some());
        let help = "Whether the settings file is wrong, and the last good settings are in use.";
        self.gauge("last_good_settings", help, Some(last_good));
        let stats = &report.stats;
        self.total("registrations_total", "Registrations that the dashboard accepted.", stats.registrations);
        self.counts("reconnects_total", "Why it had to connect again.", "cause", &stats.reconnects);
        let process = &report.process;
        self.gauge("resident_memory_bytes", "Memory of the agent's process.", process.rss);
        if let Some(seconds) = process.cpu_s {
            self.total("cpu_seconds_total", "Processor time of the agent's process.", seconds);
        }
        self.gauge("open_files", "Open files of the agent's process.", process.open_files);
        self.gauge("threads", "Threads of the agent's process.", process.threads);
    }

    fn beats(&mut self, report: &Report) {
        let stats = &report.stats;
        self.total("heartbeats_total", "Heartbeats made.", stats.beats);
        self.total("heartbeats_late_total", "Heartbeats more than a second late.", stats.beats_late);
        self.total(
            "heartbeats_skipped_total",
            "Heartbeats that a newer one replaced before they were written.",
            stats.beats_skipped,
        );
        self.histogram(
            "heartbeat_lateness_seconds",
            "How long after they were due heartbeats were made.",
            &stats.lateness,
        );
        self.time(
            "last_heartbeat_timestamp_seconds",
            "When the last one was made.",
            report.last_beat_at.as_ref(),
        );
        let rtt = "How long heartbeats took to be acknowledged.";
        self.histogram("ack_rtt_seconds", rtt, &stats.ack_rtt);
        self.total(
            "acks_missing_total",
            "Heartbeats that were never acknowledged while a later one was.",
            stats.acks_missing,
        );
    }

    fn work(&mut self, report: &Report) {
        let stats = &report.stats;
        self.family("queue_messages", "gauge", "Messages that wait to be written.");
        self.sample("queue_messages", &[("lane", "control")], report.queue.control);
        self.sample("queue_messages", &[("lane", "output")], report.queue.output);
        let dropped = "Answers dropped because too many waited.";
        self.total("messages_dropped_total", dropped, stats.messages_dropped);
        let ignored = "Messages of the dashboard that were ignored.";
        self.counts("messages_ignored_total", ignored, "reason", &stats.messages_ignored);
        let lines = "Log lines that the dashboard caused and that were left out.";
        self.total("log_lines_left_out_total", lines, stats.log_lines_left_out);
        self.total("output_lines_total", "Lines of output sent, repeats included.", stats.lines_sent);
        self.total(
            "output_lines_dropped_total",
            "Lines of output that fell out of a log before they were sent.",
            stats.lines_dropped,
        );
        let running = report.running();
        self.gauge("job_running", "Whether a command runs.", Some(u8::from(running.is_some())));
        let unreported = u8::from(report.unreported().is_some());
        let help = "Whether a command has ended, and no dashboard was told yet.";
        self.gauge("job_unreported", help, Some(unreported));
        let activity = running.and_then(|running| running.activity.as_ref());
        self.time(
            "job_last_output_timestamp_seconds",
            "When the running command last wrote a line or made progress.",
            activity.and_then(|activity| activity.last_output_at.as_ref()),
        );
        if let Some(activity) = activity
            && let Some(at) = activity.phase_since.as_ref().and_then(|at| at.parse::<Timestamp>().ok())
        {
            let name = "job_phase_timestamp_seconds";
            self.family(name, "gauge", "When the running command entered its phase.");
            self.sample(name, &[("phase", &activity.phase)], at.as_millisecond() as f64 / 1e3);
        }
        self.total("jobs_started_total", "Commands accepted.", stats.jobs_started);
        self.counts("jobs_ended_total", "Commands that ended.", "outcome", &stats.jobs_ended);
        self.total(
            "prewarm_signals_dropped_total",
            "Pre-warm signals that the hook was too slow for.",
            report.prewarm_dropped,
        );
    }

    fn collectors(&mut self, report: &Report) {
        let mut family = |name: &str, kind: &str, help: &str, value: fn(&Collector) -> f64| {
            self.family(name, kind, help);
            for (collector, stats) in &report.collectors {
                self.sample(name, &[("collector", collector)], value(stats));
            }
        };
        family("collector_runs_total", "counter", "Looks at the host that came to an end.", |stats| {
            stats.runs as f64
        });
        family("collector_errors_total", "counter", "Looks that failed.", |stats| stats.errors as f64);
        family("collector_timeouts_total", "counter", "Looks that took longer than they may.", |stats| {
            stats.timeouts as f64
        });
        family("collector_seconds_total", "counter", "How long all looks took.", |stats| stats.total_s);
        family("collector_last_seconds", "gauge", "How long the last look took.", |stats| stats.last_s);
        self.total(
            "gpu_timeouts_total",
            "How often a GPU's driver did not answer in time.",
            report.gpu_timeouts,
        );
    }

    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.0 += &format!("# HELP {PREFIX}{name} {help}\n# TYPE {PREFIX}{name} {kind}\n");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0 += &format!("{PREFIX}{name}");
        for (n, (label, text)) in labels.iter().enumerate() {
            let before = if n == 0 { '{' } else { ',' };
            self.0 += &format!("{before}{label}=\"{}\"", escaped(text));
        }
        let after = if labels.is_empty() { "" } else { "}" };
        self.0 += &format!("{after} {value}\n");
    }

    fn total(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "counter", help);
        self.sample(name, &[], value);
    }

    fn gauge(&mut self, name: &str, help: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.family(name, "gauge", help);
            self.sample(name, &[], value);
        }
    }

    fn time(&mut self, name: &str, help: &str, at: Option<&String>) {
        let at = at.and_then(|at| at.parse::<Timestamp>().ok());
        self.gauge(name, help, at.map(|at| at.as_millisecond() as f64 / 1e3));
    }

    fn counts(&mut self, name: &str, help: &str, label: &str, counts: &Counts) {
        self.family(name, "counter", help);
        for (text, count) in counts {
            self.sample(name, &[(label, text)], count);
        }
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.family(name, "histogram", help);
        let bucket = format!("{name}_bucket");
        let mut below = 0;
        for (count, bound) in histogram.counts.iter().zip(histogram.at_most_ms) {
            below += count;
            self.sample(&bucket, &[("le", &(bound as f64 / 1e3).to_string())], below);
        }
        self.sample(&bucket, &[("le", "+Inf")], histogram.count());
        self.sample(&format!("{name}_sum"), &[], histogram.sum_s);
        self.sample(&format!("{name}_count"), &[], histogram.count());
    }
}

/// A label's value with backslashes, quotes and line ends escaped.
fn escaped(text: &str) -> String {
    text.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}
