//! The kept jobs, and which one the user means.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use nixfleet_config::{Host, Source};
use nixfleet_jobs::journal::supervisor_lives;
use nixfleet_jobs::spec::{JobResult, Outcome, Spec, State};
use nixfleet_jobs::{JobDir, JobId, JobsDir, atomic_file};
use nixfleet_os::short;

use crate::jobs::follower;

/// Jobs' folder of the shipped units.
const UNIT_JOBS: &str = "/var/lib/nixfleet-agent/jobs";

/// Number of jobs that an error message lists.
const NAMED: usize = 5;

/// Number of digits of a short id. It has the last digits, which are random; the first ones are a time.
pub(in crate::cli) const SHORT: usize = 12;

/// State of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// It runs; with the process id of its command, if known.
    Running(Option<u32>),
    /// It ended with a result.
    Result(Box<JobResult>),
    /// It ended without a result: the outcome, and the reason.
    Without(Outcome, &'static str),
}

/// A kept job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Job {
    pub(super) id: JobId,
    /// Name of its command; `unknown` if the folder does not say.
    pub(super) command: String,
    pub(super) started_at: Option<Timestamp>,
    pub(super) end: End,
}

impl Job {
    /// The short id.
    pub(super) fn short(&self) -> &str {
        short(&self.id)
    }

    /// The same job, ended.
    pub(super) fn ended_with(&self, result: JobResult) -> Self {
        Self { end: End::Result(Box::new(result)), ..self.clone() }
    }
}

fn short(id: &JobId) -> &str {
    id.as_str().get(id.as_str().len().saturating_sub(SHORT)..).unwrap_or_default()
}

/// The folder of jobs.
#[derive(Debug)]
pub(super) struct Folder {
    jobs: JobsDir,
    boot_id: Option<String>,
    /// Newest first.
    ids: Vec<JobId>,
}

impl Folder {
    /// The jobs' folder of this host: the configured one. Without any setting, also the one of the shipped
    /// units, because a user's shell does not have the variables of these units.
    ///
    /// # Errors
    /// A message for people: there is no folder, or it cannot be read.
    pub(super) fn find(host: &Host, source: &Source) -> Result<Self, String> {
        let mut places = vec![host.jobs.dir.clone()];
        if source.means_installed() && host.jobs.dir != Path::new(UNIT_JOBS) {
            places.push(PathBuf::from(UNIT_JOBS));
        }
        Self::first(&places, nixfleet_os::boot_id(&host.paths.proc))
    }

    /// The first folder that holds jobs; else the first one that exists.
    pub(super) fn first(places: &[PathBuf], boot_id: Option<String>) -> Result<Self, String> {
        let mut empty = None;
        let mut error = None;
        for place in places {
            match ids(place) {
                Ok(ids) => {
                    let found = Self { jobs: JobsDir::new(place), boot_id: boot_id.clone(), ids };
                    if !found.ids.is_empty() {
                        return Ok(found);
                    }
                    empty = empty.or(Some(found));
                }
                Err(err) if err.kind() == io::ErrorKind::NotFound => {}
                Err(err) => error = error.or(Some(unreadable(place, &err))),
            }
        }
        let tried: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
        let nowhere = || {
            let tried = tried.join(" nor ");
            format!(
                "there is no folder of jobs at {tried}: has a command run yet? if it is elsewhere, set NIXFLEET_STATE_DIR"
            )
        };
        // An unreadable folder is the better explanation than an empty one.
        error.map_or_else(|| empty.ok_or_else(nowhere), Err)
    }

    pub(super) fn path(&self) -> &Path {
        self.jobs.path()
    }

    pub(super) fn jobs_dir(&self) -> &JobsDir {
        &self.jobs
    }

    pub(super) fn dir(&self, id: &JobId) -> JobDir {
        self.jobs.job(id)
    }

    /// All jobs, newest first.
    ///
    /// # Errors
    /// A message for people: a job's folder cannot be read.
    pub(super) fn jobs(&self) -> Result<Vec<Job>, String> {
        self.check(self.ids.first())?;
        Ok(self.ids.iter().map(|id| self.job(id)).collect())
    }

