//! A fleet that returns after an outage.

#![allow(clippy::unwrap_used, clippy::string_slice, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::Path;

use nixfleet_sim::storm::{AGENTS, BEYOND, LIMIT, OUTAGES, WINDOWS, storm, table};

/// Begin of the table in docs/reliability.md.
const HEADER: &str = "| what happens | without a window |";

#[test]
fn ten_thousand_agents_return_with_less_than_400_registrations_in_any_second() {
    for outage in OUTAGES {
        for window in WINDOWS {
            let storm = storm(outage, AGENTS, Some(window));
            let (peak, name) = (storm.peak(), outage.name);
            assert!(peak < LIMIT, "{name}, a window of {window} s: {peak} in a second");
            let most = storm.attempts.iter().max().copied().unwrap_or_default();
            assert!(most < LIMIT, "{name}, a window of {window} s: {most} attempts in a second");
            // The usual back-off is at most a minute, and a window begins at most one window later.
            assert!(storm.last.as_secs() <= 60 + window, "{name}, {window} s: {:?}", storm.last);
        }
    }
}

/// Without a window, and against what no window helps, the busiest second has more. Else this test would prove nothing.
#[test]
fn the_simulation_can_tell_a_storm() {
    let at_once = |outage, window| storm(outage, AGENTS, window).peak();
    assert_eq!(at_once(&OUTAGES[0], None), AGENTS);
    assert_eq!(at_once(&BEYOND[0], Some(60)), AGENTS);
    assert!(at_once(&BEYOND[1], Some(60)) > LIMIT);
}

/// `UPDATE_STORM=1` writes the table anew.
#[test]
fn the_table_in_the_documents_is_what_the_simulation_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reliability.md");
    let text = fs::read_to_string(&path).unwrap();
    let begin = text.find(HEADER).expect("the table");
    let end = text[begin..].find("\n\n").map_or(text.len(), |end| begin + end + 1);
    let table = table(AGENTS);
    if std::env::var_os("UPDATE_STORM").is_some() {
        fs::write(&path, [&text[..begin], &table, &text[end..]].concat()).unwrap();
        return;
    }
    assert_eq!(
        text[begin..end],
        table,
        "write it anew: UPDATE_STORM=1 cargo test -p nixfleet-sim --test storm"
    );
}
