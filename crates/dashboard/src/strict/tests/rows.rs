//! The table of rules and conversations.

use serde_json::json;

use nixfleet_protocol::MAX_SENT_BYTES;

use super::say::{beat_with, changed, line_with, part, working};
use super::{
    Answer, Ask, AskId, Connect, Lost, Oversized, Rule, Say, Step, Wait, beat, job_line, job_status, line,
    line_numbers, message, register, rejection, status, without,
};

/// A rule, a conversation that keeps all rules, and one that breaks this rule. Each begins after the first
/// heartbeat.
pub(super) type Row = (Rule, Vec<Step>, Vec<Step>);

pub(super) fn rows() -> Vec<Row> {
    let mut rows = single();
    rows.extend(parts());
    rows.extend(connections());
    rows.extend(commands());
    rows.extend(completions());
    rows.extend(line_numbers::rows());
    rows.extend(rejections());
    rows.extend(over_time());
    rows
}

fn said(text: String) -> Vec<Step> {
    vec![Say(text)]
}

/// Rules about a single message.
fn single() -> Vec<Row> {
    let registers = |changes| said(changed(&register(), changes));
    let asked = |text| vec![Ask("pull"), Say(text)];
    vec![
        (
            Rule::Integer,
            registers(json!({"heartbeat_interval": 5})),
            registers(json!({"heartbeat_interval": 5.0})),
        ),
        (
            Rule::Integer,
            said(beat_with(json!({"command_pid": 5}))),
            said(beat_with(json!({"command_pid": "5"}))),
        ),
        (Rule::Malformed, said(beat()), said(beat().replace('}', ""))),
        (Rule::Malformed, said(message("of_tomorrow", json!({}))), said("{\"payload\":{}}".to_owned())),
        (Rule::Malformed, asked(line("pull")), asked(line_with(json!({"line": 5})))),
        (
            Rule::Size,
            asked(line_with(json!({"line": "x".repeat(MAX_SENT_BYTES / 2)}))),
            asked(line_with(json!({"line": "x".repeat(MAX_SENT_BYTES)}))),
        ),
        (Rule::Size, said(beat()), vec![Oversized]),
        (
            Rule::Register,
            registers(json!({"host_type": "macos"})),
            registers(json!({"host_type": "windows"})),
        ),
        (Rule::Register, registers(json!({"location": ""})), registers(json!({"location": "moon"}))),
        (
            Rule::Register,
            said(without(&register(), "device_type")),
            registers(json!({"device_type": "phone"})),
        ),
        (Rule::Register, registers(json!({"os_version": ""})), said(without(&register(), "os_version"))),
        (Rule::Register, said(register()), registers(json!({"agent_version": ""}))),
        (Rule::Register, said(register()), said(without(&register(), "heartbeat_interval"))),
        (
            Rule::Hostname,
            registers(json!({"hostname": "a".repeat(63)})),
            registers(json!({"hostname": "a".repeat(64)})),
        ),
        (Rule::Hostname, registers(json!({"hostname": "A-9"})), registers(json!({"hostname": "a.b"}))),
        (Rule::Heartbeat, said(beat()), said(without(&beat(), "metrics"))),
        (Rule::Heartbeat, said(beat()), said(without(&beat(), "generation"))),
        (
            Rule::Empty,
            said(beat_with(json!({"nixpkgs_version": "unknown"}))),
            said(beat_with(json!({"nixpkgs_version": ""}))),
        ),
        (
            Rule::Output,
            asked(line_with(json!({"is_error": true}))),
            asked(without(&line("pull"), "is_error")),
        ),
        (Rule::Output, asked(line("pull")), asked(line(""))),
        (
            Rule::Unannounced,
            asked(line("pull")),
            asked(message("output_batch", json!({"command": "pull", "job_id": "j", "lines": []}))),
        ),
        (Rule::Status, asked(status("pull", 1)), asked(changed(&status("pull", 1), json!({"status": "ok"})))),
        (Rule::Status, asked(status("pull", 0)), asked(without(&status("pull", 0), "exit_code"))),
        (Rule::Status, asked(status("pull", 0)), asked(status("", 0))),
    ]
}

