//! What a beat says about the host's software, found out off the beat's path.
//!
//! A thread looks: at once, every [`PERIOD`], and when asked. It publishes what it found, quick
//! things first; a beat takes the newest snapshot and never waits for a file or a program.
//!
//! ```text
//! checkout.rs     what jobs noted of the checkout
//! generation.rs   which commit is deployed
//! git.rs          HEAD of a checkout
//! system.rs       which nixpkgs, which release, which boot
//! freshness.rs    which build of the agent, which flake.lock
//! installed.rs    whether that build is the installed one
//! update.rs       how up to date all that is
//! memory.rs       what is known across restarts of the agent
//! ```

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use nixfleet_config::{Host, Paths};
use nixfleet_jobs::JobsDir;
use nixfleet_jobs::checkout::{self, Checkout};
use nixfleet_jobs::history::History;
use nixfleet_os::timestamp;
use nixfleet_protocol::{HostSystem, UpdateStatus};

use freshness::WatchedHash;
use generation::{Generation, Look};
use memory::Memory;

pub mod freshness;
pub mod generation;
pub mod installed;
mod memory;
pub mod system;
pub mod update;

#[cfg(test)]
mod tests;

/// What stands for a generation or version that nobody knows yet (T02: the fields are never empty).
pub const UNKNOWN: &str = "unknown";

/// Time between two looks. Whatever the agent itself changes is looked at when its job ends; this is
/// for changes by others, which nobody expects to see sooner than the next beat or two. A look that
/// finds nothing new costs some ten reads of small files.
pub const PERIOD: Duration = Duration::from_secs(10);

/// Requests that wait for a look. One look answers all of them, so more than a few never wait.
const REQUESTS: usize = 16;

/// Reads, JSON of a few fields, one program started: 256 KiB is ample.
const STACK: usize = 256 * 1024;

/// What is known about the host's software.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Commit of the deployed configuration, 7 characters, or [`UNKNOWN`]. Once known it stays
    /// known: a dashboard overwrites what it has even with nothing.
    pub generation: String,
    /// Such as `24.11.20241201.abc1234`, or [`UNKNOWN`]. Once known it stays known.
    pub nixpkgs_version: String,
    /// `VERSION_ID` of os-release, or empty.
    pub os_version: String,
    /// Commit the agent was built from, or [`UNKNOWN`].
    pub source_commit: String,
    /// Store path of the running agent; empty outside the Nix store.
    pub store_path: String,
    /// SHA-256 of the running binary in hex; empty until it has been computed.
    pub binary_hash: String,
    /// SHA-256 of the repository's flake.lock in hex; empty until one was seen.
    pub lock_hash: String,
    /// Identity of this boot.
    pub boot_id: Option<String>,
    /// How up to date the host is.
    pub update_status: UpdateStatus,
    /// What runs beside what lies in the checkout. Whether a reboot is required is the vitals' to say.
    pub system: HostSystem,
    /// A look has been at all of that. Before, what is absent is only not known yet.
    pub looked: bool,
}

impl Default for Facts {
    fn default() -> Self {
        Self {
            generation: UNKNOWN.to_owned(),
            nixpkgs_version: UNKNOWN.to_owned(),
            os_version: String::new(),
            source_commit: UNKNOWN.to_owned(),
            store_path: String::new(),
            binary_hash: String::new(),
            lock_hash: String::new(),
            boot_id: None,
            update_status: UpdateStatus::default(),
            system: HostSystem::default(),
            looked: false,
        }
    }
}

/// The newest facts, kept up to date by a thread that ends when this is dropped. Dropping does not
/// wait for the thread, which may hang in a read.
#[derive(Debug)]
pub struct FactsHandle {
    newest: watch::Receiver<Arc<Facts>>,
    requests: mpsc::SyncSender<oneshot::Sender<()>>,
}

