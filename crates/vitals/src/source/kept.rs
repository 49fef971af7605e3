//! A file that is read again and again, and stays open between two readings.

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::io::{Errno, pread};

use nixfleet_os::bounded_read;

use super::{Sample, USUAL, lines_of, present, understand, whole};
use crate::clock::Moment;
use crate::fault::Faults;
use crate::lines::Parsed;

/// How long a file stays open, and how long a file that does not exist is not looked for again. What is mounted over
/// its path, such as the files of lxcfs, and a module that is loaded later are noticed after this time. Opening a file
/// of /proc costs several times as much as reading it.
const KEEP: Duration = Duration::from_secs(60);

/// Largest buffer that is kept between two readings, in bytes: the list of disks or interfaces of a large host.
const LARGEST: usize = 64 * 1024;

thread_local! {
    /// One buffer for all files that a thread reads, one after the other.
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A file that is read for every heartbeat.
#[derive(Debug)]
pub(crate) struct Source {
    path: PathBuf,
    limit: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    Closed,
    /// Opened at that moment.
    Open(File, Moment),
    /// Not there at that moment.
    Absent(Moment),
}

impl Source {
    /// Nothing is opened yet. `limit` is the size in bytes up to which it is read.
    pub(crate) fn new(path: PathBuf, limit: u64) -> Self {
        Self { path, limit, state: State::Closed }
    }

    /// Reads and parses the file. A file that is longer than the limit is not parsed.
    pub(crate) fn parsed<T>(
        &mut self,
        now: Moment,
        faults: &Faults,
        parse: impl FnOnce(&[u8]) -> Parsed<T>,
    ) -> Sample<T> {
        let (limit, more) = (self.limit, self.limit.saturating_add(1));
        let is_whole = |bytes: &mut Vec<u8>| whole(bytes, limit);
        self.read(now, more, is_whole, faults, |bytes| parse(bytes))
    }

    /// Reads and parses the first bytes of the file.
    pub(crate) fn parsed_head<T>(
        &mut self,
        now: Moment,
        faults: &Faults,
        parse: impl FnOnce(&[u8]) -> Parsed<T>,
    ) -> Sample<T> {
        self.read(now, self.limit, |_| Ok(()), faults, |bytes| parse(bytes))
    }

    /// Reads and parses a file of lines, of which each stands alone. Of a file that is longer than the limit, the
    /// whole lines below it are parsed.
    pub(crate) fn parsed_lines<T>(
        &mut self,
        now: Moment,
        faults: &Faults,
        parse: impl FnOnce(&[u8]) -> Parsed<T>,
    ) -> Sample<T> {
        let (limit, more) = (self.limit, self.limit.saturating_add(1));
        self.read(now, more, |_| Ok(()), faults, |bytes| lines_of(bytes, limit, parse))
    }

    fn read<T>(
        &mut self,
        now: Moment,
        most: u64,
        check: impl FnOnce(&mut Vec<u8>) -> io::Result<()>,
        faults: &Faults,
        parse: impl FnOnce(&mut Vec<u8>) -> Parsed<T>,
    ) -> Sample<T> {
        let mut buffer = BUFFER.take();
        let filled = self.fill(now, &mut buffer, most).and_then(|()| check(&mut buffer));
        let read = present(&self.path, filled.map(|()| &mut buffer));
        let sample = understand(&self.path, read, faults, parse);
        if buffer.capacity() <= LARGEST {
            BUFFER.set(buffer);
        }
        sample
    }

    /// Reads the first `most` bytes.
    fn fill(&mut self, now: Moment, buffer: &mut Vec<u8>, most: u64) -> io::Result<()> {
        match &self.state {
            // A device that is gone fails. Its successor is opened.
            State::Open(file, opened)
                if now.since(*opened) <= KEEP && read_from_start(file, buffer, most).is_ok() =>
            {
                return Ok(());
            }
            State::Absent(seen) if now.since(*seen) <= KEEP => return Err(io::ErrorKind::NotFound.into()),
            _ => {}
        }
        self.state = State::Closed;
        let opened = bounded_read::open(&self.path);
        if opened.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            self.state = State::Absent(now);
        }
        let file = opened?;
        read_from_start(&file, buffer, most)?;
        if is_live(&file) {
            self.state = State::Open(file, now);
        }
        Ok(())
    }
}