fn parts() -> Vec<Row> {
    let at = |name, current, total| {
        said(part(name, json!({"current": current, "total": total, "status": "in_progress"})))
    };
    let tests = |results: Vec<&str>| {
        said(part("tests", json!({"current": 0, "total": 9, "results": results, "status": "in_progress"})))
    };
    vec![
        (Rule::Progress, at("pull", 4, 4), at("pull", 1, 3)),
        (Rule::Progress, at("system", 0, 3), at("system", 0, 4)),
        (Rule::Progress, at("lock", 1, 1), at("lock", 2, 1)),
        (Rule::Progress, at("pull", 0, 4), at("push", 0, 4)),
        (Rule::Progress, tests(vec!["pass"; 8]), tests(vec!["pass"; 9])),
    ]
}

fn connections() -> Vec<Row> {
    vec![
        (Rule::RegisterFirst, vec![Connect, Say(register())], vec![Connect, Say(beat())]),
        (
            Rule::BeforeRegistered,
            vec![Connect, Say(register()), Answer, Say(beat())],
            vec![Connect, Say(register()), Say(beat()), Answer],
        ),
        (
            Rule::BeforeRegistered,
            vec![Ask("pull"), Connect, Say(register()), Answer, Say(status("pull", 0))],
            vec![Ask("pull"), Connect, Say(register()), Say(status("pull", 0)), Answer],
        ),
        (
            Rule::Forgotten,
            vec![Say(beat_with(json!({"lock_hash": "beef"})))],
            vec![Say(beat_with(json!({"lock_hash": ""})))],
        ),
        (Rule::Forgotten, said(beat()), said(without(&beat(), "lock_hash"))),
        (
            Rule::Forgotten,
            said(beat_with(json!({"generation": "fff0000"}))),
            said(beat_with(json!({"generation": ""}))),
        ),
    ]
}

/// What a heartbeat says about the part that a command changed.
fn completed(part: &str, state: &str) -> String {
    let verdict = json!({"status": state, "message": "", "checked_at": ""});
    beat_with(json!({"update_status": {part: verdict}}))
}

/// Rules about the status of a command and the heartbeat behind it.
fn completions() -> Vec<Row> {
    let told = |generation: &str| json!({ "generation": generation });
    let pulled = |status_tells, heartbeat_tells| {
        let status = changed(&status("pull", 0), told(status_tells));
        vec![Ask("pull"), Say(status), Say(beat_with(told(heartbeat_tells)))]
    };
    let ends =
        |command, exit_code, heartbeat| vec![Ask(command), Say(status(command, exit_code)), Say(heartbeat)];
    let told_by_heartbeats = |generations: [&str; 3]| {
        generations.into_iter().map(|generation| Say(beat_with(told(generation)))).collect::<Vec<_>>()
    };
    let commit = |text| said(beat_with(told(text)));
    vec![
        (Rule::Generation, pulled("fff0000", "fff0000"), pulled("fff0000", "eee0000")),
        (
            Rule::Generation,
            told_by_heartbeats(["fff0000", "fff0000", "abc1234"]),
            told_by_heartbeats(["abc1234", "fff0000", "abc1234"]),
        ),
        (Rule::Generation, commit("abcdef0123"), commit("unknown")),
        (Rule::Generation, commit("abcdef0"), commit("abcdef")),
        (
            Rule::Incomplete,
            ends("pull", 0, completed("lock", "ok")),
            ends("pull", 0, completed("lock", "outdated")),
        ),
        (
            Rule::Incomplete,
            ends("rollback", 1, completed("system", "outdated")),
            ends("rollback", 0, completed("system", "outdated")),
        ),
        (
            Rule::Incomplete,
            ends("test", 0, completed("tests", "ok")),
            ends("test", 0, completed("tests", "unknown")),
        ),
        (
            Rule::Incomplete,
            ends("pull", 1, completed("lock", "unknown")),
            ends("pull", 0, completed("lock", "unknown")),
        ),
    ]
}