impl FactsHandle {
    /// The snapshot. Touches no file and waits for nothing.
    pub fn newest(&self) -> Arc<Facts> {
        self.newest.borrow().clone()
    }

    /// The snapshot, to wait for changes.
    pub fn watch(&self) -> watch::Receiver<Arc<Facts>> {
        self.newest.clone()
    }

    /// Asks for a look now, such as after a job. Does not wait; asking twice costs nothing. The answer
    /// comes when a look that began after this call has been published; an error in its place says that
    /// there will be none. Whoever waits has to set a bound: a look takes as long as the file system does.
    pub fn looked(&self) -> oneshot::Receiver<()> {
        let (answer, answered) = oneshot::channel();
        // Full: a look that comes after this call is asked for, but this answer is one too many. Closed: no
        // thread, told at its start.
        drop(self.requests.try_send(answer));
        answered
    }
}

/// Starts looking after the facts of `host`. Without a thread (the process has too many) the facts
/// stay unknown, which is logged.
pub fn spawn(host: &Host) -> FactsHandle {
    let mut looker = Looker::new(host);
    let (publish, newest) = watch::channel(Arc::new(looker.facts.clone()));
    let (requests, incoming) = mpsc::sync_channel::<oneshot::Sender<()>>(REQUESTS);
    let run = move || {
        let publish = |facts: &Facts| {
            publish.send_if_modified(|old| {
                let changed = **old != *facts;
                if changed {
                    *old = Arc::new(facts.clone());
                }
                changed
            });
        };
        let mut waiting = Vec::new();
        loop {
            waiting.extend(incoming.try_iter());
            let asked = !waiting.is_empty();
            if asked {
                looker.generation.forgive();
            }
            looker.look(asked, publish);
            for answer in waiting.drain(..) {
                let _may_have_stopped_waiting = answer.send(());
            }
            looker.hash_once(publish);
            match incoming.recv_timeout(PERIOD) {
                Ok(request) => waiting.push(request),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            }
        }
    };
    if let Err(error) = thread::Builder::new().name("facts".to_owned()).stack_size(STACK).spawn(run) {
        tracing::warn!(%error, "No thread for facts: heartbeats go without generation and versions.");
    }
    FactsHandle { newest, requests }
}

/// Looks, and remembers what is known.
#[derive(Debug)]
struct Looker {
    facts: Facts,
    generation: Generation,
    /// What to report as the version of nixpkgs whatever the system says.
    version_override: Option<String>,
    paths: Paths,
    jobs: JobsDir,
    repo: Option<PathBuf>,
    lock: Option<WatchedHash>,
    binary_hashed: bool,
    memory: Memory,
}

impl Looker {
    fn new(host: &Host) -> Self {
        let (repo, system) = (host.repo.dir.clone(), host.paths.current_system.clone());
        let memory = Memory::at(host.own_dir());
        let mut facts = memory.facts();
        if let Some(version) = &host.nixpkgs_version {
            facts.nixpkgs_version.clone_from(version);
        }
        Self {
            lock: repo.as_ref().map(|repo| WatchedHash::new(repo.join("flake.lock"))),
            generation: Generation::new(JobsDir::new(&host.jobs.dir), system, repo.clone()),
            jobs: JobsDir::new(&host.jobs.dir),
            repo,
            version_override: host.nixpkgs_version.clone(),
            paths: host.paths.clone(),
            binary_hashed: false,
            facts,
            memory,
        }
    }

