//! Starts a demo, and asks it as its page does.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Longest wait for a state: a trial that fails, on a loaded machine.
const LIMIT: Duration = Duration::from_secs(120);

/// Longest silence of the dashboard in an answer: a verdict takes two seconds.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// How often to look. Each look is a request.
const TICK: Duration = Duration::from_millis(50);

/// Waits for a state.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    within(LIMIT, what, look)
}

/// Waits for a state, for that long.
#[track_caller]
pub(crate) fn within<T>(limit: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < limit, "after {limit:?} still no {what}");
        thread::sleep(TICK);
    }
}

/// A process: its id, and when it was started, because ids are used again.
pub(crate) type Process = (i32, u64);

/// Whether a process exists and is no zombie.
pub(crate) fn lives((pid, started): Process) -> bool {
    let stat = procfs::process::Process::new(pid).and_then(|process| process.stat());
    stat.is_ok_and(|stat| stat.starttime == started && stat.state != 'Z')
}

/// The agent beside the dashboard. Cargo builds both for the tests of the workspace; for those of this package alone it
/// has to be told.
fn agent() -> PathBuf {
    let agent = Path::new(env!("CARGO_BIN_EXE_nixfleet-mock-dashboard")).with_file_name("nixfleet-agent");
    if !agent.exists() {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build.args(["build", "--locked", "-p", "nixfleet-agent", "--bin", "nixfleet-agent"]);
        assert!(build.status().unwrap().success(), "no agent could be built");
    }
    agent
}

/// A demo that runs. It ends with the test.
pub(crate) struct Demo {
    process: Child,
    address: String,
    csrf: String,
    temporary: tempfile::TempDir,
}

impl Demo {
    /// A demo whose three hosts are online.
    pub(crate) fn start() -> Self {
        Self::start_at("127.0.0.1:0")
    }

    pub(crate) fn start_at(listen: &str) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let said = File::create(temporary.path().join("said")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_nixfleet-mock-dashboard"));
        command.args(["demo", "--listen", listen, "--agent"]).arg(agent()).stdin(Stdio::null()).stdout(said);
        let process = command.env("TMPDIR", temporary.path()).spawn().unwrap();
        let mut demo = Self { process, address: String::new(), csrf: String::new(), temporary };
        demo.address = eventually("an address", || {
            let (_, rest) = demo.said().split_once("http://").map(|(a, b)| (a.to_owned(), b.to_owned()))?;
            Some(rest.split_once('/')?.0.to_owned())
        });
        let page = demo.http("GET / HTTP/1.0\r\n", "").unwrap();
        let (_, token) = page.split_once("csrf-token\" content=\"").unwrap();
        token.split_once('"').unwrap().0.clone_into(&mut demo.csrf);
        eventually("three hosts with a checkout", || {
            let hosts = demo.get("/api/hosts")["hosts"].take();
            let is_ready = |host: &&Value| {
                host["system"]["repo_commit"].is_string() && !host["pending_command"].is_string()
            };
            (hosts.as_array()?.iter().filter(is_ready).count() == 3).then_some(())
        });
        demo
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.temporary.path().join(format!("nixfleet-demo-{}", self.process.id()))
    }

    /// Commits a program to the repository.
    pub(crate) fn commit(&self, name: &str, text: &str) {
        let origin = self.folder().join("origin");
        let path = origin.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        for arguments in [&["add", "."] as &[_], &["commit", "--quiet", "--message", "A test"]] {
            assert!(Command::new("git").arg("-C").arg(&origin).args(arguments).status().unwrap().success());
        }
    }

