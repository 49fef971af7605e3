//! Requests that the agent answers itself, as soon as it has looked. They run beside a command and are
//! no jobs: nothing on the machine changes.

use std::collections::VecDeque;
use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use super::facts::Facts;
use super::facts::installed;
use super::facts::installed::Installed;
use super::jobs::admission::Question;
use nixfleet_protocol::{UpdateState, Verdict};

#[cfg(test)]
mod tests;

/// Queries that may wait. Each takes milliseconds, and a dashboard has five kinds of them.
const WAITING: usize = 16;

/// How long an errand may take. A look reads small files and asks one program, which has five seconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// Reads of a unit and of two programs, which lie on the heap, and their hashes: 256 KiB is ample.
const STACK: usize = 256 * 1024;

/// What comes of an errand, for people.
pub type Answer = Result<String, String>;

struct Query {
    command: String,
    answer: Pin<Box<dyn Future<Output = Answer> + Send>>,
}

/// Queries in the order in which they were asked.
#[derive(Default)]
pub struct Queries {
    waiting: VecDeque<Query>,
}

impl fmt::Debug for Queries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.waiting.iter().map(|errand| &errand.command)).finish()
    }
}

impl Queries {
    /// Takes one up. False: too many wait already.
    pub fn add(&mut self, command: &str, answer: impl Future<Output = Answer> + Send + 'static) -> bool {
        if self.waiting.len() >= WAITING {
            return false;
        }
        let bounded = async { timeout(PATIENCE, answer).await.unwrap_or_else(|_| Err(late())) };
        self.waiting.push_back(Query { command: command.to_owned(), answer: Box::pin(bounded) });
        true
    }

    /// Waits for the next answer; returns the command with it.
    ///
    /// Cancel-safe: an errand leaves the queue in the step that returns its answer.
    pub async fn next(&mut self) -> (String, Answer) {
        let Some(first) = self.waiting.front_mut() else { return std::future::pending().await };
        let answer = (&mut first.answer).await;
        let command = self.waiting.pop_front().map(|errand| errand.command).unwrap_or_default();
        (command, answer)
    }
}

fn late() -> String {
    format!("no answer within {PATIENCE:?}; is the disk or the repository's file system slow?")
}

/// What is known after the look that answers `looked`.
pub async fn refreshed(
    question: Question,
    looked: oneshot::Receiver<()>,
    facts: watch::Receiver<Arc<Facts>>,
) -> Answer {
    let unseen = "the agent did not get to look at this host; ask again, or restart it";
    looked.await.map_err(|_| unseen.to_owned())?;
    let facts = Arc::clone(&facts.borrow());
    Ok(told(question, &facts))
}

fn told(question: Question, facts: &Facts) -> String {
    let status = &facts.update_status;
    match question {
        Question::Lock => light(&status.lock),
        Question::System => light(&status.system),
        Question::All => {
            let parts = [("lock", &status.lock), ("system", &status.system), ("tests", &status.tests)];
            let lights = parts.map(|(name, verdict)| format!("{name} {}", light(verdict)));
            lights.join("; ")
        }
        // Judged by the dashboard, which knows the remote.
        Question::Git | Question::Version => match &facts.system.repo_commit {
            Some(commit) => format!("{commit} is checked out"),
            None => "there is no checkout".to_owned(),
        },
    }
}

fn light(verdict: &Verdict) -> String {
    let word = match verdict.status {
        UpdateState::None | UpdateState::Unknown => "unknown",
        UpdateState::Ok => "ok",
        UpdateState::Outdated => "outdated",
        UpdateState::Error => "error",
        UpdateState::Working => "working",
    };
    format!("{word}: {}", verdict.message)
}

/// Whether the running agent is the installed one. It reads programs, on a thread of its own.
pub async fn version(current_system: PathBuf, store_path: String) -> Answer {
    /// One for the process, as the disk is.
    static LOOKING: AtomicBool = AtomicBool::new(false);
    let found = alone(&LOOKING, move || installed::look(&current_system)).await?;
    let found = found.map_err(|err| format!("the installed agent cannot be read: {err}"))?;
    Ok(versions(env!("CARGO_PKG_VERSION"), &store_path, &found))
}

/// Looks on a thread of its own, of which there is one at most for each `looking`: a disk that hangs
/// holds it for as long as it likes, and the runtime's threads are few and wanted by others.
///
/// # Errors
/// The last look is not over, there is no thread, or the look panicked.
async fn alone<T: Send + 'static>(
    looking: &'static AtomicBool,
    look: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    if looking.swap(true, Ordering::AcqRel) {
        return Err("the last look at the programs still hangs; is the disk or a network file system slow?"
            .to_owned());
    }
    let turn = Turn(looking);
    let (answer, answered) = oneshot::channel();
    let run = move || {
        let found = look();
        // First, so that who has the answer may ask again.
        drop(turn);
        let _may_have_stopped_waiting = answer.send(found);
    };
    let started = thread::Builder::new().name("version".to_owned()).stack_size(STACK).spawn(run);
    started.map_err(|err| format!("no thread for a look: {err}; the process has too many, restart it"))?;
    answered.await.map_err(|_| "the look at the programs failed; the agent's log says why".to_owned())
}

/// The right to look; given back when dropped, and so after a panic.
struct Turn(&'static AtomicBool);

impl Drop for Turn {
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
