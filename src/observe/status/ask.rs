//! Questions to the agent's loop.

use std::fmt;

use tokio::sync::{mpsc, oneshot};

use super::process::ProcessUsage;
use super::report::Report;
use crate::observe::accept;

/// Questions that may wait for the agent's loop: one for each connection to the Unix socket and to the HTTP
/// port.
pub const ASKS: usize = 2 * accept::CONNECTIONS;

/// A request for a report, with the channel for the answer.
#[derive(Debug)]
pub struct Ask(pub oneshot::Sender<Report>);

/// The sending side of the agent's loop.
pub type Asker = mpsc::Sender<Ask>;

/// Makes complete reports: asks the agent's loop and adds what the loop does not know.
pub struct Source {
    asker: Asker,
    add: Box<dyn Fn(&mut Report) + Send + Sync>,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").finish_non_exhaustive()
    }
}

impl Source {
    /// A source for the loop behind `asker`. `add` fills in what other parts of the program know; it must
    /// not block.
    pub fn new(asker: Asker, add: impl Fn(&mut Report) + Send + Sync + 'static) -> Self {
        Self { asker, add: Box::new(add) }
    }

    /// The agent's current state; none after the loop has ended.
    pub(crate) async fn report(&self) -> Option<Report> {
        let (sender, answer) = oneshot::channel();
        self.asker.send(Ask(sender)).await.ok()?;
        let mut report = answer.await.ok()?;
        report.process = ProcessUsage::read();
        (self.add)(&mut report);
        Some(report)
    }
}
