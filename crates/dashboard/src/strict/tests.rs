//! Each rule is tested by two conversations: one keeps all rules, one breaks exactly this rule.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use nixfleet_protocol::KillCommand;

use super::violations::KEPT;
use super::{Judge, Rule, Strict};
use crate::moment::Moment;

use say::{beat, job_line, job_status, line, message, register, rejection, status, without};

mod line_numbers;
mod rows;
mod say;
mod socket;

/// One step of a conversation.
enum Step {
    /// The dashboard requests this command.
    Ask(&'static str),
    /// The dashboard requests this command with this id.
    AskId(&'static str, &'static str),
    /// The dashboard sends a `kill_command`.
    Kill,
    /// The agent sends this text.
    Say(String),
    /// This many seconds pass.
    Wait(u64),
    /// A new connection begins.
    Connect,
    /// The dashboard sends `registered`.
    Answer,
    /// The connection ends.
    Lost,
    /// A message is too long to be read.
    Oversized,
}

use Step::{Answer, Ask, AskId, Connect, Kill, Lost, Oversized, Say, Wait};

/// Lets an agent register and send a heartbeat, then runs the steps. Returns the broken rules.
fn judge(steps: impl IntoIterator<Item = Step>) -> Vec<Rule> {
    let mut all = vec![Connect, Say(register()), Answer, Say(beat())];
    all.extend(steps);
    let mut world = World::new();
    all.into_iter().for_each(|step| world.step(step));
    world.rules()
}

struct World {
    judge: Judge,
    now: Instant,
    session: u64,
    registered: bool,
}

impl World {
    fn new() -> Self {
        let judge = Judge::new(Strict::default());
        Self { judge, now: Instant::now(), session: 0, registered: false }
    }

    fn moment(&self) -> Moment {
        Moment { now: self.now, unix_ms: 1_700_000_000_000 }
    }

    fn step(&mut self, step: Step) {
        let request = |payload: Value| message("command", payload);
        match step {
            Ask(command) => self.judge.sent("h", &request(json!({ "command": command }))),
            AskId(command, id) => self.judge.sent("h", &request(json!({ "command": command, "id": id }))),
            Kill => self.judge.sent("h", &message("kill_command", json!(KillCommand::default()))),
            Say(text) => {
                let host = Some("h").filter(|_| self.registered);
                self.judge.received(self.moment(), self.session, host, &text);
                self.registered |= text.contains("\"register\"");
            }
            Wait(seconds) => self.now += Duration::from_secs(seconds),
            Connect => {
                self.session += 1;
                self.registered = false;
            }
            Answer => self.judge.answered("h", self.session),
            Lost => self.judge.disconnected("h", self.session),
            Oversized => self.judge.oversized(self.moment(), Some("h"), "too long"),
        }
    }

    fn rules(&mut self) -> Vec<Rule> {
        self.judge.verdict(self.moment()).violations.iter().map(|violation| violation.rule).collect()
    }
}

#[test]
fn each_rule_is_kept_by_one_conversation_and_broken_by_another() {
    let (mut seen, mut wrong) = (BTreeSet::new(), Vec::new());
    for (number, (rule, kept, broken)) in rows::rows().into_iter().enumerate() {
        let (kept, broken) = (judge(kept), judge(broken));
        if !kept.is_empty() || broken != [rule] {
            wrong.push(format!(
                "row {number}, {}: kept breaks {kept:?}, broken breaks {broken:?}",
                rule.name()
            ));
        }
        seen.insert(rule.name());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let all = include_str!("violations.rs").matches("=> \"").count();
    assert_eq!(seen.len(), all, "a rule has no row: {seen:?}");
}

#[test]
fn conversations_that_only_look_wrong_are_left_alone() {
    for (number, steps) in rows::fine().into_iter().enumerate() {
        assert_eq!(judge(steps), [], "conversation {number}");
    }
}

#[test]
fn every_integer_field_is_looked_at() {
    for field in ["command_pid", "seq"] {
        assert_eq!(judge([Say(say::beat_with(json!({ field: 5.0 })))]), [Rule::Integer], "{field}");
    }
    let cases = [
        message("command_rejected", json!({"reason": "r", "current_command": "x", "current_pid": 5.0})),
        message("test_progress", json!({"current": 1.0, "total": 2, "passed": 0, "running": true})),
        message("test_progress", json!({"current": 1, "total": 2.0, "passed": 0, "running": true})),
        message("test_progress", json!({"current": 1, "total": 2, "passed": "0", "running": true})),
        say::part("pull", json!({"current": 1.5, "total": 4, "status": "in_progress"})),
        say::part("lock", json!({"current": 1, "total": 1.0, "status": "in_progress"})),
        say::part("tests", json!({"current": 1.0, "total": 2, "results": [], "status": "in_progress"})),
        say::line_with(json!({"seq": 1.0})),
    ];
    for case in cases {
        assert_eq!(judge([Say(case.clone())]), [Rule::Integer], "{case}");
    }
    for field in ["exit_code", "signal", "duration_ms", "lines", "dropped_lines"] {
        let mut status: Value = serde_json::from_str(&status("pull", 0)).unwrap();
        status["payload"][field] = json!(1.0);
        assert_eq!(judge([Ask("pull"), Say(status.to_string())]), [Rule::Integer], "{field}");
    }
}

#[test]
fn the_first_violations_are_kept_and_the_rest_is_counted() {
    let mut world = World::new();
    [Connect, Say(register()), Answer].into_iter().for_each(|step| world.step(step));
    (0..KEPT + 5).for_each(|_| world.step(Say("{".to_owned())));
    let verdict = world.judge.verdict(world.moment());
    assert_eq!((verdict.violations.len(), verdict.dropped), (KEPT, 5));
    assert_eq!(verdict.counts["malformed"], KEPT as u64 + 5);
    assert_eq!(verdict.violations[0].to_string(), "h: malformed: it is not JSON: {");
    let (count, newest) = world.judge.of_host("h");
    assert_eq!((count, newest.as_deref()), (KEPT as u64 + 5, Some("h: malformed: it is not JSON: {")));
    assert_eq!(world.judge.of_host("other"), (0, None));
}

#[test]
fn an_explanation_that_quotes_a_message_is_one_short_line() {
    let mut world = World::new();
    let hostile = format!("\"h\\n<3>forged\\u001b[2J{}\"", "x".repeat(10_000));
    [Connect, Say(register().replace("\"h\"", &hostile))].into_iter().for_each(|step| world.step(step));
    let why = world.judge.verdict(world.moment()).violations[0].why.clone();
    assert!(why.starts_with("`h <3>forgedxx") && why.chars().count() <= 500, "{why}");
    assert!(!why.contains(char::is_control), "{why:?}");
}

#[test]
fn hosts_are_judged_apart() {
    let mut world = World::new();
    [Connect, Say(register()), Answer, Say(beat()), Ask("pull")]
        .into_iter()
        .for_each(|step| world.step(step));
    let other = register().replace("\"h\"", "\"other\"");
    world.judge.received(world.moment(), 2, None, &other);
    world.judge.answered("other", 2);
    world.judge.received(world.moment(), 2, Some("other"), &beat());
    world.judge.sent("other", &message("command", json!({"command": "test"})));
    world.judge.received(world.moment(), 2, Some("other"), &status("switch", 0));
    let violations = world.judge.verdict(world.moment()).violations;
    let found: Vec<_> = violations.iter().map(|one| (one.host.as_str(), one.rule)).collect();
    assert_eq!(found, [("other", Rule::Unasked)]);
}
