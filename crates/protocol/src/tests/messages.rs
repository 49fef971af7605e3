//! Every golden file, and the message that it means.

use super::*;

fn vitals() -> DeviceVitals {
    DeviceVitals {
        device_id: "test-host".to_owned(),
        timestamp: "2026-07-14T12:00:00.123Z".to_owned(),
        cpu_usage: Some(0.155),
        memory_usage: Some(0.42),
        gpu_usage: Some(0.93),
        gpu_temp_celsius: Some(71.5),
        gpu_vram_usage: Some(0.5),
        disk_usage: Some(0.25),
        active_sessions: Some(2),
        pending_queries: None,
        loaded_model: Some("llama-3.1-8b".to_owned()),
        uptime_s: Some(142),
        load: Some([0.5, 0.25, 0.125]),
        swap_usage: Some(0.0),
        memory_total: Some(524_288_000),
        memory_free: Some(412_356_000),
        pressure: Some(Pressures { cpu: Some(0.01), memory: Some(0.0), io: None }),
        disks: vec![DiskVitals {
            path: "/".to_owned(),
            usage: Some(0.25),
            used: Some(250),
            total: Some(1000),
            inode_usage: None,
        }],
        network: Some(Throughput { received: 1024.0, sent: 512.5 }),
        disk_io: Some(DiskIo { read: 0.0, written: 4096.0 }),
        temperatures: vec![TemperatureVitals {
            name: "coretemp Package id 0".to_owned(),
            celsius: Some(48.0),
        }],
        gpus: vec![GpuVitals {
            vendor: "nvidia".to_owned(),
            name: Some("NVIDIA H200".to_owned()),
            pci_address: "0000:01:00.0".to_owned(),
            status: "ok".to_owned(),
            usage: Some(0.93),
            usage_is_estimate: false,
            temp_celsius: Some(71.5),
            vram_used: Some(500),
            vram_total: Some(1000),
            power_watts: Some(612.5),
        }],
        failed_units: Some(FailedUnits { count: 1, names: vec!["backup.service".to_owned()] }),
        reboot_required: Some(false),
    }
}

pub(super) fn heartbeat() -> Heartbeat {
    Heartbeat {
        generation: "abc1234".to_owned(),
        nixpkgs_version: "24.11.20241201.abc1234".to_owned(),
        metrics: Some(Metrics { cpu: 15.5, ram: 42.0, swap: 0.0, load: 0.5 }),
        ..Heartbeat::default()
    }
}

pub(super) fn status(kind: StatusKind, command: &str, exit_code: i32, message: &str) -> Status {
    Status::answer(command, kind, exit_code, message)
}

fn light(status: UpdateState, message: &str) -> Verdict {
    Verdict { status, message: message.to_owned(), checked_at: "2026-07-14T11:59:30.000Z".to_owned() }
}

fn part(current: u32, total: u32, status: PartState, phase: &str, detail: &str) -> Part {
    Part { current, total, status, phase: phase.to_owned(), detail: detail.to_owned() }
}

fn batch_line(seq: u64, at: &str, stream: Stream, line: &str, cont: bool) -> BatchLine {
    BatchLine { seq, at: at.to_owned(), stream, line: line.to_owned(), cont }
}

