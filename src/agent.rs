//! The agent: it connects, runs a session, waits, and connects again, until it is told to end.

use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use crate::backoff::Reconnect;
use crate::config::{Connection, Host};
use crate::connect::{self, ConnectError};
use crate::errands::Errands;
use crate::error;
use crate::heartbeat::Snapshots;
use crate::job::desk::{Desk, News};
use crate::job::record::Record;
use crate::job::spec::Outcome;
use crate::metrics::{self, Metrics};
use crate::protocol::{AgentMessage, CAPABILITY_ACK, CAPABILITY_OUTPUT_BATCH, Register, RunningJob, encode};
use crate::server::Server;
use crate::service::{self, Watchdog};
use crate::session::{self, Ended, Summary};
use crate::status::desk::StatusDesk;
use crate::status::{Ask, Queue, Report, Running};
use crate::work::Work;
use first_clone::{Checkout, FirstClone};

mod first_clone;

/// What the agent keeps from one connection to the next.
#[derive(Debug)]
pub struct Agent {
    /// The machine and its commands.
    pub host: Host,
    /// Time between heartbeats.
    pub interval: Duration,
    /// The jobs.
    pub work: Work,
    /// Takes orders for jobs.
    pub desk: Box<dyn Desk>,
    /// What became of the orders.
    pub news: mpsc::Receiver<News>,
    /// What heartbeats report.
    pub snapshots: Snapshots,
    /// Who wants to know how it is.
    pub asks: mpsc::Receiver<Ask>,
    /// What it counted.
    pub metrics: Metrics,
    /// What it remembers for those who ask.
    pub status: StatusDesk,
    /// The service manager's watchdog.
    pub watchdog: Watchdog,
    /// What the dashboard has said about itself.
    pub server: Server,
    /// What it wants to know.
    pub errands: Errands,
    first_clone: FirstClone,
    reconnect: Reconnect,
}

/// How the agent ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It was asked to.
    Shutdown,
    /// A new process is to take its place.
    Restart,
}

impl Agent {
    /// An agent that has not connected yet.
    pub fn new(
        host: Host,
        interval: Duration,
        work: Work,
        desk: Box<dyn Desk>,
        news: mpsc::Receiver<News>,
        snapshots: Snapshots,
        asks: mpsc::Receiver<Ask>,
    ) -> Self {
        Self {
            first_clone: FirstClone::new(host.repo.url.is_some(), Instant::now()),
            errands: Errands::default(),
            host,
            interval,
            work,
            desk,
            news,
            snapshots,
            asks,
            metrics: Metrics::default(),
            status: StatusDesk::default(),
            watchdog: Watchdog::from_environment(),
            server: Server::default(),
            reconnect: Reconnect::default(),
        }
    }

    /// Who this agent is, for `register`.
    pub fn registration(&self) -> Register {
        let facts = self.snapshots.facts();
        let host = &self.host;
        Register {
            hostname: host.hostname.clone(),
            host_type: host.host_type.to_owned(),
            agent_version: host.reported_version.clone(),
            os_version: facts.os_version.clone(),
            nixpkgs_version: facts.nixpkgs_version.clone(),
            generation: facts.generation.clone(),
            heartbeat_interval: self.interval.as_secs(),
            theme_color: host.theme_color.clone(),
            location: host.location.clone(),
            device_type: host.device_type.clone(),
            repo_url: host.repo.public_url().unwrap_or_default(),
            repo_dir: host.repo.dir.as_ref().map(|dir| dir.display().to_string()).unwrap_or_default(),
            source_commit: facts.source_commit.clone(),
            store_path: facts.store_path.clone(),
            binary_hash: facts.binary_hash.clone(),
            capabilities: vec![
                CAPABILITY_ACK.into(),
                "command_id".into(),
                "resume".into(),
                CAPABILITY_OUTPUT_BATCH.into(),
                "prewarm".into(),
                "vitals".into(),
            ],
            boot_id: facts.boot_id.clone(),
            running_job: self.work.current_record().map(|record| RunningJob {
                id: record.id.to_string(),
                command: record.command.clone(),
                started_at: record.accepted_at.clone(),
            }),
        }
    }