    /// What it wrote.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(self.temporary.path().join("said")).unwrap()
    }

    /// The body of an answer; none while nobody answers.
    fn http(&self, head: &str, body: &str) -> Option<String> {
        let mut socket = TcpStream::connect(&self.address).ok()?;
        socket.set_read_timeout(Some(ANSWER_LIMIT)).ok()?;
        let length = body.len();
        let request = format!("{head}Host: {}\r\nContent-Length: {length}\r\n\r\n{body}", self.address);
        socket.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).ok()?;
        Some(answer.split_once("\r\n\r\n")?.1.to_owned())
    }

    fn get(&self, path: &str) -> Value {
        let answer = self.http(&format!("GET {path} HTTP/1.0\r\n"), "").unwrap();
        serde_json::from_str(&answer).unwrap_or_else(|err| panic!("{path}: {err}: {answer}"))
    }

    pub(crate) fn host(&self, name: &str) -> Value {
        self.get(&format!("/api/hosts/{name}"))
    }

    /// Presses a button.
    pub(crate) fn send(&self, host: &str, command: &str) {
        let head = format!("POST /api/hosts/{host}/command HTTP/1.0\r\nX-CSRF-Token: {}\r\n", self.csrf);
        let answer = self.http(&head, &format!("{{\"command\": \"{command}\"}}")).unwrap();
        assert!(!answer.contains("error"), "{command} on {host}: {answer}");
    }

    /// Waits for the end of a command.
    pub(crate) fn ended(&self, host: &str, command: &str) -> Value {
        eventually(command, || {
            let host = self.host(host);
            let status = &host["last_status"];
            (status["command"] == command && host["pending_command"].is_null()).then(|| status.clone())
        })
    }

    /// Presses a button, and waits for the end of that command.
    pub(crate) fn run(&self, host: &str, command: &str) -> Value {
        let before = self.host(host)["last_status"]["job_id"].take();
        self.send(host, command);
        eventually(command, || {
            let host = self.host(host);
            let status = &host["last_status"];
            let is_new = status["command"] == command && status["job_id"] != before;
            (is_new && host["pending_command"].is_null()).then(|| status.clone())
        })
    }

    /// The lines of a command, with their numbers.
    pub(crate) fn lines(&self, host: &str, job: &str) -> Vec<(u64, String)> {
        let messages = self.get(&format!("/api/hosts/{host}/messages?type=output_batch&since=0"));
        let payloads = messages["messages"].as_array().unwrap().iter().map(|message| &message["payload"]);
        let of_job = payloads.filter(|payload| payload["job_id"] == job);
        let lines = of_job.flat_map(|payload| payload["lines"].as_array().unwrap());
        lines.map(|line| (line["seq"].as_u64().unwrap(), line["line"].as_str().unwrap().to_owned())).collect()
    }

    /// The demo and everything below it.
    pub(crate) fn processes(&self) -> Vec<Process> {
        let all = procfs::process::all_processes().unwrap();
        let all: Vec<_> = all.filter_map(|process| process.ok()?.stat().ok()).collect();
        let mut ids = HashSet::from([self.process.id().cast_signed()]);
        // Ids of children may be lower than those of their parents.
        while all.iter().any(|stat| ids.contains(&stat.ppid) && ids.insert(stat.pid)) {}
        all.iter().filter(|stat| ids.contains(&stat.pid)).map(|stat| (stat.pid, stat.starttime)).collect()
    }

    /// Whether a process of the demo has such an argument.
    pub(crate) fn has_process(&self, argument: &str) -> bool {
        self.find(argument).next().is_some()
    }

    fn find(&self, argument: &str) -> impl Iterator<Item = Pid> {
        let has_argument = move |pid: &i32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.split(|byte| *byte == 0).any(|word| word == argument.as_bytes())
        };
        self.processes().into_iter().map(|(pid, _)| pid).filter(has_argument).filter_map(Pid::from_raw)
    }

    pub(crate) fn signal(&mut self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }

    /// Kills the process that keeps the agents.
    pub(crate) fn kill_manager(&mut self) {
        let manager = self.find("--manage").next().unwrap();
        kill_process(manager, Signal::KILL).unwrap();
    }

    /// Kills the supervisors of all commands.
    pub(crate) fn kill_supervisors(&mut self) {
        self.find("exec-job").for_each(|pid| kill_process(pid, Signal::KILL).unwrap());
    }

    /// Waits for its end; its exit code, unless a signal ended it.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        let status = eventually("end of the demo", || self.process.try_wait().unwrap());
        status.code()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        if self.process.try_wait().is_ok_and(|status| status.is_none()) {
            kill_process(Pid::from_child(&self.process), Signal::TERM).ok();
            drop(self.process.wait());
        }
    }
}