    /// Looks at everything that may change, and publishes after each part that may take longer than
    /// the one before. What cannot be read keeps its last value: it is not less true than nothing.
    /// `asked`: somebody waits for it, so that it counts as a check even if nothing is new.
    fn look(&mut self, asked: bool, publish: impl Fn(&Facts)) {
        if self.version_override.is_none()
            && let Some(version) = system::nixpkgs_version(&self.paths.current_system)
        {
            self.facts.nixpkgs_version = version;
        }
        if let Some(version) = system::os_version(&self.paths.os_release) {
            self.facts.os_version = version;
        }
        if self.facts.boot_id.is_none() {
            self.facts.boot_id = nixfleet_os::boot_id(&self.paths.proc);
        }
        if self.facts.store_path.is_empty()
            && let Ok(program) = std::env::current_exe()
        {
            self.facts.store_path = freshness::store_path(&program).unwrap_or_default();
            if let Some(commit) = freshness::source_commit(&program) {
                self.facts.source_commit = commit;
            }
        }
        let history = History::load(&self.jobs);
        self.look_at_generation(&history);
        publish(&self.facts);
        let lock_hash = self.look_at_lock();
        if let Some(hash) = &lock_hash {
            self.facts.lock_hash.clone_from(hash);
        }
        if self.look_at_system() {
            self.judge(&history, lock_hash.as_deref(), asked);
            publish(&self.facts);
        } else {
            publish(&self.facts);
            self.generation.ask();
            self.look_at_generation(&history);
            self.look_at_system();
            self.judge(&history, lock_hash.as_deref(), asked);
            publish(&self.facts);
        }
        self.memory.keep(&self.facts);
    }

    /// Looks at the links and the checkout. False: the running system has not been asked for its
    /// revision yet.
    fn look_at_system(&mut self) -> bool {
        let link = |path: &Path| std::fs::read_link(path).ok();
        let text = |path: PathBuf| path.to_str().map(str::to_owned);
        let current = link(&self.paths.current_system);
        let revision = current.as_deref().map(|system| self.generation.revision(system));
        self.facts.system = HostSystem {
            configuration_revision: revision.flatten().flatten().map(str::to_owned),
            booted: link(&self.paths.booted_system).and_then(text),
            current: current.and_then(text),
            repo_commit: self.repo.as_deref().and_then(|repo| checkout::commit(&self.jobs, repo)),
            reboot_required: None,
        };
        revision != Some(None)
    }

    /// `lock_hash`: what this look saw of flake.lock, which may be that there is none.
    fn judge(&mut self, history: &History, lock_hash: Option<&str>, asked: bool) {
        let system = &self.facts.system;
        let now = update::Now {
            configured: self.repo.is_some(),
            commit: system.repo_commit.as_deref(),
            lock_hash,
            system: system.current.as_deref().map(Path::new),
            revision: system.configuration_revision.as_deref(),
        };
        let before = &self.facts.update_status;
        self.facts.update_status = update::judge(history, now, before, asked, &timestamp());
        self.facts.looked = true;
    }

    /// The hash of flake.lock; none if there is no such file. Where it is not for this user to read, as the
    /// last job saw it; where nobody knows, the last one known.
    fn look_at_lock(&mut self) -> Option<String> {
        match self.lock.as_mut()?.look() {
            Ok(hash) => Some(hash),
            Err(err) if err.kind() == io::ErrorKind::NotFound => None,
            Err(_) => match Checkout::noted(&self.jobs, self.repo.as_deref()?) {
                Some(noted) => noted.lock_hash,
                None => Some(self.facts.lock_hash.clone()).filter(|hash| !hash.is_empty()),
            },
        }
    }

    fn look_at_generation(&mut self, history: &History) {
        if let Look::Known(commit) = self.generation.look(history) {
            self.facts.generation = commit;
        }
    }

    /// Hashes the running binary, which takes tens of milliseconds and never changes.
    fn hash_once(&mut self, publish: impl Fn(&Facts)) {
        if std::mem::replace(&mut self.binary_hashed, true) {
            return;
        }
        match freshness::running_binary().and_then(|binary| nixfleet_os::sha256::hash_file(&binary)) {
            Ok(hash) => {
                self.facts.binary_hash = hash;
                publish(&self.facts);
            }
            Err(error) => tracing::debug!(%error, "The running binary cannot be hashed."),
        }
    }
}
