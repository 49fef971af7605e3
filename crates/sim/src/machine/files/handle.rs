//! Open files, and the watch of a folder.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nixfleet_os::disk::{Lock, OpenFile, Watch};

use super::{Disk, Held, operation};
use crate::machine::process::Process;
use crate::machine::wait::{Wait, suspend};

#[derive(Debug)]
pub(super) struct Watching {
    pub(super) process: Arc<Process>,
    pub(super) heard: u64,
}

impl Watch for Watching {
    fn wait(&mut self, limit: Duration) {
        let changed = &self.process.world.files.changed;
        if self.process.is_dead() {
            return;
        }
        let until = tokio::time::Instant::now() + limit;
        suspend(Wait::Bell(Arc::clone(changed), self.heard, Some(until)));
        self.heard = changed.heard();
    }
}

#[derive(Debug)]
pub(super) struct OpenedFile {
    pub(super) process: Arc<Process>,
    pub(super) path: PathBuf,
    pub(super) inode: u64,
    pub(super) append: bool,
}

/// An open file, which several handles may share.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) file: OpenedFile,
    pub(super) open: u64,
}

impl Drop for Opened {
    fn drop(&mut self) {
        let mut state = self.file.process.world.files.state();
        state.held.retain(|held| held.open != self.open);
        if let Some(count) = state.open.get_mut(&self.file.process.pid) {
            *count = count.saturating_sub(1);
        }
    }
}

#[derive(Debug)]
pub(super) struct Handle {
    pub(super) file: Arc<Opened>,
    pub(super) position: usize,
}

impl Handle {
    fn operation(&self, what: &str, writes: bool) -> io::Result<()> {
        operation(&self.file.file.process, what, &self.file.file.path, writes)
    }

    fn disk(&self) -> &Disk {
        &self.file.file.process.world.files
    }
}

impl OpenFile for Handle {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.operation("read", false)?;
        let state = self.disk().state();
        let Some(inode) = state.inodes.get(&self.file.file.inode) else { return Ok(0) };
        let rest = inode.content.get(self.position..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        drop(state);
        self.position += count;
        Ok(count)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (done, count) = match self.operation("write", true) {
            Ok(()) => (Ok(()), bytes.len()),
            // A disk that is full takes a part of a write first.
            Err(err) if err.raw_os_error() == Some(28) && !self.file.file.process.is_dead() => {
                (Err(err), bytes.len() / 2)
            }
            Err(err) => return Err(err),
        };
        let file = Arc::clone(&self.file);
        let disk = &file.file.process.world.files;
        let mut state = disk.state();
        if let Some(inode) = state.inodes.get_mut(&file.file.inode) {
            let at = if self.file.file.append { inode.content.len() } else { self.position };
            inode.content.resize(inode.content.len().max(at + count), 0);
            inode.content[at..at + count].copy_from_slice(&bytes[..count]);
            self.position = at + count;
        }
        drop(state);
        disk.changed.ring();
        done.map(|()| count)
    }

    fn seek_to(&mut self, position: u64) -> io::Result<()> {
        self.position = usize::try_from(position).unwrap_or(usize::MAX);
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        self.operation("length", false)?;
        Ok(self
            .disk()
            .state()
            .inodes
            .get(&self.file.file.inode)
            .map_or(0, |inode| inode.content.len() as u64))
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.operation("set length", false)?;
        let mut state = self.disk().state();
        if let Some(inode) = state.inodes.get_mut(&self.file.file.inode) {
            inode.content.resize(usize::try_from(length).unwrap_or(usize::MAX), 0);
        }
        drop(state);
        self.disk().changed.ring();
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.operation("sync", true)?;
        let mut state = self.disk().state();
        if let Some(inode) = state.inodes.get_mut(&self.file.file.inode) {
            inode.durable.clone_from(&inode.content);
        }
        Ok(())
    }

    fn lock(&self, lock: Lock, wait: bool) -> io::Result<bool> {
        loop {
            self.operation("lock", false)?;
            let mut state = self.disk().state();
            let (inode, open, pid) = (self.file.file.inode, self.file.open, self.file.file.process.pid);
            if state.lockable(inode, open, lock) {
                state.held.retain(|held| held.open != open);
                state.held.push(Held { inode, open, pid, lock });
                return Ok(true);
            }
            drop(state);
            if !wait || self.file.file.process.is_dead() {
                return Ok(false);
            }
            self.file.file.process.sleep(Duration::from_millis(1));
        }
    }

    fn try_clone(&self) -> io::Result<Box<dyn OpenFile>> {
        Ok(Box::new(Self { file: Arc::clone(&self.file), position: self.position }))
    }
}
