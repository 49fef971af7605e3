//! The reader as the process sees it that started it: NVML in a process of its own.
//!
//! NVIDIA's library needs 20 MB, has threads of its own, and may crash. Here that costs the readings of its GPUs, and
//! nothing else. A reader that does not answer can be killed, unless it waits in the kernel; then there is no second
//! one before it has ended.
//!
//! Which samples of usage have been counted already, a new reader does not know. Its first mean is that of the last
//! 15 s, of which after a crash a part was in an earlier one.
//!
//! ```text
//! none --question--> running --closed: GPUs may sleep--> dismissed --gone--> none
//!   ^                   |-- crash, garbage, no answer for long --> killed --gone--.
//!   '------------------------------- after a delay that grows -------------------'
//! ```

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nixfleet_os::error;
use nixfleet_os::subprocess::{Companion, ProgramError};

use super::message::Question;
use super::{Answer, Failure, Selection, Status, retry_after};

/// Delay before a reader is started that follows one that failed; it doubles each time. The kernel logs each crash, and
/// starting a driver's library costs a tenth of a second of processor time.
const FIRST_DELAY: Duration = Duration::from_secs(5);
const LONGEST_DELAY: Duration = Duration::from_secs(600);

/// Time without a failure after which the delays begin anew: twice the longest one, so that a reader has worked for as
/// long as it was waited for.
const FORGOTTEN: Duration = Duration::from_secs(1200);

/// The first argument of a reader: the agent's subcommand.
const SUBCOMMAND: &str = "gpu-reader";

/// The variables that a reader gets: where the loader looks for libraries.
const KEPT: &[&str] = &["LD_LIBRARY_PATH"];

/// The reader, from the first question on.
#[derive(Debug)]
pub(super) struct Process {
    program: PathBuf,
    arguments: Vec<OsString>,
    running: Option<Running>,
    /// One that was told to end and may not have done so.
    ending: Option<Companion>,
    /// What is answered until then instead of starting a reader.
    refused: Option<(Instant, Failure)>,
    delays: Delays,
    /// Number of the last question.
    number: u64,
}

#[derive(Debug)]
struct Running {
    reader: Companion,
    /// The question that it has got and not answered; none before the first.
    question: Option<Question>,
}

/// How long to wait after a failure.
#[derive(Debug)]
struct Delays {
    first: Duration,
    /// The last failure, and the delay after it.
    last: Option<(Instant, Duration)>,
}

impl Delays {
    fn next(&mut self, now: Instant) -> Duration {
        let recent = self.last.filter(|(at, _)| now.saturating_duration_since(*at) < FORGOTTEN);
        let delay = recent.map_or(self.first, |(_, delay)| (delay * 2).min(LONGEST_DELAY));
        self.last = Some((now, delay));
        delay
    }
}

impl Process {
    pub(super) fn new(program: PathBuf, libraries: &[PathBuf]) -> Self {
        let libraries = libraries.iter().map(|path| path.clone().into_os_string());
        Self {
            program,
            arguments: [SUBCOMMAND.into()].into_iter().chain(libraries).collect(),
            running: None,
            ending: None,
            refused: None,
            delays: Delays { first: FIRST_DELAY, last: None },
            number: 0,
        }
    }

    #[cfg(all(test, feature = "nvml", target_os = "linux"))]
    pub(super) fn set_first_delay(&mut self, delay: Duration) {
        self.delays.first = delay;
    }

    /// Sends a question to the reader, and starts one if there is none.
    pub(super) fn ask(&mut self, selection: Selection) -> Result<(), Failure> {
        self.start()?;
        let Some(running) = &mut self.running else { return Err(Status::Failed.into()) };
        self.number += 1;
        let question = Question { number: self.number, selection };
        let sent = running.reader.ask(&question.line());
        running.question = Some(question);
        sent.map_err(|err| self.failed(&err))
    }

    /// The answer to the question, waited for no longer than `limit`.
    pub(super) fn hear(&mut self, limit: Duration) -> Option<Answer> {
        let Some(Running { reader, question: Some(question), .. }) = &mut self.running else {
            return Some(Err(Status::Failed.into()));
        };
        let line = match reader.answer(limit) {
            Ok(Some(line)) => line,
            Ok(None) => return None,
            Err(err) => return Some(Err(self.failed(&err))),
        };
        let Some(answer) = question.answer(&line) else {
            return Some(Err(self.stopped(Status::Failed, "wrote what is no answer")));
        };
        self.answered(&answer);
        Some(answer)
    }

    /// Ends the reader, because it keeps GPUs awake.
    pub(super) fn close(&mut self) {
        match self.running.take() {
            Some(Running { reader, .. }) => {
                reader.dismiss();
                self.ending = Some(reader);
            }
            None => self.reap(),
        }
    }

    /// Ends a reader that has not answered for so long that it will not.
    pub(super) fn give_up(&mut self, after: Duration) {
        self.stopped(Status::NoAnswer, &format!("has not answered for {} s", after.as_secs()));
    }

    fn answered(&mut self, answer: &Answer) {
        let Err(failure) = answer else { return };
        // The library is not open: the reader is of no use until it is tried again.
        self.close();
        self.refused = Some((Instant::now() + retry_after(failure.status), failure.clone()));
    }

    fn start(&mut self) -> Result<(), Failure> {
        if self.running.is_some() {
            return Ok(());
        }
        self.reap();
        if let Some((until, failure)) = &self.refused
            && Instant::now() < *until
        {
            return Err(failure.clone());
        }
        if self.ending.is_some() {
            return Err(Status::NoAnswer.into());
        }
        match Companion::start(&self.program, &self.arguments, KEPT) {
            Ok(reader) => {
                self.refused = None;
                self.running = Some(Running { reader, question: None });
                Ok(())
            }
            Err(err) => Err(self.failed(&err.into())),
        }
    }

    /// Takes leave of a reader that was told to end. One that has not done so since the last call is killed.
    fn reap(&mut self) {
        if let Some(ending) = &mut self.ending {
            if ending.is_gone() {
                self.ending = None;
            } else {
                ending.kill();
            }
        }
    }

    fn failed(&mut self, err: &ProgramError) -> Failure {
        self.stopped(Status::Failed, &error::chain(err))
    }

    /// Kills the reader, and decides when there will be another one.
    fn stopped(&mut self, status: Status, why: &str) -> Failure {
        if let Some(Running { mut reader, .. }) = self.running.take() {
            reader.kill();
            self.ending = Some(reader);
        }
        let now = Instant::now();
        let delay = self.delays.next(now);
        let seconds = delay.as_secs();
        tracing::warn!("The process that reads NVIDIA's GPUs {why}; the next one starts in {seconds} s.");
        let failure = Failure { status, detail: format!("the process that reads it {why}") };
        self.refused = Some((now + delay, failure.clone()));
        failure
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        for reader in self.running.take().map(|running| running.reader).into_iter().chain(self.ending.take())
        {
            // One that hangs in the kernel is reaped later or never.
            drop(reader.end());
        }
    }
}

#[cfg(test)]
mod tests;
