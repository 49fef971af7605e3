//! The host's software: what heartbeats and the registration say about it.
//!
//! A thread refreshes the facts: at the start, every [`PERIOD`], and on request. It publishes snapshots, quick
//! facts first. A heartbeat takes the newest snapshot and never waits for a file or a program.
//!
//! ```text
//! generation.rs   the commit that is reported as the generation
//! system.rs       versions of nixpkgs and of the operating system
//! binary.rs       the hash of the running agent's program
//! freshness.rs    the build of the running agent; the hash of flake.lock
//! installed.rs    whether the running agent is the installed one
//! next_boot.rs    what the next boot runs
//! update.rs       how up to date the host is
//! memory.rs       facts that are kept across restarts of the agent
//! ```

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use nixfleet_config::{Host, Paths};
use nixfleet_jobs::checkout::{self, Checkout};
use nixfleet_jobs::history::History;
use nixfleet_jobs::{JobsDir, damage};
use nixfleet_os::{build_commit, sha256, timestamp};
use nixfleet_protocol::{HostSystem, UpdateStatus};

use binary::FileId;
use freshness::WatchedHash;
use generation::{Generation, Lookup};
use memory::Memory;
use next_boot::NextBootWatch;

mod binary;
pub mod freshness;
pub mod generation;
pub mod installed;
mod memory;
mod next_boot;
pub mod system;
pub mod update;

#[cfg(test)]
mod tests;

/// The value of a version or source commit that is not known yet. These fields are never empty.
pub const UNKNOWN: &str = "unknown";

/// Time between two refreshes. Changes by the agent's own jobs are seen when the job ends; this period is for
/// changes by others, which may appear one or two heartbeats later. A refresh without changes reads about ten
/// small files.
pub const PERIOD: Duration = Duration::from_secs(10);

/// Requests that may wait for a refresh. One refresh answers all of them, so there are never many.
const REQUESTS: usize = 16;

/// Stack of the thread, in bytes. It reads small files, parses small JSON and runs one program.
const STACK: usize = 256 * 1024;

/// The host's software, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The commit that the setting `generation` chooses, 7 characters; empty until one is known, which dashboards
    /// show as "not reported". A known value never becomes empty: dashboards would overwrite the old value.
    pub generation: String,
    /// Such as `24.11.20241201.abc1234`, or [`UNKNOWN`]. A known value is never replaced by [`UNKNOWN`].
    pub nixpkgs_version: String,
    /// `VERSION_ID` of os-release, or empty.
    pub os_version: String,
    /// Commit the agent was built from, or [`UNKNOWN`].
    pub source_commit: String,
    /// Store path of the running agent; empty outside the Nix store.
    pub store_path: String,
    /// SHA-256 of the running binary in hex; empty until it has been computed.
    pub binary_hash: String,
    /// SHA-256 of the repository's flake.lock in hex; empty until there was one.
    pub lock_hash: String,
    /// Identity of this boot.
    pub boot_id: Option<String>,
    /// How up to date the host is.
    pub update_status: UpdateStatus,
    /// The running, the booted and the next system, and the commit of the checkout. `reboot_required` is not set
    /// here; the vitals have it.
    pub system: HostSystem,
    /// Another system than the running one and the booted one waits for the next boot.
    pub waits_for_boot: bool,
    /// A refresh has covered all facts. Until then, missing values are only not known yet.
    pub complete: bool,
}

impl Default for Facts {
    fn default() -> Self {
        Self {
            generation: String::new(),
            nixpkgs_version: UNKNOWN.to_owned(),
            os_version: String::new(),
            source_commit: UNKNOWN.to_owned(),
            store_path: String::new(),
            binary_hash: String::new(),
            lock_hash: String::new(),
            boot_id: None,
            update_status: UpdateStatus::default(),
            system: HostSystem::default(),
            waits_for_boot: false,
            complete: false,
        }
    }
}

/// Whether the host needs a reboot: because another system waits for one, or else as it was measured.
pub fn reboot_required(waits_for_boot: bool, measured: Option<bool>) -> Option<bool> {
    if waits_for_boot { Some(true) } else { measured }
}

