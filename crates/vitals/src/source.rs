//! Reading what the kernel shows as files: bounded, never waiting for a writer, and with three
//! outcomes. A source that is not there is no error: containers lack half of them.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use rustix::io::Errno;

use nixfleet_os::bounded_read;
use nixfleet_os::subprocess::ProgramError;

/// Room for the files that are usual, so that they are read with one call and from one moment.
const USUAL: usize = 8 * 1024;

/// Longest value in a file of its own, such as a name or a temperature, in bytes.
pub(super) const MAX_VALUE: u64 = 256;

/// Why a source that is there says nothing.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// It cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// Which one.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It was read, and is not what it should be.
    #[error("{} holds something unexpected", path.display())]
    Garbage {
        /// Which one.
        path: PathBuf,
    },
    /// It is a program, and gave no answer.
    #[error("{} gave no answer", program.display())]
    Program {
        /// Which one.
        program: PathBuf,
        /// Why not.
        source: ProgramError,
    },
}

impl SourceError {
    pub(super) fn unreadable(path: &Path, source: io::Error) -> Self {
        Self::Unreadable { path: path.to_owned(), source }
    }

    pub(super) fn garbage(path: &Path) -> Self {
        Self::Garbage { path: path.to_owned() }
    }

    pub(super) fn is_timeout(&self) -> bool {
        matches!(self, Self::Program { source, .. } if source.is_timeout())
    }
}

/// What a look at a source yields. None: there is no such source here, or nothing to tell yet.
pub type Sample<T> = Result<Option<T>, SourceError>;

/// Whether an error only says that this host has no such thing. Pressure files are there but do not
/// open in a kernel that was told `psi=0`.
pub(super) fn is_absence(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.kind() == io::ErrorKind::NotADirectory
        || [Errno::OPNOTSUPP, Errno::NODEV, Errno::NXIO]
            .contains(&Errno::from_io_error(error).unwrap_or(Errno::IO))
}

/// None for what is not there.
pub(super) fn present<T>(path: &Path, result: io::Result<T>) -> Sample<T> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if is_absence(&error) => Ok(None),
        Err(error) => Err(SourceError::unreadable(path, error)),
    }
}

/// At most `limit` bytes of a regular file; a longer one is an error.
pub(super) fn bytes(path: &Path, limit: u64) -> Sample<Vec<u8>> {
    let read = || {
        let bytes = head(path, limit.saturating_add(1))?;
        if bytes.len() as u64 > limit {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("longer than {limit} bytes")));
        }
        Ok(bytes)
    };
    present(path, read())
}

/// The first bytes of a regular file, at most `limit`.
pub(super) fn head(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(USUAL.min(usize::try_from(limit).unwrap_or(USUAL)));
    bounded_read::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A file through its parser.
pub(super) fn parsed<T>(path: &Path, limit: u64, parse: impl Fn(&str) -> Option<T>) -> Sample<T> {
    let Some(bytes) = bytes(path, limit)? else { return Ok(None) };
    let value = std::str::from_utf8(&bytes).ok().and_then(parse);
    value.map(Some).ok_or_else(|| SourceError::garbage(path))
}

/// One line of plain text from a small file; none for whatever reason.
pub(super) fn line(path: &Path) -> Option<String> {
    parsed(path, MAX_VALUE, plain).ok().flatten()
}

fn plain(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty() && !text.contains(char::is_control)).then(|| text.to_owned())
}

/// The last part of what a link points to.
pub(super) fn link_name(path: &Path) -> Option<String> {
    plain(fs::read_link(path).ok()?.file_name()?.to_str()?)
}
