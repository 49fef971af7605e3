//! The page, read by a strict parser of the format.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::*;
use crate::observe::stats::Stats;
use crate::observe::status::{Connection, ProcessUsage, Queue, Running, RunningActivity};

/// A family: its type, and its samples with name, labels and value.
#[derive(Debug, Default)]
struct Family {
    kind: String,
    samples: Vec<(String, BTreeMap<String, String>, f64)>,
}

/// Reads a page; panics at the first line that breaks a rule.
fn parse(page: &str) -> BTreeMap<String, Family> {
    assert!(page.ends_with('\n'), "the last line ends too");
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, text) = help.split_once(' ').expect("a help text");
            assert!(is_name(name) && !text.is_empty() && !text.contains('\\'), "{line}");
            let kind = lines.next().and_then(|line| line.strip_prefix("# TYPE ")).expect("a type after help");
            let (same, kind) = kind.split_once(' ').expect("a type");
            assert_eq!(same, name);
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
            let family = Family { kind: kind.to_owned(), samples: Vec::new() };
            assert!(families.insert(name.to_owned(), family).is_none(), "{name} is one group");
            current = name.to_owned();
            continue;
        }
        let (name, labels, value) = sample(line);
        let family = families.get_mut(&current).expect("a type before its samples");
        let suffix = name.strip_prefix(&current).unwrap_or_else(|| panic!("{name} is among {current}"));
        let allowed: &[&str] =
            if family.kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
        assert!(allowed.contains(&suffix), "{line}");
        let twice = family.samples.iter().any(|(other, known, _)| *other == name && *known == labels);
        assert!(!twice, "{line}");
        family.samples.push((name, labels, value));
    }
    families
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|letter: char| letter.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn sample(line: &str) -> (String, BTreeMap<String, String>, f64) {
    let end = line.find(['{', ' ']).expect("a name and a value");
    let (name, mut rest) = line.split_at(end);
    assert!(is_name(name), "{line}");
    let mut labels = BTreeMap::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        loop {
            let (label, text) = rest.split_once("=\"").expect("a label");
            assert!(is_name(label), "{line}");
            let mut value = String::new();
            let mut letters = text.char_indices();
            rest = loop {
                match letters.next().expect("a closing quote") {
                    (at, '"') => break &text[at + 1..],
                    (_, '\\') => match letters.next().expect("an escaped letter").1 {
                        'n' => value.push('\n'),
                        letter @ ('\\' | '"') => value.push(letter),
                        other => panic!("\\{other} in {line}"),
                    },
                    (_, letter) => value.push(letter),
                }
            };
            assert!(labels.insert(label.to_owned(), value).is_none(), "{line}");
            match rest.strip_prefix(',') {
                Some(more) => rest = more,
                None => break,
            }
        }
        rest = rest.strip_prefix('}').expect("a closing brace");
    }
    let value = rest.strip_prefix(' ').expect("one space");
    assert!(!value.contains(' '), "no timestamp: {line}");
    (name.to_owned(), labels, value.parse().unwrap_or_else(|_| panic!("{line}")))
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
    let page = page(&report());
    let families = parse(&page);
    assert!(families.len() > 25, "{}", families.len());
    for (name, family) in &families {
        assert!(name.starts_with("nixfleet_agent_"), "{name}");
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
    let families = parse(&page(&report()));
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
    assert_eq!(info["hostname"], "web\"1\\\n2");
    assert!(!families.contains_key("nixfleet_agent_threads"), "unknown");
    assert!(!families.contains_key("nixfleet_agent_last_heartbeat_timestamp_seconds"), "none yet");
}

#[test]
fn a_command_tells_when_it_last_wrote_and_when_it_entered_its_phase() {
    let mut report = report();
    let names =
        ["nixfleet_agent_job_last_output_timestamp_seconds", "nixfleet_agent_job_phase_timestamp_seconds"];
    let families = parse(&page(&report));
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
    let families = parse(&page(&report));
    let [output, phase] = names.map(|name| families[name].samples[0].clone());
    assert_eq!((output.1.len(), output.2), (0, 1_767_225_601.0));
    assert_eq!((phase.1["phase"].as_str(), phase.2), ("build", 1_767_225_600.5));
    let states = |report: &Report| {
        let families = parse(&page(report));
        ["job_running", "job_unreported"].map(|name| families[&format!("nixfleet_agent_{name}")].samples[0].2)
    };
    assert_eq!(states(&report), [1.0, 0.0]);
    report.unreported = Some(Running { ended: true, ..report.running.take().unwrap() });
    assert_eq!(states(&report), [0.0, 1.0]);
    let families = parse(&page(&report));
    assert!(names.iter().all(|name| !families.contains_key(*name)), "it has ended");
}

#[test]
fn buckets_add_up_and_end_in_infinity() {
    let families = parse(&page(&report()));
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
    let families = parse(&page(&report));
    let labels: BTreeSet<&str> = families["nixfleet_agent_reconnects_total"]
        .samples
        .iter()
        .map(|sample| sample.1["cause"].as_str())
        .collect();
    assert_eq!(labels, ["a\"} 1\nb"].into());
}
