//! A machine whose disk and threads fail on demand. Its files are those of the real disk.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;
use std::{io, thread};

use jiff::Timestamp;

use nixfleet_os::clock::{Clock, Time};
use nixfleet_os::disk::{Disk, File, Files, Kind, Lock, Open, OpenFile, Watch};
use nixfleet_os::threads::{Gate, Tasks};
use nixfleet_os::{Machine, Threads};

use super::Instant;

/// What is wrong at present.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    #[default]
    None,
    /// Reads of the log fail with this error of the kernel.
    Read(i32),
    /// Files of the log cannot be opened, with this error.
    Open(i32),
    /// Reads of the log do not return.
    Hang,
    /// There is no thread to be had.
    NoThread,
}

#[derive(Debug, Default)]
struct State {
    fault: Fault,
    /// Reads that hang now.
    hanging: usize,
    /// Threads that were started and have not ended.
    threads: usize,
    /// Attempts to open the state.
    looks: usize,
    /// The file that cannot be opened for a while, how often, and the error.
    closed: Option<(&'static str, u32, i32)>,
    /// The time, once it only moves when the test says so.
    time: Option<Instant>,
    /// Threads that wait for a change or for a time, since they were woken last.
    waiting: usize,
    /// How often all threads were woken.
    woken: u64,
}

impl State {
    /// Counts an attempt to open this file; fails if it is closed.
    fn attempt(&mut self, name: &str) -> io::Result<()> {
        match &mut self.closed {
            Some((closed, left, code)) if *closed == name && *left > 0 => {
                *left -= 1;
                Err(io::Error::from_raw_os_error(*code))
            }
            _ => Ok(()),
        }
    }
}

/// The name of the job's folder for [`Faults::close`].
pub(super) const FOLDER: &str = "folder";

/// The switch of all faults.
#[derive(Debug, Clone, Default)]
pub(super) struct Faults(Arc<(Mutex<State>, Condvar)>);

impl Faults {
    pub(super) fn set(&self, fault: Fault) {
        self.0.0.lock().unwrap().fault = fault;
        self.0.1.notify_all();
    }

    /// Lets the next attempts to open this file fail, or those to watch the [`FOLDER`].
    pub(super) fn close(&self, name: &'static str, times: u32, code: i32) {
        self.0.0.lock().unwrap().closed = Some((name, times, code));
    }

    /// How many of the attempts that are to fail were not made yet.
    pub(super) fn closed(&self) -> u32 {
        self.0.0.lock().unwrap().closed.map_or(0, |(_, left, _)| left)
    }

    pub(super) fn hanging(&self) -> usize {
        self.0.0.lock().unwrap().hanging
    }

    pub(super) fn threads(&self) -> usize {
        self.0.0.lock().unwrap().threads
    }

    pub(super) fn looks(&self) -> usize {
        self.0.0.lock().unwrap().looks
    }

    /// From now on time only moves by [`Self::advance`].
    pub(super) fn stop_time(&self) {
        let mut state = self.0.0.lock().unwrap();
        state.time = Some(Instant::now());
        self.wake(state);
    }

    /// Lets time pass.
    pub(super) fn advance(&self, by: Duration) {
        let mut state = self.0.0.lock().unwrap();
        state.time = state.time.map(|time| time + by);
        self.wake(state);
    }

    /// Wakes all threads. None counts as waiting before it has looked again.
    fn wake(&self, mut state: MutexGuard<'_, State>) {
        state.waiting = 0;
        state.woken += 1;
        self.0.1.notify_all();
    }

    /// Whether all threads wait for a later time.
    pub(super) fn is_at_rest(&self) -> bool {
        let state = self.0.0.lock().unwrap();
        state.threads > 0 && state.waiting == state.threads
    }

    pub(super) fn machine(&self) -> Machine {
        Machine {
            disk: Disk::simulated(Arc::new(FaultyDisk(self.clone()))),
            threads: Threads::simulated(Arc::new(self.clone())),
            clock: Clock::simulated(Arc::new(self.clone())),
            ..Machine::default()
        }
    }

