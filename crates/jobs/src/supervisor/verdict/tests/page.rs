//! The table of messages in docs/outcomes.md.

use std::fmt::Write as _;
use std::path::Path;

use super::*;
use crate::supervisor::plan::PlanError;

/// Outcomes of commands whose end the agent tells, because they had no supervisor any more.
const TOLD_ELSEWHERE: [Outcome; 1] = [Outcome::Lost];

const BEGIN: &str =
    "<!-- The table is written by UPDATE_OUTCOMES=1 cargo test -p nixfleet-jobs outcomes -->\n";
const END: &str = "<!-- end of the table -->\n";

fn table() -> String {
    let mut rows = vec![];
    for scene in table::scenes().iter().filter(|scene| !scene.what.is_empty()) {
        let result = scene.judged();
        rows.push((result.outcome, scene.what, result.exit_code, result.message));
    }
    let none = format!("Pull: {}", PlanError::NoRepo);
    rows.push((Outcome::NotStarted, "the host has no repository", 1, none));
    rows.extend(crate::rollback::examples::ends());
    rows.sort_by_key(|row| Outcome::ALL.iter().position(|outcome| *outcome == row.0));
    for outcome in Outcome::ALL {
        let told = rows.iter().any(|row| row.0 == outcome);
        assert_ne!(told, TOLD_ELSEWHERE.contains(&outcome), "{outcome:?}");
    }
    let mut text = String::from("| outcome | situation | exit code | message |\n| --- | --- | --- | --- |\n");
    for (outcome, what, code, message) in rows {
        let message = message.replace('|', "\\|").replace('<', "&lt;");
        writeln!(text, "| `{}` | {what} | {code} | {message} |", outcome.as_str()).unwrap();
    }
    text
}

#[test]
fn the_messages_of_all_outcomes_are_in_the_docs() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/outcomes.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).expect("docs/outcomes.md has the beginning of the table");
    let (found, after) = rest.split_once(END).expect("docs/outcomes.md has the end of the table");
    let table = table();
    if std::env::var_os("UPDATE_OUTCOMES").is_some() {
        std::fs::write(&path, [before, BEGIN, &table, END, after].concat()).unwrap();
    } else {
        assert_eq!(found, table, "run UPDATE_OUTCOMES=1 cargo test -p nixfleet-jobs outcomes");
    }
}
