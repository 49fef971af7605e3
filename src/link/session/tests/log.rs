//! Which job a line of the log is about.

use std::time::Duration;

use nixfleet_jobs::spec::Outcome;
use tracing::dispatcher;

use super::rig::{Order, Rig, result};
use crate::jobs::captured_log::CapturedLog;

#[tokio::test(start_paused = true)]
async fn each_line_about_a_job_has_its_id_and_its_command_once() {
    let log = CapturedLog::default();
    let _capturing = dispatcher::set_default(&log.dispatch());
    let mut rig = Rig::live(Duration::from_secs(30), &[]).await;
    let job = rig.run_command_as("pull", Some("a")).await;
    rig.command("pull", Some("a")).await;
    rig.command("stop", None).await;
    rig.order().await;
    rig.drop_connection().await;
    // The job outlives its connection.
    rig.reconnect().await;
    rig.accept_registration(&[]).await;
    rig.job().end(result(Outcome::Stopped)).await;
    rig.status().await;
    rig.pong().await;
    let span = format!("INFO job{{id={} command=\"pull\"}}: ", job.id);
    for text in [
        "Accepted a command.",
        "Ignored a repeat of a request whose status is to come.",
        "Stopping the running command.",
        "The command ended: message exit_code=1 outcome=\"stopped\"",
    ] {
        assert_eq!(log.line(text), format!("{span}{text}"));
    }

    rig.command("switch", None).await;
    let order = loop {
        let order = rig.order().await;
        if matches!(order, Order::Launch(_)) {
            break order;
        }
    };
    let Order::Launch(record) = &order else { unreachable!() };
    rig.not_launched(&order, "no space left");
    rig.status().await;
    let text = "The command could not be started: no space left";
    assert_eq!(log.line(text), format!("ERROR job{{id={} command=\"switch\"}}: {text}", record.id));
}
