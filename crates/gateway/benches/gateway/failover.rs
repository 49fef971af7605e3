//! A gateway is gone, and its hosts come back to another one: how many register in the busiest second, and how long it
//! takes until all of them are back. When to connect again is decided by the agent's own code.

use std::collections::VecDeque;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nixfleet_agent::dial::Cause;
use nixfleet_agent::link::backoff::{Reconnect, Terms};
use rustix::process::Signal;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep};
use tokio_tungstenite::tungstenite;

use crate::agent::{self, Agents};
use crate::programs::{Gateway, Server};
use crate::report::Report;
use crate::{CONNECTING, Plan};

/// The default of the setting `reconnect_window_s`, which the gateways have. A connection that held for so long has a
/// new moment in the window.
const WINDOW: Duration = Duration::from_secs(30);

/// Most registrations in a second.
const LIMIT: f64 = 400.0;

/// Agents that come again.
struct Fleet {
    agents: Agents,
    /// When there was a registration.
    registrations: Mutex<Vec<Instant>>,
}

impl Fleet {
    fn registered(&self) -> usize {
        self.registrations.lock().expect("no panic under the lock").len()
    }
}

/// One gateway is killed, and the one after it is asked to end.
pub(crate) async fn measure(nats: &Server, plan: &Plan, report: &mut Report) {
    let start = || Gateway::start(&plan.gateway, nats, plan.cores);
    let mut gateway = start();
    sleep(crate::SETTLED).await;
    let agents = Agents::new(gateway.address, plan.moving, plan.interval);
    let fleet = Arc::new(Fleet { agents, registrations: Mutex::default() });
    eprintln!("{} agents register, and then stay for {WINDOW:?} ..", plan.moving);
    let connecting = Arc::new(Semaphore::new(CONNECTING));
    for number in 0..plan.moving {
        let permit = Arc::clone(&connecting).acquire_owned().await.expect("the semaphore stays open");
        tokio::spawn(run(Arc::clone(&fleet), number, permit));
    }
    fleet.agents.until("registrations", || fleet.registered() == plan.moving).await;
    for (what, signal) in [("killed", Signal::KILL), ("drained", Signal::TERM)] {
        sleep(WINDOW).await;
        let next = start();
        sleep(crate::SETTLED).await;
        fleet.agents.move_to(next.address);
        fleet.registrations.lock().expect("no panic under the lock").clear();
        eprintln!("the gateway is {what} ..");
        let begun = Instant::now();
        gateway.process.signal(signal);
        fleet.agents.until("registrations", || fleet.registered() == plan.moving).await;
        let times = std::mem::take(&mut *fleet.registrations.lock().expect("no panic under the lock"));
        let last = times.iter().max().expect("there are agents").duration_since(begun).as_secs_f64();
        let unlimited = f64::INFINITY;
        let name = format!("{what}: registrations in the busiest second");
        report.row(&name, busiest_second(times) as f64, "", LIMIT, LIMIT);
        report.row(&format!("{what}: until all are back"), last, "s", unlimited, unlimited);
        gateway = next;
    }
    let failed = fleet.agents.counts.lost.load(Relaxed);
    report.row("attempts that failed meanwhile", failed as f64, "", f64::INFINITY, f64::INFINITY);
}

/// Most of these in any span of one second.
fn busiest_second(mut times: Vec<Instant>) -> usize {
    times.sort();
    let (mut within, mut most) = (VecDeque::new(), 0);
    for time in times {
        within.push_back(time);
        while within.front().is_some_and(|first| time.duration_since(*first) >= Duration::from_secs(1)) {
            within.pop_front();
        }
        most = most.max(within.len());
    }
    most
}

/// Runs one agent for ever. The permit is for its first connecting.
async fn run(fleet: Arc<Fleet>, number: usize, permit: OwnedSemaphorePermit) {
    let (mut permit, mut reconnect, mut window) = (Some(permit), Reconnect::default(), Duration::ZERO);
    loop {
        let registered = agent::register(&fleet.agents, number).await;
        permit.take();
        let terms = |window| Terms { now: Instant::now(), window, draw: fastrand::f64() };
        let delay = match registered {
            Ok((socket, registered)) => {
                let at = Instant::now();
                fleet.registrations.lock().expect("no panic under the lock").push(at);
                window = Duration::from_secs(registered.reconnect_window_s.unwrap_or_default());
                let ended = agent::beats(&fleet.agents, number, socket).await;
                let closed = matches!(ended, Err(tungstenite::Error::ConnectionClosed));
                reconnect.after_session(closed, Some(at.elapsed()), terms(window))
            }
            Err(_) => {
                fleet.agents.counts.lost.fetch_add(1, Relaxed);
                reconnect.after_failure(Cause::Broken, true, None, terms(window))
            }
        };
        sleep(delay).await;
    }
}
