//! Blocks of the documents that run here, each page as one script.
//!
//! They say `127.0.0.1:8000` as a reader would type it, so they run in a network of their own where the machine allows
//! that. Elsewhere they run only if nothing else listens there.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::page::page;
use crate::skipped::skipped;

/// How long a script may take: far longer than any does, and a bound for one that hangs.
const LIMIT: Duration = Duration::from_secs(90);

/// How long a script may take to end what it has started: the demo asks its agent first.
const END: Duration = Duration::from_secs(15);

/// How often a script is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// The folder with both programs. The dashboard is of another package: `cargo test` builds it, and `cargo test --test
/// docs` alone does not.
pub(crate) fn programs() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = Path::new(env!("CARGO_BIN_EXE_nixfleet-agent")).parent().unwrap().to_owned();
        if !folder.join("nixfleet-mock-dashboard").exists() {
            let mut cargo = Command::new(env!("CARGO"));
            cargo.current_dir(env!("CARGO_MANIFEST_DIR")).args(["build", "--locked", "--quiet"]);
            cargo
                .args(["-p", "nixfleet-mock-dashboard", "--bins", "--target-dir"])
                .arg(folder.parent().unwrap());
            let status = cargo.status().unwrap();
            assert!(status.success(), "the dashboard cannot be built: {status}");
        }
        folder
    })
}

/// A folder in which `target/debug` and `target/release` have the programs, and where everything else is written.
struct Stage(tempfile::TempDir);

impl Stage {
    fn new() -> Self {
        let stage = Self(tempfile::tempdir().unwrap());
        for profile in ["debug", "release"] {
            let folder = stage.path("target").join(profile);
            fs::create_dir_all(&folder).unwrap();
            for program in ["nixfleet-agent", "nixfleet-mock-dashboard"] {
                symlink(programs().join(program), folder.join(program)).unwrap();
            }
        }
        fs::write(stage.path("nixfleet-token"), "a-token").unwrap();
        stage
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The script with the places of this stage.
    fn here(&self, script: &str) -> String {
        let own = format!("{}/", self.0.path().display());
        script.replace("/run/secrets/", &own).replace("/tmp/", &own)
    }

    /// Starts a script in a process group of its own.
    fn start(&self, script: &str) -> Running {
        let output = self.path("output");
        let file = File::create(&output).unwrap();
        let mut command = match namespace() {
            Some(unshare) => {
                let mut command = Command::new(&unshare[0]);
                command.args(&unshare[1..]).args([
                    "sh",
                    "-c",
                    "ip link set lo up && exec bash -eu -c \"$0\"",
                ]);
                command.arg(self.here(script));
                command
            }
            None => {
                let mut command = Command::new("bash");
                command.args(["-eu", "-c", &self.here(script)]);
                command
            }
        };
        let path = format!("{}:{}", self.path("target/debug").display(), std::env::var("PATH").unwrap());
        command.current_dir(self.0.path()).env_clear().env("PATH", path).env("HOME", self.0.path());
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        Running { child: command.process_group(0).spawn().unwrap(), output }
    }
}

/// A script that ends with this value, with all that it has started.
struct Running {
    child: Child,
    output: PathBuf,
}

impl Running {
    fn output(&self) -> String {
        fs::read_to_string(&self.output).unwrap()
    }

