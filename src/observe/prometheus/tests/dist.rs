//! The names on the page and those in docs/metrics.md, in the alerts and in the dashboard are the same.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use nixfleet_jobs::supervisor::plan::JOBS;
use nixfleet_vitals::gpu::Status;
use serde_json::Value;

use super::*;

/// Columns of a dashboard in Grafana.
const COLUMNS: u64 = 24;

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// Every metric of the agent that a text names.
fn named(text: &str) -> BTreeSet<String> {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let words = text.split(|letter| !is_part(letter));
    let begins = |word: &&str| word.starts_with("nixfleet_agent_") || word.starts_with("nixfleet_host_");
    words.filter(begins).filter(|word| !word.ends_with('_')).map(str::to_owned).collect()
}

/// The names of the families on a page with everything, and those of the samples of histograms.
fn families_and_samples() -> (BTreeSet<String>, BTreeSet<String>) {
    let families = parse(&page(&everything(), &host::full()));
    let samples = families.values().flat_map(|family| &family.samples);
    let samples = samples.map(|(name, _, _)| name.clone()).collect();
    (families.into_keys().collect(), samples)
}

/// A report in which everything is known.
fn everything() -> Report {
    let at = "2026-01-01T00:00:00Z".to_owned();
    let running = Running {
        command: "switch".to_owned(),
        since: at.clone(),
        activity: Some(RunningActivity {
            phase: "build".to_owned(),
            phase_since: Some(at.clone()),
            last_output_at: Some(at.clone()),
        }),
        progress: vec![PartProgress { part: "system".to_owned(), done: 1, of: 3 }],
        ..Running::default()
    };
    let ended = Finished { ended_at: at.clone(), ..Finished::default() };
    Report {
        last_beat_at: Some(at.clone()),
        running: Some(running),
        results: vec![ended],
        host: host::software(&host::full()),
        client_certificate: Some(CertificateReport { not_after: at, ..CertificateReport::default() }),
        process: ProcessUsage { rss: Some(1), cpu_s: Some(1.0), open_files: Some(1), threads: Some(1) },
        ..report()
    }
}

#[test]
fn the_document_names_what_is_on_the_page_and_nothing_else() {
    let (families, _) = families_and_samples();
    let documented = named(&read("docs/metrics.md"));
    let missing: Vec<_> = families.difference(&documented).collect();
    assert!(missing.is_empty(), "docs/metrics.md has no row of {missing:?}");
    let gone: Vec<_> = documented.difference(&families).collect();
    assert!(gone.is_empty(), "docs/metrics.md has {gone:?}, which are not on the page");
}

#[test]
fn alerts_ask_for_what_is_on_the_page() {
    let (_, samples) = families_and_samples();
    let asked = named(&read("dist/prometheus/nixfleet-agent.rules.yml"));
    assert!(asked.len() > 20, "{asked:?}");
    let unknown: Vec<_> = asked.difference(&samples).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    let count = read("dist/prometheus/nixfleet-agent.rules.yml").matches("- alert: ").count();
    assert!(read("docs/metrics.md").contains(&format!("has {count} alerts")), "the document says {count}");
}

/// One that compares with a cause or an outcome of another name would never fire, or always.
#[test]
fn alerts_and_panels_compare_with_values_that_labels_have() {
    let families = parse(&page(&everything(), &host::full()));
    let labels = families.values().flat_map(|family| &family.samples).flat_map(|sample| sample.1.clone());
    let mut known: HashSet<(String, String)> = labels.collect();
    let statuses = [Status::Lost, Status::Mismatch, Status::NoAnswer, Status::Failed].map(Status::as_str);
    // The configuration of Prometheus sets the job.
    for (label, values) in [("command", JOBS), ("status", &statuses), ("job", &["nixfleet-agent"])] {
        known.extend(values.iter().map(|value| (label.to_owned(), (*value).to_owned())));
    }
    let dashboard = dashboard();
    let targets = panels(&dashboard).into_iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let mut text = read("dist/prometheus/nixfleet-agent.rules.yml");
    targets.for_each(|target| text += target["expr"].as_str().unwrap());
    let mut count = 0;
    for pair in text.split('"').collect::<Vec<_>>().windows(2) {
        let operator = ["=~", "!~", "="].iter().find_map(|operator| pair[0].strip_suffix(operator));
        let Some(label) = operator.and_then(|text| text.rsplit(['{', ',', ' ']).next()) else { continue };
        // One that begins with `$` is chosen at the top of the dashboard.
        for value in pair[1].split('|').filter(|value| !value.starts_with('$')) {
            assert!(known.contains(&(label.to_owned(), value.to_owned())), "{label} is never {value}");
            count += 1;
        }
    }
    assert!(count > 40, "{count}");
}

fn dashboard() -> Value {
    serde_json::from_str(&read("dist/grafana/nixfleet-agent.json")).unwrap()
}

fn panels(dashboard: &Value) -> Vec<&Value> {
    dashboard["panels"].as_array().unwrap().iter().collect()
}

#[test]
fn panels_ask_for_what_is_on_the_page() {
    let (_, samples) = families_and_samples();
    let dashboard = dashboard();
    for panel in panels(&dashboard) {
        let title = panel["title"].as_str().unwrap();
        let targets = panel["targets"].as_array().map(Vec::as_slice).unwrap_or_default();
        assert_eq!(targets.is_empty(), panel["type"] == "row", "{title}");
        let mut refs = HashSet::new();
        for target in targets {
            let expr = target["expr"].as_str().unwrap();
            assert!(refs.insert(target["refId"].as_str().unwrap()), "{title}: two of one letter");
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
            assert!(expr.contains("job=~\"$job\""), "{title} shows the job that is chosen");
            let asked = named(expr);
            assert!(!asked.is_empty() || expr.contains("up{"), "{title}");
            let unknown: Vec<_> = asked.difference(&samples).collect();
            assert!(unknown.is_empty(), "{title}: {unknown:?}");
            assert!(target.get("legendFormat").is_some() || target["format"] == "table", "{title}");
        }
        let described = panel["description"].as_str().is_some_and(|text| text.ends_with('.'));
        assert!(described || panel["type"] == "row", "{title} says what it shows");
        let unit = panel["fieldConfig"]["defaults"]["unit"].as_str();
        assert!(unit.is_some() || ["row", "table"].contains(&panel["type"].as_str().unwrap()), "{title}");
    }
    let chosen: Vec<&str> = dashboard["templating"]["list"]
        .as_array()
        .unwrap()
        .iter()
        .map(|variable| variable["name"].as_str().unwrap())
        .collect();
    assert_eq!(chosen, ["datasource", "job", "host"]);
}

#[test]
fn panels_have_ids_of_their_own_and_do_not_overlap() {
    let dashboard = dashboard();
    let (mut ids, mut taken) = (HashSet::new(), HashSet::new());
    for panel in panels(&dashboard) {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title} has the id of another");
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap());
        assert!(x + w <= COLUMNS && w > 0 && h > 0, "{title} is within the page");
        for place in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(taken.insert(place), "{title} overlaps another at {place:?}");
        }
    }
}
