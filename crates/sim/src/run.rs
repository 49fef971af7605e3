//! One run of a schedule, from an empty disk to a host at rest.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use jiff::SignedDuration;
use nixfleet_protocol::AgentMessage;
use tokio::time::{Instant, sleep, sleep_until};

use crate::audit::{self, Evidence};
use crate::dashboard::Seen;
use crate::faults::Kind;
use crate::faults::{Act, NetFault, SLEEP_FACTOR, Schedule, What};
use crate::generate::HORIZON;
use crate::machine::World;
use crate::machine::process::Process;
use crate::site::Site;

/// When the faults end.
const FAULTS_END: Duration = Duration::from_secs(HORIZON.as_secs() + 12);

/// How long the host may take to be at rest afterwards. A job that never started is given up after a minute, and
/// twice if its agent was replaced meanwhile; the longest delay before a reconnect is a minute, too.
const REST: Duration = Duration::from_secs(240);

/// How long a service manager waits before it starts the agent again.
const RESTART: Duration = Duration::from_secs(1);

/// What a run showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Digest of everything that happened, in order.
    pub digest: u64,
    /// How many things happened.
    pub events: u64,
    /// What must not happen.
    pub findings: Vec<String>,
    /// Everything that happened, if it was asked for.
    pub trace: Vec<String>,
}

