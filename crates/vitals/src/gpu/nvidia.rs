//! NVIDIA GPUs, read by NVML, in a process of its own or on a thread.
//!
//! A call of NVML can wait in the kernel for ever, where no signal reaches it. So a query is sent to somebody who is
//! never waited for longer than a moment. If the answer does not arrive in time, the values are unknown. There is no
//! second query before the first one is answered or given up, because it would hang too.
//!
//! ```text
//! idle --query--> waiting --answer within TIMEOUT--> idle
//!                    '-- late (counted once) --answer, used if it is not too old--> idle
//!                                 '-- a process: killed after PATIENCE -----------> idle
//!
//! nvml     the library                          process  the reader, a process that has the library
//! thread   has the library in this process      serve    what the reader does
//!                                               message  questions to it, and its answers
//! ```

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use nixfleet_os::short;

use super::{Gpu, MAX_AGE, Reading, Sources, Status, Vendor};
use message::Question;
use process::Process;
use thread::Thread;

pub use serve::serve;

mod message;
#[cfg(all(feature = "nvml", target_os = "linux"))]
mod nvml;
#[cfg(not(all(feature = "nvml", target_os = "linux")))]
#[path = "nvidia/absent.rs"]
mod nvml;
mod process;
mod serve;
mod thread;

/// Longest wait for an answer. A GPU answers within milliseconds; some need a second to wake up their driver.
/// The values of all other GPUs wait during this time.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Time without an answer after which a reader is killed. Opening the library on a host with sixteen GPUs that no
/// program keeps awake can take half a minute, and would never end if it was killed before.
const PATIENCE: Duration = Duration::from_secs(60);

/// Time until opening the library is tried again.
const RETRY: Duration = Duration::from_secs(60);

/// The same after a version mismatch. Only a reboot or a reload of the driver resolves it, and the kernel
/// logs every attempt.
const RETRY_MISMATCH: Duration = Duration::from_secs(600);

/// When opening the library is tried again that failed like this.
fn retry_after(status: Status) -> Duration {
    if status == Status::Mismatch { RETRY_MISMATCH } else { RETRY }
}

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

/// Who has the library.
#[derive(Debug)]
enum Owner {
    Thread(Thread),
    Process(Box<Process>),
}

impl Owner {
    fn ask(&mut self, selection: Selection) -> Result<(), Failure> {
        match self {
            Self::Thread(thread) => thread.ask(selection),
            Self::Process(process) => process.ask(selection),
        }
    }

    /// The answer to the last query; None if there is none within `limit`.
    fn hear(&mut self, limit: Duration) -> Option<Answer> {
        match self {
            Self::Thread(thread) => thread.hear(limit),
            Self::Process(process) => process.hear(limit),
        }
    }
}

/// NVML.
#[derive(Debug)]
pub(super) struct Nvidia {
    owner: Owner,
    timeout: Duration,
    patience: Duration,
    /// Age of a query at which its answer is not used any more.
    max_age: Duration,
    /// When the query was sent that has no answer yet.
    asked_at: Option<Instant>,
    /// Whether that query has been counted as late.
    late: bool,
    /// Why the last query could not be sent.
    refused: Option<Failure>,
    unanswered: u64,
}

impl Nvidia {
    pub(super) fn new(sources: &Sources) -> Self {
        // A reader of a build without NVML would only say so.
        let reader = sources.reader.clone().filter(|_| cfg!(all(feature = "nvml", target_os = "linux")));
        Self {
            owner: match reader {
                Some(program) => Owner::Process(Box::new(Process::new(program, &sources.nvml))),
                None => Owner::Thread(Thread::new(sources.nvml.clone())),
            },
            timeout: TIMEOUT,
            patience: PATIENCE,
            max_age: MAX_AGE,
            asked_at: None,
            late: false,
            refused: None,
            unanswered: 0,
        }
    }

    #[cfg(all(test, feature = "nvml", target_os = "linux"))]
    pub(super) fn set_timeout(&mut self, timeout: Duration, max_age: Duration) {
        (self.timeout, self.max_age) = (timeout, max_age);
    }

    /// For readers: when one is killed, and when the next one starts at the earliest.
    #[cfg(all(test, feature = "nvml", target_os = "linux"))]
    pub(super) fn set_patience(&mut self, patience: Duration, first_delay: Duration) {
        self.patience = patience;
        if let Owner::Process(process) = &mut self.owner {
            process.set_first_delay(first_delay);
        }
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
                && let Some(_outdated) = self.owner.hear(Duration::ZERO)
            {
                self.asked_at = None;
            } else {
                return;
            }
        }
        match self.owner.ask(selection) {
            Ok(()) => {
                self.late = false;
                self.asked_at = Some(Instant::now());
            }
            Err(failure) => self.refused = Some(failure),
        }
    }

    /// Whether no question is open.
    pub(super) fn is_idle(&self) -> bool {
        self.asked_at.is_none()
    }

    /// Closes the library, so that GPUs can sleep.
    pub(super) fn close(&mut self) {
        match &mut self.owner {
            Owner::Thread(thread) => thread.close(),
            Owner::Process(process) => {
                process.close();
                // A query without an answer ends with its reader.
                self.asked_at = None;
            }
        }
    }

    /// Waits for the answer, until the time limit of the query. For a query that is late already, it does not
    /// wait.
    pub(super) fn answer(&mut self) -> Answers {
        let Some(asked_at) = self.asked_at else {
            return Answers::Same(self.refused.take().unwrap_or(Status::Failed.into()));
        };
        let left = self.timeout.saturating_sub(asked_at.elapsed());
        let Some(answer) = self.owner.hear(left) else {
            if !self.late {
                self.late = true;
                self.unanswered += 1;
            }
            if asked_at.elapsed() >= self.patience
                && let Owner::Process(process) = &mut self.owner
            {
                process.give_up(self.patience);
                self.asked_at = None;
            }
            return Answers::Same(Status::NoAnswer.into());
        };
        self.asked_at = None;
        match answer {
            Ok(found) => {
                Answers::Each(short::gather(found.into_iter().map(|found| (found.address, found.reading))))
            }
            Err(failure) => Answers::Same(failure),
        }
    }
}

/// What is believed of a line that a reader wrote as its answer to question 1, for the GPUs with these addresses; None
/// if it is no answer. For `crates/fuzz`.
pub fn answer(line: &[u8], addresses: Vec<String>) -> Option<Result<Vec<Gpu>, Status>> {
    let selection = Selection::Only { addresses, let_others_sleep: false };
    let gpu = |Found { address, reading }: Found| {
        let status = reading.as_ref().map_or_else(|failure| failure.status, |_| Status::Ok);
        let reading = reading.unwrap_or_default();
        Gpu {
            vendor: Vendor::Nvidia,
            name: reading.name,
            pci_address: address,
            device_id: None,
            usage: reading.usage,
            usage_is_estimate: false,
            temperature_celsius: reading.temperature_celsius,
            vram_used_bytes: reading.vram_used_bytes,
            vram_total_bytes: reading.vram_total_bytes,
            power_watts: reading.power_watts,
            status,
        }
    };
    let answer = Question { number: 1, selection }.answer(line)?;
    Some(answer.map(|found| found.into_iter().map(gpu).collect()).map_err(|failure| failure.status))
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
