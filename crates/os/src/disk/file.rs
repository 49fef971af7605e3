//! An open file of a [`Disk`](super::Disk).

use std::fs;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::time::SystemTime;

use rustix::fs::{FlockOperation, flock};

use super::{Lock, OpenFile};

/// An open regular file.
#[derive(Debug)]
pub struct File(Inner);

#[derive(Debug)]
enum Inner {
    Real(fs::File),
    Simulated(Box<dyn OpenFile>),
}

impl File {
    pub(super) fn real(file: fs::File) -> Self {
        Self(Inner::Real(file))
    }

    pub(super) fn simulated(file: Box<dyn OpenFile>) -> Self {
        Self(Inner::Simulated(file))
    }

    /// Moves the position of this handle; 0 is the start.
    ///
    /// # Errors
    /// An error of the file system.
    pub fn seek_to(&mut self, position: u64) -> io::Result<()> {
        match &mut self.0 {
            Inner::Real(file) => file.seek(SeekFrom::Start(position)).map(drop),
            Inner::Simulated(file) => file.seek_to(position),
        }
    }

    /// The length of the file in bytes.
    ///
    /// # Errors
    /// An error of the file system.
    pub fn length(&self) -> io::Result<u64> {
        match &self.0 {
            Inner::Real(file) => file.metadata().map(|metadata| metadata.len()),
            Inner::Simulated(file) => file.length(),
        }
    }

    /// When it was last written.
    ///
    /// # Errors
    /// An error of the file system; [`io::ErrorKind::Unsupported`] where it keeps no times.
    pub fn modified(&self) -> io::Result<SystemTime> {
        match &self.0 {
            Inner::Real(file) => file.metadata()?.modified(),
            Inner::Simulated(file) => file.modified(),
        }
    }

    /// Cuts or extends the file.
    ///
    /// # Errors
    /// An error of the file system.
    pub fn set_len(&self, length: u64) -> io::Result<()> {
        match &self.0 {
            Inner::Real(file) => file.set_len(length),
            Inner::Simulated(file) => file.set_len(length),
        }
    }

    /// Makes the content durable.
    ///
    /// # Errors
    /// An error of the file system.
    pub fn sync_all(&self) -> io::Result<()> {
        match &self.0 {
            Inner::Real(file) => file.sync_all(),
            Inner::Simulated(file) => file.sync(),
        }
    }

    /// Takes a lock without waiting. False if somebody else holds it.
    ///
    /// # Errors
    /// An error of the file system.
    pub fn lock(&self, lock: Lock) -> io::Result<bool> {
        match &self.0 {
            Inner::Simulated(file) => file.lock(lock, false),
            Inner::Real(file) => {
                let operation = match lock {
                    Lock::Shared => FlockOperation::NonBlockingLockShared,
                    Lock::Exclusive => FlockOperation::NonBlockingLockExclusive,
                };
                // On a file server even this may be interrupted.
                match rustix::io::retry_on_intr(|| flock(file, operation)) {
                    Ok(()) => Ok(true),
                    Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
                    Err(err) => Err(err.into()),
                }
            }
        }
    }

    /// A handle of the same open file, with the same lock.
    ///
    /// # Errors
    /// An error of the operating system.
    pub fn try_clone(&self) -> io::Result<Self> {
        match &self.0 {
            Inner::Real(file) => file.try_clone().map(Self::real),
            Inner::Simulated(file) => file.try_clone().map(Self::simulated),
        }
    }
}

impl Read for File {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Inner::Real(file) => file.read(buffer),
            Inner::Simulated(file) => file.read(buffer),
        }
    }
}

impl Write for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Inner::Real(file) => file.write(bytes),
            Inner::Simulated(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
