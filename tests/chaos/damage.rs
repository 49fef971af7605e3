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
    /// The command of its job, if it belongs to one and that was readable before.
    pub(crate) command: Option<String>,
}

/// The newest entry of a folder for which `wanted` holds. Job ids sort by time.
fn newest(folder: &Path, wanted: impl Fn(&Path) -> bool) -> Option<PathBuf> {
    fs::read_dir(folder).ok()?.flatten().map(|item| item.path()).filter(|path| wanted(path)).max()
}

/// The file, and the command that it is about.
fn find(state: &Path, target: Target) -> Option<(PathBuf, Option<String>)> {
    let (path, describes) = match target {
        Target::Record => {
            let is_record = |path: &Path| path.extension().is_some_and(|ending| ending == "json");
            let path = newest(&state.join("agent/delivery"), is_record)?;
            (path.clone(), Some(path))
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
            (folder.join(name), Some(folder.join("spec.json")))
        }
    };
    // A named pipe may be in its place by now, and to open it would wait for ever.
    let describes = describes.filter(|path| path.is_file());
    let command = describes.and_then(|path| Some(json(&path)?["command"].as_str()?.to_owned()));
    path.is_file().then_some((path, command))
}

/// Damages the newest such file. None if there is none yet.
pub(crate) fn damage(state: &Path, target: Target, how: How, rng: &mut Rng) -> Option<Damaged> {
    let (path, command) = find(state, target)?;
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
    Some(Damaged { path, target, how, command })
}
