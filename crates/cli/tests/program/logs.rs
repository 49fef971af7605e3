use nixfleet_fleet::{Layout, Sizes, names};
use nixfleet_protocol::{AgentMessage, Status, StatusKind};

use crate::rig::{Rig, end, lines, new_job, next};

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_job_is_shown_each_line_once() {
    let Some(rig) = Rig::new().await else { return };
    let web = rig.host("web-1").await;
    let (code, _, stderr) = rig.run("logs web-1").await;
    assert_eq!(code, 3, "{stderr}");
    assert!(stderr.contains("NATS has nothing of any command of web-1"), "{stderr}");
    let (code, _, stderr) = rig.run("logs web-2").await;
    assert_eq!(code, 3, "{stderr}");
    assert!(stderr.contains("no gateway has ever seen the host web-2"), "{stderr}");

    let (old, new) = (new_job(), new_job());
    web.lines("pull", &old, 1..=2).await;
    web.ends("pull", &old, StatusKind::Ok, 2).await;
    web.lines("switch", &new, 1..=2).await;
    web.lines("switch", &new, 1..=3).await;
    web.lines("switch", &new, 6..=6).await;
    web.ends("switch", &new, StatusKind::Error, 6).await;
    let lines = "line 1 of switch\nline 2 of switch\nline 3 of switch\nline 6 of switch\n";
    let (code, stdout, stderr) = rig.run("logs web-1").await;
    assert_eq!((code, stdout.as_str()), (0, lines), "{stderr}");
    let remarks = format!(
        "-- switch, job {new}\n-- lines 4 to 5 are not in NATS\n-- switch: error (1), took 1 s: switch is Error\n"
    );
    assert_eq!(stderr, remarks);
    let (code, stdout, _) = rig.run(&format!("logs web-1 --job {} -t", &old[20..])).await;
    let pull = "2026-07-14T12:00:31.004Z line 1 of pull\n2026-07-14T12:00:31.004Z line 2 of pull\n";
    assert_eq!((code, stdout.as_str()), (0, pull));
    let (code, stdout, _) = rig.run("logs web-1 --since 1h --json").await;
    assert_eq!(code, 0);
    let names: Vec<String> = stdout
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["event"].as_str().unwrap().to_owned()
        })
        .collect();
    let wanted = ["begin", "line", "line", "ended", "line", "line", "line", "missing", "line", "ended"];
    assert_eq!(names, wanted);
    for (words, part) in [("logs web-1 --job 0", "give more of it"), ("logs web.1", "no name of a host")] {
        let (code, _, stderr) = rig.run(words).await;
        assert_eq!(code, 64, "{stderr}");
        assert!(stderr.contains(part), "{stderr}");
    }
    let (code, _, stderr) = rig.run("logs web-1 --job ffff").await;
    assert_eq!((code, stderr.contains("such a job of web-1")), (3, true), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn following_ends_with_the_job_and_its_last_line() {
    let Some(rig) = Rig::new().await else { return };
    let web = rig.host("web-1").await;
    let job = new_job();
    web.lines("switch", &job, 1..=1).await;
    let mut child = rig.start("logs web-1 -f");
    let mut stdout = lines(&mut child);
    assert_eq!(next(&mut stdout).await.unwrap(), "line 1 of switch");
    web.lines("switch", &job, 2..=2).await;
    assert_eq!(next(&mut stdout).await.unwrap(), "line 2 of switch");
    // The status may overtake lines.
    web.ends("switch", &job, StatusKind::Ok, 3).await;
    web.lines("switch", &job, 3..=3).await;
    assert_eq!(next(&mut stdout).await.unwrap(), "line 3 of switch");
    assert_eq!(next(&mut stdout).await, None);
    let (code, _, stderr) = end(child).await;
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("-- switch: ok (0)"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_made_anew_is_followed_from_its_beginning() {
    let Some(rig) = Rig::new().await else { return };
    let web = rig.host("web-1").await;
    let job = new_job();
    web.lines("switch", &job, 1..=1).await;
    web.lines("switch", &job, 2..=2).await;
    let mut child = rig.start("logs web-1 -f");
    let mut stdout = lines(&mut child);
    for number in 1..=2 {
        assert_eq!(next(&mut stdout).await.unwrap(), format!("line {number} of switch"));
    }
    rig.jetstream.delete_stream(names::LOG).await.unwrap();
    Layout::ensure(&rig.jetstream, &Sizes::default()).await.unwrap();
    // Numbers begin anew: the first ones are before the place where the reader was, and the last ones behind it.
    for number in 3..=6 {
        web.lines("switch", &job, number..=number).await;
    }
    for number in 3..=6 {
        assert_eq!(next(&mut stdout).await.unwrap(), format!("line {number} of switch"));
    }
    web.ends("switch", &job, StatusKind::Ok, 6).await;
    assert_eq!(next(&mut stdout).await, None);
    let (code, _, stderr) = end(child).await;
    assert_eq!(code, 0, "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_job_may_have_no_lines_and_answers_behind_it() {
    let Some(rig) = Rig::new().await else { return };
    let web = rig.host("web-1").await;
    let (old, new) = (new_job(), new_job());
    web.lines("pull", &old, 1..=1).await;
    web.ends("pull", &old, StatusKind::Ok, 1).await;
    web.ends("switch", &new, StatusKind::Ok, 0).await;
    web.say(AgentMessage::Status(Status::answer("check-version", StatusKind::Ok, 0, "0.1.0"))).await;
    let (code, stdout, stderr) = rig.run("logs web-1").await;
    assert_eq!((code, stdout.as_str()), (0, ""), "{stderr}");
    assert!(stderr.contains("-- switch: ok (0)"), "{stderr}");
}
