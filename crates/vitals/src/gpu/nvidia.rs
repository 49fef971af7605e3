//! NVIDIA GPUs, read by NVML on a thread of its own.
//!
//! A call of NVML can wait in the kernel for ever, where no signal reaches it. So a query is sent to a thread
//! that is never joined. If the answer does not arrive in time, the values are unknown. There is no second
//! query before the first one is answered, because it would hang too.
//!
//! ```text
//! idle --query--> waiting --answer within TIMEOUT--> idle
//!                    '-- late (counted once) --answer, used if it is not too old--> idle
//! ```

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::{MAX_AGE, Reading, Sources, Status};

#[cfg(all(feature = "nvml", target_os = "linux"))]
mod nvml;
#[cfg(not(all(feature = "nvml", target_os = "linux")))]
#[path = "nvidia/absent.rs"]
mod nvml;

/// Longest wait for an answer. A GPU answers within milliseconds; some need a second to wake up their driver.
/// The values of all other GPUs wait during this time.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Which GPUs are queried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Selection {
    /// The GPUs with these PCI addresses.
    Only {
        addresses: Vec<String>,
        /// Whether there are other GPUs, which must not be woken.
        let_others_sleep: bool,
    },
    /// All GPUs that NVML knows.
    All,
}

/// The answer for one GPU.
#[derive(Debug, PartialEq)]
struct Found {
    address: String,
    reading: Result<Reading, Failure>,
}

/// Why there is no reading of a GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) status: Status,
    /// Error message of the library; empty if the library did not report the error.
    pub(super) detail: String,
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Self { status, detail: String::new() }
    }
}

type Answer = Result<Vec<Found>, Failure>;

/// A request to the thread.
enum Request {
    /// Read these GPUs.
    Read(Selection),
    /// Close the library, because an open library keeps GPUs awake.
    Close,
}

/// Connection to the thread.
#[derive(Debug)]
struct Worker {
    requests: mpsc::Sender<Request>,
    answers: mpsc::Receiver<Answer>,
}

/// NVML and its thread.
#[derive(Debug)]
pub(super) struct Nvidia {
    libraries: Vec<PathBuf>,
    timeout: Duration,
    /// Age of a query at which its answer is not used any more.
    max_age: Duration,
    worker: Option<Worker>,
    /// When the query was sent that has no answer yet.
    asked_at: Option<Instant>,
    /// Whether that query has been counted as late.
    late: bool,
    /// Whether the library may be open.
    open: bool,
    unanswered: u64,
}

impl Nvidia {
    pub(super) fn new(sources: &Sources) -> Self {
        Self {
            libraries: sources.nvml.clone(),
            timeout: TIMEOUT,
            max_age: MAX_AGE,
            worker: None,
            asked_at: None,
            late: false,
            open: false,
            unanswered: 0,
        }
    }

    #[cfg(test)]
    pub(super) fn set_timeout(&mut self, timeout: Duration, max_age: Duration) {
        (self.timeout, self.max_age) = (timeout, max_age);
    }

    /// Count of queries that were not answered in time.
    pub(super) fn unanswered(&self) -> u64 {
        self.unanswered
    }

    /// Sends a query, unless an earlier one has no answer yet. Does not wait.
    pub(super) fn ask(&mut self, selection: Selection) {
        if let Some(asked_at) = self.asked_at {
            // An answer that is too old makes room for a new query.
            if asked_at.elapsed() > self.max_age
                && let Some(worker) = &self.worker
                && let Ok(_outdated) = worker.answers.try_recv()
            {
                self.asked_at = None;
            } else {
                return;
            }
        }
        if self.worker.is_none() {
            self.worker = start(self.libraries.clone());
        }
        let Some(worker) = &self.worker else { return };
        if worker.requests.send(Request::Read(selection)).is_err() {
            self.worker = None;
            return;
        }
        self.open = true;
        self.late = false;
        self.asked_at = Some(Instant::now());
    }

    /// Closes the library after the current query, so that GPUs can sleep.
    pub(super) fn close(&mut self) {
        if let Some(worker) = self.worker.as_ref().filter(|_| self.open) {
            // If the thread has ended, the library is closed already.
            drop(worker.requests.send(Request::Close));
            self.open = false;
        }
    }

    /// Waits for the answer, until the time limit of the query. For a query that is late already, it does not
    /// wait.
    pub(super) fn answer(&mut self) -> Answers {
        // Without them there is no thread.
        let (Some(worker), Some(asked_at)) = (&self.worker, self.asked_at) else {
            return Answers::Same(Status::Failed.into());
        };
        let left = self.timeout.saturating_sub(asked_at.elapsed());
        let answer = match worker.answers.recv_timeout(left) {
            Ok(answer) => answer,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                if !self.late {
                    self.late = true;
                    self.unanswered += 1;
                }
                return Answers::Same(Status::NoAnswer.into());
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                // The thread panicked. The next query starts a new one.
                self.worker = None;
                self.asked_at = None;
                return Answers::Same(Status::Failed.into());
            }
        };
        self.asked_at = None;
        match answer {
            Ok(found) => {
                Answers::Each(found.into_iter().map(|found| (found.address, found.reading)).collect())
            }
            Err(failure) => Answers::Same(failure),
        }
    }
}

/// The result of a query.
#[derive(Debug, PartialEq)]
pub(super) enum Answers {
    /// One result for each GPU, by PCI address.
    Each(BTreeMap<String, Result<Reading, Failure>>),
    /// The same failure for all GPUs.
    Same(Failure),
}

impl Answers {
    pub(super) fn of(&mut self, address: &str) -> Result<Reading, Failure> {
        match self {
            // This GPU was not part of the query that is being answered.
            Self::Each(found) => found.remove(address).unwrap_or(Err(Status::NoAnswer.into())),
            Self::Same(failure) => Err(failure.clone()),
        }
    }
}

fn start(libraries: Vec<PathBuf>) -> Option<Worker> {
    let (requests, received) = mpsc::channel();
    let (reply, answers) = mpsc::channel();
    let run = move || {
        let mut library = nvml::Library::new(libraries);
        // The loop ends when the sender is dropped.
        for request in received {
            match request {
                Request::Read(selection) => {
                    if reply.send(library.read(&selection)).is_err() {
                        return;
                    }
                }
                Request::Close => library.close(),
            }
        }
    };
    // The default stack size, because it is unknown how much NVIDIA's library needs.
    match thread::Builder::new().name("nvml".to_owned()).spawn(run) {
        Ok(_never_joined) => Some(Worker { requests, answers }),
        Err(error) => {
            tracing::warn!(%error, "No thread for NVML: NVIDIA's GPUs are not read.");
            None
        }
    }
}
