//! Which message gives the verdict on which command.

use tokio::sync::oneshot::{Receiver, error::TryRecvError};

use nixfleet_protocol::{ALREADY_RUNNING, CommandRejected};

use crate::jobs::Jobs;
use crate::{Verdict, Verdicts};

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

/// Of a host that is `busy_with` a command, asks for `commands` (ids a, b, c), calls `then`, and compares the verdicts.
#[track_caller]
fn check(busy_with: Option<&str>, commands: &[&str], then: impl FnOnce(&mut Verdicts), expected: &str) {
    let mut verdicts = Verdicts::default();
    verdicts.heartbeat(busy_with);
    let receivers = commands.iter().zip(["a", "b", "c"]).map(|(c, id)| verdicts.asked(c, id)).collect();
    then(&mut verdicts);
    assert_eq!(shown(receivers), expected);
}

#[test]
fn a_heartbeat_that_names_the_command_accepts_it() {
    check(None, &["switch"], |host| host.heartbeat(Some("switch")), "+heartbeat");
    check(None, &["switch"], |host| host.heartbeat(Some("pull")), "?");
    check(None, &["switch"], |host| host.heartbeat(None), "?");
}

#[test]
fn a_heartbeat_of_an_older_command_of_the_same_name_proves_nothing() {
    check(Some("switch"), &["switch"], |host| host.heartbeat(Some("switch")), "?");
    let twice = |host: &mut Verdicts| {
        host.heartbeat(Some("switch"));
        host.heartbeat(Some("switch"));
    };
    check(None, &["switch", "switch"], twice, "+heartbeat ?");
    let ended = |host: &mut Verdicts| {
        host.ended("switch", Some("old"));
        host.heartbeat(Some("switch"));
    };
    check(Some("switch"), &["switch"], ended, "+heartbeat");
}

#[test]
fn a_command_whose_sender_no_longer_waits_is_forgotten_with_the_next_one() {
    let mut host = Verdicts::default();
    drop(host.asked("switch", "a"));
    let next = host.asked("switch", "b");
    host.heartbeat(Some("switch"));
    assert_eq!(shown(vec![next]), "+heartbeat");
}

#[test]
fn a_rejection_finds_its_command() {
    let by_id = |host: &mut Verdicts| host.rejected(&rejection("pull", None, Some("a")));
    check(None, &["test", "switch"], by_id, "- ?");
    let unknown_id = |host: &mut Verdicts| host.rejected(&rejection("pull", None, Some("z")));
    check(None, &["test"], unknown_id, "?");
    let by_name = |host: &mut Verdicts| host.rejected(&rejection("test", Some("test"), None));
    check(None, &["test", "test", "switch"], by_name, "? - ?");
    let without = |host: &mut Verdicts| host.rejected(&rejection("test", None, None));
    check(None, &["test", "switch"], without, "? -");
    check(Some("test"), &["test"], without, "-");
}

#[test]
fn lines_and_statuses_accept_unless_they_belong_to_an_older_job() {
    let line = |host: &mut Verdicts| host.output("pull", Some("j"));
    check(None, &["pull"], line, "+output");
    check(Some("pull"), &["pull"], line, "?");
    let status = |host: &mut Verdicts| _ = host.ended("pull", None);
    check(None, &["pull"], status, "+status");
    let trailing = |host: &mut Verdicts| {
        host.is_new_line("pull", Some("old"), Some(1));
        host.output("pull", Some("old"));
    };
    check(None, &["pull"], trailing, "?");
    let same_id = |host: &mut Verdicts| host.output("pull", Some("a"));
    check(Some("pull"), &["pull"], same_id, "+output");
}

#[test]
fn what_runs_is_what_the_newest_message_says() {
    // A command of the same name that is sent meanwhile cannot be told from it.
    let check = |say: &dyn Fn(&mut Verdicts), busy: bool| {
        let mut host = Verdicts::default();
        say(&mut host);
        let asked = host.asked("pull", "a");
        host.heartbeat(Some("pull"));
        assert_eq!(shown(vec![asked]), if busy { "?" } else { "+heartbeat" });
    };
    check(&|host| _ = host.is_new_line("pull", Some("j"), Some(1)), true);
    check(&|host| host.rejected(&rejection("pull", None, None)), true);
    let ended = |host: &mut Verdicts| {
        host.is_new_line("pull", Some("j"), Some(1));
        host.ended("pull", Some("j"));
    };
    check(&ended, false);
    let repeated = |host: &mut Verdicts| {
        ended(host);
        host.is_new_line("pull", Some("j"), Some(1));
    };
    check(&repeated, false);
}

#[test]
fn old_jobs_are_forgotten_but_not_the_newest() {
    let mut jobs = Jobs::default();
    for number in 0..200 {
        assert!(jobs.is_new_end(Some(&number.to_string())));
    }
    assert!(!jobs.is_new_end(Some("199")));
    assert!(!jobs.knows("0"));
}
