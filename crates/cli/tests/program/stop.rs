use nixfleet_protocol::{AgentMessage, Status, StatusKind};

use crate::rig::{Play, Rig, new_job};

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_when_the_job_does_or_nothing_runs() {
    let Some(rig) = Rig::new().await else { return };
    let busy = rig.host("busy").await;
    busy.plays(Play::Hangs).await;
    let idle = rig.host("idle").await;
    idle.plays(Play::Hangs).await;
    let job = new_job();
    busy.lines("switch", &job, 1..=2).await;
    let answers = async {
        busy.is_asked().await;
        idle.is_asked().await;
        busy.ends("switch", &job, StatusKind::Stopped, 2).await;
        let nothing = Status::answer("stop", StatusKind::Error, 1, "nothing is running");
        idle.say(AgentMessage::Status(nothing)).await;
    };
    let ((code, stdout, stderr), ()) = tokio::join!(rig.run("stop busy idle"), answers);
    assert_eq!(code, 1, "{stdout}{stderr}");
    assert!(stdout.contains("busy  stopped   switch is Stopped (1 s)\n"), "{stdout}");
    assert!(stdout.contains("idle  failed    nothing is running\n"), "{stdout}");
    assert!(stdout.ends_with("1 stopped, 1 failed\n"), "{stdout}");
    assert_eq!(busy.asked.lock().unwrap()[0].0, "stop");

    // A status that is said again is of a job that had ended, also if an answer has come behind it.
    busy.say(AgentMessage::Status(Status::answer("check-version", StatusKind::Ok, 0, "0.1.0"))).await;
    busy.asked.lock().unwrap().clear();
    let again = async {
        busy.is_asked().await;
        busy.ends("switch", &job, StatusKind::Stopped, 2).await;
    };
    let ((code, stdout, _), ()) = tokio::join!(rig.run("stop busy --timeout 1s"), again);
    assert_eq!(code, 3, "{stdout}");

    let (code, stdout, _) = rig.run("stop busy --kill --timeout 1s").await;
    assert_eq!(code, 3, "{stdout}");
    assert!(stdout.starts_with("busy  late "), "{stdout}");
    assert_eq!(busy.asked.lock().unwrap()[1].0, "kill_command");
}
