//! `vitals` on a host without a dashboard.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::rig::{LIMIT, program, run_program};

/// The only settings: `vitals` needs no URL, token or state folder.
const BARE: [(&str, &str); 2] = [("NIXFLEET_HOSTNAME", "test-host"), ("HOME", "")];

/// A running `vitals --follow` and its lines.
struct Follower {
    child: Child,
    lines: Receiver<(Instant, String)>,
}

impl Follower {
    fn start(arguments: &[&str]) -> Self {
        Self::start_with(arguments, &[])
    }

    fn start_with(arguments: &[&str], variables: &[(&str, &Path)]) -> Self {
        let mut child = program()
            .args(["vitals", "--follow"])
            .args(arguments)
            .envs(BARE)
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let out: ChildStdout = child.stdout.take().unwrap();
        let (send, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(out).lines() {
                if send.send((Instant::now(), line.unwrap())).is_err() {
                    return;
                }
            }
        });
        Self { child, lines }
    }

    fn next(&self) -> (Instant, String) {
        self.lines.recv_timeout(LIMIT).unwrap()
    }

    /// The next line that `wanted` accepts.
    fn until(&self, wanted: impl Fn(&str) -> bool) -> String {
        loop {
            let (_, line) = self.next();
            if wanted(&line) {
                return line;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Ends the process; returns its standard error.
    fn end(mut self, signal: Signal) -> String {
        let begun = Instant::now();
        self.signal(signal);
        let status = self.child.wait().unwrap();
        // At once, not after the interval, which may be an hour.
        assert!(begun.elapsed() < LIMIT, "{:?}", begun.elapsed());
        assert_eq!(status.code(), Some(0));
        let mut said = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        said
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn conf(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("heartbeat.conf");
    fs::write(&path, text).unwrap();
    path
}

fn keys(line: &str) -> Vec<String> {
    // In their order in the text, which a parsed object does not keep.
    line.split('"')
        .skip(1)
        .step_by(2)
        .filter(|word| word.contains(char::is_alphabetic))
        .map(str::to_owned)
        .collect()
}

/// A /proc of which one line and one file are odd.
pub(crate) fn odd_proc(proc: &Path) {
    for (name, text) in [
        ("meminfo", "MemTotal: 2000 kB\nMemFree: \u{1b}[31m kB\nMemAvailable: 1500 kB\n"),
        ("stat", "garbage\n"),
        ("loadavg", "0.50 0.25 0.12 1/80 11206\n"),
        ("uptime", "3600.12 7000.00\n"),
        ("net/dev", "Inter-|\n face |\n  eth0: 1 0 0 0 0 0 0 0 1 0 0 0 0 0 0 0\n"),
        ("self/mountinfo", "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"),
    ] {
        let path = proc.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

#[test]
fn a_file_that_is_odd_is_named_once_and_all_other_figures_stay() {
    let folder = tempfile::tempdir().unwrap();
    odd_proc(folder.path());
    let variables = [("NIXFLEET_PATHS__PROC", folder.path()), ("NIXFLEET_PATHS__SYS", folder.path())];
    let follower = Follower::start_with(&["--interval", "1"], &variables);
    // Each source has been read several times then.
    for _ in 0..3 {
        let vitals: Value = serde_json::from_str(&follower.next().1).unwrap();
        assert_eq!(
            (&vitals["memory_usage"], &vitals["memory_free"]),
            (&0.25.into(), &Value::Null),
            "{vitals}"
        );
        assert_eq!((&vitals["cpu_usage"], &vitals["load"][0]), (&Value::Null, &0.5.into()), "{vitals}");
        assert!(vitals["uptime_s"].as_u64() >= Some(3600) && vitals["disks"][0]["path"] == "/", "{vitals}");
    }
    let said = follower.end(Signal::TERM);
    let named = |words: &str| said.lines().filter(|line| line.contains(words)).count();
    let folder = folder.path().display();
    assert_eq!(
        named(&format!("{folder}/meminfo, line 2 (MemFree): is no number with kB behind it")),
        1,
        "{said}"
    );
    assert_eq!(named(&format!("{folder}/stat, cpu: is missing")), 1, "{said}");
    assert!(named(" WARN ") == 2 && !said.contains('\u{1b}'), "{said}");
}

#[test]
fn once_a_table_for_people_or_one_object_for_machines() {
    let output = run_program(&["vitals"], &BARE);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    for name in ["Device ", "Processor ", "Memory ", "Load ", "Uptime "] {
        assert!(text.lines().any(|line| line.starts_with(name)), "no {name}in: {text}");
    }
    for arguments in [&["vitals", "--json"][..], &["vitals", "--format", "json"]] {
        let output = run_program(arguments, &BARE);
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        let vitals: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(vitals["device_id"], "test-host");
        assert!(vitals["memory_usage"].as_f64().is_some_and(|usage| (0.0..=1.0).contains(&usage)), "{text}");
    }
}

#[test]
fn a_host_whose_name_no_dashboard_would_take_has_vitals_too() {
    let output = run_program(&["vitals", "--json"], &[("NIXFLEET_HOSTNAME", "my_box"), ("HOME", "")]);
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains(r#""device_id":"my_box""#));
}

#[test]
fn the_avocado_heartbeat_is_the_original_object_at_a_fixed_pace() {
    let follower = Follower::start(&["--format", "avocado", "--interval", "1"]);
    let (first, line) = follower.next();
    assert_eq!(keys(&line), ["uptime", "mem_free_kb", "mem_total_kb", "load_1m", "ts"], "{line}");
    let object: Value = serde_json::from_str(&line).unwrap();
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap();
    let total = meminfo.lines().next().unwrap().split_whitespace().nth(1).unwrap();
    assert_eq!(object["mem_total_kb"].as_u64().unwrap().to_string(), total);
    assert!(object["mem_free_kb"].as_u64().unwrap() > 0, "{line}");
    assert!(object["load_1m"].as_str().unwrap().parse::<f64>().is_ok(), "{line}");
    let uptime = fs::read_to_string("/proc/uptime").unwrap();
    let uptime: u64 = uptime.split('.').next().unwrap().parse().unwrap();
    assert!(uptime.abs_diff(object["uptime"].as_u64().unwrap()) <= 5, "{line}");
    for number in 1..=2 {
        let (at, line) = follower.next();
        let late = (at - first).abs_diff(Duration::from_secs(number));
        assert!(late < Duration::from_millis(500), "line {number} is {late:?} off: {line}");
        let ts = serde_json::from_str::<Value>(&line).unwrap()["ts"].as_u64().unwrap();
        assert!(ts.abs_diff(object["ts"].as_u64().unwrap() + number) <= 1, "{line}");
    }
    follower.end(Signal::TERM);
}

#[test]
fn sighup_reads_the_file_again_and_a_wrong_one_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = conf(folder.path(), "INTERVAL=1 # often\r\nFORMAT=avocado\r\n");
    let file = path.to_str().unwrap();
    let follower = Follower::start(&["--file", file]);
    assert!(follower.next().1.starts_with(r#"{"uptime":"#));

    conf(folder.path(), "INTERVAL=1\nFORMAT=logfmt\n");
    follower.signal(Signal::HUP);
    follower.until(|line| line.starts_with("timestamp="));

    conf(folder.path(), "FORMAT=text\nINTERVAL=0\n");
    follower.signal(Signal::HUP);
    for _ in 0..2 {
        assert!(follower.next().1.starts_with("timestamp="));
    }

    // From a long to a short interval: the next line is overdue and follows at once.
    conf(folder.path(), "INTERVAL=3600\nFORMAT=text\n");
    follower.signal(Signal::HUP);
    thread::sleep(Duration::from_millis(1500));
    while follower.lines.try_recv().is_ok() {}
    conf(folder.path(), "INTERVAL=1\nFORMAT=text\n");
    follower.signal(Signal::HUP);
    let begun = Instant::now();
    let line = follower.until(|line| line.starts_with("test-host: "));
    assert!(line.contains("cpu "), "a load in spite of new meters: {line}");
    assert!(begun.elapsed() < LIMIT, "{:?}", begun.elapsed());

    let said = follower.end(Signal::INT);
    assert!(
        said.contains(&format!("{file}:2: INTERVAL: \"0\" is not between 1 and 86400 seconds")),
        "{said}"
    );
    assert!(said.contains("The settings stay as they were"), "{said}");
}

#[test]
fn the_command_line_wins_over_the_file_also_after_sighup() {
    let folder = tempfile::tempdir().unwrap();
    let path = conf(folder.path(), "INTERVAL=3600\nFORMAT=text\n");
    let file = path.to_str().unwrap();
    let follower = Follower::start(&["--file", file, "--interval", "1", "--json"]);
    assert!(follower.next().1.starts_with(r#"{"device_id":"#));
    follower.signal(Signal::HUP);
    for _ in 0..2 {
        assert!(follower.next().1.starts_with(r#"{"device_id":"#));
    }
    follower.end(Signal::TERM);
}

#[test]
fn a_reader_that_has_seen_enough_ends_it_quietly() {
    let mut child = program()
        .args(["vitals", "--follow", "--interval", "1"])
        .envs(BARE)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    // The pipe is closed at the end of this statement.
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let begun = Instant::now();
    while child.try_wait().unwrap().is_none() {
        assert!(begun.elapsed() < LIMIT, "it goes on without a reader");
        thread::sleep(Duration::from_millis(20));
    }
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!said.contains("nixfleet-agent:") && !said.contains("panicked"), "{said}");
}

#[test]
fn a_wrong_file_or_option_is_named_and_the_exit_code_is_64() {
    let folder = tempfile::tempdir().unwrap();
    let path = conf(folder.path(), "# pace\nINTERVAL=$(touch pwned)\nCOLOUR=red\n");
    let file = path.to_str().unwrap();
    let refused = |arguments: &[&str], words: &[&str]| {
        let output = run_program(&[&["vitals"], arguments].concat(), &BARE);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{text}");
        assert!(output.stdout.is_empty());
        for word in words {
            assert!(text.contains(word), "`{word}` is not in: {text}");
        }
    };
    let (second, third) = (format!("{file}:2: "), format!("{file}:3: COLOUR"));
    refused(&["--follow", "--file", file], &[&second, &third]);
    refused(&["--follow", "--file", "/no/such/file"], &["/no/such/file"]);
    refused(&["--follow", "--interval", "0"], &["--interval", "1..=86400"]);
    refused(&["--format", "xml"], &["avocado"]);
    refused(&["--interval", "5"], &["--follow"]);
    refused(&["--json", "--format", "text"], &["--json"]);
    assert!(!folder.path().join("pwned").exists());
}
