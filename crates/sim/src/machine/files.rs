//! The simulated disk: files in memory, with what a power cut leaves of them.
//!
//! Content is durable after a sync of the file, a name after a sync of its folder. A folder is durable with the first
//! name in it that is. A power cut keeps what is durable, and of the rest what the seed chooses.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nixfleet_os::disk::{Files, Kind as What, Lock, Open, OpenFile, Watch};

use handle::{Handle, Opened, OpenedFile, Watching};

use super::process::Process;
use super::wait::{Bell, Wait, suspend};
use crate::faults::DiskFault;

mod handle;

/// A file, whatever its names are.
#[derive(Debug, Clone, Default)]
struct Inode {
    content: Vec<u8>,
    durable: Vec<u8>,
}

/// Who holds the lock of a file: an open file, by its number, and its process.
#[derive(Debug)]
struct Held {
    inode: u64,
    open: u64,
    pid: u32,
    lock: Lock,
}

#[derive(Debug, Default)]
struct State {
    inodes: BTreeMap<u64, Inode>,
    names: BTreeMap<PathBuf, u64>,
    durable: BTreeMap<PathBuf, u64>,
    folders: BTreeSet<PathBuf>,
    durable_folders: BTreeSet<PathBuf>,
    held: Vec<Held>,
    /// Number of the newest inode or open file.
    last: u64,
    /// Open files, by process.
    open: BTreeMap<u32, usize>,
    most_open: usize,
}

/// The files of the machine.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    state: Mutex<State>,
    /// Rings for every change.
    changed: Arc<Bell>,
}

impl Disk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The kernel closes all files of a process that has ended.
    pub(crate) fn release(&self, pid: u32) {
        let mut state = self.state();
        state.held.retain(|held| held.pid != pid);
        state.open.remove(&pid);
        drop(state);
        self.changed.ring();
    }

    /// Most files that one process had open.
    pub(crate) fn most_open(&self) -> usize {
        self.state().most_open
    }

    /// The power fails. `keeps` decides about each thing that is not durable.
    pub(crate) fn power_cut(&self, mut keeps: impl FnMut() -> bool) {
        let mut state = self.state();
        state.held.clear();
        state.open.clear();
        let folders: Vec<PathBuf> =
            state.folders.iter().filter(|folder| !state.durable_folders.contains(*folder)).cloned().collect();
        for folder in folders {
            let parent = folder.parent().is_some_and(|parent| state.durable_folders.contains(parent));
            if parent && keeps() {
                state.durable_folders.insert(folder);
            }
        }
        let changed: BTreeSet<PathBuf> = state.names.keys().chain(state.durable.keys()).cloned().collect();
        for path in changed {
            let (live, old) = (state.names.get(&path).copied(), state.durable.get(&path).copied());
            let has_folder = path.parent().is_some_and(|parent| state.durable_folders.contains(parent));
            if live != old && has_folder && keeps() {
                match live {
                    Some(inode) => state.durable.insert(path, inode),
                    None => state.durable.remove(&path),
                };
            }
        }
        for inode in state.inodes.values_mut() {
            let grown = inode.content.starts_with(&inode.durable);
            // A part of what was appended may have been written back already.
            if grown && keeps() {
                let more = (inode.content.len() - inode.durable.len()) / 2;
                inode.durable = inode.content[..inode.durable.len() + more].to_vec();
            }
            inode.content.clone_from(&inode.durable);
        }
        state.folders = state.durable_folders.clone();
        let folders = state.folders.clone();
        state.durable.retain(|path, _| path.parent().is_some_and(|parent| folders.contains(parent)));
        state.names = state.durable.clone();
        drop(state);
        self.changed.ring();
    }

    /// Writes a file from outside, durably.
    pub(crate) fn put(&self, path: &Path, content: Vec<u8>) {
        let mut state = self.state();
        state.last += 1;
        let inode = state.last;
        state.inodes.insert(inode, Inode { durable: content.clone(), content });
        state.names.insert(path.to_owned(), inode);
        state.durable.insert(path.to_owned(), inode);
        for folder in path.ancestors().skip(1) {
            state.folders.insert(folder.to_owned());
            state.durable_folders.insert(folder.to_owned());
        }
    }

    /// All names of files below a folder.
    pub(crate) fn below(&self, folder: &Path) -> Vec<PathBuf> {
        self.state().names.keys().filter(|path| path.starts_with(folder)).cloned().collect()
    }
}

impl State {
    fn child_folders(&self, path: &Path) -> impl Iterator<Item = &PathBuf> {
        self.folders.iter().filter(move |folder| folder.parent() == Some(path))
    }

    fn lockable(&self, inode: u64, open: u64, lock: Lock) -> bool {
        let others = self.held.iter().filter(|held| held.inode == inode && held.open != open);
        others.into_iter().all(|held| lock == Lock::Shared && held.lock == Lock::Shared)
    }
}

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

/// The disk as a process sees it.
#[derive(Debug)]
pub(crate) struct ProcessFiles(pub(crate) Arc<Process>);

impl ProcessFiles {
    fn disk(&self) -> &Disk {
        &self.0.world.files
    }
}

