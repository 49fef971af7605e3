//! A stand-in for `systemctl` and the units behind it, for agents with the systemd launcher.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};

use crate::rig::{AgentProcess, Fleet, eventually, job_folder, json};

/// Starts supervisors with the variables that systemd sets, and signals them. `$folder/answer` holds what
/// `is-system-running` does.
const SCRIPT: &str = r#"#!/bin/sh
echo "$*" >> FOLDER/calls
for unit; do :; done
instance=${unit#nixfleet-job@}; instance=${instance%.service}
job=FOLDER/state/jobs/${instance##*-}
supervise() {
    INVOCATION_ID=1 NOTIFY_SOCKET=FOLDER/no-socket PATH=JOB_PATH \
        NIXFLEET_STATE_DIR=FOLDER/state NIXFLEET_HOSTNAME=test-host NIXFLEET_JOBS__STOP_GRACE=20 \
        NIXFLEET_PATHS__PROC=FOLDER/proc \
        AGENT --config FOLDER/agent.toml exec-job -- "$instance" > FOLDER/supervisor.log 2>&1
}
case $1 in
start)
    if [ -e FOLDER/bus-is-slow ]; then
        # systemd starts the unit after all, but its caller has given up.
        rm FOLDER/bus-is-slow
        (exec >/dev/null 2>&1; supervise) &
        echo "Failed to start $unit: Connection timed out" >&2
        echo "See system logs and 'systemctl status $unit' for details." >&2
        exit 1
    fi
    # A unit that has ended is started anew.
    if [ -e "$job" ]; then
        while [ ! -e "$job/result.json" ]; do sleep 0.05; done
        supervise && exit 0
        echo "Job for $unit failed because the control process exited with error code." >&2
        exit 1
    fi
    (exec >/dev/null 2>&1; supervise) &
    while [ ! -e "$job/state.json" ] && [ ! -e "$job/result.json" ]; do sleep 0.05; done
    ;;
kill)
    signal=$4
    pid=$(sed 's/.*"supervisor_pid":\([0-9]*\).*/\1/' "$job/state.json")
    kill -"${signal#--signal=}" "$pid"
    ;;
is-system-running) . FOLDER/answer ;;
esac
"#;

/// A fleet whose agents use the stand-in.
pub(crate) struct Units {
    pub(crate) fleet: Fleet,
}

impl Units {
    /// With this text in the configuration. `answer` is a line of shell: what `is-system-running` does. `FOLDER`
    /// in it is the folder of the fleet.
    pub(crate) async fn new(settings: &str, answer: &str) -> Self {
        let fleet = Fleet::strict().await.configure(&format!("{settings}\n[jobs]\nlauncher = \"systemd\"\n"));
        let units = Self { fleet };
        fs::create_dir(units.fleet.path("bin")).unwrap();
        units.with_path(&units.path());
        units.answers(answer);
        units.boot("one");
        units
    }

    /// The search path with the stand-in in front.
    fn path(&self) -> String {
        format!("{}:{}", self.fleet.path("bin").display(), std::env::var("PATH").unwrap())
    }

    /// Sets the search path of supervisors.
    pub(crate) fn with_path(&self, path: &str) {
        let script = SCRIPT
            .replace("FOLDER", &self.fleet.folder.path().display().to_string())
            .replace("AGENT", env!("CARGO_BIN_EXE_nixfleet-agent"))
            .replace("JOB_PATH", path);
        let systemctl = self.fleet.path("bin/systemctl");
        fs::write(&systemctl, script).unwrap();
        fs::set_permissions(&systemctl, fs::Permissions::from_mode(0o755)).unwrap();
    }

    pub(crate) fn answers(&self, shell: &str) {
        let shell = shell.replace("FOLDER", &self.fleet.folder.path().display().to_string());
        fs::write(self.fleet.path("answer"), format!("{shell}\n")).unwrap();
    }

    /// Gives the machine a boot id.
    pub(crate) fn boot(&self, id: &str) {
        let folder = self.fleet.path("proc/sys/kernel/random");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("boot_id"), format!("{id}\n")).unwrap();
    }

    /// An agent that has sent its first heartbeat.
    pub(crate) async fn agent(&self) -> AgentProcess {
        let before = self.fleet.beats().len();
        let mut command: Command = self.fleet.agent_command();
        command.env("PATH", self.path()).env("NIXFLEET_PATHS__PROC", self.fleet.path("proc"));
        let agent = AgentProcess::spawn(command, self.fleet.path("state"));
        self.fleet.wait("a heartbeat", |fleet| fleet.beats().get(before).cloned()).await;
        agent
    }

    /// Sends SIGTERM to the supervisor of the only job, as systemd does when it stops its unit.
    pub(crate) fn sigterm(&self) {
        let state = json(&job_folder(&self.fleet).join("state.json")).unwrap();
        let pid = i32::try_from(state["supervisor_pid"].as_i64().unwrap()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), Signal::TERM).unwrap();
    }

    /// The result of the only job, once it is there.
    pub(crate) async fn result(&self) -> serde_json::Value {
        let path = job_folder(&self.fleet).join("result.json");
        eventually("the result", || json(&path)).await
    }

    /// How often the stand-in was called with this verb.
    pub(crate) fn calls(&self, verb: &str) -> usize {
        let calls = fs::read_to_string(self.fleet.path("calls")).unwrap_or_default();
        calls.lines().filter(|line| line.split(' ').next() == Some(verb)).count()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.fleet.path(name)
    }
}