/// Whether an open file always says what is true now, as those of /proc and /sys do. The file of another file system may
/// have been replaced by a new one.
#[cfg(target_os = "linux")]
fn is_live(file: &File) -> bool {
    use rustix::fs::{FsWord, PROC_SUPER_MAGIC, fstatfs};
    /// The magic number of sysfs (linux/magic.h).
    const SYSFS_MAGIC: FsWord = 0x6265_6572;
    fstatfs(file).is_ok_and(|stat| [PROC_SUPER_MAGIC, SYSFS_MAGIC].contains(&stat.f_type))
}

#[cfg(not(target_os = "linux"))]
fn is_live(_: &File) -> bool {
    false
}

/// Reads the first `most` bytes of a file, wherever it was read before.
fn read_from_start(file: &File, buffer: &mut Vec<u8>, most: u64) -> io::Result<()> {
    buffer.clear();
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    while buffer.len() < most {
        if buffer.len() == buffer.capacity() {
            buffer.reserve(USUAL.max(buffer.len()));
        }
        let offset = buffer.len() as u64;
        match pread(file, spare_capacity(buffer), offset) {
            Ok(0) => return Ok(()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    buffer.truncate(most);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    fn text(source: &mut Source, now: Moment) -> Option<String> {
        let parse = |bytes: &[u8]| Parsed::all(String::from_utf8_lossy(bytes).into_owned());
        source.parsed(now, &Faults::default(), parse).unwrap()
    }

    #[test]
    fn a_file_of_the_kernel_stays_open_and_says_what_is_true_now() {
        let mut source = Source::new("/proc/thread-self/comm".into(), 64);
        let now = Moment::now();
        let run = move || {
            let before = text(&mut source, now).unwrap();
            assert!(matches!(source.state, State::Open(..)), "{source:?}");
            fs::write("/proc/thread-self/comm", "another").unwrap();
            assert_ne!(before, "another\n");
            assert_eq!(text(&mut source, now).unwrap(), "another\n");
            assert!(matches!(source.state, State::Open(_, opened) if opened == now));
            let later = now.after(KEEP * 2, Duration::ZERO);
            text(&mut source, later);
            assert!(matches!(source.state, State::Open(_, opened) if opened == later), "opened anew");
        };
        std::thread::Builder::new().name("one".to_owned()).spawn(run).unwrap().join().unwrap();
    }

    #[test]
    fn a_file_that_can_be_replaced_is_opened_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let mut source = Source::new(path.clone(), 64);
        let now = Moment::now();
        for content in ["a", "b"] {
            let new = folder.path().join("new");
            fs::write(&new, content).unwrap();
            fs::rename(new, &path).unwrap();
            assert_eq!(text(&mut source, now).as_deref(), Some(content));
            assert!(matches!(source.state, State::Closed), "{source:?}");
        }
    }

    #[test]
    fn a_file_that_appears_is_found_a_minute_later() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let mut source = Source::new(path.clone(), 64);
        let now = Moment::now();
        assert_eq!(text(&mut source, now), None);
        fs::write(path, "a").unwrap();
        assert_eq!(text(&mut source, now.after(KEEP, Duration::ZERO)), None);
        assert_eq!(text(&mut source, now.after(KEEP * 2, Duration::ZERO)).as_deref(), Some("a"));
    }

    #[test]
    fn a_process_that_is_gone_costs_its_file() {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let path = Path::new("/proc").join(child.id().to_string()).join("stat");
        let mut source = Source::new(path, 4096);
        let now = Moment::now();
        assert!(text(&mut source, now).is_some());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(text(&mut source, now), None);
        assert!(matches!(source.state, State::Absent(_)), "{source:?}");
    }
}
