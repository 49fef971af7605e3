//! The agent's main loop: connect, run a session, wait, and connect again, until it is asked to stop.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tracing::Instrument;

use nixfleet_config::TokenError;
use nixfleet_os::text::one_line;
use nixfleet_os::time::length;
use nixfleet_os::{error, service_manager};

use super::agent::Agent;
use super::ended::Ended;
use super::network::Network;
use super::session::{self, Summary};
use crate::dial::{Cause, Connect, ConnectError, Dialled};
use crate::observe::systemd;

use wait::{Interrupt, Wait, rounded};

mod wait;

/// Longest text about a lost connection in characters, for the log and the status. It may quote a proxy or a
/// dashboard.
const REASON: usize = 500;

/// How long to run without a token that systemd could not pass, if the agent does not see its file come: it may be where
/// the sandbox hides it, such as `/home`. Such an agent does nothing useful, and each start is some lines in the journal.
const NEW_TOKEN: Duration = Duration::from_secs(600);

/// Longest delay before a connection that the agent itself wants anew. Hosts that switch together do not come back in
/// the same moment.
const RENEWAL: Duration = Duration::from_secs(1);

/// Why the agent ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It was asked to stop.
    Shutdown,
    /// A new process has to take its place. It has to know this number, see [`Agent::after_restart`].
    Restart(u32),
}

impl Agent {
    /// The agent before this one was restarted by its dashboard, and gave this number on.
    #[must_use]
    pub fn after_restart(mut self, doublings: u32) -> Self {
        self.first_delay = self.reconnect.restarted(doublings, fastrand::f64());
        self
    }

    /// Runs until `shutdown` becomes true or the dashboard asks for a restart.
    pub async fn run(mut self, connection: &impl Connect, mut shutdown: watch::Receiver<bool>) -> Exit {
        let mut n: u64 = 0;
        let begun = Instant::now();
        let mut network = Network::default();
        self.follow_trial();
        if let Some(delay) = self.first_delay.take() {
            self.history.retry_in(delay);
            tracing::info!(retry_in = ?rounded(delay), "The dashboard restarts its agents again and again.");
            if self.pause(&mut shutdown, &network, delay.into(), false).await.is_none() {
                return Exit::Shutdown;
            }
        }
        loop {
            n += 1;
            // The span has the highest level, so that no log filter removes the number from the lines below
            // it.
            let span = tracing::error_span!("connection", n);
            self.history.connecting();
            self.contact.dialing();
            let mut dial = Box::pin(connection.connect().instrument(span.clone()));
            let mut stepped = false;
            let attempt = loop {
                match self.wait_for(&mut shutdown, dial.as_mut()).await {
                    Err(Interrupt::Stepped) => stepped = true,
                    Err(Interrupt::Stop) => return Exit::Shutdown,
                    Err(Interrupt::Slept(time)) => break Err(time),
                    Ok(attempt) => break Ok(attempt),
                }
            };
            drop(dial);
            let wait = match attempt {
                Err(slept) => span.in_scope(|| self.begin_anew(slept)),
                Ok(Err(err)) => {
                    let wait = span.in_scope(|| self.after_failure(&err, &mut network));
                    // Without units of their own, commands may end with the agent.
                    let may_end = service_manager::is_supervised() && self.jobs.current().is_none();
                    if may_end && needs_new_start(&err, begun.elapsed()) {
                        tracing::info!(
                            "Ending, so that systemd starts this agent again and passes the token."
                        );
                        return Exit::Restart(0);
                    }
                    wait
                }
                Ok(Ok(Dialled { socket, hard_close, identity })) => {
                    self.rotation.connected(Some(identity));
                    network.ignore();
                    let session = session::run(socket, &mut self, &mut shutdown);
                    let summary = session.instrument(span.clone()).await;
                    self.rotation.connected(None);
                    if is_dead(&summary.ended) {
                        hard_close.break_off();
                    }
                    match summary.ended {
                        Ended::Shutdown => return Exit::Shutdown,
                        // A stop that arrived during the restart wins.
                        Ended::Restart if *shutdown.borrow() => return Exit::Shutdown,
                        Ended::Restart => {
                            let lasted = summary.registered.map(|at| at.elapsed());
                            return Exit::Restart(self.reconnect.restarting(lasted));
                        }
                        _ => span.in_scope(|| self.after_session(&summary)).into(),
                    }
                }
            };
            if self.pause(&mut shutdown, &network, wait, stepped).instrument(span).await.is_none() {
                return Exit::Shutdown;
            }
        }
    }

