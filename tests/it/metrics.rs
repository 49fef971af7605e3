//! The page for Prometheus, read by Prometheus' own tool; and the example alerts for it.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use nixfleet_dashboard::{Faults, Refusal};

use crate::rig::{AgentProcess, Fleet, HOST, eventually};
use crate::skipped::skipped_unless;

/// Set where a skip is a failure: in CI, where nobody reads it.
const REQUIRED: &str = "NIXFLEET_REQUIRE_PROMTOOL_TEST";

/// The stand-in for nixos-rebuild.
const SWITCH: &str = "rebuild";

fn project(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Runs promtool with this text as its input; none where it is not installed.
fn promtool(arguments: &[&str], input: &str) -> Option<Output> {
    let mut command = Command::new("promtool");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            skipped_unless(REQUIRED, &format!("there is no promtool here (Debian: prometheus): {error}"));
            return None;
        }
    };
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    Some(child.wait_with_output().unwrap())
}

#[track_caller]
fn assert_silent(output: &Output, of: &str) {
    // What it would write otherwise has no exit code of its own in every version.
    let said = [output.stdout.as_slice(), &output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}\n{of}", String::from_utf8_lossy(&said));
}

/// An agent with a page, and where that is.
async fn agent_with_page(fleet: &Fleet) -> (AgentProcess, String) {
    let agent = fleet.agent().await;
    let socket = fleet.path("state/agent/status.sock");
    let address = eventually("an address", || {
        let mut text = String::new();
        std::os::unix::net::UnixStream::connect(&socket).ok()?.read_to_string(&mut text).ok()?;
        let report: serde_json::Value = serde_json::from_str(&text).ok()?;
        Some(report["metrics_at"].as_str()?.to_owned())
    })
    .await;
    (agent, address)
}

