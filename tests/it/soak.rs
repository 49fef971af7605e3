//! The real program over many connections: it does not grow. `cargo xtask soak` lets this run for minutes.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use nixfleet_mock_dashboard::{Faults, Refusal};
use nixfleet_protocol::AgentMessage;

use crate::rig::{AgentProcess, Fleet, HOST, LIMIT};

/// How long it runs after the warm-up, in seconds, unless `SOAK_SECONDS` says otherwise.
const SECONDS: u64 = 12;

/// Rounds before the first sample: threads are started when they are first needed, and buffers get their size.
const WARM_UP: usize = 3;

/// KiB of resident memory by which it may grow. The allocator of the C library keeps pages of threads that have ended.
const RSS_MARGIN: u64 = 3 * 1024;

/// Threads and descriptors that may come and go: one look at the host, one lookup, one follower that is about to end.
const COMING_AND_GOING: u64 = 3;

/// The limit of the service manager's watchdog for this agent.
const WATCHDOG: Duration = Duration::from_secs(4);

#[derive(Debug, Clone, Copy)]
struct Usage {
    rss: u64,
    threads: u64,
    descriptors: u64,
}

impl Usage {
    fn of(agent: &AgentProcess) -> Self {
        let process = format!("/proc/{}", agent.pid().as_raw_nonzero());
        let status = fs::read_to_string(format!("{process}/status")).unwrap();
        let field = |name: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().next().unwrap().parse().unwrap()
        };
        let descriptors = fs::read_dir(format!("{process}/fd")).unwrap().count() as u64;
        Self { rss: field("VmRSS:"), threads: field("Threads:"), descriptors }
    }
}

#[tokio::test]
async fn an_agent_with_many_connections_and_commands_does_not_grow() {
    let seconds = std::env::var("SOAK_SECONDS").ok().map_or(SECONDS, |text| text.parse().unwrap());
    let fleet =
        Fleet::strict().await.script("lines", "i=0; while [ $i -lt 50 ]; do i=$((i+1)); echo $i; done");
    let manager = UnixDatagram::bind(fleet.path("notify")).unwrap();
    let mut command = fleet.agent_command();
    command.env("NOTIFY_SOCKET", fleet.path("notify"));
    command.env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string()).env_remove("WATCHDOG_PID");
    let agent = AgentProcess::spawn(command, fleet.path("state"));
    fleet.wait("a first heartbeat", |fleet| fleet.beats().pop()).await;
    let begun = Instant::now();
    let (mut rounds, mut early, mut ends) = (0, None, 0);
    while rounds <= WARM_UP || begun.elapsed() < Duration::from_secs(seconds) {
        if fleet.run("lines").await.exit_code == 0 {
            ends += 1;
        }
        let connection = fleet.messages().pop().unwrap().connection;
        // In turn: a reset, a close frame, and a reset into a dashboard that refuses for a while.
        match rounds % 3 {
            0 => fleet.dashboard.drop_connection(HOST).unwrap(),
            1 => fleet.dashboard.close(HOST, 1001, "restart").unwrap(),
            _ => {
                let refuse_auth = Some(Refusal { status: 503, retry_after: Some(1) });
                fleet.dashboard.set_faults(Faults { refuse_auth, ..Faults::default() });
                fleet.dashboard.drop_connection(HOST).unwrap();
                fleet
                    .dashboard
                    .wait_until("the loss", LIMIT, |d| (!d.host(HOST)?.connected).then_some(()))
                    .await;
                fleet.dashboard.set_faults(Faults::default());
            }
        }
        fleet
            .wait("a beat on another connection", |fleet| {
                let last = fleet.messages().pop()?;
                let is_beat = matches!(last.message, AgentMessage::Heartbeat(_));
                (is_beat && last.connection > connection).then_some(())
            })
            .await;
        rounds += 1;
        if rounds == WARM_UP {
            early = Some(Usage::of(&agent));
        }
    }
    let (early, late) = (early.unwrap(), Usage::of(&agent));
    println!("{rounds} connections in {:?}: from {early:?} to {late:?}", begun.elapsed());
    assert_eq!(ends, rounds);
    assert!(late.rss <= early.rss + RSS_MARGIN, "from {early:?} to {late:?}");
    assert!(late.threads <= early.threads + COMING_AND_GOING, "from {early:?} to {late:?}");
    assert!(late.descriptors <= early.descriptors + COMING_AND_GOING, "from {early:?} to {late:?}");
    assert_fed(&manager, begun.elapsed());
    fleet.assert_no_violations();
}

/// The watchdog was fed in each half of its limit, also while there was no connection.
fn assert_fed(manager: &UnixDatagram, ran: Duration) {
    manager.set_nonblocking(true).unwrap();
    let mut buffer = [0; 4096];
    let (mut fed, mut ready) = (0, 0);
    while let Ok(length) = manager.recv(&mut buffer) {
        let text = String::from_utf8_lossy(&buffer[..length]);
        fed += text.matches("WATCHDOG=1").count();
        ready += text.matches("READY=1").count();
    }
    let wanted = ran.as_secs() as usize / (WATCHDOG.as_secs() as usize / 2);
    assert!(fed + 2 >= wanted, "fed {fed} times in {ran:?}, {wanted} wanted");
    assert_eq!(ready, 1);
}