    fn after_failure(&mut self, err: &ConnectError, network: &mut Network) -> Wait {
        let cause = err.cause();
        let announced = if cause == Cause::Local {
            network.listen()
        } else {
            network.ignore();
            false
        };
        let patience = err.retry_after().unwrap_or_default();
        let delay = self.reconnect.after_failure(cause, announced, err.retry_after(), self.terms());
        let delay = self.contact.hurries(delay.saturating_sub(patience)) + patience;
        if err.is_about_time() {
            self.reconnect.note_about_time();
        }
        let text = one_line(&error::chain(err), REASON);
        self.stats.reconnect(err.counted_as());
        self.absence.failed(&text, err.counted_as(), nixfleet_os::timestamp());
        self.history.waiting(&text, delay);
        systemd::status(&format!("Not connected: {text}."));
        self.outage.failed(&text, rounded(delay), Instant::now());
        Wait { delay, patience }
    }

    fn after_session(&mut self, summary: &Summary) -> Duration {
        let lasted = summary.registered.map(|at| at.elapsed());
        if matches!(summary.ended, Ended::Rotated) {
            // The connection was good: what failed before it does not count any more.
            self.reconnect.after_session(false, lasted, self.at_once());
            let delay = RENEWAL.mul_f64(fastrand::f64());
            self.history.renewing(delay);
            return delay;
        }
        let closed = matches!(summary.ended, Ended::Closed(_));
        let delay = match summary.ended {
            Ended::Renewed => {
                self.reconnect.after_session(closed, lasted, self.at_once());
                RENEWAL.mul_f64(fastrand::f64())
            }
            Ended::Slept(_) | Ended::LostInSleep(_) => {
                self.reconnect.after_session(closed, lasted, self.at_once());
                self.start_over(Instant::now())
            }
            _ => {
                let terms = self.terms();
                self.contact.hurries(self.reconnect.after_session(closed, lasted, terms))
            }
        };
        let text = one_line(&describe(&summary.ended), REASON);
        if let Some(cause) = summary.ended.counted_as() {
            self.stats.reconnect(cause);
            self.absence.ended(&text, cause, nixfleet_os::timestamp(), summary.registered.is_some());
        }
        self.history.waiting(&text, delay);
        systemd::status(&format!("Connection lost: {text}"));
        let told = self.outage.lost(&text, lasted, rounded(delay), Instant::now());
        if let Some(times) = self.reconnect.evicted().filter(|_| told) {
            tracing::error!(
                hostname = self.host.hostname,
                times,
                "The dashboard keeps closing the connection right after the registration. Does another agent \
                 use the same hostname? Set NIXFLEET_HOSTNAME on one of them. Slowing down."
            );
        }
        delay
    }
}

/// Whether nothing arrives on such a connection, so that what waits in it is of no use.
fn is_dead(ended: &Ended) -> bool {
    matches!(
        ended,
        Ended::Silent | Ended::Stalled | Ended::Unacknowledged | Ended::Slept(_) | Ended::LostInSleep(_)
    )
}

/// Whether a new start may bring the token. systemd reads the file when it starts the unit, and at no other time.
fn needs_new_start(err: &ConnectError, age: Duration) -> bool {
    match err {
        ConnectError::Token(TokenError::NotPassed { came, .. }) => *came || age >= NEW_TOKEN,
        _ => false,
    }
}

