//! Starting a job when the service manager is slow.

use std::fs;

use nixfleet_protocol::StatusKind;

use crate::rig::eventually;
use crate::systemctl::Units;

#[tokio::test]
async fn a_start_that_the_bus_timed_out_is_tried_again_and_the_command_runs_once() {
    let units = Units::new("", "echo running").await;
    let fleet = units.fleet.script("count", "echo ran >> \"${0%/*}/ran\"");
    let units = Units { fleet };
    let _agent = units.agent().await;
    // The first attempt fails, and starts the unit nevertheless. The second one comes when it has ended.
    fs::write(units.file("bus-is-slow"), "").unwrap();
    let status = units.fleet.run("count").await;
    assert_eq!((status.status, status.exit_code), (StatusKind::Ok, 0), "{status:?}");
    assert_eq!(units.calls("start"), 2);
    assert_eq!(fs::read_to_string(units.file("ran")).unwrap(), "ran\n");
    // The command may end before the second supervisor has found its folder taken.
    eventually("the second supervisor that ran nothing", || {
        let refused = fs::read_to_string(units.file("supervisor.log")).ok()?;
        refused.contains("File exists").then_some(())
    })
    .await;
    assert_eq!(units.fleet.statuses().len(), 1);
    units.fleet.assert_no_violations();
}
