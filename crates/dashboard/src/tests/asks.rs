//! Which message gives the verdict on which command.

use tokio::sync::oneshot::{Receiver, error::TryRecvError};

use nixfleet_protocol::{ALREADY_RUNNING, CommandRejected};

use crate::asks::{Asks, Evidence, Verdict};
use crate::jobs::Jobs;

fn rejection(current: &str, command: Option<&str>, id: Option<&str>) -> CommandRejected {
    CommandRejected {
        reason: ALREADY_RUNNING.to_owned(),
        current_command: Some(current.to_owned()),
        current_pid: Some(123),
        command: command.map(str::to_owned),
        command_id: id.map(str::to_owned),
    }
}

/// `+heartbeat`, `-` for rejected, `?` for open.
#[track_caller]
fn shown(mut receivers: Vec<Receiver<Verdict>>) -> String {
    let one = |receiver: &mut Receiver<Verdict>| match receiver.try_recv() {
        Ok(Verdict::Accepted(evidence)) => format!("+{}", evidence.name()),
        Ok(Verdict::Rejected(_)) => "-".to_owned(),
        Err(TryRecvError::Empty) => "?".to_owned(),
        Err(TryRecvError::Closed) => panic!("a question was lost"),
    };
    receivers.iter_mut().map(one).collect::<Vec<_>>().join(" ")
}

/// Adds `commands` (ids a, b, c) on host `h`, calls `then`, and returns the verdict on each.
#[track_caller]
fn check(
    busy_with: Option<&str>,
    commands: &[&str],
    then: impl FnOnce(&mut Asks, &mut Jobs),
    expected: &str,
) {
    let (mut asks, mut jobs) = (Asks::default(), Jobs::default());
    let ids = ["a", "b", "c"];
    let receivers = commands.iter().zip(ids).map(|(c, id)| asks.open("h", c, id, busy_with)).collect();
    then(&mut asks, &mut jobs);
    assert_eq!(shown(receivers), expected);
}

#[test]
fn a_heartbeat_that_names_the_command_accepts_it() {
    check(None, &["switch"], |asks, _| asks.heartbeat("h", Some("switch")), "+heartbeat");
    check(None, &["switch"], |asks, _| asks.heartbeat("h", Some("pull")), "?");
    check(None, &["switch"], |asks, _| asks.heartbeat("h", None), "?");
    check(None, &["switch"], |asks, _| asks.heartbeat("other", Some("switch")), "?");
}

#[test]
fn a_heartbeat_of_an_older_command_of_the_same_name_proves_nothing() {
    check(Some("switch"), &["switch"], |asks, _| asks.heartbeat("h", Some("switch")), "?");
    let twice = |asks: &mut Asks, _: &mut Jobs| {
        asks.heartbeat("h", Some("switch"));
        asks.heartbeat("h", Some("switch"));
    };
    check(None, &["switch", "switch"], twice, "+heartbeat ?");
    let ended = |asks: &mut Asks, jobs: &mut Jobs| {
        asks.job("h", "switch", Some("old"), jobs, Evidence::Status);
        asks.heartbeat("h", Some("switch"));
    };
    check(Some("switch"), &["switch"], ended, "+heartbeat");
}

#[test]
fn a_command_whose_sender_no_longer_waits_is_forgotten_with_the_next_one() {
    let mut asks = Asks::default();
    drop(asks.open("h", "switch", "a", None));
    let next = asks.open("h", "switch", "b", None);
    asks.heartbeat("h", Some("switch"));
    assert_eq!(shown(vec![next]), "+heartbeat");
}

#[test]
fn a_rejection_finds_its_command() {
    let by_id = |asks: &mut Asks, _: &mut Jobs| asks.rejected("h", &rejection("pull", None, Some("a")));
    check(None, &["test", "switch"], by_id, "- ?");
    let unknown_id = |asks: &mut Asks, _: &mut Jobs| asks.rejected("h", &rejection("pull", None, Some("z")));
    check(None, &["test"], unknown_id, "?");
    let by_name = |asks: &mut Asks, _: &mut Jobs| asks.rejected("h", &rejection("test", Some("test"), None));
    check(None, &["test", "test", "switch"], by_name, "? - ?");
    let without = |asks: &mut Asks, _: &mut Jobs| asks.rejected("h", &rejection("test", None, None));
    check(None, &["test", "switch"], without, "? -");
    check(Some("test"), &["test"], without, "-");
    let elsewhere = |asks: &mut Asks, _: &mut Jobs| asks.rejected("other", &rejection("x", None, None));
    check(None, &["test"], elsewhere, "?");
}

#[test]
fn lines_and_statuses_accept_unless_they_belong_to_an_older_job() {
    let line = |asks: &mut Asks, jobs: &mut Jobs| asks.job("h", "pull", Some("j"), jobs, Evidence::Output);
    check(None, &["pull"], line, "+output");
    check(Some("pull"), &["pull"], line, "?");
    let status = |asks: &mut Asks, jobs: &mut Jobs| asks.job("h", "pull", None, jobs, Evidence::Status);
    check(None, &["pull"], status, "+status");
    let trailing = |asks: &mut Asks, jobs: &mut Jobs| {
        jobs.is_new_line(Some("old"), Some(1));
        asks.job("h", "pull", Some("old"), jobs, Evidence::Output);
    };
    check(None, &["pull"], trailing, "?");
    let same_id = |asks: &mut Asks, jobs: &mut Jobs| asks.job("h", "pull", Some("a"), jobs, Evidence::Output);
    check(Some("pull"), &["pull"], same_id, "+output");
}