fn commands() -> Vec<Row> {
    let twice = |between: Option<Step>, second: &str| {
        let first = vec![Ask("pull"), Ask("pull"), Ask("test"), Say(status("pull", 0))];
        first.into_iter().chain(between).chain([Say(status(second, 0))]).collect()
    };
    let fresh = |steps: Vec<Step>| {
        [Connect, Say(register()), Answer, Say(beat())].into_iter().chain(steps).collect::<Vec<_>>()
    };
    vec![
        (Rule::RepeatedSuccess, twice(Some(Say(beat())), "pull"), twice(None, "pull")),
        (Rule::HeartbeatAfterStatus, twice(Some(Say(beat())), "test"), twice(None, "test")),
        (
            Rule::HeartbeatAfterStatus,
            vec![Ask("x"), Ask("pull"), Say(status("x", 1)), Say(beat()), Say(line("pull"))],
            vec![Ask("x"), Ask("pull"), Say(status("x", 1)), Say(line("pull"))],
        ),
        (
            Rule::Unasked,
            vec![Ask("pull"), Ask("test"), Say(status("test", 0))],
            vec![Ask("pull"), Say(status("test", 0))],
        ),
        // An agent starts a clone without a request, and tries it again.
        (
            Rule::Unasked,
            fresh(vec![
                Say(line("clone")),
                Say(status("clone", 1)),
                Say(beat()),
                Say(line("clone")),
                Say(status("clone", 0)),
            ]),
            fresh(vec![Say(status("pull", 0))]),
        ),
        (
            Rule::Unasked,
            fresh(vec![Ask("test"), Say(line("test"))]),
            fresh(vec![Ask("pull"), Say(line("test"))]),
        ),
        // An answered id that is sent again is a new request.
        (
            Rule::Unasked,
            vec![
                AskId("test", "1"),
                Say(job_status("test", "j")),
                Say(beat()),
                AskId("test", "1"),
                Say(job_status("test", "j")),
            ],
            vec![AskId("test", "1"), Say(job_status("test", "j")), Say(beat()), Say(job_status("test", "j"))],
        ),
        (
            Rule::OutputAfterStatus,
            vec![Ask("test"), Say(line("test")), Say(status("test", 0)), Say(beat())],
            vec![Ask("test"), Say(status("test", 0)), Say(beat()), Say(line("test"))],
        ),
        // After a reconnect only the same lines may be repeated.
        (
            Rule::OutputAfterStatus,
            told_again(vec![Say(job_line("test", "j", 1)), Say(job_status("test", "j"))]),
            told_again(vec![Say(job_line("test", "j", 2)), Say(job_status("test", "j"))]),
        ),
        // On the same connection nothing may be repeated.
        (
            Rule::OutputAfterStatus,
            vec![Ask("test"), Say(job_line("test", "j", 1)), Say(job_status("test", "j")), Say(beat())],
            vec![
                Ask("test"),
                Say(job_line("test", "j", 1)),
                Say(job_status("test", "j")),
                Say(beat()),
                Say(job_line("test", "j", 1)),
            ],
        ),
    ]
}

/// A reported job, a new connection, and the messages on it.
fn told_again(steps: Vec<Step>) -> Vec<Step> {
    let told = [Ask("test"), Say(job_line("test", "j", 1)), Say(job_status("test", "j"))];
    told.into_iter().chain([Connect, Say(register()), Answer, Say(beat())]).chain(steps).collect()
}