    /// Makes the next heartbeat; returns its number as well.
    pub fn beat(&mut self, now: SystemTime) -> (u64, String) {
        self.metrics.beats += 1;
        self.status.beat(now);
        let number = self.metrics.beats;
        let interval = self.server.interval(self.interval, Instant::now());
        let beat = self.snapshots.beat(self.work.current(), number, self.server.rtt(), interval, now);
        (number, encode(&AgentMessage::Heartbeat(Box::new(beat))))
    }

    /// The dashboard accepted the registration: the only proof of success there is.
    pub fn connected(&mut self) {
        self.reconnect.registered();
        self.metrics.registrations += 1;
        self.status.connected();
        service::status("Connected to the dashboard.");
    }

    /// Starts a command. `announced`: its good end has been told already.
    pub fn start(&mut self, command: String, command_id: Option<String>, announced: bool) {
        let record = Record { announced, ..Record::accept(command, command_id) };
        tracing::info!(command = record.command, job = %record.id, "Accepted a command.");
        self.metrics.jobs_started += 1;
        self.work.accept(record, &*self.desk);
    }

    /// Reboots the machine by a job, after its good end has been told.
    pub fn reboot(&mut self, command_id: Option<String>) {
        self.start("reboot".to_owned(), command_id, true);
    }

    /// When [`Self::clone_if_missing`] has something to do.
    pub fn clone_due(&self) -> Option<Instant> {
        self.first_clone.due()
    }

    /// Starts a clone of the repository if it is time and there is none.
    pub fn clone_if_missing(&mut self, now: Instant) {
        let checkout = Checkout::of(&self.snapshots.facts());
        let idle = self.work.current().is_none() && self.server.refusal(now).is_none();
        if self.first_clone.take(checkout, idle, now) {
            self.start("clone".to_owned(), None, false);
        }
    }

    /// A command ended for good.
    pub fn ended(&mut self, command: &str, outcome: Outcome, now: Instant) {
        if matches!(command, "clone" | "pull" | "pull-switch") {
            self.first_clone.ended(outcome, fastrand::f64(), now);
        }
    }

    /// Takes note of what became of an order; returns why a command could not be stopped.
    pub fn take_news(&mut self, news: News) -> Option<String> {
        match news {
            News::Launched(id) => self.work.launched(&id, &*self.desk),
            News::NotLaunched(id, why) => {
                tracing::error!(job = %id, "The command could not be started: {why}");
                self.work.not_launched(&id, why);
            }
            News::NotEnded(id, why) => {
                tracing::error!(job = %id, "The command could not be stopped: {why}");
                return Some(why);
            }
        }
        None
    }

    /// Tells how the agent is, where so much waits to be written.
    pub fn answer(&self, ask: Ask, queue: Queue, now: Instant) {
        let current = self.work.current();
        let running = self.work.current_record().map(|record| Running {
            command: record.command.clone(),
            job_id: record.id.to_string(),
            command_id: record.command_id.clone(),
            pid: current.and_then(|current| current.pid),
            since: record.accepted_at.clone(),
        });
        let report = Report {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            hostname: self.host.hostname.clone(),
            started_at: self.status.started_at().to_owned(),
            connection: self.status.connection().clone(),
            server: self.server.status().into(),
            interval_s: self.server.interval(self.interval, now).as_secs(),
            last_beat_at: self.status.last_beat_at(),
            ack_rtt_ms: self.server.rtt().map(|rtt| (rtt.as_secs_f64() * 1e6).round() / 1e3),
            running,
            results: self.status.results(),
            queue,
            metrics: self.metrics.clone(),
            ..Report::default()
        };
        // Who asked may have gone meanwhile.
        drop(ask.0.send(report));
    }

    /// The connection is gone.
    pub fn disconnected(&mut self) {
        self.work.rewind(&*self.desk);
    }

