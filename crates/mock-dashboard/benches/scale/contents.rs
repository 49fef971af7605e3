//! What the agents say: as much as a server with all collectors says, and a little different in each message.

use nixfleet_protocol::{
    AgentMessage, DeviceVitals, DiskIo, DiskVitals, FailedUnits, Heartbeat, HostSystem, Metrics, NextBoot,
    Pressures, Register, Status, StatusKind, TemperatureVitals, Throughput, UpdateState, UpdateStatus,
    Verdict,
};

const COMMIT: &str = "7beb50e0c1d2a3b4c5d6e7f8091a2b3c4d5e6f70";
const HASH: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const PROGRAM: &str = "/nix/store/0v5xc9hcs4bbvqpw6c9bh4zcs7pcnm1s-nixfleet-agent-0.1.0";
const SYSTEM: &str = "/nix/store/9kqpxmvl9yqfmlgcbw0vbdv7vmjyyzsn-nixos-system-server-26.05.20260714.7beb50e";
const TIME: &str = "2026-07-14T11:59:30.000Z";

/// The hostname of an agent.
pub(crate) fn hostname(number: usize) -> String {
    format!("server-{number:05}")
}

/// `register`.
pub(crate) fn register(number: usize, interval: u64) -> String {
    let capabilities = ["ack", "command_id", "resume", "output_batch", "prewarm", "vitals"];
    AgentMessage::Register(Box::new(Register {
        hostname: hostname(number),
        host_type: "nixos".to_owned(),
        agent_version: "0.1.0".to_owned(),
        os_version: "26.05".to_owned(),
        nixpkgs_version: "26.05.20260714.7beb50e".to_owned(),
        generation: "1d91f2b".to_owned(),
        heartbeat_interval: interval,
        theme_color: "#7aa2f7".to_owned(),
        location: "home".to_owned(),
        device_type: "server".to_owned(),
        repo_url: "https://git.example.org/fleet.git".to_owned(),
        repo_dir: "/var/lib/nixfleet-agent/repo".to_owned(),
        source_commit: COMMIT.to_owned(),
        store_path: PROGRAM.to_owned(),
        binary_hash: HASH.to_owned(),
        capabilities: capabilities.map(Into::into).to_vec(),
        boot_id: Some(format!("3c9d5c63-3d2c-4f0a-9c3d-{number:012x}")),
        ..Register::default()
    }))
    .encode()
}

/// A heartbeat.
pub(crate) fn heartbeat(number: usize, seq: u64, sent_at: String) -> String {
    // Readings differ from beat to beat, and have few digits, as the agent rounds them.
    let noise = (number as u64).wrapping_mul(31).wrapping_add(seq.wrapping_mul(17));
    let share = |salt: u64| (noise.wrapping_mul(salt) % 1000) as f64 / 1000.0;
    let verdict =
        |status, message: &str| Verdict { status, message: message.to_owned(), checked_at: TIME.to_owned() };
    let disk = |path: &str, salt| DiskVitals {
        path: path.to_owned(),
        usage: Some(share(salt)),
        used: Some(123_456_789_504 + noise * 4096),
        total: Some(511_101_108_224),
        inode_usage: Some(share(salt + 4)),
    };
    let sensor = |name: &str, salt| TemperatureVitals {
        name: name.to_owned(),
        celsius: Some(35.0 + (share(salt) * 100.0).round() / 10.0),
    };
    AgentMessage::Heartbeat(Box::new(Heartbeat {
        generation: "1d91f2b".to_owned(),
        nixpkgs_version: "26.05.20260714.7beb50e".to_owned(),
        metrics: Some(Metrics { cpu: 15.5, ram: 42.0, swap: 0.0, load: share(7) }),
        source_commit: COMMIT.to_owned(),
        store_path: PROGRAM.to_owned(),
        binary_hash: HASH.to_owned(),
        lock_hash: HASH.to_owned(),
        update_status: Some(Box::new(UpdateStatus {
            git: Verdict::default(),
            lock: verdict(UpdateState::Ok, "as pulled with 1d91f2b"),
            system: verdict(UpdateState::Outdated, "1d91f2b is pulled, abc1234 is deployed"),
            tests: verdict(UpdateState::Unknown, "never run"),
        })),
        system: Some(Box::new(HostSystem {
            current: Some(SYSTEM.to_owned()),
            booted: Some(SYSTEM.to_owned()),
            configuration_revision: Some(COMMIT.to_owned()),
            repo_commit: Some(COMMIT.to_owned()),
            reboot_required: Some(false),
            boots: Some(NextBoot { system: SYSTEM.to_owned(), ..NextBoot::default() }),
        })),
        seq: Some(seq),
        sent_at: Some(sent_at.clone()),
        vitals: Some(Box::new(DeviceVitals {
            device_id: hostname(number),
            timestamp: sent_at,
            cpu_usage: Some(share(3)),
            memory_usage: Some(share(5)),
            disk_usage: Some(share(13)),
            uptime_s: Some(142 + seq * 30),
            load: Some([share(7), share(11), share(19)]),
            swap_usage: Some(0.0),
            memory_total: Some(67_108_864_000),
            memory_free: Some(412_356_608 + noise * 4096),
            pressure: Some(Pressures { cpu: Some(share(23) / 10.0), memory: Some(0.0), io: Some(0.012) }),
            disks: vec![disk("/", 13), disk("/boot", 29), disk("/nix", 37)],
            network: Some(Throughput { received: 1024.5 + noise as f64, sent: 512.5 }),
            disk_io: Some(DiskIo { read: 0.0, written: 4096.0 * share(41) }),
            temperatures: vec![sensor("coretemp Package id 0", 43), sensor("nvme Composite", 47)],
            failed_units: Some(FailedUnits::default()),
            reboot_required: Some(false),
            ..DeviceVitals::default()
        })),
        ack_rtt_ms: Some(1.25),
        ..Heartbeat::default()
    }))
    .encode()
}

/// The end of a command, which the dashboard takes as the answer to it.
pub(crate) fn status(command: &str, id: Option<String>) -> String {
    let answer = Status::answer(command, StatusKind::Ok, 0, "done");
    AgentMessage::Status(Status { job_id: id, ..answer }).encode()
}
