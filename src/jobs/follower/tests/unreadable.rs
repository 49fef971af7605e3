//! Files of a job that are damaged, and files that cannot be read for a while.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use nixfleet_os::disk::{File, Files, Kind, Lock, Open, OpenFile, Watch};
use nixfleet_os::{Clock, Disk};
use rustix::io::Errno;

use super::*;

/// The disk of this machine, on which one file cannot be opened for a while.
#[derive(Debug)]
struct Failing {
    /// The name of the file, how often it fails, and the error.
    failing: Mutex<(&'static str, u32, Errno)>,
}

#[derive(Debug)]
struct Opened(File);

impl OpenFile for Opened {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
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

    fn lock(&self, lock: Lock, wait: bool) -> io::Result<bool> {
        assert!(!wait, "a follower does not wait");
        self.0.lock(lock)
    }

    fn try_clone(&self) -> io::Result<Box<dyn OpenFile>> {
        Ok(Box::new(Self(self.0.try_clone()?)))
    }
}

#[derive(Debug)]
struct Interval;

impl Watch for Interval {
    fn wait(&mut self, limit: Duration) {
        Clock::real().sleep(limit.min(Duration::from_millis(5)));
    }
}

impl Files for Failing {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn OpenFile>> {
        let mut failing = self.failing.lock().unwrap();
        let (name, left, errno) = &mut *failing;
        if path.ends_with(*name) && *left > 0 {
            *left -= 1;
            return Err((*errno).into());
        }
        Ok(Box::new(Opened(Disk::real().open(path, how)?)))
    }

    fn make_folder(&self, _: &Path, _: bool) -> io::Result<()> {
        unreachable!("a follower only reads")
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        unreachable!("a follower only reads")
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        unreachable!("a follower only reads")
    }

    fn remove_folder(&self, _: &Path) -> io::Result<()> {
        unreachable!("a follower only reads")
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        Disk::real().list(path)
    }

    fn kind(&self, path: &Path) -> io::Result<Kind> {
        Disk::real().kind(path)
    }

    fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        Disk::real().read_link(path)
    }

    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        unreachable!("a follower only reads")
    }

    fn watch(&self, path: &Path) -> io::Result<Box<dyn Watch>> {
        let mut failing = self.failing.lock().unwrap();
        let (name, left, errno) = &mut *failing;
        if *name == "folder" && *left > 0 {
            *left -= 1;
            return Err((*errno).into());
        }
        Disk::real().kind(path)?;
        Ok(Box::new(Interval))
    }
}

#[tokio::test]
async fn an_error_that_may_pass_concludes_nothing() {
    for (name, errno) in [
        ("result.json", Errno::IO),
        ("result.json", Errno::MFILE),
        ("result.json", Errno::ACCESS),
        ("log.jsonl", Errno::ACCESS),
        ("log.jsonl", Errno::MFILE),
        ("folder", Errno::ACCESS),
    ] {
        let mut rig = Rig::new();
        let mut writer = rig.supervisor(1 << 20);
        rig.store_spec(Some(BOOT));
        write(&mut writer, 1..=3);
        let told = rig.store_result(&writer);
        drop(writer);
        nixfleet_jobs::test_util::wait_until_dead(&rig.dir);
        let disk = Disk::simulated(Arc::new(Failing { failing: Mutex::new((name, 3, errno)) }));
        let machine = Machine { disk, ..Machine::default() };
        rig.jobs = JobsDir::on(machine, rig.jobs.path());
        let mut follower = rig.follow(0);
        assert_eq!(entries(&mut follower, 3).await.len(), 3, "{name} {errno:?}");
        assert_eq!(next(&mut follower).await, Followed::Ended(Box::new(told)), "{name} {errno:?}");
    }
}

/// The end that is told if `file` has this content and the supervisor is dead.
async fn end_with(file: &str, content: &str) -> JobResult {
    let rig = Rig::new();
    let mut writer = rig.supervisor(1 << 20);
    rig.store_spec(Some(BOOT));
    write(&mut writer, 1..=3);
    if file != "result.json" {
        rig.store_result(&writer);
    }
    drop(writer);
    nixfleet_jobs::test_util::wait_until_dead(&rig.dir);
    fs::write(rig.dir.path().join(file), content).unwrap();
    let mut follower = rig.follow(0);
    entries(&mut follower, 3).await;
    let Followed::Ended(result) = next(&mut follower).await else { panic!("output") };
    *result
}

#[tokio::test]
async fn a_damaged_result_is_told_as_what_it_is() {
    for content in ["", "{", "{}", "[7]", "\u{0}\u{0}", r#"{"outcome":7}"#] {
        let result = end_with("result.json", content).await;
        assert_eq!(result.outcome, Outcome::Lost, "{content:?}");
        assert!(result.message.contains("result.json is damaged"), "{content:?}: {}", result.message);
        assert!(!result.message.contains("supervisor"), "{content:?}: {}", result.message);
        assert_eq!(result.line_count(), 3);
    }
}

#[tokio::test]
async fn a_damaged_file_beside_the_result_changes_nothing() {
    for file in ["state.json", "spec.json"] {
        for content in ["", "{", "\u{0}"] {
            assert_eq!(end_with(file, content).await.outcome, Outcome::Ok, "{file} {content:?}");
        }
    }
}

#[test]
fn a_result_that_is_damaged_while_the_supervisor_lives_is_no_end() {
    let rig = Rig::new();
    let _writer = rig.supervisor(1 << 20);
    fs::write(rig.dir.result(), "{").unwrap();
    let (mut thread, _follower) = rig.thread();
    let seen = thread.look(true);
    assert!(thread.conclude(seen).is_none(), "it will be replaced");
}

#[test]
fn a_job_whose_log_is_missing_is_not_told_as_a_supervisor_that_died() {
    let rig = Rig::new();
    let (mut thread, _follower) = rig.thread();
    let seen = Seen { gone: true, result: None, unread: None };
    let result = thread.conclude(seen).unwrap();
    assert_eq!(result.outcome, Outcome::Lost);
    assert!(result.message.contains("log.jsonl"), "{}", result.message);
    assert!(!result.message.contains("supervisor"), "{}", result.message);
}