fn page(address: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

/// Waits for a page with all these texts.
async fn page_with(address: &str, texts: &[&str]) -> String {
    eventually(&format!("a page with {texts:?}"), || {
        let page = page(address);
        texts.iter().all(|text| page.contains(text)).then_some(page)
    })
    .await
}

/// A fleet with a page, a checkout, and a stand-in for nixos-rebuild that waits for the file `end`.
async fn fleet() -> Fleet {
    let script =
        "echo building the system configuration... >&2; until test -e \"${0%/*}/end\"; do sleep 0.02; done";
    let fleet = Fleet::start().await.script(SWITCH, script).script("fails", "exit 3");
    fs::create_dir(fleet.path("checkout")).unwrap();
    fs::write(fleet.path("checkout/flake.nix"), "{}").unwrap();
    let text = format!(
        "[metrics]\nlisten = \"127.0.0.1:0\"\n[repo]\ndir = \"{}\"\n[rebuild]\nprogram = [\"{}\"]\n",
        fleet.path("checkout").display(),
        fleet.path(&format!("{SWITCH}.sh")).display(),
    );
    fleet.configure(&text)
}

#[tokio::test]
async fn promtool_finds_nothing_wrong_with_the_page() {
    let fleet = fleet().await;
    let (_agent, address) = agent_with_page(&fleet).await;
    fleet.run("fails").await;
    fleet.send("switch");
    let page = page_with(
        &address,
        &[
            "\nnixfleet_host_cpu_usage_ratio ",
            "\nnixfleet_host_filesystem_usage_ratio{mountpoint=\"/\",",
            "\nnixfleet_agent_job_start_timestamp_seconds{command=\"switch\"} ",
            "\nnixfleet_agent_job_silent_seconds{command=\"switch\"} ",
            "\nnixfleet_agent_job_progress_ratio{command=\"switch\",part=\"system\"} ",
            "\nnixfleet_agent_job_last_success{command=\"fails\"} 0\n",
            "\nnixfleet_host_update_state{part=\"system\",state=\"working\"} 1\n",
            "\nnixfleet_agent_samples_left_out 0\n",
        ],
    )
    .await;
    let documented = fs::read_to_string(project("docs/metrics.md")).unwrap();
    let names: BTreeSet<&str> = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    for name in names.iter().filter_map(|line| line.split(' ').next()) {
        assert!(documented.contains(&format!("`{name}`")), "docs/metrics.md has no {name}");
    }
    if let Some(output) = promtool(&["check", "metrics"], &page) {
        assert_silent(&output, &page);
    }
    let refusal = Some(Refusal { status: 502, retry_after: None });
    fleet.dashboard.set_faults(Faults { refuse_auth: refusal, ..Faults::default() });
    fleet.dashboard.drop_connection(HOST).unwrap();
    let alone = page_with(&address, &["\nnixfleet_agent_connected 0\n"]).await;
    assert!(alone.contains("\nnixfleet_agent_job_silent_seconds{command=\"switch\"} "), "{alone}");
    assert!(!alone.contains("_job_progress_ratio"), "nobody reads its log: {alone}");
    fleet.dashboard.set_faults(Faults::default());
    fs::write(fleet.path("end"), "").unwrap();
    fleet.ended("switch").await;
    let page = page_with(&address, &["\nnixfleet_agent_job_running 0\n"]).await;
    assert!(!page.contains("_job_silent_seconds") && !page.contains("_job_progress_ratio"), "{page}");
    assert!(page.contains("\nnixfleet_agent_job_last_end_timestamp_seconds{command=\"switch\","), "{page}");
}

#[tokio::test]
async fn without_measurements_the_page_has_none() {
    let fleet = fleet().await.configure("[vitals]\nenabled = false\n");
    let (_agent, address) = agent_with_page(&fleet).await;
    let page = page_with(&address, &["\nnixfleet_host_update_state{"]).await;
    for name in ["cpu_usage_ratio", "filesystem", "memory", "temperature", "reading_age", "gpu"] {
        assert!(!page.contains(&format!("nixfleet_host_{name}")), "{page}");
    }
    if let Some(output) = promtool(&["check", "metrics"], &page) {
        assert_silent(&output, &page);
    }
}

/// The tests of the alerts, as paths in the project.
fn tests_of_alerts() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(project("tests/prometheus")).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn promtool_runs_the_tests_of_the_alerts() {
    let rules = project("dist/prometheus/nixfleet-agent.rules.yml");
    let Some(output) = promtool(&["check", "rules", rules.to_str().unwrap()], "") else { return };
    assert!(output.status.success(), "{output:?}");
    let files = tests_of_alerts();
    let arguments: Vec<&str> =
        ["test", "rules"].into_iter().chain(files.iter().map(|file| file.to_str().unwrap())).collect();
    let output = promtool(&arguments, "").unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn the_test_of_each_alert_fails_without_the_time_that_it_waits() {
    let rules = fs::read_to_string(project("dist/prometheus/nixfleet-agent.rules.yml")).unwrap();
    let (waits, hasty): (Vec<&str>, Vec<&str>) =
        rules.lines().partition(|line| line.starts_with("        for: "));
    let folder = tempfile::tempdir().unwrap();
    for path in ["dist/prometheus", "tests/prometheus"] {
        fs::create_dir_all(folder.path().join(path)).unwrap();
    }
    fs::write(folder.path().join("dist/prometheus/nixfleet-agent.rules.yml"), hasty.join("\n")).unwrap();
    let mut arguments = vec!["test".to_owned(), "rules".to_owned()];
    for file in tests_of_alerts() {
        let copy = folder.path().join("tests/prometheus").join(file.file_name().unwrap());
        fs::copy(file, &copy).unwrap();
        arguments.push(copy.to_str().unwrap().to_owned());
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let Some(output) = promtool(&arguments, "") else { return };
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    let alerts = rules.split("- alert: ").skip(1).filter(|alert| alert.contains("\n        for: "));
    let names: Vec<&str> = alerts.filter_map(|alert| alert.lines().next()).collect();
    assert_eq!(names.len(), waits.len());
    for name in names {
        assert!(said.contains(&format!("alertname: {name}, ")), "{name} need not wait: {said}");
    }
}

#[test]
fn each_alert_has_a_test_in_which_it_fires_and_one_in_which_it_does_not() {
    let rules = fs::read_to_string(project("dist/prometheus/nixfleet-agent.rules.yml")).unwrap();
    let named: BTreeSet<String> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).map(str::to_owned).collect();
    assert!(named.len() > 20, "{named:?}");
    let (mut fires, mut does_not) = (BTreeSet::new(), BTreeSet::new());
    for file in tests_of_alerts() {
        let text = fs::read_to_string(file).unwrap();
        for case in text.split("alertname: ").skip(1) {
            let (name, rest) = case.split_once('\n').unwrap();
            let silent = rest.trim_start().starts_with("exp_alerts: []");
            if silent { &mut does_not } else { &mut fires }.insert(name.to_owned());
        }
    }
    assert_eq!(fires, named);
    assert_eq!(does_not, named);
}
