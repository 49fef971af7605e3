//! NVIDIA's library in the reader, a process of its own: a stand-in that crashes, hangs or needs much memory.

use std::fs;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nixfleet_protocol::GpuVitals;
use rustix::process::{Pid, Signal, kill_process};

use crate::rig::{AgentProcess, Fleet, TOKEN, eventually, lives, program};

const LIBRARY: &str = "libnvidia-ml.so.1";

/// What the library says of its only GPU.
const USUAL: &str = "count 1\n0.bus 00000000:01:00.0\n0.name NVIDIA Test\n0.used 1000\n0.total 4000\n\
                     0.temperature 45\n0.power 123456\n0.utilization 50\n";

/// A host with an NVIDIA GPU.
struct Host {
    fleet: Fleet,
}

impl Host {
    /// None, loudly, where no compiler is.
    async fn new(lines: &str) -> Option<Self> {
        let host = Self { fleet: Fleet::start().await };
        let device = host.sys().join("bus/pci/devices/0000:01:00.0");
        fs::create_dir_all(device.join("power")).unwrap();
        for (file, text) in
            [("vendor", "0x10de"), ("class", "0x030000"), ("device", "0x2684"), ("power/control", "on")]
        {
            fs::write(device.join(file), text).unwrap();
        }
        symlink("../../../bus/pci/drivers/nvidia", device.join("driver")).unwrap();
        host.says(lines);
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/vitals/tests/fixtures/gpu/nvml.c");
        let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
        let mut command = Command::new(&compiler);
        command.args(["-shared", "-fPIC", "-o"]).args([&host.library(), &source]).arg("-ldl");
        match command.status() {
            Ok(status) => {
                assert!(status.success());
                Some(host)
            }
            Err(error) => {
                // Not by a macro: the test runner swallows what those print.
                let line = format!("\nSKIPPED: no test of NVML was run: {}: {error}\n", compiler.display());
                std::io::stderr().write_all(line.as_bytes()).unwrap();
                None
            }
        }
    }

    fn sys(&self) -> PathBuf {
        self.fleet.path("sys")
    }

    fn library(&self) -> PathBuf {
        self.fleet.path(LIBRARY)
    }

    /// What the library says from now on. By rename, because it may be reading.
    fn says(&self, lines: &str) {
        fs::write(self.fleet.path("control.new"), format!("{USUAL}{lines}")).unwrap();
        fs::rename(self.fleet.path("control.new"), self.fleet.path("control")).unwrap();
    }

    fn set_up(&self, command: &mut Command) {
        command.env("NIXFLEET_PATHS__SYS", self.sys()).env("NIXFLEET_PATHS__NVML", self.library());
    }

    fn agent(&self) -> AgentProcess {
        let mut command = self.fleet.agent_command();
        self.set_up(&mut command);
        AgentProcess::spawn(command, self.fleet.path("state"))
    }

    /// The process that opened the library last.
    fn reader(&self) -> Option<u32> {
        fs::read_to_string(self.fleet.path("pid")).ok()?.trim().parse().ok()
    }

    /// How many heartbeats arrived, and the GPU in the last one.
    fn last(&self) -> Option<(usize, GpuVitals)> {
        let beats = self.fleet.beats();
        Some((beats.len(), beats.last()?.1.vitals.as_ref()?.gpus.first()?.clone()))
    }

    /// Waits for a heartbeat with a GPU of this status; returns their number.
    async fn status(&self, wanted: &str) -> usize {
        self.fleet
            .wait(wanted, |_| self.last().and_then(|(count, gpu)| (gpu.status == wanted).then_some(count)))
            .await
    }

    /// Waits for more heartbeats, and fails if one of them was late.
    async fn beats_on_time(&self, after: usize, more: usize) {
        self.fleet.wait("more heartbeats", |fleet| (fleet.beats().len() >= after + more).then_some(())).await;
        let times: Vec<i64> = self.fleet.beats().iter().skip(after).map(|(at, _)| *at).collect();
        // The interval is a second; a driver that delays a heartbeat does so for three.
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] < 2_900), "{times:?}");
    }
}

/// A line of /proc/PID/status in kB.
fn kilobytes(pid: i32, line: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let found = status.lines().find_map(|text| text.strip_prefix(line)).unwrap();
    found.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test]