fn rejections() -> Vec<Row> {
    let switch = |id| AskId("switch", id);
    let refused = || Say(rejection(json!({"command": "test", "command_id": "2"})));
    vec![
        (
            Rule::Rejection,
            vec![
                switch("1"),
                AskId("test", "2"),
                Say(rejection(json!({"command": "test", "command_id": "2"}))),
            ],
            vec![
                switch("1"),
                AskId("kill", "2"),
                Say(rejection(json!({"command": "kill", "command_id": "2"}))),
            ],
        ),
        // An older agent sends neither name nor id: the newest request that does not run is meant.
        (
            Rule::Rejection,
            vec![Ask("switch"), Ask("test"), Say(rejection(json!({})))],
            vec![Ask("switch"), Ask("stop"), Say(rejection(json!({})))],
        ),
        (
            Rule::Rejection,
            vec![switch("1"), switch("2"), Say(rejection(json!({"command": "switch", "command_id": "2"})))],
            vec![switch("1"), switch("1"), Say(rejection(json!({"command": "switch", "command_id": "1"})))],
        ),
        (Rule::Rejection, vec![Ask("test"), Say(rejection(json!({})))], vec![Say(rejection(json!({})))]),
        // Each rejection answers a request of its own, and never one of another name.
        (
            Rule::Rejection,
            vec![switch("1"), AskId("test", "2"), AskId("test", "2"), refused(), refused()],
            vec![switch("1"), AskId("test", "2"), AskId("pull", "3"), refused(), refused()],
        ),
    ]
}

fn over_time() -> Vec<Row> {
    let switched = || [Ask("switch"), Say(status("switch", 0)), Say(beat())].into_iter();
    vec![
        (
            Rule::UnfinishedSwitch,
            switched().chain([Wait(9), Say(register()), Wait(60), Say(beat())]).collect(),
            switched().chain([Wait(11), Say(beat()), Wait(60), Say(beat())]).collect(),
        ),
        // It is also found without a further message.
        (
            Rule::UnfinishedSwitch,
            vec![Ask("switch"), Say(status("switch", 1)), Say(beat()), Wait(11)],
            switched().chain([Wait(11)]).collect(),
        ),
        // A new connection begins with a registration.
        (
            Rule::UnfinishedSwitch,
            switched().chain([Lost, Wait(60), Connect, Say(register())]).collect(),
            switched().chain([Wait(60), Connect, Say(register())]).collect(),
        ),
        (
            Rule::Working,
            vec![Say(working()), Wait(200), Say(beat()), Wait(10), Say(working()), Wait(200), Say(working())],
            vec![
                Say(working()),
                Wait(200),
                Say(working()),
                Wait(41),
                Say(working()),
                Wait(9),
                Say(working()),
            ],
        ),
    ]
}

/// Conversations that look wrong but are correct.
pub(super) fn fine() -> Vec<Vec<Step>> {
    vec![
        // A new dashboard gets reports about jobs that an earlier one requested.
        vec![Say(line("switch")), Say(status("switch", 1)), Say(beat()), Say(status("test", 0))],
        // The same for a job that still runs, even if another command is requested first.
        vec![
            Say(beat_with(json!({"pending_command": "test", "command_pid": 7}))),
            Ask("pull"),
            Say(rejection(json!({"current_command": "test", "command": "pull"}))),
            Say(line("test")),
            Say(status("test", 0)),
        ],
        vec![
            Ask("pull"),
            Connect,
            Say(changed(
                &register(),
                json!({"running_job": {"id": "j", "command": "test", "started_at": "2026-11-22T09:00:00Z"}}),
            )),
            Answer,
            Say(beat()),
            Say(line("test")),
            Say(status("test", 0)),
        ],
        // A late stop is answered after the job that it was meant for.
        vec![
            Ask("test"),
            Ask("stop"),
            Say(status("test", 0)),
            Say(beat()),
            Say(changed(&status("stop", 1), json!({"message": "nothing is running"}))),
        ],
        vec![super::Kill, Say(status("kill_command", 1))],
        // Two agents with the same name: the older connection is ignored.
        vec![Ask("test"), Connect, Say(register()), Answer, Say(beat())],
        // A rejected command can be requested again.
        vec![
            AskId("switch", "1"),
            AskId("test", "2"),
            Say(rejection(json!({"command": "test", "command_id": "2"}))),
            AskId("test", "2"),
            Say(rejection(json!({"command": "test", "command_id": "2"}))),
        ],
    ]
}
