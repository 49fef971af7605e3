use std::sync::mpsc;
use std::thread;

use super::*;
use crate::JobsDir;

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