/// Runs a schedule.
///
/// # Panics
/// When there is no runtime to be had.
pub fn run(schedule: &Schedule, keep_trace: bool) -> Outcome {
    fastrand::seed(schedule.seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime without I/O needs nothing but memory");
    let outcome = runtime.block_on(simulate(schedule, keep_trace));
    drop(runtime);
    outcome
}

async fn simulate(schedule: &Schedule, keep_trace: bool) -> Outcome {
    let world = World::new(schedule, keep_trace);
    match Site::new(&world) {
        Ok(site) => drive(schedule, &site).await,
        Err(err) => world.finding(format!("the host cannot be set up: {err}")),
    }
    world.end();
    // Lets the coroutines unwind.
    sleep(Duration::from_millis(1)).await;
    let (digest, events, trace) = world.trace();
    Outcome { digest, events, findings: world.findings(), trace }
}

async fn drive(schedule: &Schedule, site: &Arc<Site>) {
    let world = &site.world;
    let keeper = tokio::spawn(keep_running(Arc::clone(site)));
    for event in &schedule.events {
        sleep_until(world.begun + event.at).await;
        world.note(format_args!("event {:?}", event.what));
        happen(site, &event.what, event.lasts);
    }
    sleep_until(world.begun + FAULTS_END).await;
    world.heal();
    let healed = Instant::now();
    let mut rest = at_rest(site);
    while let Err(why) = rest {
        if healed.elapsed() > REST {
            world.finding(format!("not at rest {REST:?} after the faults ended: {why}"));
            break;
        }
        sleep(Duration::from_secs(2)).await;
        rest = at_rest(site);
    }
    sleep(Duration::from_secs(12)).await;
    if let Some(threads) = site.agent().map(|agent| agent.threads()).filter(|threads| *threads > 2) {
        world.finding(format!("the agent at rest has {threads} threads, not the main one and `records`"));
    }
    let evidence = Evidence {
        begun: world.begun,
        events: &schedule.events,
        notes: site.dashboard.notes(),
        ran: world.programs.ran(),
        interval: site.dashboard.interval().map_or(crate::site::INTERVAL, Duration::from_secs),
        limited: site.log_is_limited(),
        power_cuts: world.power_cuts(),
        attempts: world.attempts(),
        most_threads: world.most_threads(),
        most_open: world.files.most_open(),
        deaths: world.deaths(),
        exits: world.exits(),
    };
    for finding in audit::audit(&evidence) {
        world.finding(finding);
    }
    keeper.abort();
}

/// The service manager: an agent that has ended is started again.
async fn keep_running(site: Arc<Site>) {
    loop {
        let agent = site.start_agent();
        ended(&agent).await;
        let pause = if site.world.power_is_off() { site.world.off_for() } else { RESTART };
        sleep(pause).await;
    }
}

async fn ended(process: &Process) {
    poll_fn(|context| {
        process.wake_at_death(context.waker());
        if process.is_dead() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

fn happen(site: &Arc<Site>, what: &What, lasts: Duration) {
    let (world, dashboard) = (&site.world, &site.dashboard);
    match *what {
        What::Dashboard(act) => act_of_dashboard(site, act),
        What::Net(NetFault::Reset) => dashboard.disturb(|wire| wire.reset()),
        What::Net(NetFault::HalfOpen) => dashboard.disturb(|wire| wire.half_open()),
        What::Net(NetFault::Mute) => dashboard.disturb(|wire| wire.hold(true, Instant::now() + lasts)),
        What::Net(NetFault::Stall) => dashboard.disturb(|wire| wire.hold(false, Instant::now() + lasts)),
        What::Net(NetFault::NoPongs) => dashboard.quietly(|wire| wire.no_pongs(Instant::now() + lasts)),
        What::Net(NetFault::OneByte) => dashboard.disturb(|wire| wire.one_byte()),
        What::Net(NetFault::Close) => dashboard.close(true),
        What::Net(NetFault::End) => dashboard.close(false),
        What::KillAgent => {
            if let Some(agent) = site.agent() {
                agent.kill("SIGKILL");
            }
        }
        What::StopAgent => site.stop_agent(),
        What::KillSupervisor => {
            let newest = world.processes().into_iter().rfind(|process| process.kind == Kind::Supervisor);
            if let Some(supervisor) = newest {
                supervisor.kill("SIGKILL");
            }
        }
        What::PowerCut => {
            dashboard.disturb(|wire| wire.half_open());
            world.power_cut();
        }
        What::SetClock(millis) => world.set_clock(SignedDuration::from_millis(millis)),
        What::Suspend => {
            dashboard.disturb(|wire| wire.half_open());
            world.slept(lasts * SLEEP_FACTOR);
        }
        // What these do is asked for where it matters.
        What::Net(NetFault::Refuse)
        | What::Disk { .. }
        | What::Hang(_)
        | What::NoThread
        | What::Launcher { .. } => {}
    }
}

fn act_of_dashboard(site: &Arc<Site>, act: Act) {
    let dashboard = &site.dashboard;
    let request = |number: usize, id: usize| (format!("work-{number}"), Some(format!("request-{id}")));
    match act {
        Act::Command(number) | Act::Repeat(number) => dashboard.ask(vec![request(number, number)]),
        Act::Clash(number) => dashboard.ask(vec![request(number + 10, number)]),
        Act::Burst(count) => dashboard.ask((20..20 + count).map(|number| request(number, number)).collect()),
        Act::Stop => dashboard.ask(vec![("stop".to_owned(), None)]),
        Act::Restart => dashboard.ask(vec![("restart".to_owned(), None)]),
        Act::Kill => dashboard.send(r#"{"type":"kill_command","payload":{"signal":"SIGKILL"}}"#),
        Act::Garbage => dashboard.send(r#"{"type":"command","payload":{"command":null}}"#),
        // Asked for where it matters.
        Act::NoAcks | Act::Maintenance => {}
    }
}

/// Why the host is not at rest, if it is not.
fn at_rest(site: &Arc<Site>) -> Result<(), String> {
    let world = &site.world;
    if world.programs.any_runs() {
        return Err("a program runs".to_owned());
    }
    if let Some(supervisor) = world.processes().iter().find(|process| process.kind == Kind::Supervisor) {
        return Err(format!("{supervisor:?} runs"));
    }
    if !site.dashboard.is_registered() {
        return Err("the agent is not registered".to_owned());
    }
    let left = world.files.below(&site.delivery());
    if !left.is_empty() {
        return Err(format!("the delivery folder holds {left:?}"));
    }
    let notes = site.dashboard.notes();
    let newest = notes.iter().rev().find_map(|noted| match &noted.what {
        Seen::Message(message) => match &**message {
            AgentMessage::Heartbeat(beat) => Some(beat.pending_command.clone()),
            _ => None,
        },
        _ => None,
    });
    match newest.flatten() {
        Some(command) => Err(format!("heartbeats say that `{command}` runs")),
        None => Ok(()),
    }
}
