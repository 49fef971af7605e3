use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread;

use jiff::Timestamp;
use nixfleet_os::clock::Time;
use nixfleet_os::{Clock, Machine};

use super::*;
use crate::JobsDir;
use crate::test_util::alone;

/// A process of the command may take the output that the supervisor was just told about.
#[test]
fn a_read_of_output_that_is_gone_waits_for_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let id = JobId::generate();
    let dir = JobsDir::new(folder.path()).job(&id);
    std::fs::create_dir(dir.path()).unwrap();
    let step: Step = serde_json::from_str(r#"{"name": "sleep", "argv": ["sleep", "300"]}"#).unwrap();
    let mut child = Child::spawn(&step, &id, &Processes::default()).unwrap();
    let pid = child.pid;
    let (answer, answered) = mpsc::channel();
    thread::spawn(move || {
        let mut log = Writer::create(dir, 1 << 20).unwrap();
        let mut progress = Progress::begin("sleep", &[step], &mut log);
        let mut buffer = [0; 16];
        child.out.take(&mut buffer, &mut log, &mut progress);
        child.err.take(&mut buffer, &mut log, &mut progress);
        answer.send(child.read_all()).unwrap();
    });
    let read_all = answered.recv_timeout(Duration::from_secs(20));
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
    assert_eq!(read_all, Ok(false), "both pipes are open and empty");
}

/// A clock that stands still until it is armed. The next time of day is then asked for between the wait for output and
/// the read: it lets the command go on to its end. From then on each look at the clock is a second later than the one
/// before.
#[derive(Debug)]
struct Suspended {
    begun: Instant,
    go: PathBuf,
    pid: u32,
    armed: AtomicBool,
    late: Mutex<Option<u32>>,
}

impl Time for Suspended {
    fn now(&self) -> Timestamp {
        let mut late = self.late.lock().unwrap();
        if late.is_none() && self.armed.load(Ordering::SeqCst) {
            *late = Some(0);
            std::fs::write(&self.go, "").unwrap();
            let stat = format!("/proc/{}/stat", self.pid);
            let limit = Instant::now() + Duration::from_secs(20);
            while !std::fs::read_to_string(&stat).unwrap().contains(") Z ") {
                assert!(Instant::now() < limit, "the command goes on");
                thread::yield_now();
            }
        }
        Timestamp::UNIX_EPOCH
    }

    fn instant(&self) -> Instant {
        let mut late = self.late.lock().unwrap();
        *late = late.map(|seconds| seconds + 1);
        self.begun + Duration::from_secs(late.unwrap_or_default().into())
    }

    fn sleep(&self, _: Duration) {}

    fn random(&self) -> [u8; 10] {
        [0; 10]
    }
}

fn texts(folder: &Path, id: &JobId) -> Vec<String> {
    let mut reader = crate::journal::Reader::new(JobsDir::new(folder).job(id), 0);
    reader.read(1 << 20).unwrap().into_iter().map(|entry| entry.line).collect()
}

/// The supervisor may be suspended, or the machine too busy to look at the pipes within the time for the rest.
#[test]
fn what_the_command_wrote_before_its_end_is_logged_however_late_that_is_noticed() {
    alone("supervisor::child::tests::written_before_the_end");
}

#[test]
#[ignore = "runs in a process of its own"]
fn written_before_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let id = JobId::generate();
    let go = folder.path().join("go");
    let script = format!("echo first; until [ -e '{}' ]; do :; done; echo last; echo why >&2", go.display());
    let argv = ["sh".to_owned(), "-c".to_owned(), script];
    let step: Step = serde_json::from_value(serde_json::json!({"name": "sh", "argv": argv})).unwrap();
    let mut stop = Stop::listen(Duration::from_secs(1), Machine::default()).unwrap();
    let child = Child::spawn(&step, &id, &Processes::default()).unwrap();
    let (armed, late) = (AtomicBool::new(false), Mutex::default());
    let time = Arc::new(Suspended { begun: Instant::now(), go, pid: child.pid(), armed, late });
    let machine = Machine { clock: Clock::simulated(Arc::<Suspended>::clone(&time)), ..Machine::default() };
    stop.set_machine(machine.clone());
    let dir = JobsDir::on(machine, folder.path()).job(&id);
    std::fs::create_dir(dir.path()).unwrap();
    let mut log = Writer::create(dir, 1 << 20).unwrap();
    let mut progress = Progress::begin("sh", &[step], &mut log);
    time.armed.store(true, Ordering::SeqCst);
    let end = child.run(false, &mut stop, &mut log, &mut progress);
    drop(log);
    assert_eq!(end.code, Ok(0));
    let texts = texts(folder.path(), &id);
    assert!(texts.ends_with(&["first".to_owned(), "last".to_owned(), "why".to_owned()]), "{texts:?}");
}