    /// Waits until `is_over`, at most `limit`.
    fn wait(&self, limit: Duration, mut is_over: impl FnMut() -> bool) {
        let (state, changed) = &*self.0;
        let mut state = state.lock().unwrap();
        let end = state.time.unwrap_or_else(Instant::now) + limit;
        while !is_over() {
            let left = end.saturating_duration_since(state.time.unwrap_or_else(Instant::now));
            if left.is_zero() {
                return;
            }
            state.waiting += 1;
            let woken = state.woken;
            state = match state.time {
                Some(_) => changed.wait(state).unwrap(),
                None => changed.wait_timeout(state, left).unwrap().0,
            };
            if state.woken == woken {
                state.waiting -= 1;
            }
        }
    }
}

impl Time for Faults {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn instant(&self) -> Instant {
        self.0.0.lock().unwrap().time.unwrap_or_else(Instant::now)
    }

    fn sleep(&self, duration: Duration) {
        self.wait(duration, || false);
    }

    fn random(&self) -> [u8; 10] {
        [0; 10]
    }
}

impl Tasks for Faults {
    fn spawn(&self, _: &str, run: Box<dyn FnOnce() + Send>) -> io::Result<()> {
        let mut state = self.0.0.lock().unwrap();
        if state.fault == Fault::NoThread {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        state.threads += 1;
        let all = self.clone();
        thread::Builder::new().stack_size(super::STACK).spawn(move || {
            run();
            all.0.0.lock().unwrap().threads -= 1;
        })?;
        Ok(())
    }

    fn gate(&self) -> Arc<dyn Gate> {
        Arc::new(Turnstile(AtomicBool::new(false), self.clone()))
    }

    fn instant(&self) -> Instant {
        Time::instant(self)
    }
}

/// It stays open until somebody passed, so that no opening is missed.
#[derive(Debug)]
struct Turnstile(AtomicBool, Faults);

impl Gate for Turnstile {
    fn wait(&self, limit: Option<Duration>) {
        self.1.wait(limit.unwrap_or(super::LIMIT), || self.0.swap(false, Ordering::SeqCst));
    }

    fn open(&self) {
        let state = self.1.0.0.lock().unwrap();
        self.0.store(true, Ordering::SeqCst);
        self.1.wake(state);
    }
}

#[derive(Debug)]
struct FaultyDisk(Faults);

#[derive(Debug)]
struct FaultyFile(File, Faults, bool);

impl Files for FaultyDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn OpenFile>> {
        let name = path.file_name().unwrap().to_str().unwrap();
        let is_log = name.starts_with("log");
        let mut state = self.0.0.0.lock().unwrap();
        state.attempt(name)?;
        state.looks += usize::from(path.ends_with("state.json"));
        match state.fault {
            Fault::Open(code) if is_log => Err(io::Error::from_raw_os_error(code)),
            _ => Ok(Box::new(FaultyFile(Disk::real().open(path, how)?, self.0.clone(), is_log))),
        }
    }

    fn make_folder(&self, path: &Path, _: bool) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir_all(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        Disk::real().list(path)
    }

    fn kind(&self, path: &Path) -> io::Result<Kind> {
        Disk::real().kind(path)
    }

    fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        fs::read_link(path)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        Disk::real().sync_folder(path)
    }

    fn watch(&self, path: &Path) -> io::Result<Box<dyn Watch>> {
        self.0.0.0.lock().unwrap().attempt(FOLDER)?;
        fs::metadata(path)?;
        Ok(Box::new(Often(self.0.clone())))
    }
}

#[derive(Debug)]
struct Often(Faults);

impl Watch for Often {
    fn wait(&mut self, limit: Duration) {
        self.0.wait(limit.min(Duration::from_millis(5)), || false);
    }
}

impl OpenFile for FaultyFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (state, changed) = &*self.1.0;
        let mut state = state.lock().unwrap();
        if self.2 {
            while state.fault == Fault::Hang {
                state.hanging += 1;
                state = changed.wait(state).unwrap();
                state.hanging -= 1;
            }
            if let Fault::Read(code) = state.fault {
                return Err(io::Error::from_raw_os_error(code));
            }
        }
        drop(state);
        io::Read::read(&mut self.0, buffer)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::Write::write(&mut self.0, bytes)
    }

    fn seek_to(&mut self, position: u64) -> io::Result<()> {
        self.0.seek_to(position)
    }

    fn length(&self) -> io::Result<u64> {
        self.0.length()
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_all()
    }

    fn lock(&self, lock: Lock, _: bool) -> io::Result<bool> {
        self.0.lock(lock)
    }

    fn try_clone(&self) -> io::Result<Box<dyn OpenFile>> {
        Ok(Box::new(FaultyFile(self.0.try_clone()?, self.1.clone(), self.2)))
    }
}