/// What every operation goes through: crashes, delays, errors.
fn operation(process: &Arc<Process>, what: &str, path: &Path, writes: bool) -> io::Result<()> {
    if process.is_dead() {
        return Err(io::Error::from_raw_os_error(5));
    }
    let world = &process.world;
    let number = world.count_operation(process.kind);
    let delay = world.disk_delay(process.kind);
    if !delay.is_zero() {
        process.sleep(delay);
    }
    let fault = world.disk_fault(process.kind, number, what, writes);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if let Some(fault) = fault {
        world.note(format_args!("{process:?} #{number} {what} {name}: {fault:?}"));
        match fault {
            DiskFault::Crash => {
                process.kill("a crash at an operation of the disk");
                suspend(Wait::Turn);
                return Err(io::Error::from_raw_os_error(5));
            }
            DiskFault::PowerCut => {
                world.power_cut();
                suspend(Wait::Turn);
                return Err(io::Error::from_raw_os_error(5));
            }
            DiskFault::Io => return Err(io::Error::from_raw_os_error(5)),
            DiskFault::TooManyFiles => return Err(io::Error::from_raw_os_error(24)),
            DiskFault::Full | DiskFault::Torn => return Err(io::Error::from_raw_os_error(28)),
        }
    }
    world.note(format_args!("{process:?} #{number} {what} {name}"));
    Ok(())
}

impl Files for ProcessFiles {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn OpenFile>> {
        operation(&self.0, "open", path, how != Open::Read)?;
        let mut state = self.disk().state();
        if state.folders.contains(path) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let inode = match state.names.get(path) {
            Some(inode) => *inode,
            None if how == Open::Read => return Err(not_found()),
            None => {
                if !path.parent().is_some_and(|folder| state.folders.contains(folder)) {
                    return Err(not_found());
                }
                state.last += 1;
                let inode = state.last;
                state.inodes.insert(inode, Inode::default());
                state.names.insert(path.to_owned(), inode);
                inode
            }
        };
        if how == Open::Truncate
            && let Some(inode) = state.inodes.get_mut(&inode)
        {
            inode.content.clear();
        }
        state.last += 1;
        let open = state.last;
        let count = state.open.entry(self.0.pid).or_default();
        *count += 1;
        state.most_open = state.most_open.max(state.open[&self.0.pid]);
        drop(state);
        if how != Open::Read {
            self.disk().changed.ring();
        }
        let file = OpenedFile {
            process: Arc::clone(&self.0),
            path: path.to_owned(),
            inode,
            append: how == Open::Append,
        };
        Ok(Box::new(Handle { file: Arc::new(Opened { file, open }), position: 0 }))
    }

    fn make_folder(&self, path: &Path, parents: bool) -> io::Result<()> {
        operation(&self.0, "mkdir", path, true)?;
        let mut state = self.disk().state();
        if state.folders.contains(path) {
            return if parents { Ok(()) } else { Err(io::ErrorKind::AlreadyExists.into()) };
        }
        if parents {
            state.folders.extend(path.ancestors().map(Path::to_owned));
        } else if !path.parent().is_some_and(|folder| state.folders.contains(folder)) {
            return Err(not_found());
        }
        state.folders.insert(path.to_owned());
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        operation(&self.0, "rename to", to, true)?;
        let mut state = self.disk().state();
        let inode = state.names.remove(from).ok_or_else(not_found)?;
        state.names.insert(to.to_owned(), inode);
        drop(state);
        self.disk().changed.ring();
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        operation(&self.0, "remove", path, false)?;
        self.disk().state().names.remove(path).map(drop).ok_or_else(not_found)
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        operation(&self.0, "remove folder", path, false)?;
        let mut state = self.disk().state();
        if !state.folders.contains(path) {
            return Err(not_found());
        }
        state.names.retain(|name, _| !name.starts_with(path));
        state.folders.retain(|folder| !folder.starts_with(path));
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        operation(&self.0, "list", path, false)?;
        let state = self.disk().state();
        if !state.folders.contains(path) {
            return Err(not_found());
        }
        let files = state.names.keys().filter(|name| name.parent() == Some(path));
        let all = files.chain(state.child_folders(path));
        Ok(all.filter_map(|name| name.file_name().map(ToOwned::to_owned)).collect())
    }

    fn kind(&self, path: &Path) -> io::Result<What> {
        operation(&self.0, "stat", path, false)?;
        let state = self.disk().state();
        if state.folders.contains(path) {
            return Ok(What::Folder);
        }
        state.names.get(path).map(|_| What::File).ok_or_else(not_found)
    }

    fn read_link(&self, _: &Path) -> io::Result<PathBuf> {
        Err(not_found())
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        operation(&self.0, "sync folder", path, true)?;
        let mut state = self.disk().state();
        state.durable.retain(|name, _| name.parent() != Some(path));
        let names: Vec<(PathBuf, u64)> = state
            .names
            .iter()
            .filter(|(name, _)| name.parent() == Some(path))
            .map(|(name, inode)| (name.clone(), *inode))
            .collect();
        state.durable.extend(names);
        let folders: Vec<PathBuf> = state.child_folders(path).cloned().collect();
        let gone: Vec<PathBuf> = state
            .durable_folders
            .iter()
            .filter(|folder| folder.parent() == Some(path) && !state.folders.contains(*folder))
            .cloned()
            .collect();
        for folder in gone {
            state.durable_folders.retain(|other| !other.starts_with(&folder));
            state.durable.retain(|name, _| !name.starts_with(&folder));
        }
        state.durable_folders.extend(folders);
        state.durable_folders.extend(path.ancestors().map(Path::to_owned));
        Ok(())
    }

    fn watch(&self, path: &Path) -> io::Result<Box<dyn Watch>> {
        operation(&self.0, "watch", path, false)?;
        if !self.disk().state().folders.contains(path) {
            return Err(not_found());
        }
        let heard = self.disk().changed.heard();
        Ok(Box::new(Watching { process: Arc::clone(&self.0), heard }))
    }
}