/// The newest facts. A thread keeps them up to date and ends after this is dropped. Dropping does not wait for
/// the thread, which may hang in a read.
#[derive(Debug)]
pub struct FactsHandle {
    newest: watch::Receiver<Arc<Facts>>,
    requests: mpsc::SyncSender<oneshot::Sender<()>>,
}

impl FactsHandle {
    /// The newest snapshot. Reads no file and does not block.
    pub fn newest(&self) -> Arc<Facts> {
        self.newest.borrow().clone()
    }

    /// The snapshot as a channel, to wait for changes.
    pub fn watch(&self) -> watch::Receiver<Arc<Facts>> {
        self.newest.clone()
    }

    /// Requests a refresh now, for example after a job. Does not block; several requests share one refresh. The
    /// answer comes after a refresh that began after this call has been published; an error means that there
    /// will be no answer. The caller needs a time limit: a file system that hangs delays the refresh.
    pub fn refresh(&self) -> oneshot::Receiver<()> {
        let (answer, answered) = oneshot::channel();
        // Full: the waiting requests cause a refresh, only this answer is dropped. Closed: there is no thread,
        // which was logged at the start.
        drop(self.requests.try_send(answer));
        answered
    }
}

/// Starts the thread that keeps the facts of `host` up to date. If no thread can be started, that is logged and
/// the facts stay unknown.
pub fn spawn(host: &Host) -> FactsHandle {
    let mut collector = Collector::new(host);
    let (publish, newest) = watch::channel(Arc::new(collector.facts.clone()));
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
            let requested = !waiting.is_empty();
            let answer = || {
                for answer in waiting.drain(..) {
                    let _may_have_stopped_waiting = answer.send(());
                }
            };
            collector.refresh(requested, publish, answer);
            collector.hash_once(publish);
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

/// Collects the facts and keeps known values.
#[derive(Debug)]
struct Collector {
    facts: Facts,
    generation: Generation,
    /// The configured version of nixpkgs, which takes precedence over that of the system.
    version_override: Option<String>,
    paths: Paths,
    jobs: JobsDir,
    repo: Option<PathBuf>,
    lock: Option<WatchedHash>,
    binary_hashed: bool,
    memory: Memory,
    next_boot: NextBootWatch,
    /// As it was read last.
    history: History,
}

impl Collector {
    fn new(host: &Host) -> Self {
        let (repo, system) = (host.repo.dir.clone(), host.paths.current_system.clone());
        let memory = Memory::at(host.own_dir(), host.generation);
        let mut facts = memory.facts();
        let known = FileId::of_running().ok().and_then(|file| memory.hash_of(&file).map(str::to_owned));
        let binary_hashed = known.is_some();
        facts.binary_hash = known.unwrap_or_default();
        if let Some(version) = &host.nixpkgs_version {
            facts.nixpkgs_version.clone_from(version);
        }
        Self {
            lock: repo.as_ref().map(|repo| WatchedHash::new(repo.join("flake.lock"))),
            generation: Generation::new(host.generation, JobsDir::new(&host.jobs.dir), system, repo.clone()),
            jobs: JobsDir::new(&host.jobs.dir),
            repo,
            version_override: host.nixpkgs_version.clone(),
            paths: host.paths.clone(),
            binary_hashed,
            facts,
            memory,
            next_boot: NextBootWatch::new(host.job_settings().system, JobsDir::new(&host.jobs.dir)),
            history: History::default(),
        }
    }

    /// Reads everything that may change, and publishes before each part that may take longer. Facts that cannot
    /// be read keep their last value. If the refresh was `requested`, it counts as a check even without changes.
    /// `enough` is called when everything is published that a request waits for, once or twice.
    fn refresh(&mut self, requested: bool, publish: impl Fn(&Facts), mut enough: impl FnMut()) {
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
            if let Some(commit) = build_commit(&program) {
                self.facts.source_commit = commit;
            }
        }
        let history = self.read_history();
        self.refresh_generation(&history);
        publish(&self.facts);
        let lock_hash = self.read_lock_hash();
        if let Some(hash) = &lock_hash {
            self.facts.lock_hash.clone_from(hash);
        }
        let answered = self.refresh_system(requested);
        // The commit of the last switch is enough for a judgement, and the program that tells the revision may take
        // seconds. Only for a system that is new since the last refresh: local changes in an old one must not be
        // forgotten.
        if answered || (self.facts.complete && self.deployed_by_switch(&history)) {
            self.judge(&history, lock_hash.as_deref(), requested);
            publish(&self.facts);
            enough();
        } else {
            publish(&self.facts);
        }
        if !answered {
            self.generation.ask();
            self.refresh_generation(&history);
            self.refresh_system(false);
            self.judge(&history, lock_hash.as_deref(), requested);
            publish(&self.facts);
        }
        enough();
        self.memory.keep(&mut self.facts);
    }

    /// The history of commands. One that cannot be read stays as it was: it does not mean that nothing ever ran.
    fn read_history(&mut self) -> History {
        match History::load(&self.jobs) {
            Ok(history) => self.history = history,
            Err(err) => {
                let path = self.jobs.history();
                damage::report(&path, &err, "how up to date the host is follows from what was read before");
            }
        }
        self.history.clone()
    }

    /// Reads the links to the systems, the commit of the checkout, and what boots. Returns false if the running system
    /// has not been asked for its revision yet.
    fn refresh_system(&mut self, requested: bool) -> bool {
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
            boots: self.next_boot.look(requested, self.facts.boot_id.as_deref()),
        };
        self.facts.waits_for_boot = next_boot::waits(&self.facts.system);
        revision != Some(None)
    }

    /// Whether the last switch made the running system.
    fn deployed_by_switch(&self, history: &History) -> bool {
        let current = self.facts.system.current.as_deref().map(Path::new);
        generation::deployed(history, current).is_some()
    }

    /// Judges how up to date the host is. `lock_hash` is the current hash of flake.lock; none if there is no such
    /// file.
    fn judge(&mut self, history: &History, lock_hash: Option<&str>, requested: bool) {
        let system = &self.facts.system;
        let now = update::Now {
            configured: self.repo.is_some(),
            commit: system.repo_commit.as_deref(),
            lock_hash,
            system: system.current.as_deref().map(Path::new),
            revision: system.configuration_revision.as_deref(),
            boots: system.boots.as_ref().map(|boots| Path::new(boots.system.as_str())),
        };
        let before = &self.facts.update_status;
        self.facts.update_status = update::judge(history, now, before, requested, &timestamp());
        self.facts.complete = true;
    }

    /// The hash of flake.lock; none if there is no such file. If this user cannot read the file, the hash that the
    /// last job noted; without such a note, the last known hash.
    fn read_lock_hash(&mut self) -> Option<String> {
        match self.lock.as_mut()?.current() {
            Ok(hash) => Some(hash),
            Err(err) if err.kind() == io::ErrorKind::NotFound => None,
            Err(_) => match Checkout::noted(&self.jobs, self.repo.as_deref()?) {
                Some(noted) => noted.lock_hash,
                None => Some(self.facts.lock_hash.clone()).filter(|hash| !hash.is_empty()),
            },
        }
    }

    fn refresh_generation(&mut self, history: &History) {
        if let Lookup::Known(commit) = self.generation.lookup(history) {
            self.facts.generation = commit;
        }
    }

    /// Hashes the running binary, which never changes, unless an earlier agent hashed the same file. This takes tens of
    /// milliseconds.
    fn hash_once(&mut self, publish: impl Fn(&Facts)) {
        if std::mem::replace(&mut self.binary_hashed, true) {
            return;
        }
        match freshness::running_binary().and_then(|binary| sha256::hash_file(&binary, sha256::PROGRAM)) {
            Ok(hash) => {
                self.facts.binary_hash.clone_from(&hash);
                publish(&self.facts);
                if let Ok(file) = FileId::of_running() {
                    self.memory.hashed(file, hash);
                    self.memory.keep(&mut self.facts);
                }
            }
            Err(error) => tracing::debug!(%error, "The running binary cannot be hashed."),
        }
    }
}