async fn the_library_is_in_a_process_without_a_token_and_not_in_the_agent() {
    let Some(host) = Host::new("weight 300\n").await else { return };
    let mut agent = host.agent();
    host.status("ok").await;
    let gpu = host.last().unwrap().1;
    assert_eq!(
        (gpu.name.as_deref(), gpu.usage, gpu.temp_celsius),
        (Some("NVIDIA Test"), Some(0.5), Some(45.0))
    );
    let reader = host.reader().unwrap();
    let (own, its) = (agent.pid().as_raw_nonzero().get(), i32::try_from(reader).unwrap());
    assert_ne!(own, its);
    assert!(kilobytes(its, "VmRSS:") > 300_000);
    assert!(kilobytes(own, "VmHWM:") < 100_000, "{} kB", kilobytes(own, "VmHWM:"));
    let environment = fs::read_to_string(host.fleet.path("environment")).unwrap();
    assert!(environment.lines().all(|line| line.starts_with("LD_LIBRARY_PATH=")), "{environment}");
    for file in ["cmdline", "environ"] {
        let text = fs::read(format!("/proc/{its}/{file}")).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&text).contains(TOKEN), "{file}");
    }
    let score = fs::read_to_string(format!("/proc/{its}/oom_score_adj")).unwrap();
    assert_eq!(score.trim(), "500", "the kernel takes it before others");
    // As a service manager that stops the unit.
    kill_process(Pid::from_raw(its).unwrap(), Signal::TERM).unwrap();
    let beats = host.fleet.beats().len();
    host.beats_on_time(beats, 2).await;
    host.status("ok").await;
    assert_eq!(host.reader(), Some(reader));
    agent.kill();
    eventually("the end of the reader", || (!lives(reader)).then_some(())).await;
}

#[tokio::test]
async fn a_library_that_crashes_costs_its_readings_only_until_there_is_another_reader() {
    for how in ["abort", "segfault"] {
        let Some(host) = Host::new("").await else { return };
        let mut agent = host.agent();
        let before = host.status("ok").await;
        let first = host.reader().unwrap();
        host.says(&format!("{how} power\n"));
        let failed = host.status("failed").await;
        host.beats_on_time(before, 3).await;
        host.says("");
        assert!(agent.is_running());
        host.status("ok").await;
        assert_ne!(host.reader().unwrap(), first);
        host.beats_on_time(failed, 2).await;
        assert_eq!(host.fleet.dashboard.registrations().total, 1, "one connection");
    }
}

#[tokio::test]
async fn a_library_that_hangs_delays_no_heartbeat_and_does_not_outlive_the_agent() {
    let Some(host) = Host::new("").await else { return };
    let mut agent = host.agent();
    let before = host.status("ok").await;
    host.says("hang power\n");
    host.status("no_answer").await;
    host.beats_on_time(before, 6).await;
    let reader = host.reader().unwrap();
    assert!(lives(reader), "it may still answer");
    // Nobody tells it, and it reads nothing.
    agent.kill();
    eventually("the end of the reader", || (!lives(reader)).then_some(())).await;
}

#[tokio::test]
async fn vitals_and_doctor_have_a_reader_of_their_own() {
    let Some(host) = Host::new("").await else { return };
    for arguments in [&["vitals", "--json"][..], &["vitals"], &["doctor"]] {
        // They wait for a second at most, in which a busy machine may not start a process.
        eventually("the GPU", || {
            let mut command = host.fleet.agent_command();
            host.set_up(&mut command);
            let output = command.args(arguments).output().unwrap();
            String::from_utf8_lossy(&output.stdout).contains("NVIDIA Test").then_some(())
        })
        .await;
        let reader = host.reader().unwrap();
        eventually("the end of the reader", || (!lives(reader)).then_some(())).await;
        fs::remove_file(host.fleet.path("pid")).unwrap();
    }
}

#[tokio::test]
async fn a_reader_that_nobody_asks_ends_at_once() {
    let Some(host) = Host::new("").await else { return };
    let (own, its) = UnixStream::pair().unwrap();
    // As if the agent had ended with a question on its way.
    (&own).write_all(b"1\tall\n").unwrap();
    drop(own);
    for input in [Stdio::null(), OwnedFd::from(its).into()] {
        let output = program().arg("gpu-reader").arg(host.library()).stdin(input).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && text.contains("works for the agent"), "{text}");
    }
    assert_eq!(host.reader(), None, "the library was not opened");
}