/// The end of a session as a sentence, for people.
fn describe(ended: &Ended) -> String {
    match ended {
        Ended::Shutdown | Ended::Restart => "the agent ends.".to_owned(),
        Ended::Closed(None) => "the dashboard closed it without a reason.".to_owned(),
        Ended::Closed(Some((code, reason))) if reason.is_empty() => {
            format!("the dashboard closed it ({code}).")
        }
        Ended::Closed(Some((code, reason))) => format!("the dashboard closed it ({code}: {reason})."),
        Ended::Broken(err) => format!("{}.", error::chain(err)),
        Ended::Renewed => {
            "a new one has to show that the system that was just activated reaches the dashboard.".to_owned()
        }
        Ended::Rotated => "what proves who this host is was replaced.".to_owned(),
        Ended::Stalled => format!("the dashboard took no data for {:?}.", session::writer::WRITE_DEADLINE),
        Ended::Unacknowledged => {
            format!("the dashboard acknowledged none of {} heartbeats.", session::acks::LIMIT)
        }
        Ended::Silent => format!("nothing was heard from the dashboard for {:?}.", session::SILENCE),
        Ended::Slept(time) => format!(
            "this host slept for {}, and nothing was heard from the dashboard for over {:?}.",
            length(*time),
            session::SILENCE
        ),
        Ended::LostInSleep(time) => format!(
            "this host slept for {}, and since then the dashboard has not answered within {:?}.",
            length(*time),
            session::sleep::AWAKE_TIMEOUT
        ),
        Ended::NotRegistered => {
            format!("the dashboard did not answer the registration within {:?}.", session::REGISTER_DEADLINE)
        }
    }
}

#[cfg(test)]
mod clock_tests;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dial::client_auth::ClientCertificateRefused;
    use crate::dial::step::Step;
    use crate::observe::stats::{CAUSES, Stats};

    #[test]
    fn every_end_and_every_failure_is_counted_under_a_known_name() {
        let no_thread = ConnectError::NoThread(std::io::ErrorKind::WouldBlock.into());
        let failures = [
            no_thread,
            ConnectError::NoRoots,
            ConnectError::Slow(Step::Answer, NEW_TOKEN),
            ConnectError::WrongToken,
            ConnectError::Forbidden,
            ConnectError::ClientCertificateRefused(ClientCertificateRefused::Missing("x".to_owned())),
        ];
        let moment = Duration::from_secs(1);
        let ends = [
            Ended::Closed(None),
            Ended::Stalled,
            Ended::Silent,
            Ended::Unacknowledged,
            Ended::NotRegistered,
            Ended::Slept(moment),
            Ended::LostInSleep(moment),
        ];
        let failed = failures.iter().map(ConnectError::counted_as);
        let mut stats = Stats::default();
        for cause in failed.chain(ends.iter().filter_map(Ended::counted_as)) {
            assert!(CAUSES.contains(&cause), "{cause}");
            stats.reconnect(cause);
        }
        assert_eq!(stats.reconnects.len(), CAUSES.len());
        assert_eq!(stats.reconnects.values().sum::<u64>(), 13);
    }

    #[test]
    fn an_agent_without_a_token_ends_when_systemd_may_have_one() {
        let not_passed = |came| ConnectError::Token(TokenError::NotPassed { file: None, came });
        let moment = Duration::from_millis(1);
        for (err, age, ends) in [
            (not_passed(false), moment, false),
            (not_passed(false), NEW_TOKEN - moment, false),
            (not_passed(false), NEW_TOKEN, true),
            (not_passed(true), moment, true),
            (ConnectError::WrongToken, NEW_TOKEN, false),
            (ConnectError::Token(TokenError::Empty { origin: "x".to_owned() }), NEW_TOKEN, false),
        ] {
            assert_eq!(needs_new_start(&err, age), ends, "{err:?} {age:?}");
        }
    }
}