    /// The job that matches `wanted`: an id, its beginning or end, or a command. Without it, the newest job.
    ///
    /// # Errors
    /// A message for people: no job matches, several match, or the folder cannot be read.
    pub(super) fn pick(&self, wanted: Option<&str>) -> Result<Job, String> {
        let Some(wanted) = wanted else {
            let newest = self.ids.first();
            self.check(newest)?;
            return newest.map(|id| self.job(id)).ok_or_else(|| self.none());
        };
        let digits = wanted.replace('-', "").to_ascii_lowercase();
        let is = |id: &&JobId| id.as_str().starts_with(&digits) || id.as_str().ends_with(&digits);
        let found: Vec<&JobId> = self.ids.iter().filter(|_| !digits.is_empty()).filter(is).collect();
        self.check(found.first().copied().or(self.ids.first()))?;
        // Names such as `add` are also hexadecimal digits. Only a full id is certainly not a command.
        if digits.len() < 32
            && let Some(job) = self.ids.iter().map(|id| self.job(id)).find(|job| job.command == wanted)
        {
            return Ok(job);
        }
        match found[..] {
            [id] => Ok(self.job(id)),
            [] => {
                Err(format!("no job and no command `{}`; {}", wanted.escape_debug(), self.newest(&self.ids)))
            }
            _ => {
                let found: Vec<JobId> = found.into_iter().cloned().collect();
                Err(format!("{} jobs are `{}`; {}", found.len(), wanted.escape_debug(), self.newest(&found)))
            }
        }
    }

    fn none(&self) -> String {
        format!("no jobs in {}", self.path().display())
    }

    /// The newest of `ids`, for an error message.
    fn newest(&self, ids: &[JobId]) -> String {
        let named = ids.iter().take(NAMED).map(|id| format!("{} ({})", short(id), self.job(id).command));
        let named: Vec<String> = named.collect();
        if named.is_empty() { self.none() } else { format!("the newest are {}", named.join(", ")) }
    }

    /// Checks that a job's folder can be read. All jobs have the same owner, so one check is enough.
    fn check(&self, id: Option<&JobId>) -> Result<(), String> {
        let Some(id) = id else { return Ok(()) };
        let path = self.dir(id).path().to_owned();
        match fs::read_dir(&path) {
            // Old jobs are removed at any time.
            Err(err) if err.kind() != io::ErrorKind::NotFound => Err(unreadable(&path, &err)),
            _ => Ok(()),
        }
    }

    /// The current state of a job, as its folder shows it.
    pub(super) fn job(&self, id: &JobId) -> Job {
        let dir = self.dir(id);
        // Check the supervisor first: if it is dead, no result can appear after that.
        let lives = supervisor_lives(&dir);
        let result: Option<JobResult> = atomic_file::load(&dir.result()).ok().flatten();
        let spec: Option<Spec> = atomic_file::load(&dir.spec()).ok().flatten();
        let started = spec.as_ref().map(|spec| spec.started_at.clone());
        let started = started.or_else(|| result.as_ref().map(|result| result.started_at.clone()));
        let end = match result {
            Some(result) => {
                let boot_id = self.boot_id.as_deref();
                End::Result(Box::new(follower::explained(result, spec.as_ref(), boot_id)))
            }
            // Without a log file the job is just being created.
            None if lives
                .as_ref()
                .map_or_else(|err| err.kind() == io::ErrorKind::NotFound, |lives| *lives) =>
            {
                let state: Option<State> = atomic_file::load(&dir.state()).ok().flatten();
                End::Running(state.and_then(|state| state.child_pid))
            }
            None => {
                let (outcome, why) = follower::fate(spec.as_ref(), self.boot_id.as_deref());
                End::Without(outcome, why)
            }
        };
        Job {
            id: id.clone(),
            command: spec.map_or_else(|| "unknown".to_owned(), |spec| spec.command),
            started_at: started.and_then(|at| at.parse().ok()),
            end,
        }
    }
}

/// The ids in a folder, newest first.
fn ids(folder: &Path) -> io::Result<Vec<JobId>> {
    let names = fs::read_dir(folder)?.flatten();
    let mut ids: Vec<JobId> = names.filter_map(|item| item.file_name().to_str()?.parse().ok()).collect();
    short::sort(&mut ids);
    ids.reverse();
    Ok(ids)
}

/// A message for people: which path cannot be read, and what to do.
pub(super) fn unreadable(path: &Path, err: &io::Error) -> String {
    let fix = if err.kind() == io::ErrorKind::PermissionDenied {
        "; use sudo, or be in the folder's group, nixfleet-agent where the shipped units made it"
    } else {
        ""
    };
    format!("cannot read {}: {err}{fix}", path.display())
}
