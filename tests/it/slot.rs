//! One command at a time, and what an ended one keeps waiting: nothing.

use nixfleet_dashboard::Faults;
use nixfleet_protocol::{AgentMessage, KillCommand, KillSignal, StatusKind};

use crate::rig::in_nats::needs_mock;
use crate::rig::{Fleet, HOST, eventually, job_folder};

/// 960 KB, more than a dashboard gets that proves nothing.
const FLOOD: &str = "i=0; while [ $i -lt 120 ]; do printf '%08000d\\n' $i; i=$((i + 1)); done";

/// Runs until the test has seen it.
const FEW: &str = "cd \"${0%/*}\"\nuntil [ -e end ]; do sleep 0.02; done\necho few";

/// A fleet whose first command has ended, while its output still waits for a dashboard that proves nothing.
async fn draining() -> (Fleet, crate::rig::AgentProcess) {
    let fleet = Fleet::strict().await.script("flood", FLOOD).script("few", FEW);
    let agent = fleet.agent().await;
    fleet.dashboard.set_faults(Faults { never_pong: true, ..Faults::default() });
    fleet.send("flood");
    eventually("a job", || fleet.path("state/jobs").exists().then_some(())).await;
    eventually("its result", || job_folder(&fleet).join("result.json").exists().then_some(())).await;
    let before = fleet.beats().len();
    fleet
        .wait("a later beat without a command", |fleet| {
            let beats = fleet.beats();
            (beats.len() > before && beats.last()?.1.pending_command.is_none()).then_some(())
        })
        .await;
    (fleet, agent)
}

#[tokio::test]
async fn a_command_whose_output_drains_slowly_blocks_no_other_and_is_told_first() {
    if needs_mock("its dashboard answers no pings") {
        return;
    }
    let (fleet, _agent) = draining().await;
    fleet.send("few");
    fleet
        .wait("a beat with the second command", |fleet| {
            (fleet.beats().pop()?.1.pending_command.as_deref() == Some("few")).then_some(())
        })
        .await;
    assert!(fleet.statuses().is_empty(), "the first one is not through yet");
    fleet.dashboard.set_faults(Faults::default());
    std::fs::write(fleet.path("end"), "").unwrap();
    let few = fleet.ended("few").await;
    assert_eq!(few.status, StatusKind::Ok);
    let ends: Vec<(String, Option<u64>)> =
        fleet.statuses().into_iter().map(|status| (status.command, status.lines)).collect();
    assert_eq!(ends, [("flood".to_owned(), Some(120)), ("few".to_owned(), Some(1))]);
    let commands: Vec<String> = fleet
        .messages()
        .into_iter()
        .filter_map(|recorded| match recorded.message {
            AgentMessage::Output(output) => Some(output.command),
            AgentMessage::OutputBatch(batch) => Some(batch.command),
            _ => None,
        })
        .collect();
    assert!(commands.is_sorted_by_key(|command| command == "few"), "the order of the jobs");
    assert!(fleet.rejections().is_empty());
    fleet.assert_no_violations();
}

#[tokio::test]
async fn a_stop_is_answered_while_output_drains() {
    if needs_mock("its dashboard answers no pings") {
        return;
    }
    let (fleet, _agent) = draining().await;
    fleet.send("stop");
    fleet.dashboard.send_kill(HOST, KillCommand { signal: KillSignal::Kill, pid: 0 }).unwrap();
    for asked in ["stop", "kill_command"] {
        let status = fleet.ended(asked).await;
        assert_eq!((status.status, status.exit_code), (StatusKind::Error, 1));
        assert!(status.message.starts_with("nothing is running; `flood` has ended"), "{status:?}");
    }
    fleet.dashboard.set_faults(Faults::default());
    assert_eq!(fleet.ended("flood").await.status, StatusKind::Ok);
    fleet.assert_no_violations();
}
