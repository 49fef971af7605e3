//! Something else in the place of a file of ours: a FIFO, a folder, a socket, a device, a gigabyte. Nothing waits for
//! it, nothing reads all of it, and the error says that it is damage.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nixfleet_jobs::atomic_file::{load, store};
use nixfleet_jobs::checkout::Checkout;
use nixfleet_jobs::history::History;
use nixfleet_jobs::journal::{Reader, supervisor_lives};
use nixfleet_jobs::record::{Record, Records};
use nixfleet_jobs::spec::{JobResult, Outcome, Spec, State};
use nixfleet_jobs::{JobDir, JobsDir, damage};

const KINDS: [&str; 5] = ["FIFO", "folder", "socket", "device", "gigabyte"];

fn make(kind: &str, path: &Path) {
    match kind {
        "FIFO" => {
            let mode = rustix::fs::Mode::from_raw_mode(0o600);
            rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        }
        "folder" => fs::create_dir(path).unwrap(),
        "socket" => drop(UnixListener::bind(path).unwrap()),
        "device" => symlink("/dev/zero", path).unwrap(),
        _ => File::create(path).unwrap().set_len(1 << 30).unwrap(),
    }
}

/// Runs it on a thread. Something that hangs is a failure after 20 s.
#[track_caller]
fn bounded<T: Send + 'static>(what: &str, run: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(run()));
    receiver.recv_timeout(Duration::from_secs(20)).unwrap_or_else(|_| panic!("{what} hangs"))
}

struct Rig {
    folder: tempfile::TempDir,
    jobs: JobsDir,
    records: Records,
    record: Record,
}

impl Rig {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (jobs, records) = (JobsDir::new(folder.path()), Records::new(folder.path().join("delivery")));
        let record = Record::accept("pull".to_owned(), None);
        fs::create_dir(jobs.job(&record.id).path()).unwrap();
        fs::create_dir(records.path()).unwrap();
        Self { folder, jobs, records, record }
    }

    fn dir(&self) -> JobDir {
        self.jobs.job(&self.record.id)
    }
}

#[test]
fn what_is_no_file_is_damage_and_nothing_waits_for_it() {
    type Read = fn(&JobsDir, &JobDir) -> io::Result<()>;
    type Place = fn(&JobsDir, &JobDir) -> PathBuf;
    let places: [(&str, Place, Read); 6] = [
        ("spec", |_, dir| dir.spec(), |_, dir| load::<Spec>(&dir.spec()).map(drop)),
        ("state", |_, dir| dir.state(), |_, dir| load::<State>(&dir.state()).map(drop)),
        ("result", |_, dir| dir.result(), |_, dir| load::<JobResult>(&dir.result()).map(drop)),
        ("history", |jobs, _| jobs.history(), |jobs, _| History::load(jobs).map(drop)),
        ("log", |_, dir| dir.log(0), |_, dir| supervisor_lives(dir).map(drop)),
        ("log", |_, dir| dir.log(0), |_, dir| Reader::new(dir.clone(), 0).read(1024).map(drop)),
    ];
    for kind in KINDS {
        for (name, place, read) in places {
            if (name, kind) == ("log", "gigabyte") {
                // A log has no limit of its own. It is read in pieces.
                continue;
            }
            let rig = Rig::new();
            let (jobs, dir) = (rig.jobs.clone(), rig.dir());
            make(kind, &place(&jobs, &dir));
            let read = bounded(&format!("{name}, {kind}"), move || read(&jobs, &dir));
            let err = read.expect_err(&format!("{name}, {kind}"));
            assert!(damage::is_damage(&err), "{name}, {kind}: {err}");
        }
    }
}

#[test]
fn a_checkout_that_is_no_file_is_unknown() {
    for kind in KINDS {
        let rig = Rig::new();
        make(kind, &rig.jobs.checkout());
        let (jobs, repo) = (rig.jobs.clone(), rig.folder.path().to_owned());
        assert_eq!(bounded(kind, move || Checkout::noted(&jobs, &repo)), None);
    }
}

#[test]
fn a_record_that_is_no_file_is_moved_aside_and_answered() {
    for kind in KINDS {
        let rig = Rig::new();
        let path = rig.records.path().join(format!("{}.json", rig.record.id));
        make(kind, &path);
        let (records, jobs) = (rig.records.clone(), rig.jobs.clone());
        let opened = bounded(kind, move || records.open(&jobs, None));
        assert_eq!(opened.resumed.len(), 1, "{kind}: {opened:?}");
        assert_eq!(opened.resumed[0].id, rig.record.id);
        assert!(fs::metadata(&path).unwrap().is_file(), "{kind}");
        assert!(fs::symlink_metadata(path.with_extension("damaged")).is_ok(), "{kind}");
    }
}

#[test]
fn a_history_that_is_no_file_is_moved_aside() {
    for kind in KINDS {
        let rig = Rig::new();
        make(kind, &rig.jobs.history());
        let jobs = rig.jobs.clone();
        let history = bounded(kind, move || History::load_to_add(&jobs, |_| {}));
        assert_eq!(history, Ok(History::default()), "{kind}");
        History::default().store(&rig.jobs).unwrap();
        assert!(History::load(&rig.jobs).is_ok(), "{kind}");
    }
}

#[test]
fn a_file_is_written_whatever_has_the_name_of_the_temporary_file() {
    let result = JobResult::without_supervisor(Outcome::Ok, String::new(), 0);
    for kind in KINDS {
        let rig = Rig::new();
        let (path, result) = (rig.dir().result(), result.clone());
        make(kind, &path.with_extension("tmp"));
        let stored = bounded(kind, move || store(&path, &result).map_err(|err| err.to_string()));
        assert_eq!(stored, Ok(()), "{kind}");
        let loaded: Option<JobResult> = load(&rig.dir().result()).unwrap();
        assert_eq!(loaded.unwrap().outcome, Outcome::Ok, "{kind}");
    }
}
