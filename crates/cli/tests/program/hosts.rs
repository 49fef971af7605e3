use std::time::Duration;

use nixfleet_protocol::StatusKind;

use crate::rig::{Play, Rig};

#[tokio::test(flavor = "multi_thread")]
async fn hosts_are_listed_as_a_table_and_as_a_document() {
    let Some(rig) = Rig::new().await else { return };
    let (code, stdout, stderr) = rig.run("hosts").await;
    assert_eq!((code, stdout.as_str()), (0, ""), "{stderr}");
    assert!(stderr.contains("no host has ever been connected"), "{stderr}");

    for name in ["web-10", "web-2", "db"] {
        rig.host(name).await.plays(Play::Answers(StatusKind::Ok)).await;
    }
    rig.host("web-3").await.beat(Some("switch"), Duration::from_millis(100)).await;
    let (code, stdout, stderr) = rig.run("hosts web-* --online").await;
    assert_eq!(code, 0, "{stderr}");
    let lines: Vec<&str> = stdout.lines().collect();
    assert!(lines[0].starts_with("HOST    STATE"), "{stdout}");
    assert!(lines[1].starts_with("web-2   online") && lines[1].contains("0badf00"), "{stdout}");
    assert!(stdout.contains("\nweb-10  online"), "{stdout}");
    assert!(!stdout.contains("db") && !stdout.contains('\x1b'), "{stdout}");

    // One heartbeat expires after a second.
    let offline = async {
        loop {
            let (_, stdout, _) = rig.run("hosts --offline --json").await;
            let document: serde_json::Value = serde_json::from_str(&stdout).unwrap();
            assert_eq!(document["version"], 1);
            let hosts = document["hosts"].as_array().unwrap();
            if let [host] = hosts.as_slice() {
                assert_eq!((host["host"].as_str(), host["online"].as_bool()), (Some("web-3"), Some(false)));
                // Its gateway has not said that it left, so the marker tells when.
                assert!(host["since"].as_str().unwrap().ends_with('Z'), "{host}");
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), offline).await.expect("it goes offline");

    let (code, stdout, stderr) = rig.run("hosts db nobody x-*").await;
    assert_eq!(code, 3, "{stderr}");
    assert!(stdout.contains("\ndb  ") || stdout.contains("\ndb"), "{stdout}");
    assert!(stderr.contains("no gateway has ever seen the host nobody"), "{stderr}");
    assert!(stderr.contains("no host is called x-*"), "{stderr}");
}
