//! NVIDIA's GPUs, by way of NVML on a thread of its own.
//!
//! A call of NVML's can wait in the kernel for ever, where no signal reaches it. So a question is sent to
//! a thread that is never joined, and what has not come back in time is not known. No second question is
//! asked before the first is answered: it could only hang too.
//!
//! ```text
//! idle --ask--> asked --answer within PATIENCE--> idle
//!                 '-- late --> silent (counted once) --answer, taken if it is not old--> idle
//! ```

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use super::{MAX_AGE, Reading, Sources, Status};

#[cfg(all(feature = "nvml", target_os = "linux"))]
mod nvml;
#[cfg(not(all(feature = "nvml", target_os = "linux")))]
#[path = "nvidia/absent.rs"]
mod nvml;

/// Time for an answer. A GPU answers within milliseconds, some need a second to wake up their driver;
/// the figures of other GPUs wait for it in the meantime.
const PATIENCE: Duration = Duration::from_secs(3);

/// Which GPUs are asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Whom {
    /// Those at these PCI addresses.
    These {
        addresses: Vec<String>,
        /// Whether there are others, which must not be woken.
        spare_others: bool,
    },
    /// All that NVML knows of.
    Everyone,
}

/// One GPU's answer.
#[derive(Debug, PartialEq)]
struct Found {
    address: String,
    reading: Result<Reading, Trouble>,
}

/// Why nothing is told about a GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) status: Status,
    /// What the library said; empty if it was not the one who said it.
    pub(super) detail: String,
}

impl From<Status> for Trouble {
    fn from(status: Status) -> Self {
        Self { status, detail: String::new() }
    }
}

type Answer = Result<Vec<Found>, Trouble>;

enum Order {
    Look(Whom),
    /// Nobody needs an answer soon: close the library, which keeps GPUs awake by being open.
    LetGo,
}

/// The thread, as long as it lives.
#[derive(Debug)]
struct Worker {
    orders: mpsc::Sender<Order>,
    answers: mpsc::Receiver<Answer>,
}

/// What is known of NVML's GPUs.
#[derive(Debug)]
pub(super) struct Nvidia {
    libraries: Vec<PathBuf>,
    patience: Duration,
    /// Age at which a question's answer is of no use any more.
    too_old: Duration,
    worker: Option<Worker>,
    /// When the question was asked that has no answer yet.
    asked: Option<Instant>,
    /// Whether that question has been counted as late.
    late: bool,
    /// Whether the library may be open.
    open: bool,
    unanswered: u64,
}

impl Nvidia {
    pub(super) fn new(sources: &Sources) -> Self {
        Self {
            libraries: sources.nvml.clone(),
            patience: PATIENCE,
            too_old: MAX_AGE,
            worker: None,
            asked: None,
            late: false,
            open: false,
            unanswered: 0,
        }
    }

    #[cfg(test)]
    pub(super) fn set_patience(&mut self, patience: Duration, too_old: Duration) {
        (self.patience, self.too_old) = (patience, too_old);
    }

    /// Questions that were not answered in time.
    pub(super) fn unanswered(&self) -> u64 {
        self.unanswered
    }

    /// Asks, unless an earlier question is still open. Does not wait.
    pub(super) fn ask(&mut self, whom: Whom) {
        if let Some(asked) = self.asked {
            // An answer that nobody wants any more makes room for a new question.
            if asked.elapsed() > self.too_old
                && let Some(worker) = &self.worker
                && let Ok(_outdated) = worker.answers.try_recv()
            {
                self.asked = None;
            } else {
                return;
            }
        }
        if self.worker.is_none() {
            self.worker = start(self.libraries.clone());
        }
        let Some(worker) = &self.worker else { return };
        if worker.orders.send(Order::Look(whom)).is_err() {
            self.worker = None;
            return;
        }
        self.open = true;
        self.late = false;
        self.asked = Some(Instant::now());
    }

    /// Closes the library as soon as it comes back, so that GPUs may sleep.
    pub(super) fn let_go(&mut self) {
        if let Some(worker) = self.worker.as_ref().filter(|_| self.open) {
            // Nobody is there any more: then nothing is open.
            drop(worker.orders.send(Order::LetGo));
            self.open = false;
        }
    }

    /// Waits for the answer, but not longer than it may take: for one that is late already, not at all.
    pub(super) fn answer(&mut self) -> Answers {
        // Else there is no thread.
        let (Some(worker), Some(asked)) = (&self.worker, self.asked) else {
            return Answers::All(Status::Failed.into());
        };
        let left = self.patience.saturating_sub(asked.elapsed());
        let answer = match worker.answers.recv_timeout(left) {
            Ok(answer) => answer,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                if !self.late {
                    self.late = true;
                    self.unanswered += 1;
                }
                return Answers::All(Status::NoAnswer.into());
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                // It panicked. The next question starts another.
                self.worker = None;
                self.asked = None;
                return Answers::All(Status::Failed.into());
            }
        };
        self.asked = None;
        match answer {
            Ok(found) => {
                Answers::Each(found.into_iter().map(|found| (found.address, found.reading)).collect())
            }
            Err(trouble) => Answers::All(trouble),
        }
    }
}

/// What came of a question.
#[derive(Debug, PartialEq)]
pub(super) enum Answers {
    /// By PCI address.
    Each(BTreeMap<String, Result<Reading, Trouble>>),
    /// The same for all.
    All(Trouble),
}

impl Answers {
    pub(super) fn of(&mut self, address: &str) -> Result<Reading, Trouble> {
        match self {
            // One that was not asked yet when the question was sent that is still being answered.
            Self::Each(found) => found.remove(address).unwrap_or(Err(Status::NoAnswer.into())),
            Self::All(trouble) => Err(trouble.clone()),
        }
    }
}

fn start(libraries: Vec<PathBuf>) -> Option<Worker> {
    let (orders, ordered) = mpsc::channel();
    let (reply, answers) = mpsc::channel();
    let run = move || {
        let mut library = nvml::Library::new(libraries);
        // Ends when the asker is gone.
        for order in ordered {
            match order {
                Order::Look(whom) => {
                    if reply.send(library.look(&whom)).is_err() {
                        return;
                    }
                }
                Order::LetGo => library.close(),
            }
        }
    };
    // The default stack: how much NVIDIA's library needs is its own business.
    match thread::Builder::new().name("nvml".to_owned()).spawn(run) {
        Ok(_never_joined) => Some(Worker { orders, answers }),
        Err(error) => {
            tracing::warn!(%error, "No thread for NVML: NVIDIA's GPUs are not read.");
            None
        }
    }
}