/// Every file with a message of the agent, and the message.
pub(super) fn from_agents() -> Vec<(&'static str, AgentMessage)> {
    let commit = "7beb50e0c1d2a3b4c5d6e7f8091a2b3c4d5e6f70".to_owned();
    let store_path = "/nix/store/0v5xc9hcs4bbvqpw6c9bh4zcs7pcnm1s-nixfleet-agent-0.1.0".to_owned();
    let binary_hash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855".to_owned();
    let beat = |beat| AgentMessage::Heartbeat(Box::new(beat));
    let minimal = Register {
        hostname: "test-host".to_owned(),
        host_type: "nixos".to_owned(),
        agent_version: "2.0.0".to_owned(),
        os_version: "24.11".to_owned(),
        nixpkgs_version: "24.11.20241201.abc1234".to_owned(),
        generation: "abc1234".to_owned(),
        heartbeat_interval: 30,
        ..Register::default()
    };
    let register = Register {
        agent_version: "0.1.0".to_owned(),
        os_version: "26.05".to_owned(),
        nixpkgs_version: "26.05.20260714.7beb50e".to_owned(),
        generation: "1d91f2b".to_owned(),
        theme_color: "#7aa2f7".to_owned(),
        location: "home".to_owned(),
        device_type: "server".to_owned(),
        repo_url: "https://git.example.org/fleet.git".to_owned(),
        repo_dir: "/var/lib/nixfleet-agent/repo".to_owned(),
        source_commit: commit.clone(),
        store_path: store_path.clone(),
        binary_hash: binary_hash.clone(),
        capabilities: [CAPABILITY_ACK, "command_id", "resume", CAPABILITY_OUTPUT_BATCH, "prewarm", "vitals"]
            .map(Into::into)
            .into(),
        boot_id: Some("3c9d5c63-3d2c-4f0a-9c3d-0d3f5c1b2a19".to_owned()),
        running_job: Some(RunningJob {
            id: JOB.to_owned(),
            command: "switch".to_owned(),
            started_at: "2026-07-14T11:59:58.000Z".to_owned(),
        }),
        commands: vec![
            OfferedCommand { name: "pull".to_owned(), ..OfferedCommand::default() },
            OfferedCommand { name: "backup".to_owned(), description: "Back up /home".to_owned(), own: true },
        ],
        ..minimal.clone()
    };
    let output = Output {
        line: "building the system configuration...".to_owned(),
        stream: Stream::Stderr,
        command: "switch".to_owned(),
        is_error: true,
        seq: None,
        job_id: None,
        at: None,
        cont: false,
    };
    let rejected = CommandRejected {
        reason: ALREADY_RUNNING.to_owned(),
        current_command: Some("switch".to_owned()),
        current_pid: Some(12345),
        command: None,
        command_id: None,
    };
    let progress = TestProgress { current: 2, total: 5, passed: 2, running: true, result: None };
    vec![
        ("register", AgentMessage::Register(Box::new(register))),
        ("register-minimal", AgentMessage::Register(Box::new(minimal))),
        ("heartbeat-idle", beat(heartbeat())),
        (
            "heartbeat-during_command",
            beat(Heartbeat {
                pending_command: Some("switch".to_owned()),
                command_pid: Some(12345),
                metrics: Some(Metrics { cpu: 85.0, ram: 60.0, swap: 0.0, load: 2.5 }),
                ..heartbeat()
            }),
        ),
        (
            "heartbeat-silent_command",
            beat(Heartbeat {
                pending_command: Some("switch".to_owned()),
                command_pid: Some(12345),
                command_activity: Some(Box::new(CommandActivity {
                    phase: "build".to_owned(),
                    phase_age_s: Some(1500),
                    silent_s: Some(720),
                })),
                ..heartbeat()
            }),
        ),
        ("heartbeat-without_metrics", beat(Heartbeat { metrics: None, ..heartbeat() })),
        (
            "heartbeat-full",
            beat(Heartbeat {
                generation: "1d91f2b".to_owned(),
                nixpkgs_version: "26.05.20260714.7beb50e".to_owned(),
                pending_command: Some("pull".to_owned()),
                command_pid: Some(4_194_304),
                metrics: Some(Metrics { cpu: 100.0, ram: 60.25, swap: 0.0, load: 12.75 }),
                source_commit: commit,
                store_path,
                binary_hash,
                lock_hash: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".to_owned(),
                seq: Some(7),
                sent_at: Some("2026-07-14T12:00:00.123Z".to_owned()),
                ack_rtt_ms: Some(4.25),
                command_activity: None,
                vitals: None,
                last_good_settings: None,
                last_error: None,
                update_status: Some(Box::new(UpdateStatus {
                    git: Verdict::default(),
                    lock: light(UpdateState::Ok, "as pulled with 1d91f2b"),
                    system: light(UpdateState::Outdated, "1d91f2b is pulled, abc1234 is deployed"),
                    tests: light(UpdateState::Unknown, "never run"),
                })),
                system: Some(Box::new(HostSystem {
                    current: Some(
                        "/nix/store/9kqpxmvl9yqfmlgcbw0vbdv7vmjyyzsn-nixos-system-test-host".to_owned(),
                    ),
                    booted: None,
                    configuration_revision: None,
                    repo_commit: Some("1d91f2b4c0ffee0123456789abcdef0123456789".to_owned()),
                    reboot_required: Some(false),
                    boots: Some(NextBoot {
                        system: "/nix/store/2vblvgvq1i1vcy3w3yzj8cnw5p3kxa6q-nixos-system-test-host"
                            .to_owned(),
                        source: NextBootSource::BootLoader,
                        seen_at: Some("2026-07-14T11:58:00.000Z".to_owned()),
                    }),
                })),
            }),
        ),
        (
            "heartbeat-last_good_settings",
            beat(Heartbeat {
                last_good_settings: Some(Box::new(LastGoodSettings {
                    file: "/etc/nixfleet/agent.toml".to_owned(),
                    accepted_at: "2026-07-13T08:15:30.000Z".to_owned(),
                    problems: vec![
                        "/etc/nixfleet/agent.toml:7:12: string values must be quoted; write text in quotes"
                            .to_owned(),
                    ],
                })),
                ..heartbeat()
            }),
        ),
        (
            "heartbeat-last_error",
            beat(Heartbeat {
                last_error: Some(Box::new(LastError {
                    text: "the dashboard refused the token (401); compare the agent's token with the dashboard's"
                        .to_owned(),
                    cause: "refused_token".to_owned(),
                    at: "2026-07-14T11:58:00.123Z".to_owned(),
                    attempts: 3,
                })),
                ..heartbeat()
            }),
        ),
        ("heartbeat-vitals", beat(Heartbeat { vitals: Some(Box::new(vitals())), ..heartbeat() })),
        (
            "prewarm",
            AgentMessage::Prewarm(Prewarm {
                device_id: "test-host".to_owned(),
                timestamp: "2026-07-14T12:00:00.123Z".to_owned(),
                gpu_usage: Some(0.93),
                gpu_temp: Some(71.5),
                reason: "GPU usage 93 % over 15 s, above 80 %".to_owned(),
                phase: "start".to_owned(),
            }),
        ),
        ("output", AgentMessage::Output(output.clone())),
        (
            "output-job",
            AgentMessage::Output(Output {
                line: "\u{1b}[32mgrün\u{1b}[0m \"quoted\" \\ \ttab".to_owned(),
                stream: Stream::Stdout,
                is_error: false,
                seq: Some(1),
                job_id: Some(JOB.to_owned()),
                at: Some("2026-07-14T12:00:00.123Z".to_owned()),
                cont: true,
                ..output
            }),
        ),
        (
            "output_batch",
            AgentMessage::OutputBatch(OutputBatch {
                command: "switch".to_owned(),
                job_id: JOB.to_owned(),
                lines: vec![
                    batch_line(
                        41,
                        "2026-07-14T12:00:00.123Z",
                        Stream::Stdout,
                        "the first piece of a long line, ",
                        true,
                    ),
                    batch_line(42, "2026-07-14T12:00:00.124Z", Stream::Stdout, "and its end", false),
                    batch_line(43, "2026-07-14T12:00:00.124Z", Stream::Stderr, "", false),
                ],
            }),
        ),
        (
            "status",
            AgentMessage::Status(Status {
                generation: "abc1234".to_owned(),
                ..status(StatusKind::Ok, "pull", 0, "Pull: Updated to abc1234")
            }),
        ),
        (
            "status-stopped",
            AgentMessage::Status(Status {
                job_id: Some(JOB.to_owned()),
                signal: Some(15),
                outcome: Some("stopped".to_owned()),
                duration_ms: Some(5012),
                lines: Some(1234),
                dropped_lines: Some(0),
                ..status(StatusKind::Stopped, "switch", 143, "Switch: stopped on request")
            }),
        ),
        (
            "status-error",
            AgentMessage::Status(status(
                StatusKind::Error,
                "bump-flake",
                1,
                "unknown command; this agent knows: pull, switch, stop",
            )),
        ),
        ("command_rejected", AgentMessage::CommandRejected(rejected.clone())),
        (
            "command_rejected-id",
            AgentMessage::CommandRejected(CommandRejected {
                current_pid: None,
                command: Some("test".to_owned()),
                command_id: Some("8f14e45f".to_owned()),
                ..rejected
            }),
        ),
        ("test_progress", AgentMessage::TestProgress(progress)),
        (
            "operation_progress",
            AgentMessage::OperationProgress(OperationProgress {
                progress: Parts { pull: Some(part(4, 4, PartState::Complete, "", "")), ..Parts::default() },
            }),
        ),
        (
            "operation_progress-all",
            AgentMessage::OperationProgress(OperationProgress {
                progress: Parts {
                    pull: Some(part(4, 4, PartState::Complete, "", "")),
                    lock: Some(part(0, 1, PartState::Pending, "", "")),
                    system: Some(part(1, 3, PartState::InProgress, "build", "3/41 derivations")),
                    tests: Some(TestsPart {
                        current: 2,
                        total: 3,
                        results: vec![TestResult::Pass, TestResult::Fail, TestResult::Pending],
                        status: PartState::Error,
                    }),
                },
            }),
        ),
        (
            "test_progress-end",
            AgentMessage::TestProgress(TestProgress {
                current: 5,
                total: 5,
                passed: 4,
                running: false,
                result: Some("4/5 passed".to_owned()),
            }),
        ),
    ]
}

