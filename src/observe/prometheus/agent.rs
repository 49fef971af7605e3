//! The agent's own figures: its connection, heartbeats, queues, and process.

use super::text::Text;
use crate::facts::{Facts, UNKNOWN};
use crate::observe::status::{Collector, Report, State};

/// Everything about the agent itself.
pub(super) fn all(text: &mut Text, report: &Report, facts: &Facts) {
    agent(text, report, facts);
    beats(text, report);
    work(text, report);
    collectors(text, report);
}

fn agent(text: &mut Text, report: &Report, facts: &Facts) {
    text.family("info", "gauge", "The agent's version and its name for the dashboard.");
    let labels = [("version", report.version.as_str()), ("hostname", report.hostname.as_str())];
    text.sample("info", &labels, 1);
    let known = |value: &str| if value == UNKNOWN { String::new() } else { value.to_owned() };
    let build = [
        ("version", report.version.as_str()),
        ("commit", &known(&facts.source_commit)),
        ("arch", std::env::consts::ARCH),
    ];
    text.family("build_info", "gauge", "The build of the agent that runs.");
    text.sample("build_info", &build, 1);
    text.time("start_time_seconds", "When the agent started.", Some(&report.started_at));
    let connected = u8::from(report.connection.state == State::Connected);
    text.gauge("connected", "Whether the dashboard has accepted the registration.", Some(connected));
    let last_good = u8::from(report.last_good_settings.is_some());
    let help = "Whether the settings file is wrong, and the last good settings are in use.";
    text.gauge("last_good_settings", help, Some(last_good));
    let help = "When the client certificate ends that the dashboard knows this host by.";
    let certificate = report.client_certificate.as_ref();
    text.time(
        "client_certificate_not_after_timestamp_seconds",
        help,
        certificate.map(|certificate| &certificate.not_after),
    );
    let stats = &report.stats;
    text.total("registrations_total", "Registrations that the dashboard accepted.", stats.registrations);
    text.counts("reconnects_total", "Why it had to connect again.", "cause", &stats.reconnects);
    let process = &report.process;
    text.gauge("resident_memory_bytes", "Memory of the agent's process.", process.rss);
    if let Some(seconds) = process.cpu_s {
        text.total("cpu_seconds_total", "Processor time of the agent's process.", seconds);
    }
    text.gauge("open_files", "Open files of the agent's process.", process.open_files);
    text.gauge("threads", "Threads of the agent's process.", process.threads);
}

fn beats(text: &mut Text, report: &Report) {
    let stats = &report.stats;
    text.gauge("heartbeat_interval_seconds", "Time between two heartbeats.", Some(report.interval_s));
    text.total("heartbeats_total", "Heartbeats made.", stats.beats);
    text.total("heartbeats_late_total", "Heartbeats more than a second late.", stats.beats_late);
    text.total(
        "heartbeats_skipped_total",
        "Heartbeats that a newer one replaced before they were written.",
        stats.beats_skipped,
    );
    text.histogram(
        "heartbeat_lateness_seconds",
        "How long after they were due heartbeats were made.",
        &stats.lateness,
    );
    text.time(
        "last_heartbeat_timestamp_seconds",
        "When the last one was made.",
        report.last_beat_at.as_ref(),
    );
    let rtt = "How long heartbeats took to be acknowledged.";
    text.histogram("ack_rtt_seconds", rtt, &stats.ack_rtt);
    text.total(
        "acks_missing_total",
        "Heartbeats that were never acknowledged while a later one was.",
        stats.acks_missing,
    );
}

fn work(text: &mut Text, report: &Report) {
    let stats = &report.stats;
    text.family("queue_messages", "gauge", "Messages that wait to be written.");
    text.sample("queue_messages", &[("lane", "control")], report.queue.control);
    text.sample("queue_messages", &[("lane", "output")], report.queue.output);
    let dropped = "Answers dropped because too many waited.";
    text.total("messages_dropped_total", dropped, stats.messages_dropped);
    let ignored = "Messages of the dashboard that were ignored.";
    text.counts("messages_ignored_total", ignored, "reason", &stats.messages_ignored);
    let lines = "Log lines that the dashboard caused and that were left out.";
    text.total("log_lines_left_out_total", lines, stats.log_lines_left_out);
    text.total("output_lines_total", "Lines of output sent, repeats included.", stats.lines_sent);
    text.total(
        "output_lines_dropped_total",
        "Lines of output that fell out of a log before they were sent.",
        stats.lines_dropped,
    );
    text.total(
        "prewarm_signals_dropped_total",
        "Pre-warm signals that the hook was too slow for.",
        report.prewarm_dropped,
    );
}

fn collectors(text: &mut Text, report: &Report) {
    let mut family = |name: &str, kind: &str, help: &str, value: fn(&Collector) -> f64| {
        text.family(name, kind, help);
        for (collector, stats) in &report.collectors {
            text.sample(name, &[("collector", collector)], value(stats));
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
    text.total("gpu_timeouts_total", "How often a GPU's driver did not answer in time.", report.gpu_timeouts);
}
