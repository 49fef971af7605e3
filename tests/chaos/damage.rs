//! Damage to files of the state folder.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt, chown};
use std::path::{Path, PathBuf};

use fastrand::Rng;
use rustix::fs::{CWD, Mode, mkfifoat};

use crate::rig::json;

/// Which file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    Record,
    Spec,
    State,
    Result,
    Log,
    Lock,
    History,
    Facts,
}

impl Target {
    /// Files on which an answer depends are more frequent.
    pub(crate) const ALL: &[Self] = &[
        Self::Record,
        Self::Record,
        Self::Spec,
        Self::State,
        Self::Result,
        Self::Result,
        Self::Log,
        Self::Log,
        Self::Lock,
        Self::History,
        Self::Facts,
    ];
}

/// In which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    Flip,
    Truncate,
    Remove,
    Garbage,
    /// A folder in its place, with something in it.
    Folder,
    /// A named pipe in its place, which blocks whoever opens it.
    Pipe,
}

impl How {
    pub(crate) const ALL: &[Self] =
        &[Self::Flip, Self::Truncate, Self::Remove, Self::Garbage, Self::Folder, Self::Pipe];
}

/// A file that was damaged.
#[derive(Debug, Clone)]
pub(crate) struct Damaged {
    pub(crate) path: PathBuf,
    pub(crate) target: Target,
    pub(crate) how: How,
    /// The job to which it belongs, if it belongs to one.
    pub(crate) job: Option<String>,
    /// The command of that job, if a file said so before.
    pub(crate) command: Option<String>,
    /// What the agent's other file knew of that job at that time.
    pub(crate) noted: Noted,
    /// It is still an object, with other values perhaps. A file without a check sum cannot tell.
    pub(crate) readable: bool,
}

/// What `answered.json` says about a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Noted {
    Nothing,
    /// Its request.
    Request,
    /// Its request, and the status that was told.
    Answer,
}

impl Noted {
    fn read(state: &Path, job: &str) -> Self {
        let path = state.join("agent/answered.json");
        let Some(file) = path.is_file().then(|| json(&path)).flatten() else { return Self::Nothing };
        let is_in = |list: &str, pointer: &str| {
            let entries = file[list].as_array().map(Vec::as_slice).unwrap_or_default();
            entries.iter().any(|entry| entry.pointer(pointer).is_some_and(|id| id == job))
        };
        if is_in("answered", "/status/job_id") {
            Self::Answer
        } else if is_in("open", "/job_id") {
            Self::Request
        } else {
            Self::Nothing
        }
    }
}

/// The newest entry of a folder for which `wanted` holds. Job ids sort by time.
fn newest(folder: &Path, wanted: impl Fn(&Path) -> bool) -> Option<PathBuf> {
    fs::read_dir(folder).ok()?.flatten().map(|item| item.path()).filter(|path| wanted(path)).max()
}

/// The file, and the job to which it belongs.
fn find(state: &Path, target: Target) -> Option<(PathBuf, Option<String>)> {
    let (path, job) = match target {
        Target::Record => {
            let is_record = |path: &Path| path.extension().is_some_and(|ending| ending == "json");
            let path = newest(&state.join("agent/delivery"), is_record)?;
            let job = path.file_stem()?.to_string_lossy().into_owned();
            (path, Some(job))
        }
        Target::Lock => (state.join("jobs/lock"), None),
        Target::History => (state.join("jobs/history.json"), None),
        Target::Facts => (state.join("agent/facts.json"), None),
        Target::Spec | Target::State | Target::Result | Target::Log => {
            let name = match target {
                Target::Spec => "spec.json",
                Target::State => "state.json",
                Target::Result => "result.json",
                _ => "log.jsonl",
            };
            let folder = newest(&state.join("jobs"), |path| path.join("log.jsonl").exists())?;
            let job = folder.file_name()?.to_string_lossy().into_owned();
            (folder.join(name), Some(job))
        }
    };
    path.is_file().then_some((path, job))
}

/// The command of a job, as one of its files says.
fn command(state: &Path, job: &str) -> Option<String> {
    let record = state.join("agent/delivery").join(format!("{job}.json"));
    let spec = state.join("jobs").join(job).join("spec.json");
    // A named pipe may be in its place by now, and to open it would wait for ever.
    let mut files = [spec, record].into_iter().filter(|path| path.is_file());
    files.find_map(|path| Some(json(&path)?["command"].as_str()?.to_owned()))
}

/// Damages the newest such file. None if there is none yet.
pub(crate) fn damage(state: &Path, target: Target, how: How, rng: &mut Rng) -> Option<Damaged> {
    let (path, job) = find(state, target)?;
    let command = job.as_ref().and_then(|job| command(state, job));
    let noted = job.as_ref().map_or(Noted::Nothing, |job| Noted::read(state, job));
    let owner = fs::metadata(&path).ok()?;
    let length = owner.len();
    if length == 0 && matches!(how, How::Flip | How::Truncate | How::Garbage) {
        return None;
    }
    let open = || OpenOptions::new().read(true).write(true).open(&path).ok();
    match how {
        How::Flip => {
            let (file, at) = (open()?, rng.u64(0..length));
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).ok()?;
            file.write_all_at(&[byte[0] ^ (1 << rng.u32(0..8))], at).ok()?;
        }
        How::Truncate => open()?.set_len(rng.u64(0..length)).ok()?,
        How::Remove => fs::remove_file(&path).ok()?,
        How::Garbage => {
            let noise: Vec<u8> = (0..rng.usize(1..200)).map(|_| rng.u8(..)).collect();
            open()?.write_all_at(&noise, rng.u64(0..length)).ok()?;
        }
        How::Folder => {
            fs::remove_file(&path).ok()?;
            fs::create_dir(&path).ok()?;
            fs::write(path.join("file"), "x").ok()?;
            chown(path.join("file"), Some(owner.uid()), Some(owner.gid())).ok()?;
        }
        How::Pipe => {
            fs::remove_file(&path).ok()?;
            mkfifoat(CWD, &path, Mode::from_raw_mode(0o666)).ok()?;
        }
    }
    if path.exists() {
        chown(&path, Some(owner.uid()), Some(owner.gid())).ok()?;
    }
    let readable = path.is_file() && json(&path).is_some_and(|left| left.is_object());
    Some(Damaged { path, target, how, job, command, noted, readable })
}
