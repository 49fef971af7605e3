//! The page, read by a strict parser of the format.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use parse::{Family, parse};

use super::*;
use crate::observe::stats::Stats;
use crate::observe::status::{
    CertificateReport, Collector, Connection, Finished, PartProgress, ProcessUsage, Queue, Running,
    RunningActivity, State,
};

mod dist;
mod host;
mod parse;

/// The families of the page for a report, of a host of which nothing is known.
fn families_of(report: &Report) -> BTreeMap<String, Family> {
    parse(&page(report, &nothing()))
}

/// Nothing is known about the host.
fn nothing() -> Look {
    Look {
        vitals: Vitals::default(),
        gpus: None,
        workload: None,
        facts: Arc::default(),
        at: "2026-01-01T00:01:00Z".parse().unwrap(),
        moment: Moment::BOOT,
    }
}

fn report() -> Report {
    let mut stats = Stats { beats: 12, lines_sent: u64::MAX, ..Stats::default() };
    for millis in [0, 1, 3, 6000] {
        stats.late(Duration::from_millis(millis));
    }
    stats.reconnect("closed");
    Report {
        version: "1.0".to_owned(),
        hostname: "web\"1\\\n2".to_owned(),
        started_at: "2026-01-01T00:00:00.500Z".to_owned(),
        connection: Connection { state: State::Connected, ..Connection::default() },
        queue: Queue { control: 3, output: 1 },
        stats,
        process: ProcessUsage {
            rss: Some(1 << 40),
            cpu_s: Some(0.000_001),
            open_files: Some(7),
            threads: None,
        },
        collectors: [("cpu".to_owned(), Collector { runs: 9, last_s: 1e-7, ..Collector::default() })].into(),
        ..Report::default()
    }
}

#[test]
fn the_page_keeps_the_rules_of_the_format() {
    let families = parse(&page(&report(), &host::full()));
    assert!(families.len() > 60, "{}", families.len());
    for (name, family) in &families {
        assert!(name.starts_with("nixfleet_agent_") || name.starts_with("nixfleet_host_"), "{name}");
        assert!(!family.samples.is_empty(), "{name}");
        if family.kind != "gauge" {
            assert!(family.samples.iter().all(|(_, _, value)| *value >= 0.0), "{name}");
        }
        let unit = ["milliseconds", "ms", "kilobytes", "percent"];
        assert!(!unit.iter().any(|unit| name.ends_with(unit)), "{name}: base units only");
    }
}

#[test]
fn values_and_labels_come_through() {
    let families = families_of(&report());
    let value = |name: &str, label: Option<(&str, &str)>| {
        let family = &families[&format!("nixfleet_agent_{name}")];
        let wanted: BTreeMap<String, String> =
            label.into_iter().map(|(name, text)| (name.to_owned(), text.to_owned())).collect();
        family.samples.iter().find(|(_, labels, _)| *labels == wanted).map(|(_, _, value)| *value)
    };
    assert_eq!(value("heartbeats_total", None), Some(12.0));
    assert_eq!(value("reconnects_total", Some(("cause", "closed"))), Some(1.0));
    assert_eq!(value("reconnects_total", Some(("cause", "silent"))), Some(0.0), "there before it happens");
    assert_eq!(value("queue_messages", Some(("lane", "control"))), Some(3.0));
    assert_eq!(value("collector_runs_total", Some(("collector", "cpu"))), Some(9.0));
    assert_eq!(value("resident_memory_bytes", None), Some((1_u64 << 40) as f64));
    assert_eq!(value("start_time_seconds", None), Some(1_767_225_600.5));
    assert_eq!(value("connected", None), Some(1.0));
    let info = &families["nixfleet_agent_info"].samples[0].1;
    assert_eq!(info["hostname"], "web\"1\\ 2", "a line end is a blank");
    assert!(!families.contains_key("nixfleet_agent_threads"), "unknown");
    assert!(!families.contains_key("nixfleet_agent_last_heartbeat_timestamp_seconds"), "none yet");
}

#[test]
fn a_command_tells_when_it_last_wrote_and_when_it_entered_its_phase() {
    let mut report = report();
    let names =
        ["nixfleet_agent_job_last_output_timestamp_seconds", "nixfleet_agent_job_phase_timestamp_seconds"];
    let families = families_of(&report);
    assert!(names.iter().all(|name| !families.contains_key(*name)), "nothing runs");
    let at = |text: &str| Some(text.to_owned());
    report.running = Some(Running {
        activity: Some(RunningActivity {
            phase: "build".to_owned(),
            phase_since: at("2026-01-01T00:00:00.500Z"),
            last_output_at: at("2026-01-01T00:00:01Z"),
        }),
        ..Running::default()
    });
    let families = families_of(&report);
    let [output, phase] = names.map(|name| families[name].samples[0].clone());
    assert_eq!((output.1.len(), output.2), (0, 1_767_225_601.0));
    assert_eq!((phase.1["phase"].as_str(), phase.2), ("build", 1_767_225_600.5));
    let states = |report: &Report| {
        let families = families_of(report);
        ["job_running", "job_unreported"].map(|name| families[&format!("nixfleet_agent_{name}")].samples[0].2)
    };
    assert_eq!(states(&report), [1.0, 0.0]);
    report.unreported = Some(Running { ended: true, ..report.running.take().unwrap() });
    assert_eq!(states(&report), [0.0, 1.0]);
    let families = families_of(&report);
    assert!(names.iter().all(|name| !families.contains_key(*name)), "it has ended");
}

#[test]
fn buckets_add_up_and_end_in_infinity() {
    let families = families_of(&report());
    let family = &families["nixfleet_agent_heartbeat_lateness_seconds"];
    let mut buckets = Vec::new();
    let mut rest = BTreeMap::new();
    for (name, labels, value) in &family.samples {
        match labels.get("le") {
            Some(bound) => buckets.push((bound.replace("+Inf", "inf").parse::<f64>().unwrap(), *value)),
            None => drop(rest.insert(name.rsplit('_').next().unwrap(), *value)),
        }
    }
    assert!(buckets.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1), "{buckets:?}");
    assert_eq!(buckets[0], (0.001, 2.0));
    assert_eq!(buckets[1], (0.005, 3.0));
    assert_eq!(buckets.last(), Some(&(f64::INFINITY, 4.0)));
    assert_eq!(rest["count"], 4.0);
    assert!((rest["sum"] - 6.004).abs() < 1e-9);
}

#[test]
fn names_are_those_of_the_counters_whatever_they_are() {
    let mut report = report();
    report.stats.reconnects = [(Cow::Borrowed("a\"} 1\nb"), 2)].into();
    let families = families_of(&report);
    let labels: BTreeSet<&str> = families["nixfleet_agent_reconnects_total"]
        .samples
        .iter()
        .map(|sample| sample.1["cause"].as_str())
        .collect();
    assert_eq!(labels, ["a\"} 1 b"].into());
}
