use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

/// A group that hangs until the test ends.
fn hangs(test_ended: &Arc<AtomicBool>) -> Vec<Finding> {
    while !test_ended.load(Ordering::Relaxed) {
        thread::yield_now();
    }
    Vec::new()
}

#[test]
fn a_check_that_hangs_has_its_verdict_and_the_others_theirs() {
    let test_ended = Arc::new(AtomicBool::new(false));
    let groups: [Group<Arc<AtomicBool>>; 3] = [
        ("state folder", hangs),
        ("network", |_| vec![ok("dns", "fine"), ok("tcp", "fine")]),
        ("readings", |_| panic!("for the test")),
    ];
    let found = run_groups(&test_ended, &groups, Duration::from_millis(50));
    test_ended.store(true, Ordering::Relaxed);
    let shown: Vec<(&str, Verdict)> = found.iter().map(|finding| (finding.name, finding.verdict)).collect();
    let (fail, ok) = (Verdict::Fail, Verdict::Ok);
    // After the time limit, results that are ready are still used.
    assert_eq!(shown[0], ("state folder", fail));
    assert_eq!(shown.last(), Some(&("readings", fail)));
    assert!(shown.len() == 3 || shown[1..3] == [("dns", ok), ("tcp", ok)], "{shown:?}");
    assert!(found[0].text.contains("50ms"), "{}", found[0].text);
}

#[test]
fn a_configuration_that_is_wrong_is_the_only_thing_that_is_looked_at() {
    let variables = [("NIXFLEET_URL", "http://x/ws"), ("NIXFLEET_TOKEN", "abc"), ("NIXFLEET_INTERVAL", "0")];
    let environment = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let diagnosis = diagnose(&Source { file: None, environment });
    assert!(diagnosis.unusable);
    let fails: Vec<&str> = diagnosis.findings.iter().map(|finding| finding.text.as_str()).collect();
    assert!(fails.iter().any(|text| text.starts_with("url: http:// is for web pages")), "{fails:?}");
    assert_eq!(diagnosis.findings[0].fix, "write wss://x/ws");
    assert!(fails.iter().any(|text| text.starts_with("interval: ")), "{fails:?}");
    assert_eq!(diagnosis.count(Verdict::Skipped), 1);
}

/// A subject for tests. None of its folders exists.
pub(super) fn subject(folder: &std::path::Path) -> Subject {
    let variables = [
        ("NIXFLEET_URL", "ws://127.0.0.1:1/ws"),
        ("NIXFLEET_TOKEN", "a-token-that-is-long-enough"),
        ("NIXFLEET_HOSTNAME", "web-1"),
        ("NIXFLEET_STATE_DIR", "/nonexistent/state"),
    ];
    let environment = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let mut subject = Subject::find(&Source { file: None, environment }).unwrap();
    subject.host.state_dir = folder.join("state");
    subject.host.paths.status = Some(folder.join("status.sock"));
    subject.is_root = true;
    subject
}

#[test]
fn settings_of_the_caller_mean_another_agent_than_the_installed_one() {
    let folder = tempfile::tempdir().unwrap();
    let subject = subject(folder.path());
    assert!(subject.agent_unit.is_none() && subject.job_unit.is_none());
    let text = &subject.findings()[0].text;
    assert!(text.starts_with("web-1 reports to ws://127.0.0.1:1/ws (from "), "{text}");
    assert!(text.ends_with("variables)"), "{text}");
}
