//! The running command, and how the last ones ended.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::Timestamp;

use nixfleet_os::short;

use super::text::{Text, seconds};
use crate::observe::status::{Finished, Report, Running, RunningActivity};

/// Everything about commands, at this time.
pub(super) fn all(text: &mut Text, report: &Report, now: Timestamp) {
    let running = report.running();
    text.gauge("job_running", "Whether a command runs.", Some(u8::from(running.is_some())));
    let unreported = u8::from(report.unreported().is_some());
    let help = "Whether a command has ended, and no dashboard was told yet.";
    text.gauge("job_unreported", help, Some(unreported));
    if let Some(running) = running {
        current(text, running, now);
    }
    last(text, &report.results);
    text.total("jobs_started_total", "Commands accepted.", report.stats.jobs_started);
    text.counts("jobs_ended_total", "Commands that ended.", "outcome", &report.stats.jobs_ended);
}

fn current(text: &mut Text, running: &Running, now: Timestamp) {
    let command = || ("command", Cow::Borrowed(running.command.as_str()));
    let mut one = |name: &str, help: &str, value: Option<f64>| {
        text.rows(name, "gauge", help, [(vec![command()], value)]);
    };
    one("job_start_timestamp_seconds", "When the running command was accepted.", seconds(&running.since));
    let last_output = running.activity.as_ref().and_then(|activity| activity.last_output_at.as_ref());
    // A time in the future is that of a clock that was set back.
    let silent =
        last_output.and_then(|at| at.parse().ok()).map(|at| now.duration_since(at).as_secs_f64().max(0.0));
    let help = "Time since the running command last wrote a line or made progress.";
    one("job_silent_seconds", help, silent);
    text.time(
        "job_last_output_timestamp_seconds",
        "When the running command last wrote a line or made progress.",
        last_output,
    );
    if let Some(RunningActivity { phase, phase_since: Some(since), .. }) = &running.activity {
        text.rows(
            "job_phase_timestamp_seconds",
            "gauge",
            "When the running command entered its phase.",
            [(vec![("phase", phase.into())], seconds(since))],
        );
    }
    text.rows(
        "job_progress_ratio",
        "gauge",
        "Share of the steps that the parts of the running command have completed.",
        running.progress.iter().map(|part| {
            // Without steps there is no share: what is no number is left out.
            let share = f64::from(part.done) / f64::from(part.of);
            (vec![command(), ("part", part.part.as_str().into())], Some(share))
        }),
    );
}

/// The newest end of each command among the last ones.
fn last(text: &mut Text, results: &[Finished]) {
    let newest: BTreeMap<&str, &Finished> =
        short::gather(results.iter().map(|result| (result.command.as_str(), result)));
    let mut each = |name: &str, help: &str, value: fn(&Finished) -> Option<f64>| {
        let rows =
            newest.iter().map(|(command, result)| (vec![("command", (*command).into())], value(result)));
        text.rows(name, "gauge", help, rows);
    };
    each("job_last_success", "Whether the command's last run ended with outcome `ok`.", |result| {
        Some(f64::from(u8::from(result.outcome == "ok")))
    });
    each("job_last_duration_seconds", "How long the command's last run took.", |result| {
        Some(result.duration_ms as f64 / 1e3)
    });
    text.rows(
        "job_last_end_timestamp_seconds",
        "gauge",
        "When the command's last run ended, and how.",
        newest.iter().map(|(command, result)| {
            let labels = vec![("command", (*command).into()), ("outcome", result.outcome.as_str().into())];
            (labels, seconds(&result.ended_at))
        }),
    );
}
