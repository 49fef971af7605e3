//! Questions of the dashboard, which the agent answers itself. They change nothing on the machine, so they
//! are no jobs and may be asked while a command runs.

use std::collections::VecDeque;
use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use nixfleet_os::planted;
use nixfleet_os::sync::atomic::{AtomicBool, Ordering};
use nixfleet_os::sync::thread;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use nixfleet_protocol::{UpdateState, Verdict};

use crate::facts::Facts;
use crate::facts::installed::{self, Installed};
use crate::jobs::admission::Question;

#[cfg(all(test, feature = "models"))]
mod models;
#[cfg(test)]
mod tests;

/// Queries that may wait. Each takes milliseconds, and there are five kinds.
const WAITING: usize = 16;

/// How long a query may take. It reads small files and runs one program, which has five seconds.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Stack of the thread that reads and hashes programs, in bytes. Its buffers are on the heap.
const STACK: usize = 256 * 1024;

/// The answer to a query, or why there is none, for people.
pub type Answer = Result<String, String>;

struct Query {
    command: String,
    answer: Pin<Box<dyn Future<Output = Answer> + Send>>,
}

/// The queries that are not answered yet, oldest first.
#[derive(Default)]
pub struct Queries {
    waiting: VecDeque<Query>,
}

impl fmt::Debug for Queries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.waiting.iter().map(|query| &query.command)).finish()
    }
}

impl Queries {
    /// Adds a query, with the future that answers it. Returns false if too many queries wait.
    pub fn add(&mut self, command: &str, answer: impl Future<Output = Answer> + Send + 'static) -> bool {
        if self.waiting.len() >= WAITING {
            return false;
        }
        let bounded = async { timeout(TIMEOUT, answer).await.unwrap_or_else(|_| Err(timed_out())) };
        self.waiting.push_back(Query { command: command.to_owned(), answer: Box::pin(bounded) });
        true
    }

    /// Waits for the answer to the oldest query; returns its command and the answer.
    ///
    /// Cancel-safe: a query leaves the queue in the step that returns its answer.
    pub async fn next(&mut self) -> (String, Answer) {
        let Some(first) = self.waiting.front_mut() else { return std::future::pending().await };
        let answer = (&mut first.answer).await;
        let command = self.waiting.pop_front().map(|query| query.command).unwrap_or_default();
        (command, answer)
    }
}

fn timed_out() -> String {
    format!("no answer within {TIMEOUT:?}; is the disk or the repository's file system slow?")
}

/// Answers a question from the facts, after the update of the facts that `updated` waits for.
///
/// # Errors
/// When the facts cannot be updated.
pub async fn refreshed(
    question: Question,
    updated: oneshot::Receiver<()>,
    facts: watch::Receiver<Arc<Facts>>,
) -> Answer {
    let no_update = "the agent did not get to look at this host; ask again, or restart it";
    updated.await.map_err(|_| no_update.to_owned())?;
    let facts = Arc::clone(&facts.borrow());
    Ok(text(question, &facts))
}

fn text(question: Question, facts: &Facts) -> String {
    let status = &facts.update_status;
    match question {
        Question::Lock => verdict(&status.lock),
        Question::System => verdict(&status.system),
        Question::All => {
            let parts = [("lock", &status.lock), ("system", &status.system), ("tests", &status.tests)];
            parts.map(|(name, part)| format!("{name} {}", verdict(part))).join("; ")
        }
        // The dashboard knows the remote and decides whether this commit is up to date.
        Question::Git | Question::Version => match &facts.system.repo_commit {
            Some(commit) => format!("{commit} is checked out"),
            None => "there is no checkout".to_owned(),
        },
    }
}

fn verdict(verdict: &Verdict) -> String {
    let word = match verdict.status {
        UpdateState::None | UpdateState::Unknown => "unknown",
        UpdateState::Ok => "ok",
        UpdateState::Outdated => "outdated",
        UpdateState::Error => "error",
        UpdateState::Working => "working",
    };
    format!("{word}: {}", verdict.message)
}

/// Answers whether the running agent is the installed one. Reads and hashes programs on a thread of its own.
///
/// # Errors
/// When the installed agent cannot be read.
pub async fn version(current_system: PathBuf, store_path: String) -> Answer {
    /// For the whole process: the thread of a cancelled query may still hang in the disk.
    static BUSY: AtomicBool = AtomicBool::new(false);
    let found = exclusively(&BUSY, move || installed::look(&current_system)).await?;
    let found = found.map_err(|err| format!("the installed agent cannot be read: {err}"))?;
    Ok(versions(env!("CARGO_PKG_VERSION"), &store_path, &found))
}

/// Runs `read` on a thread of its own, with at most one such thread for each `busy`. A disk that hangs can
/// block the thread for any time, and the runtime's own blocking threads are needed for other things.
///
/// # Errors
/// When the previous thread still runs, no thread can be started, or `read` panicked.
async fn exclusively<T: Send + 'static>(
    busy: &'static AtomicBool,
    read: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    let was_busy = if planted!("look-and-then-claim") {
        let was_busy = busy.load(Ordering::Acquire);
        busy.store(true, Ordering::Release);
        was_busy
    } else {
        busy.swap(true, Ordering::AcqRel)
    };
    if was_busy {
        return Err("the last look at the programs still hangs; is the disk or a network file system slow?"
            .to_owned());
    }
    let guard = BusyGuard(busy);
    let (sender, receiver) = oneshot::channel();
    let run = move || {
        let found = read();
        if planted!("free-behind-the-answer") {
            drop(sender.send(found));
            return drop(guard);
        }
        // Before the answer is sent, so that the next query can start at once.
        drop(guard);
        let _receiver_may_be_gone = sender.send(found);
    };
    let started = thread::Builder::new().name("version".to_owned()).stack_size(STACK).spawn(run);
    started.map_err(|err| format!("no thread for a look: {err}; the process has too many, restart it"))?;
    receiver.await.map_err(|_| "the look at the programs failed; the agent's log says why".to_owned())
}

/// Clears the flag when it is dropped, also after a panic.
struct BusyGuard(&'static AtomicBool);

impl Drop for BusyGuard {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

fn versions(version: &str, store_path: &str, installed: &Installed) -> String {
    let running =
        if store_path.is_empty() { version.to_owned() } else { format!("{version} ({store_path})") };
    if installed.same {
        format!("{running} runs and is installed")
    } else {
        let program = installed.program.display();
        format!("{running} runs, but {program} is installed; `restart` moves to it")
    }
}
