//! What all sessions of a gateway share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use nixfleet_fleet::Presence;
use nixfleet_protocol::{CAPABILITY_OUTPUT_BATCH, Registered, ServerState, ServerStatus};
use nixfleet_sessions::{Ended, Times, refuse};
use tokio_util::task::TaskTracker;
use tracing::warn;

use crate::bus::Bus;
use crate::directory::Directory;
use crate::figures::Figures;
use crate::room::Room;

/// Seconds between heartbeats of an agent that registers no interval.
const DEFAULT_INTERVAL: u64 = 30;

/// Code of a close that asks to come again later, from the registry of RFC 6455, section 11.7.
pub(crate) const TRY_AGAIN: u16 = 1013;

/// What agents are told.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// Seconds between heartbeats; none means that agents use their own setting.
    pub heartbeat_interval: Option<u64>,
    /// Seconds over which agents spread their return after a lost connection.
    pub reconnect_window_s: u64,
    /// When to ping agents, and when they are lost.
    pub times: Times,
}

/// Why no connection is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closed {
    /// The gateway ends.
    Draining,
    /// NATS cannot be used.
    Away,
}

/// The gateway, as its connections see it.
#[derive(Debug)]
pub(crate) struct Gate {
    pub(crate) bus: Bus,
    pub(crate) directory: Directory,
    pub(crate) figures: Arc<Figures>,
    pub(crate) policy: Policy,
    /// What connections leave behind that have ended.
    pub(crate) leaving: TaskTracker,
    started_ms: i64,
    draining: AtomicBool,
    /// Bytes that wait for NATS.
    waiting: Arc<AtomicUsize>,
    /// Counts connections.
    sessions: AtomicU64,
}

impl Gate {
    /// A gateway that uses this bus.
    pub(crate) fn new(bus: Bus, figures: Arc<Figures>, policy: Policy) -> Self {
        Self {
            bus,
            directory: Directory::default(),
            figures,
            policy,
            leaving: TaskTracker::new(),
            started_ms: now_ms(),
            draining: AtomicBool::new(false),
            waiting: Arc::default(),
            sessions: AtomicU64::new(0),
        }
    }

    /// Why no connection is taken now.
    pub(crate) fn closed(&self) -> Option<Closed> {
        if self.draining.load(Relaxed) {
            return Some(Closed::Draining);
        }
        (!self.bus.is_usable()).then_some(Closed::Away)
    }

    /// Whether the gateway ends.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    /// From now on no connection is taken.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Relaxed);
    }

    /// The number of a new connection, for the log.
    pub(crate) fn next_session(&self) -> u64 {
        self.sessions.fetch_add(1, Relaxed) + 1
    }

    /// What this gateway says about itself.
    pub(crate) fn presence(&self) -> Presence {
        Presence {
            id: self.bus.id.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_ms: self.started_ms,
            connections: self.directory.len() as u64,
            draining: self.draining.load(Relaxed),
        }
    }

    /// Room for one more connection.
    pub(crate) fn room(&self) -> Room {
        Room::new(Arc::clone(&self.waiting))
    }

    /// How many bytes wait for NATS.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Relaxed)
    }

    /// The answer to `register`.
    pub(crate) fn registered(&self, host: &str) -> Registered {
        Registered {
            host_id: host.to_owned(),
            capabilities: vec![CAPABILITY_OUTPUT_BATCH.to_owned()],
            heartbeat_interval: self.policy.heartbeat_interval,
            ack: true,
            reconnect_window_s: Some(self.policy.reconnect_window_s),
            server_time: Some(nixfleet_os::timestamp()),
        }
    }

    /// The time between heartbeats of a host that registers this many seconds.
    pub(crate) fn interval(&self, registered: u64) -> Duration {
        match self.policy.heartbeat_interval.unwrap_or(registered) {
            0 => Duration::from_secs(DEFAULT_INTERVAL),
            seconds => Duration::from_secs(seconds),
        }
    }

    /// Why a connection ends whose registration failed.
    pub(crate) fn registration_failed(&self, host: &str, why: &str) -> Ended {
        self.figures.registration_failures.add();
        warn!(%host, %why, "cannot register the host in NATS; it is asked to come again");
        refuse(TRY_AGAIN, "the gateway cannot use NATS now")
    }

    /// The state of the gateway, as agents are told.
    pub(crate) fn status(&self) -> ServerStatus {
        if self.bus.is_usable() {
            return ServerStatus::default();
        }
        let reason = "the gateway cannot use NATS".to_owned();
        ServerStatus { state: ServerState::Degraded, reason, ..ServerStatus::default() }
    }
}

/// Unix milliseconds.
pub(crate) fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}