/// Every file with a message of a dashboard, and the message.
pub(super) fn from_dashboards() -> Vec<(&'static str, DashboardMessage)> {
    let registered = |capabilities: &[&str]| {
        DashboardMessage::Registered(Registered {
            host_id: "test-host".to_owned(),
            capabilities: capabilities.iter().map(|&name| name.to_owned()).collect(),
            ..Registered::default()
        })
    };
    let server_time = Some("2026-07-14T12:00:00.500Z".to_owned());
    let all_fields = DashboardMessage::Registered(Registered {
        host_id: "test-host".to_owned(),
        heartbeat_interval: Some(60),
        ack: true,
        reconnect_window_s: Some(120),
        server_time: server_time.clone(),
        ..Registered::default()
    });
    let ack = DashboardMessage::HeartbeatAck(HeartbeatAck {
        seq: 7,
        server_time: server_time.clone(),
        pending_messages: 0,
        server_status: ServerStatus {
            state: ServerState::Maintenance,
            reason: "database upgrade".to_owned(),
            until: "2026-07-14T12:30:00Z".to_owned(),
        },
    });
    let command = |name: &str, id: Option<&str>| {
        DashboardMessage::Command(CommandRequest { command: name.to_owned(), id: id.map(str::to_owned) })
    };
    let kill = |signal, pid| DashboardMessage::KillCommand(KillCommand { signal, pid });
    vec![
        ("registered", registered(&[])),
        ("registered-capabilities", registered(&[CAPABILITY_OUTPUT_BATCH])),
        ("registered-all", all_fields),
        ("heartbeat_ack", ack),
        ("command", command("test", None)),
        ("command-id", command("switch", Some("8f14e45f"))),
        ("kill_command", kill(KillSignal::Term, 0)),
        ("kill_command-sigkill", kill(KillSignal::Kill, 12345)),
    ]
}
