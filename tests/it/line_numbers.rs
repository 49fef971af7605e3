//! The lines of a job are numbered from 1 without a hole, whatever else the job reports, and the status has the
//! number of the last one.

use std::fs;

use rustix::process::{Pid, Signal, kill_process};

use nixfleet_dashboard::{Faults, Refusal};
use nixfleet_protocol::{AgentMessage, Status};

use crate::command::{commit, with_origin};
use crate::rig::{AgentProcess, Fleet, HOST, LIMIT, eventually, json};

/// Number and text of each line of a job, in the order of arrival.
fn lines(fleet: &Fleet, job: &str) -> Vec<(u64, String)> {
    let mut lines = Vec::new();
    for recorded in fleet.messages() {
        match recorded.message {
            AgentMessage::Output(output) if output.job_id.as_deref() == Some(job) => {
                lines.push((output.seq.unwrap(), output.line));
            }
            AgentMessage::OutputBatch(batch) if batch.job_id == job => {
                lines.extend(batch.lines.into_iter().map(|line| (line.seq, line.line)));
            }
            _ => {}
        }
    }
    lines
}

/// Checks that the lines of an ended job are complete and returns their text.
#[track_caller]
fn complete(fleet: &Fleet, status: &Status) -> Vec<String> {
    let mut lines = lines(fleet, status.job_id.as_deref().unwrap());
    // Repeats after a reconnect.
    lines.sort();
    lines.dedup();
    let numbers: Vec<u64> = lines.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, (1..=status.lines.unwrap()).collect::<Vec<_>>(), "{}", status.command);
    assert_eq!(status.dropped_lines, Some(0));
    fleet.assert_no_violations();
    lines.into_iter().map(|(_, text)| text).collect()
}

fn progress_reports(fleet: &Fleet) -> usize {
    let is_progress = |message: &AgentMessage| {
        matches!(message, AgentMessage::OperationProgress(_) | AgentMessage::TestProgress(_))
    };
    fleet.messages().iter().filter(|recorded| is_progress(&recorded.message)).count()
}

/// Adds a script of the command `test`.
fn test_script(fleet: &Fleet, number: u32, body: &str) {
    let file = format!("hosts/test-host/tests/T{number}.sh");
    commit(&fleet.path("origin"), &file, &format!("#!/bin/sh\n{body}\n"));
}

/// A shell line that waits until the test creates the file `gate`.
fn wait_for_gate(fleet: &Fleet) -> String {
    format!("while [ ! -e '{}' ]; do sleep 0.05; done", fleet.path("gate").display())
}

fn open_gate(fleet: &Fleet) {
    fs::write(fleet.path("gate"), "").unwrap();
}

/// Waits until a line with this text has arrived.
async fn arrived(fleet: &Fleet, text: &str) {
    fleet.wait(text, |fleet| fleet.lines().iter().any(|(_, line, _)| line == text).then_some(())).await;
}

/// The file of the newest job that runs `command`.
fn job_file(fleet: &Fleet, command: &str, file: &str) -> Option<serde_json::Value> {
    let mut folders: Vec<_> =
        fs::read_dir(fleet.path("state/jobs")).ok()?.flatten().map(|item| item.path()).collect();
    folders.sort();
    let of_command =
        |folder: &std::path::PathBuf| Some(json(&folder.join("spec.json"))?["command"] == command);
    let folder = folders.into_iter().rev().find(|folder| of_command(folder) == Some(true))?;
    json(&folder.join(file))
}

#[tokio::test]
async fn progress_takes_no_line_number() {
    for batches in [false, true] {
        let fleet = with_origin(if batches { Fleet::start().await } else { Fleet::strict().await });
        (1..=3).for_each(|number| test_script(&fleet, number, &format!("echo line {number}; echo and more")));
        let _agent = fleet.agent().await;
        let cloned = fleet.ended("clone").await;
        complete(&fleet, &cloned);
        for command in ["pull", "switch", "pull-switch", "test"] {
            let before = progress_reports(&fleet);
            let status = fleet.run(command).await;
            assert_eq!(status.exit_code, 0, "{command}: {}", status.message);
            assert!(progress_reports(&fleet) > before, "{command} reports progress");
            let lines = complete(&fleet, &status);
            if command == "test" {
                let expected = ["line 1", "and more", "line 2", "and more", "line 3", "and more"];
                assert_eq!(lines, expected);
            }
        }
    }
}

