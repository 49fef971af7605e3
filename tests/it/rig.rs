//! Test environment: the mock dashboard in this process, the agent in a process of its own.
//!
//! With `NIXFLEET_TEST_FLEET` in the environment, a fleet in NATS takes the place of the mock dashboard: see [`in_nats`].
//! The same tests show then that an agent does the same through a gateway, and that a dashboard sees the same.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Pid;
use tokio::task::JoinHandle;

use nixfleet_dashboard::{Dashboard, Faults, Handle, Options, Recorded, Refusal, Strict};
use nixfleet_protocol::{AgentMessage, CommandRejected, Heartbeat, Status};

pub(crate) use agent::AgentProcess;

// With paths, because another test program has this file in another place.
#[path = "rig/agent.rs"]
mod agent;
#[path = "rig/in_nats.rs"]
pub(crate) mod in_nats;

pub(crate) const HOST: &str = "test-host";
pub(crate) const TOKEN: &str = "test-token";

/// A name of the dashboard, for tests that make it known to their host.
pub(crate) const DASHBOARD: &str = "dash.test";

/// Longest wait for a state. A successful test is much faster, also on a loaded machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// The dashboard, and the folder of the agent.
pub(crate) struct Fleet {
    pub(crate) dashboard: Handle,
    pub(crate) folder: tempfile::TempDir,
    url: String,
    serving: Serving,
    commands: String,
}

/// What agents connect to.
enum Serving {
    Mock(JoinHandle<()>),
    Nats(in_nats::Parts),
}

impl Fleet {
    pub(crate) async fn start() -> Self {
        Self::start_at("127.0.0.1:0").await
    }

    pub(crate) async fn start_at(listen: &str) -> Self {
        Self::start_as(listen, None).await
    }

    /// With a strict dashboard, which records what existing dashboards could not handle.
    pub(crate) async fn strict() -> Self {
        Self::start_as("127.0.0.1:0", Some(Strict::default())).await
    }

