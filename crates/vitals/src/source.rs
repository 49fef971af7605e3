//! Reads the kernel's files: with a size limit, and without waiting for a writer. There are three outcomes: a
//! value, an error, or no such source, which is no error because containers lack half of the sources.
//!
//! A file that is read for every heartbeat is a [`Source`], which stays open. Others are read by functions.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use nixfleet_os::bounded_read;
use nixfleet_os::subprocess::ProgramError;

use crate::fault::{self, Faults, Odd};
use crate::lines::Parsed;

pub(super) use kept::Source;

mod kept;

/// Buffer size for usual files, in bytes: they are read by one call, so their content is of one moment.
const USUAL: usize = 8 * 1024;

/// Longest single value, such as a name or a temperature, in bytes.
pub(super) const MAX_VALUE: u64 = 256;

/// Why an existing source gives no value.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The content is not as expected.
    #[error("{} holds something unexpected", path.display())]
    Garbage {
        /// The file.
        path: PathBuf,
    },
    /// The source is a program, which gave no answer.
    #[error("{} gave no answer", program.display())]
    Program {
        /// The program.
        program: PathBuf,
        /// The cause.
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

    /// Notes the file. A program is none; its failures are counted only.
    pub(super) fn note(&self, faults: &Faults) {
        match self {
            Self::Unreadable { path, source } => faults.note(path, Some(fault::unreadable(source))),
            Self::Garbage { path } => faults.note(path, Some(Odd::whole("is not as expected"))),
            Self::Program { .. } => {}
        }
    }

    pub(super) fn is_timeout(&self) -> bool {
        matches!(self, Self::Program { source, .. } if source.is_timeout())
    }
}

/// The result of reading a source. None: the host has no such source, or there is no value yet.
pub type Sample<T> = Result<Option<T>, SourceError>;

/// Whether an error only means that this host has no such source. With the kernel parameter `psi=0`, pressure
/// files exist but cannot be opened. A sensor without a value at this moment, such as that of a radio that is
/// switched off, answers ENODATA or EAGAIN.
pub(super) fn is_absence(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.kind() == io::ErrorKind::NotADirectory
        || [Errno::OPNOTSUPP, Errno::NODEV, Errno::NXIO, Errno::NODATA, Errno::AGAIN]
            .contains(&Errno::from_io_error(error).unwrap_or(Errno::IO))
}

/// Turns errors that mean "no such source" into None.
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
        whole(&bytes, limit)?;
        Ok(bytes)
    };
    present(path, read())
}

/// Fails if more than `limit` bytes were read.
fn whole(bytes: &[u8], limit: u64) -> io::Result<()> {
    if bytes.len() as u64 > limit {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("longer than {limit} bytes")));
    }
    Ok(())
}

/// The first bytes of a regular file, at most `limit`.
pub(super) fn head(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(USUAL.min(usize::try_from(limit).unwrap_or(USUAL)));
    bounded_read::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads and parses a file. A file that is longer than the limit is not parsed.
pub(super) fn parsed<T>(
    path: &Path,
    limit: u64,
    faults: &Faults,
    parse: impl FnOnce(&[u8]) -> Parsed<T>,
) -> Sample<T> {
    understand(path, bytes(path, limit), faults, |bytes| parse(&bytes))
}

/// Reads and parses a file of lines, of which each stands alone. Of a file that is longer than the limit, the
/// whole lines below it are parsed.
pub(super) fn parsed_lines<T>(
    path: &Path,
    limit: u64,
    faults: &Faults,
    parse: impl FnOnce(&[u8]) -> Parsed<T>,
) -> Sample<T> {
    let read = present(path, head(path, limit.saturating_add(1)));
    understand(path, read, faults, |mut bytes| lines_of(&mut bytes, limit, parse))
}

/// Parses the whole lines of a file of which one byte more than the limit was read, if it has as many.
fn lines_of<T>(bytes: &mut Vec<u8>, limit: u64, parse: impl FnOnce(&[u8]) -> Parsed<T>) -> Parsed<T> {
    let is_cut = bytes.len() as u64 > limit;
    if is_cut {
        // The last line may have lost digits.
        bytes.truncate(bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1));
        if bytes.is_empty() {
            return Parsed::nothing("has no line end");
        }
    }
    let mut parsed = parse(bytes);
    if is_cut {
        let rest = || Odd::whole(format!("is longer than {limit} bytes; the rest is not read"));
        parsed.odd.get_or_insert_with(rest);
    }
    parsed
}

/// Parses what was read, and notes what is wrong with the file.
fn understand<B, T>(
    path: &Path,
    read: Sample<B>,
    faults: &Faults,
    parse: impl FnOnce(B) -> Parsed<T>,
) -> Sample<T> {
    match read {
        Ok(None) => {
            faults.note(path, None);
            Ok(None)
        }
        Ok(Some(bytes)) => {
            let Parsed { value, odd } = parse(bytes);
            let nothing = value.is_none().then(|| Odd::whole("holds nothing that is understood"));
            faults.note(path, odd.or(nothing));
            value.map(Some).ok_or_else(|| SourceError::garbage(path))
        }
        Err(failure) => {
            failure.note(faults);
            Err(failure)
        }
    }
}

/// One line of text from a small file; None for any error.
pub(super) fn line(path: &Path) -> Option<String> {
    plain(std::str::from_utf8(&bytes(path, MAX_VALUE).ok()??).ok()?)
}

/// One line of text from a small file, which is noted if it cannot be read or understood. None without it.
pub(super) fn noted_line(path: &Path, faults: &Faults) -> Option<String> {
    let parse = |bytes: &[u8]| match std::str::from_utf8(bytes).ok().and_then(plain) {
        Some(text) => Parsed::all(text),
        None => Parsed::nothing("is not one line of text"),
    };
    parsed(path, MAX_VALUE, faults, parse).unwrap_or_default()
}

fn plain(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty() && !text.contains(char::is_control)).then(|| text.to_owned())
}

/// The file name of the target of a link.
pub(super) fn link_name(path: &Path) -> Option<String> {
    plain(fs::read_link(path).ok()?.file_name()?.to_str()?)
}