    /// Waits for the end of the script, or until it has written what is asked for. Fails if it fails.
    fn wait_until(&mut self, enough: impl Fn(&str) -> bool) -> String {
        let begun = Instant::now();
        loop {
            let ended = self.child.try_wait().unwrap();
            let output = self.output();
            if let Some(status) = ended {
                assert!(status.success(), "{status}: {output}");
                return output;
            }
            if enough(&output) {
                return output;
            }
            assert!(begun.elapsed() < LIMIT, "still running: {output}");
            thread::sleep(LOOK);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let group = Pid::from_child(&self.child);
        // The demo has started agents in groups of their own, and ends them itself if it is asked to.
        kill_process_group(group, Signal::TERM).ok();
        let begun = Instant::now();
        while self.child.try_wait().is_ok_and(|ended| ended.is_none()) && begun.elapsed() < END {
            thread::sleep(LOOK);
        }
        kill_process_group(group, Signal::KILL).ok();
        self.child.wait().ok();
    }
}

/// How to run a command in a network of its own, if this machine allows that.
fn namespace() -> Option<&'static [String]> {
    static FOUND: OnceLock<Option<Vec<String>>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        let ways = ["unshare --user --map-root-user --net --", "unshare --net --"];
        let words = ways.map(|way| way.split(' ').map(str::to_owned).collect::<Vec<_>>());
        words.into_iter().find(|way| {
            let mut command = Command::new(&way[0]);
            command.args(&way[1..]).args(["ip", "link", "set", "lo", "up"]).stderr(Stdio::null());
            command.status().is_ok_and(|status| status.success())
        })
    });
    found.as_deref()
}

/// Whether a script can listen on the ports that the documents name, and ask there. If not, says that the test is
/// skipped.
fn can_serve(test: &str) -> bool {
    if Command::new("curl").arg("--version").output().is_err() {
        skipped(&format!("{test}: curl is not installed"));
        return false;
    }
    let free = namespace().is_some()
        || [8000, 8001].iter().all(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    if !free {
        skipped(&format!("{test}: no network of its own here, and something listens on port 8000 or 8001"));
    }
    free
}

/// All blocks of a page with this marker, as one script.
fn script(path: &str, marker: &str) -> String {
    let blocks = page(path).blocks().into_iter().filter(|block| block.marker.as_deref() == Some(marker));
    let script: String = blocks.map(|block| block.text).collect();
    assert!(!script.is_empty(), "{path}: no block with the comment <!-- test: {marker} -->");
    script
}

#[track_caller]
fn says(output: &str, wanted: &[&str]) {
    for text in wanted {
        assert!(output.contains(text), "no {text:?} in: {output}");
    }
}

#[test]
fn the_dashboard_and_the_agent_by_hand_do_what_the_page_says() {
    if !can_serve("the page of the mock dashboard") {
        return;
    }
    let stage = Stage::new();
    let output = stage.start(&script("docs/mock-dashboard.md", "run")).wait_until(|_| false);
    says(
        &output,
        &[
            r#""hostname":"web-1""#,
            "command already running",
            r#""type":"heartbeat""#,
            "web-1: connected to ws://127.0.0.1:8000/ws",
        ],
    );
}

#[test]
fn the_first_connection_says_what_is_missing() {
    let stage = Stage::new();
    let mut running = stage.start(&script("docs/start.md", "run"));
    // There is no dashboard of that name: the settings are good, the agent starts, and says why it is not connected.
    let output = running.wait_until(|output| output.contains("Not connected"));
    says(&output, &["is good", "Not connected"]);
}

#[test]
fn vitals_are_shown_without_a_dashboard() {
    let stage = Stage::new();
    for path in ["docs/vitals.md", "README.md"] {
        for line in script(path, "each line runs").lines() {
            let output = stage.start(line).wait_until(|output| output.ends_with('\n'));
            assert!(!output.is_empty(), "{path}: {line}");
        }
    }
    fs::write(stage.path("heartbeat.conf"), script("docs/vitals.md", "heartbeat.conf")).unwrap();
    let output = stage
        .start("nixfleet-agent vitals --follow --file heartbeat.conf")
        .wait_until(|output| output.ends_with('\n'));
    says(&output, &[r#"{"uptime":"#, r#""load_1m":""#]);
}

#[test]
fn the_demo_prints_the_address_of_its_page() {
    let stage = Stage::new();
    let output = stage
        .start("nixfleet-mock-dashboard demo --listen 127.0.0.1:0")
        .wait_until(|output| output.contains("http://"));
    says(&output, &["http://"]);
}