    async fn start_as(listen: &str, strict: Option<Strict>) -> Self {
        let listen = listen.parse().unwrap();
        let folder = tempfile::tempdir().unwrap();
        if in_nats::is_on() {
            let (dashboard, address, parts) = in_nats::start(listen, folder.path()).await;
            let (url, serving) = (format!("ws://{address}/ws"), Serving::Nats(parts));
            return Self { dashboard, folder, url, serving, commands: String::new() };
        }
        let options =
            Options { listen, token: TOKEN.to_owned(), csrf_token: Some("csrf".to_owned()), strict };
        // One name is for the tests of name servers, one only proxies know.
        let dashboard = Dashboard::bind(options).await.unwrap();
        let dashboard = dashboard.allow_host(DASHBOARD).unwrap().allow_host("dash.invalid").unwrap();
        let url = format!("ws://{}/ws", dashboard.address());
        let handle = dashboard.handle();
        let serving = Serving::Mock(tokio::spawn(dashboard.serve(std::future::pending())));
        Self { dashboard: handle, folder, url, serving, commands: String::new() }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Cuts the connection of the agent, if it has one, like a lost network.
    pub(crate) fn cut(&self) {
        match &self.serving {
            // An error means that it has none.
            Serving::Mock(_) => drop(self.dashboard.drop_connection(HOST)),
            Serving::Nats(parts) => parts.cut(),
        }
    }

    /// From now on no agent gets in. A mock dashboard refuses it in this way.
    pub(crate) fn refuse(&self, refusal: Refusal) {
        match &self.serving {
            Serving::Mock(_) => {
                self.dashboard.set_faults(Faults { refuse_auth: Some(refusal), ..Faults::default() });
            }
            Serving::Nats(parts) => parts.set_down(true),
        }
    }

    /// From now on agents get in again.
    pub(crate) fn admit(&self) {
        match &self.serving {
            Serving::Mock(_) => self.dashboard.set_faults(Faults::default()),
            Serving::Nats(parts) => parts.set_down(false),
        }
    }

    /// Where the dashboard listens.
    pub(crate) fn dashboard_address(&self) -> std::net::SocketAddr {
        self.url.trim_start_matches("ws://").trim_end_matches("/ws").parse().unwrap()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Adds a command that is a shell script.
    pub(crate) fn script(mut self, name: &str, body: &str) -> Self {
        let path = self.path(&format!("{name}.sh"));
        fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        self.commands += &format!("[commands.{name}]\nrun = [\"{}\"]\n", path.display());
        self
    }

    /// Adds a command that runs until it [is let go](Self::let_go), and then does this.
    pub(crate) fn held(self, name: &str, then: &str) -> Self {
        self.script(name, &format!("until [ -e \"${{0%/*}}/end\" ]; do sleep 0.02; done\n{then}"))
    }

    /// Lets a command end that is held.
    pub(crate) fn let_go(&self) {
        fs::write(self.path("end"), "").unwrap();
    }

    /// Adds text to the agent's configuration file.
    pub(crate) fn configure(mut self, text: &str) -> Self {
        self.commands += text;
        self
    }

    /// The command line and environment of an agent with an interval of 1 s.
    pub(crate) fn agent_command(&self) -> Command {
        let config = self.path("agent.toml");
        // Not a second time while an agent runs: its jobs read the file, and could find it empty.
        if fs::read_to_string(&config).ok().as_ref() != Some(&self.commands) {
            fs::write(&config, &self.commands).unwrap();
        }
        let mut command = program();
        command
            .env("NIXFLEET_CONFIG", config)
            .env("NIXFLEET_URL", &self.url)
            .env("NIXFLEET_TOKEN", TOKEN)
            .env("NIXFLEET_HOSTNAME", HOST)
            .env("NIXFLEET_INTERVAL", "1")
            .env("NIXFLEET_STATE_DIR", self.path("state"))
            .env("NIXFLEET_STASYSMO_DIR", self.path("stasysmo"))
            .env("NIXFLEET_JOBS__STOP_GRACE", "2");
        command
    }

    pub(crate) fn spawn_agent(&self) -> AgentProcess {
        AgentProcess::spawn(self.agent_command(), self.path("state"))
    }

    /// An agent that has sent its first heartbeat.
    pub(crate) async fn agent(&self) -> AgentProcess {
        let agent = self.spawn_agent();
        self.wait("a first heartbeat", |fleet| fleet.beats().first().cloned()).await;
        self.connected().await;
        agent
    }

    pub(crate) async fn wait<T>(&self, what: &str, mut look: impl FnMut(&Self) -> Option<T>) -> T {
        self.dashboard.wait_until(what, LIMIT, |_| look(self)).await
    }

    pub(crate) fn messages(&self) -> Vec<Recorded> {
        self.dashboard.messages(HOST)
    }

    pub(crate) fn beats(&self) -> Vec<(i64, Heartbeat)> {
        let beat = |recorded: Recorded| match recorded.message {
            AgentMessage::Heartbeat(beat) => Some((recorded.at_ms, *beat)),
            _ => None,
        };
        self.messages().into_iter().filter_map(beat).collect()
    }

    pub(crate) fn statuses(&self) -> Vec<Status> {
        let status = |recorded: Recorded| match recorded.message {
            AgentMessage::Status(status) => Some(status),
            _ => None,
        };
        self.messages().into_iter().filter_map(status).collect()
    }

    pub(crate) fn rejections(&self) -> Vec<CommandRejected> {
        let rejected = |recorded: Recorded| match recorded.message {
            AgentMessage::CommandRejected(rejected) => Some(rejected),
            _ => None,
        };
        self.messages().into_iter().filter_map(rejected).collect()
    }

    /// Every line that arrived: position, text, whether the next entry continues the line.
    pub(crate) fn lines(&self) -> Vec<(u64, String, bool)> {
        let mut lines = Vec::new();
        for recorded in self.messages() {
            match recorded.message {
                AgentMessage::Output(output) => lines.push((output.seq.unwrap(), output.line, output.cont)),
                AgentMessage::OutputBatch(batch) => {
                    lines.extend(batch.lines.into_iter().map(|line| (line.seq, line.line, line.cont)));
                }
                _ => {}
            }
        }
        lines
    }

    /// Fails if the agent sent anything that existing dashboards could not handle.
    #[track_caller]
    pub(crate) fn assert_no_violations(&self) {
        let found = self.dashboard.violations().violations;
        let texts: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert!(texts.is_empty(), "existing dashboards could not cope with:\n{}", texts.join("\n"));
    }

    pub(crate) fn send(&self, command: &str) {
        self.dashboard.send_command(HOST, command, None).unwrap();
    }

    /// Waits until the dashboard can send commands. Out of NATS it may know of a heartbeat before it knows whose
    /// connection that came by.
    pub(crate) async fn connected(&self) {
        let look = |dashboard: &Handle| dashboard.host(HOST)?.connected.then_some(());
        self.dashboard.wait_until("the connection", LIMIT, look).await;
    }

    /// Sends a command and waits for its status.
    pub(crate) async fn run(&self, command: &str) -> Status {
        self.connected().await;
        let before = self.ends(command).len();
        self.send(command);
        self.wait(&format!("status of {command}"), |fleet| fleet.ends(command).get(before).cloned()).await
    }

    /// Waits for the status of a command that the test did not send.
    pub(crate) async fn ended(&self, command: &str) -> Status {
        self.wait(&format!("status of {command}"), |fleet| fleet.ends(command).pop()).await
    }

    /// Waits for a line of output with this text.
    pub(crate) async fn line(&self, text: &str) {
        let has = |fleet: &Self| fleet.lines().iter().any(|(_, line, _)| line.contains(text)).then_some(());
        self.wait(text, has).await;
    }

    fn ends(&self, command: &str) -> Vec<Status> {
        self.statuses().into_iter().filter(|status| status.command == command).collect()
    }

    /// Waits for a heartbeat on the connection of this number.
    pub(crate) async fn beats_on(&self, connection: u64) {
        self.wait(&format!("a beat on connection {connection}"), |fleet| {
            let mut messages = fleet.messages().into_iter();
            messages.find(|m| m.connection == connection && matches!(m.message, AgentMessage::Heartbeat(_)))
        })
        .await;
    }

    /// Waits until a heartbeat has the command and its process id; returns the id.
    pub(crate) async fn running(&self, command: &str) -> u32 {
        self.wait(&format!("beat with {command} and its pid"), |fleet| {
            let beat = fleet.beats().pop()?.1;
            (beat.pending_command.as_deref() == Some(command)).then_some(beat.command_pid)?
        })
        .await
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if let Serving::Mock(task) = &self.serving {
            task.abort();
        }
    }
}

/// The agent's binary, without settings from the environment of the tests.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nixfleet-agent"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("NIXFLEET_")
            || nixfleet_config::is_proxy_variable(&name.to_string_lossy())
        {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// What `shell` starts runs these commands and then becomes the program of `agent`, with its variables.
pub(crate) fn in_shell(mut shell: Command, commands: &str, agent: &Command) -> Command {
    shell.args(["-c", &format!("{commands}; exec \"$0\"")]).arg(agent.get_program()).stdin(Stdio::null());
    for (name, value) in agent.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell
}

/// Runs the binary to its end.
pub(crate) fn run_program(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    program().args(arguments).envs(environment.iter().copied()).output().unwrap()
}

/// Polls until `look` returns a value, at most for [`LIMIT`].
pub(crate) async fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < LIMIT, "after {LIMIT:?} still no {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Whether a process of this id exists and is no zombie.
pub(crate) fn lives(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with('Z'))
}

/// The only job folder of an agent.
pub(crate) fn job_folder(fleet: &Fleet) -> PathBuf {
    let jobs = fs::read_dir(fleet.path("state/jobs")).unwrap().flatten().map(|item| item.path());
    let folders: Vec<PathBuf> = jobs.filter(|path| path.is_dir()).collect();
    assert_eq!(folders.len(), 1, "{folders:?}");
    folders[0].clone()
}

/// The process of the only job's supervisor.
pub(crate) fn supervisor(fleet: &Fleet) -> Pid {
    let state = json(&job_folder(fleet).join("state.json")).unwrap();
    let pid = i32::try_from(state["supervisor_pid"].as_u64().unwrap()).unwrap();
    Pid::from_raw(pid).unwrap()
}

/// A JSON document, if there is a whole one.
pub(crate) fn json(path: &Path) -> Option<serde_json::Value> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// The text of each entry in a job's log, in order, with its position.
pub(crate) fn journal(fleet: &Fleet) -> Vec<(u64, String)> {
    let text = fs::read_to_string(job_folder(fleet).join("log.jsonl")).unwrap();
    text.lines()
        .map(|line| {
            let entry: serde_json::Value = serde_json::from_str(line).unwrap();
            (entry["seq"].as_u64().unwrap(), entry["line"].as_str().unwrap().to_owned())
        })
        .collect()
}