#[tokio::test]
async fn the_numbers_go_on_over_a_reconnect_and_over_a_new_agent() {
    for killed in [false, true] {
        let fleet = with_origin(Fleet::strict().await);
        test_script(&fleet, 1, "echo one");
        test_script(&fleet, 2, &format!("echo two\n{}\necho three", wait_for_gate(&fleet)));
        test_script(&fleet, 3, "echo four");
        let mut agent = fleet.agent().await;
        fleet.ended("clone").await;
        fleet.send("test");
        arrived(&fleet, "two").await;
        let mut _next = None;
        if killed {
            agent.kill();
            _next = Some(fleet.spawn_agent());
        } else {
            fleet.dashboard.drop_connection(HOST).unwrap();
        }
        fleet
            .wait("a beat on the second connection", |fleet| {
                let last = fleet.messages().pop()?;
                (last.connection == 2 && matches!(last.message, AgentMessage::Heartbeat(_))).then_some(())
            })
            .await;
        open_gate(&fleet);
        let status = fleet.ended("test").await;
        assert_eq!(complete(&fleet, &status), ["one", "two", "three", "four"]);
    }
}

/// Lets a `test` with two floods of 20,000 lines end while there is no connection, with a log for a few hundred.
async fn cut(fleet: Fleet) -> (Fleet, AgentProcess) {
    let fleet = with_origin(fleet).configure("[jobs]\nlog_limit = 65536\n");
    test_script(&fleet, 1, &format!("echo begun\n{}\nseq 1 20000", wait_for_gate(&fleet)));
    test_script(&fleet, 2, "seq 20001 40000");
    let agent = fleet.agent().await;
    fleet.ended("clone").await;
    fleet.send("test");
    arrived(&fleet, "begun").await;
    let refused = Some(Refusal { status: 503, retry_after: Some(1) });
    fleet.dashboard.set_faults(Faults { refuse_auth: refused, ..Faults::default() });
    fleet.dashboard.drop_connection(HOST).unwrap();
    fleet.dashboard.wait_until("the loss", LIMIT, |d| (!d.host(HOST)?.connected).then_some(())).await;
    open_gate(&fleet);
    eventually("the result", || job_file(&fleet, "test", "result.json")).await;
    fleet.dashboard.set_faults(Faults::default());
    (fleet, agent)
}

#[tokio::test]
async fn lines_that_the_size_limit_removed_are_counted_and_progress_among_them_is_not() {
    for batches in [false, true] {
        let (fleet, _agent) = cut(if batches { Fleet::start().await } else { Fleet::strict().await }).await;
        let status = fleet.ended("test").await;
        assert_eq!(status.lines, Some(40_001), "all that the scripts wrote");
        let dropped = status.dropped_lines.unwrap();
        assert!(dropped > 30_000, "{dropped}");
        let missing = |line: &str| -> Option<u64> {
            let count = line.strip_prefix("nixfleet: ")?;
            count.strip_suffix(" lines are missing here: the log reached its size limit")?.parse().ok()
        };
        let (mut last, mut told) = (0, 0);
        for (number, line) in lines(&fleet, status.job_id.as_deref().unwrap()) {
            if let Some(count) = missing(&line) {
                assert_eq!(number, last + count, "a remark has the number of the last missing line");
                told += count;
            } else {
                assert_eq!(number, last + 1);
                assert_eq!(line, if number == 1 { "begun".to_owned() } else { (number - 1).to_string() });
            }
            last = number;
        }
        assert_eq!(last, 40_001);
        // The agent may have read some lines before they were removed.
        assert!((1..=dropped).contains(&told), "{told} of {dropped}");
        fleet.assert_no_violations();
    }
}

#[tokio::test]
async fn a_killed_supervisor_leaves_a_status_with_the_number_of_the_last_line() {
    let fleet = with_origin(Fleet::strict().await);
    test_script(&fleet, 1, "echo one");
    test_script(&fleet, 2, "echo two\nexec sleep 300");
    let _agent = fleet.agent().await;
    fleet.ended("clone").await;
    fleet.send("test");
    arrived(&fleet, "two").await;
    // The line may arrive before the file names its script.
    let state = eventually("the state of the second script", || {
        job_file(&fleet, "test", "state.json").filter(|state| state["step"] == 1)
    })
    .await;
    let kill = |pid: &str| {
        let pid = i32::try_from(state[pid].as_u64().unwrap()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    };
    kill("supervisor_pid");
    let status = fleet.ended("test").await;
    kill("child_pid");
    assert_eq!((status.outcome.as_deref(), status.lines), (Some("lost"), Some(2)));
    assert_eq!(complete(&fleet, &status), ["one", "two"]);
}
