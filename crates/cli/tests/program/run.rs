use std::time::{Duration, Instant};

use futures_util::StreamExt;
use nixfleet_fleet::{Layout, Sizes, names};
use nixfleet_protocol::{AgentMessage, StatusKind};
use rustix::process::{Pid, Signal, kill_process};

use crate::rig::{Play, Rig, end, lines, new_job, next};

const GOOD: Play = Play::Ends(3, StatusKind::Ok);
const BAD: Play = Play::Ends(1, StatusKind::Error);

#[tokio::test(flavor = "multi_thread")]
async fn lines_are_shown_once_and_in_order_and_jobs_before_are_not() {
    let Some(rig) = Rig::new().await else { return };
    let web = rig.host("web-1").await;
    // A job that ran before, and is told again while the new one runs.
    let old = new_job();
    web.lines("switch", &old, 1..=2).await;
    web.ends("switch", &old, StatusKind::Error, 2).await;
    web.plays(GOOD).await;
    let (code, stdout, stderr) = rig.run("run switch web-1 --follow").await;
    assert_eq!(code, 0, "{stdout}{stderr}");
    let wanted = "\
web-1  accepted  it runs
web-1 | line 1 of switch
web-1 | line 2 of switch
web-1 | line 3 of switch
web-1  good      switch is Ok (1 s)
1 good
";
    assert_eq!(stdout, wanted);
    assert_eq!(stderr, "");
    let asked = web.asked.lock().unwrap().clone();
    let id = asked[0].1.as_deref().unwrap();
    assert!(asked.len() == 1 && id.parse::<uuid::Uuid>().unwrap().get_version_num() == 7, "{asked:?}");

    let (code, stdout, _) = rig.run("run switch web-1 --follow --json").await;
    assert_eq!(code, 0);
    let events: Vec<serde_json::Value> =
        stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<&str> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(names, ["plan", "wave", "accepted", "line", "line", "line", "ended", "wave_ended", "summary"]);
    assert_eq!((&events[0]["version"], &events[0]["command"]), (&1.into(), &"switch".into()));
    assert_eq!((&events[3]["seq"], &events[3]["line"]), (&1.into(), &"line 1 of switch".into()));
    assert_eq!((&events[6]["result"], &events[8]["hosts"]["good"]), (&"good".into(), &1.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_made_anew_meanwhile_has_the_rest() {
    let Some(rig) = Rig::new().await else { return };
    let web = rig.host("web-1").await;
    let old = new_job();
    web.lines("switch", &old, 1..=2).await;
    web.ends("switch", &old, StatusKind::Error, 2).await;
    web.plays(Play::Hangs).await;
    let mut child = rig.start("run switch web-1 --follow");
    let mut stdout = lines(&mut child);
    assert_eq!(next(&mut stdout).await.unwrap(), "web-1  accepted  it runs");
    rig.jetstream.delete_stream(names::LOG).await.unwrap();
    Layout::ensure(&rig.jetstream, &Sizes::default()).await.unwrap();
    let job = new_job();
    web.lines("switch", &job, 1..=1).await;
    assert_eq!(next(&mut stdout).await.unwrap(), "web-1 | line 1 of switch");
    web.ends("switch", &job, StatusKind::Ok, 1).await;
    let (code, _, stderr) = end(child).await;
    assert_eq!(code, 0, "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_way_to_end_has_its_word_and_the_worst_one_is_the_exit_code() {
    let Some(rig) = Rig::new().await else { return };
    for (name, play) in [
        ("good", GOOD),
        ("bad", BAD),
        ("busy", Play::Rejects),
        ("question", Play::Answers(StatusKind::Ok)),
        ("lost", Play::IsLost(true)),
        ("unclear", Play::IsLost(false)),
        ("slow", Play::Hangs),
        ("hidden", Play::IsLostAndHangs),
    ] {
        rig.host(name).await.plays(play).await;
    }
    let (code, stdout, _) = rig.run("run pull good question lost").await;
    assert_eq!(code, 0, "{stdout}");
    assert!(stdout.ends_with("\n3 good\n"), "{stdout}");
    let (code, stdout, _) = rig.run("run pull good bad").await;
    assert_eq!(code, 1, "{stdout}");
    assert!(
        stdout.contains("\nbad   failed    pull is Error") && stdout.ends_with("1 good, 1 failed\n"),
        "{stdout}"
    );
    let (code, stdout, stderr) =
        rig.run("run pull good bad busy unclear slow hidden nobody --timeout 6s").await;
    assert_eq!(code, 3, "{stdout}");
    assert_eq!(stderr, "");
    for part in [
        "busy     rejected  command already running: pull, process 7\n",
        "unclear  unclear   it may run, look before it is sent again: the connection ended\n",
        "hidden   late      it has not ended in time, and runs on\n",
        "slow     late      it has not ended in time, and runs on\n",
        "nobody   unknown   no gateway has ever seen a host of this name; it was not asked\n",
        "\n1 good, 1 failed, 1 rejected, 1 unknown, 1 unclear, 2 late\n",
    ] {
        assert!(stdout.contains(part), "{part}: {stdout}");
    }
    let (code, stdout, _) = rig.run("run pull good slow --no-wait").await;
    assert_eq!(code, 0, "{stdout}");
    // One row for each.
    assert!(stdout.lines().count() == 3 && stdout.ends_with("\n2 accepted\n"), "{stdout}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_without_a_connection_is_offline_and_one_that_moves_is_asked_again() {
    let Some(rig) = Rig::new().await else { return };
    let gone = rig.host("gone").await;
    let subject = nixfleet_fleet::names::beat("gone");
    rig.layout.beats.stream.purge().filter(subject).await.unwrap();
    drop(gone);
    let (code, stdout, _) = rig.run("run pull gone").await;
    assert_eq!(code, 3, "{stdout}");
    assert_eq!(stdout, "gone  offline   it is not connected to a gateway, and was not asked\n1 offline\n");
    let (code, stdout, _) = rig.run("run pull gone --online").await;
    assert_eq!((code, stdout.as_str()), (0, "no host\n"));

    // One that has come online since the beginning is asked for three seconds more.
    let first = rig.host("first").await;
    first.plays(Play::Hangs).await;
    let mut child = rig.start("run pull first gone --then 1");
    first.is_asked().await;
    rig.host("gone").await;
    let begun = Instant::now();
    first.ends("pull", &new_job(), StatusKind::Ok, 0).await;
    let mut stdout = lines(&mut child);
    while !next(&mut stdout).await.expect("a row").contains("gone   offline") {}
    assert!(begun.elapsed() > Duration::from_secs(2), "it was asked once");

    // One that moves is asked again, under the same id.
    let moving = rig.host("moving").await;
    moving.plays(Play::Refuses(1)).await;
    let (code, stdout, _) = rig.run("run pull moving").await;
    assert_eq!(code, 0, "{stdout}");
    let asked = moving.asked.lock().unwrap().clone();
    assert!(asked.len() == 2 && asked[0] == asked[1], "{asked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wave_that_fails_is_the_last_one() {
    let Some(rig) = Rig::new().await else { return };
    let mut hosts = Vec::new();
    for number in 1..=10 {
        let host = rig.host(&format!("web-{number}")).await;
        host.plays(if number == 3 { BAD } else { GOOD }).await;
        hosts.push(host);
    }
    let words = "run switch --all --yes --canary 1 --then 20% --then all --stop-on-failure";
    let (code, stdout, stderr) = rig.run(words).await;
    assert_eq!(code, 1, "{stdout}{stderr}");
    for part in [
        "wave 1 of 3: web-1\n",
        "wave 1 of 3: 1 good\nwave 2 of 3: 2 hosts, web-2 to web-3\n",
        "wave 2 of 3: 1 good, 1 failed\nnot asked: web-4 web-5 web-6 web-7 web-8 web-9 web-10\n",
    ] {
        assert!(stdout.contains(part), "{part}: {stdout}");
    }
    assert!(stdout.ends_with("\n2 good, 1 failed, 7 not asked\n"), "{stdout}");
    let asked: Vec<usize> = hosts.iter().map(|host| host.asked.lock().unwrap().len()).collect();
    assert_eq!(asked, [1, 1, 1, 0, 0, 0, 0, 0, 0, 0]);

    // Without the option all are asked.
    let (code, stdout, _) = rig.run("run switch web-* --yes --then 4").await;
    assert_eq!(code, 1, "{stdout}");
    assert!(stdout.contains("wave 3 of 3: 2 good\n9 good, 1 failed\n"), "{stdout}");

    // A pattern needs a yes where nobody can be asked, but for commands that change nothing.
    let (code, _, stderr) = rig.run("run switch web-*").await;
    assert_eq!(code, 64, "{stderr}");
    assert!(stderr.contains("run switch on 10 hosts was not confirmed"), "{stderr}");
    let (code, ..) = rig.run("run check-version web-1*").await;
    assert_eq!(code, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_stops_the_waiting_and_no_command() {
    let Some(rig) = Rig::new().await else { return };
    let slow = rig.host("slow").await;
    slow.plays(Play::Hangs).await;
    let late = rig.host("late").await;
    late.plays(GOOD).await;
    let mut child = rig.start("run switch slow late --then 1");
    let mut stdout = lines(&mut child);
    let mut seen = String::new();
    while !seen.contains("accepted") {
        seen += &next(&mut stdout).await.expect("it says so");
    }
    let pid = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    let (code, _, stderr) = end(child).await;
    assert_eq!(code, 130, "{stderr}");
    assert!(stderr.contains("1 of the commands that were sent may run on"), "{stderr}");
    let mut rest = String::new();
    while let Some(line) = next(&mut stdout).await {
        rest += &line;
    }
    assert_eq!(rest, "not asked: late1 running, 1 not asked");
    assert_eq!(slow.asked.lock().unwrap().len(), 1);
    assert_eq!(late.asked.lock().unwrap().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_whose_turn_did_not_come_was_not_asked() {
    let Some(rig) = Rig::new().await else { return };
    // Six more than are asked at a time, and nobody answers.
    let mut asked = rig.client.subscribe("fleet.cmd.*").await.unwrap();
    let mut acks = Vec::new();
    for number in 0..1030 {
        let facts = nixfleet_fleet::names::facts(&format!("web-{number}"));
        let register = nixfleet_protocol::encode(&AgentMessage::Register(Box::default()));
        acks.push(rig.jetstream.publish(facts, register.into()).await.unwrap());
    }
    for ack in acks {
        ack.await.unwrap();
    }
    let mut child = rig.start("run switch --all --yes");
    for _ in 0..1024 {
        asked.next().await.unwrap();
    }
    let pid = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    let mut stdout = lines(&mut child);
    let not_asked = next(&mut stdout).await.unwrap();
    assert!(not_asked.starts_with("not asked: web-1024 ") && not_asked.ends_with(" web-1029"), "{not_asked}");
    assert_eq!(next(&mut stdout).await.unwrap(), "1024 running, 6 not asked");
    assert_eq!(end(child).await.0, 130);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_goes_ends_it_without_a_word_of_panic() {
    let Some(rig) = Rig::new().await else { return };
    let web = rig.host("web-1").await;
    web.plays(Play::Ends(200, StatusKind::Ok)).await;
    let mut child = rig.start("run switch web-1 --follow");
    let mut stdout = lines(&mut child);
    next(&mut stdout).await.expect("a line");
    drop(stdout);
    let (code, _, stderr) = end(child).await;
    assert_eq!(code, 130, "{stderr}");
    assert_eq!(stderr, "nixfleet: the reader of the output has gone; commands that were sent run on\n");
}
