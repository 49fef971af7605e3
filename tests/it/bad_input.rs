//! Wrong input from the dashboard and failing disks do not end the agent.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use nixfleet_protocol::StatusKind;

use crate::rig::{Fleet, HOST, LIMIT};
use crate::skipped::skipped;

#[tokio::test]
async fn garbage_does_not_cost_the_connection() {
    let fleet = Fleet::start().await;
    let mut agent = fleet.agent().await;
    let texts = [
        "",
        "{",
        "null",
        "[]",
        "{\"type\":5}",
        "{\"type\":\"command\",\"payload\":{\"command\":[]}}",
        "\u{0}",
    ];
    fleet.dashboard.send_many(HOST, texts.iter().map(|&text| text.to_owned()).collect()).unwrap();
    fleet.dashboard.send_binary(HOST, vec![0xFF; 1000]).unwrap();
    fleet.dashboard.send_raw(HOST, format!("{{\"type\":\"{}\"}}", "x".repeat(500_000))).unwrap();
    let status = fleet.run("no-such-command").await;
    assert_eq!((status.status, status.exit_code), (StatusKind::Error, 1));
    assert_eq!(fleet.dashboard.connections(HOST), 1);
    assert!(agent.is_running());
}

#[tokio::test]
async fn a_frame_of_ten_mebibytes_costs_the_connection_and_not_the_agent() {
    let fleet = Fleet::start().await;
    let mut agent = fleet.agent().await;
    fleet.dashboard.send_raw(HOST, "x".repeat(10 << 20)).unwrap();
    fleet.dashboard.wait_until("a new connection", LIMIT, |d| (d.connections(HOST) == 2).then_some(())).await;
    fleet
        .wait("a beat on it", |fleet| fleet.messages().iter().any(|m| m.connection == 2).then_some(()))
        .await;
    assert!(agent.is_running());
}

#[tokio::test]
async fn a_thousand_commands_at_once_are_all_answered() {
    let fleet = Fleet::start().await.script("quick", "sleep 1");
    let _agent = fleet.agent().await;
    let one = r#"{"type":"command","payload":{"command":"quick"}}"#.to_owned();
    fleet.dashboard.send_many(HOST, vec![one; 1000]).unwrap();
    fleet.wait("999 rejections", |fleet| (fleet.rejections().len() == 999).then_some(())).await;
    let status = fleet.wait("one status", |fleet| fleet.statuses().pop()).await;
    assert_eq!(status.exit_code, 0);
    assert_eq!(fleet.statuses().len(), 1);
}

#[tokio::test]
async fn a_repository_that_is_gone_is_told() {
    let fleet = Fleet::start().await;
    let mut command = fleet.agent_command();
    command.env("NIXFLEET_REPO_DIR", fleet.path("gone"));
    let _agent = crate::rig::AgentProcess::spawn(command, fleet.path("state"));
    fleet.wait("a beat", |fleet| fleet.beats().pop()).await;
    for name in ["pull", "switch", "test", "update"] {
        let status = fleet.run(name).await;
        assert_eq!((status.exit_code, status.outcome.as_deref()), (1, Some("not_started")), "{name}");
        assert!(status.message.contains("gone") && status.message.contains("repo.dir"), "{}", status.message);
    }
}

#[tokio::test]
async fn without_a_repository_the_setting_to_make_is_named() {
    let fleet = Fleet::start().await;
    let _agent = fleet.agent().await;
    let status = fleet.run("pull").await;
    assert!(status.message.contains("repo.url"), "{}", status.message);
}

/// A small file system for the state folder. None if mounting is not permitted.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount(path: std::path::PathBuf, size: &str) -> Option<Self> {
        fs::create_dir_all(&path).unwrap();
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(&path);
        let mounted = mount.stderr(std::process::Stdio::null()).status().is_ok_and(|status| status.success());
        if !mounted {
            skipped("mounting a small tmpfs needs root");
        }
        mounted.then_some(Self(path))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(std::process::Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

#[tokio::test]
async fn a_full_disk_is_a_clear_status_and_beats_go_on() {
    let fleet = Fleet::start().await.script("hello", "echo hello");
    let Some(disk) = SmallDisk::mount(fleet.path("state"), "256k") else { return };
    let _agent = fleet.agent().await;
    assert_eq!(fleet.run("hello").await.exit_code, 0);
    drop(fs::write(disk.0.join("filler"), vec![0; 1 << 20]));
    let status = fleet.run("hello").await;
    assert_eq!(status.exit_code, 1);
    assert!(status.message.contains("No space left on device"), "{}", status.message);
    let beats = fleet.beats().len();
    fleet.wait("more beats", |fleet| (fleet.beats().len() > beats + 2).then_some(())).await;
    fs::remove_file(disk.0.join("filler")).unwrap();
    assert_eq!(fleet.run("hello").await.exit_code, 0, "and all is well once there is room");
}

#[tokio::test]
async fn a_disk_that_fills_up_during_a_command_costs_lines_and_not_its_result() {
    let fleet = Fleet::start().await.script("chatty", "seq 1 200000; exit 5");
    let Some(_disk) = SmallDisk::mount(fleet.path("state"), "512k") else { return };
    let _agent = fleet.agent().await;
    let status = fleet.run("chatty").await;
    assert_eq!(status.exit_code, 5);
    assert!(status.dropped_lines.unwrap() > 0, "{status:?}");
    assert_eq!(status.lines, Some(200_000));
}

#[tokio::test]
async fn a_state_folder_that_cannot_be_written_is_a_clear_status() {
    let fleet = Fleet::start().await.script("hello", "echo hello");
    let state = fleet.path("state");
    // A file in place of the folder: not even root can create files in it.
    fs::write(&state, "").unwrap();
    fs::set_permissions(&state, fs::Permissions::from_mode(0o400)).unwrap();
    let _agent = fleet.agent().await;
    let status = fleet.run("hello").await;
    assert_eq!(status.exit_code, 1);
    assert!(
        status.message.contains("cannot write to") && status.message.contains("state"),
        "{}",
        status.message
    );
}