    /// Runs until `shutdown` becomes true or the dashboard asks for a restart.
    pub async fn run(mut self, connection: &Connection, mut shutdown: watch::Receiver<bool>) -> Exit {
        loop {
            self.status.connecting();
            let attempt = self.attend(&mut shutdown, connect::connect(connection)).await;
            let delay = match attempt {
                None => return Exit::Shutdown,
                Some(Err(err)) => self.after_failure(&err),
                Some(Ok((socket, breaker))) => {
                    let summary = session::run(socket, &mut self, &mut shutdown).await;
                    if matches!(summary.ended, Ended::Silent | Ended::Stalled | Ended::Unacknowledged) {
                        breaker.break_off();
                    }
                    match summary.ended {
                        Ended::Shutdown => return Exit::Shutdown,
                        // Somebody who ends the agent meanwhile wants no new one.
                        Ended::Restart if *shutdown.borrow() => return Exit::Shutdown,
                        Ended::Restart => return Exit::Restart,
                        _ => self.after_session(&summary),
                    }
                }
            };
            if self.attend(&mut shutdown, sleep(delay)).await.is_none() {
                return Exit::Shutdown;
            }
        }
    }

    /// Waits for something, feeding the watchdog. None: the agent is to end instead.
    async fn attend<T>(
        &mut self,
        shutdown: &mut watch::Receiver<bool>,
        future: impl Future<Output = T>,
    ) -> Option<T> {
        tokio::pin!(future);
        loop {
            let wake = [self.watchdog.next(), self.clone_due()].into_iter().flatten().min();
            tokio::select! {
                biased;
                () = session::stop_requested(shutdown) => return None,
                done = &mut future => return Some(done),
                // A stop that waits for a launch must not wait for a connection as well.
                Some(news) = self.news.recv() => drop(self.take_news(news)),
                Some(ask) = self.asks.recv() => self.answer(ask, Queue::default(), Instant::now()),
                () = async { match wake { Some(at) => sleep_until(at).await, None => std::future::pending().await } } => {
                    self.watchdog.feed(Instant::now());
                    self.clone_if_missing(Instant::now());
                }
            }
        }
    }

    fn after_failure(&mut self, err: &ConnectError) -> Duration {
        let delay = self.reconnect.after_failure(err.cause(), fastrand::f64())
            + err.retry_after().unwrap_or_default();
        let text = error::chain(err);
        self.metrics.reconnect(metrics::failure(err));
        self.status.waiting(&text, delay);
        service::status(&format!("Not connected: {text}."));
        tracing::warn!(retry_in = ?rounded(delay), "Not connected: {text}.");
        delay
    }

    fn after_session(&mut self, summary: &Summary) -> Duration {
        let lasted = summary.registered.map(|at| at.elapsed());
        let closed = matches!(summary.ended, Ended::Closed(_));
        let delay =
            self.reconnect.after_session(closed, lasted, self.server.reconnect_window(), fastrand::f64());
        if let Some(times) = self.reconnect.evicted() {
            tracing::error!(
                hostname = self.host.hostname,
                times,
                "The dashboard keeps closing the connection right after the registration. Does another agent \
                 use the same hostname? Set NIXFLEET_HOSTNAME on one of them. Slowing down."
            );
        }
        let text = describe(&summary.ended);
        if let Some(cause) = metrics::end(&summary.ended) {
            self.metrics.reconnect(cause);
        }
        self.status.waiting(&text, delay);
        service::status(&format!("Connection lost: {text}"));
        tracing::warn!(retry_in = ?rounded(delay), "Connection lost: {text}");
        delay
    }
}

/// For people: nobody needs the nanoseconds of a random delay.
fn rounded(delay: Duration) -> Duration {
    Duration::from_millis(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX))
}

fn describe(ended: &Ended) -> String {
    match ended {
        Ended::Shutdown | Ended::Restart => "the agent ends.".to_owned(),
        Ended::Closed(None) => "the dashboard closed it without a reason.".to_owned(),
        Ended::Closed(Some((code, reason))) if reason.is_empty() => {
            format!("the dashboard closed it ({code}).")
        }
        Ended::Closed(Some((code, reason))) => format!("the dashboard closed it ({code}: {reason})."),
        Ended::Broken(err) => format!("{}.", error::chain(err)),
        Ended::Stalled => format!("the dashboard took no data for {:?}.", session::writer::WRITE_DEADLINE),
        Ended::Unacknowledged => {
            format!("the dashboard acknowledged none of {} heartbeats.", session::acks::LIMIT)
        }
        Ended::Silent => format!("nothing was heard from the dashboard for {:?}.", session::SILENCE),
        Ended::NotRegistered => {
            format!("the dashboard did not answer the registration within {:?}.", session::REGISTER_DEADLINE)
        }
    }
}
