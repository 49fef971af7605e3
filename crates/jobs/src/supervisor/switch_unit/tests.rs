//! A unit whose control group is a folder. Its processes are real.

use std::fs;
use std::process::{Child, Command};

use nixfleet_os::Processes;

use super::*;
use crate::settings::SystemPaths;
use crate::{JobId, JobsDir};

struct Rig {
    folder: tempfile::TempDir,
    log: Writer,
    id: JobId,
    unit: SwitchUnit,
    process: Option<Child>,
}

impl Rig {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let id = JobId::generate();
        let dir = JobsDir::new(folder.path().join("jobs")).job(&id);
        fs::create_dir_all(dir.path()).unwrap();
        let log = Writer::create(dir, 1 << 20).unwrap();
        let mut unit = SwitchUnit::default();
        unit.begin(Some(activations(folder.path())), &Machine::default());
        Self { folder, log, id, unit, process: None }
    }

    /// The unit becomes active.
    fn activate(&mut self) {
        let process = crate::test_util::sleeping();
        let group = self.folder.path().join("system.slice").join(UNIT);
        fs::create_dir_all(&group).unwrap();
        fs::write(group.join("cgroup.procs"), process.id().to_string()).unwrap();
        self.process = Some(process);
    }

    /// Its control group is removed, and its process ends.
    fn end(&mut self) {
        fs::remove_dir_all(self.folder.path().join("system.slice")).unwrap();
        let mut process = self.process.take().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }

    fn has_ended(&mut self, read_all: bool, now: Instant) -> bool {
        self.unit.has_ended(read_all, now, &mut self.log)
    }

    fn remarks(&mut self) -> Vec<String> {
        self.log.flush();
        let dir = JobsDir::new(self.folder.path().join("jobs")).job(&self.id);
        let entries = crate::journal::Reader::new(dir, 0).read(1 << 20).unwrap();
        entries.into_iter().map(|entry| entry.line).collect()
    }
}

fn activations(folder: &Path) -> Activations {
    let system = SystemPaths { cgroups: folder.to_owned(), ..crate::test_util::system_in(folder) };
    Activations::of("/proc".into(), system, Processes::default())
}

#[test]
fn without_a_rebuild_nothing_is_looked_at() {
    let mut rig = Rig::new();
    rig.activate();
    rig.unit.begin(None, &Machine::default());
    assert!(!rig.unit.is_active(false));
    assert!(rig.has_ended(true, Instant::now()));
    rig.unit.kill(Instant::now(), &mut rig.log);
    assert!(rig.process.as_mut().unwrap().try_wait().unwrap().is_none(), "it is not killed");
    rig.end();
}

#[test]
fn a_unit_that_outlives_its_program_is_awaited_and_told_once() {
    let mut rig = Rig::new();
    rig.activate();
    assert!(rig.unit.is_active(false));
    let begun = Instant::now();
    assert_eq!(rig.unit.wake_at(begun), None, "the program runs");
    assert!(!rig.has_ended(false, begun));
    assert_eq!(rig.unit.wake_at(begun), Some(begun + TICK));
    assert!(rig.remarks().is_empty(), "it may be about to leave");
    assert!(!rig.has_ended(false, begun + LEAVING));
    assert!(!rig.has_ended(false, begun + LEAVING * 2));
    assert!(!rig.has_ended(false, begun + ACTIVATION_TIMEOUT - TICK));
    rig.end();
    assert!(rig.has_ended(true, begun + ACTIVATION_TIMEOUT - TICK));
    assert!(rig.unit.was_awaited() && rig.unit.wake_at(begun).is_none());
    let remarks = rig.remarks();
    let [goes_on, has_ended] = &remarks[..] else { panic!("{remarks:?}") };
    let begin = format!("the program has ended, but the activation goes on in {UNIT} (process ");
    assert!(goes_on.starts_with(&begin), "{goes_on}");
    assert!(goes_on.ends_with("`sleep 61`); its end is awaited for 10 minutes at most"), "{goes_on}");
    assert_eq!(*has_ended, format!("the activation in {UNIT} has ended"));
    assert_eq!(rig.unit.lost_output(&mut rig.log), None, "its output was read");
}

#[test]
fn a_unit_that_never_ends_holds_the_job_up_for_a_bounded_time() {
    let mut rig = Rig::new();
    rig.activate();
    let begun = Instant::now();
    assert!(!rig.has_ended(false, begun));
    assert!(rig.has_ended(false, begun + ACTIVATION_TIMEOUT));
    let last = rig.remarks().pop().unwrap();
    assert!(last.ends_with("still goes on; the job ends without it"), "{last}");
    rig.end();
}

#[test]
fn a_unit_whose_output_nobody_reads_is_looked_up_in_the_journal_once() {
    let mut rig = Rig::new();
    rig.activate();
    let begun = Instant::now();
    assert!(!rig.has_ended(true, begun));
    assert!(!rig.has_ended(true, begun + LEAVING));
    rig.end();
    assert!(rig.has_ended(true, begun + LEAVING));
    let before = rig.remarks().len();
    // Machines of tests have a journal, an empty one, or none.
    drop(rig.unit.lost_output(&mut rig.log));
    let remarks = rig.remarks();
    assert!(
        remarks.len() == before + 1 && remarks[before].starts_with("nobody read the output of"),
        "{remarks:?}"
    );
    assert_eq!(rig.unit.lost_output(&mut rig.log), None);
    assert_eq!(rig.remarks().len(), before + 1);
}

#[test]
fn what_a_shutdown_may_have_cut_is_known_by_the_running_system() {
    let mut rig = Rig::new();
    let link = rig.folder.path().join("current-system");
    assert!(
        rig.unit.may_be_cut(false) && rig.unit.may_be_cut(true),
        "there was no system, and there is none"
    );
    std::os::unix::fs::symlink("/nix/store/new", &link).unwrap();
    assert!(rig.unit.may_be_cut(false) && !rig.unit.may_be_cut(true), "it is another one");
    rig.unit.begin(Some(activations(rig.folder.path())), &Machine::default());
    assert!(rig.unit.may_be_cut(true), "it is the same");
    rig.unit.begin(None, &Machine::default());
    assert!(!rig.unit.may_be_cut(false) && !rig.unit.may_be_cut(true), "this is no rebuild");
}

#[test]
fn a_kill_reaches_the_unit_and_says_so_once() {
    let mut rig = Rig::new();
    rig.activate();
    let begun = Instant::now();
    rig.unit.kill(begun, &mut rig.log);
    rig.unit.kill(begun, &mut rig.log);
    assert!(rig.unit.was_killed());
    assert!(!rig.process.as_mut().unwrap().wait().unwrap().success(), "SIGKILL");
    let remarks = rig.remarks();
    assert!(remarks.len() == 1 && remarks[0].starts_with("SIGKILL also for "), "{remarks:?}");
    // One that hangs in the kernel holds up no job for long.
    assert!(!rig.has_ended(false, begun));
    assert!(!rig.has_ended(false, begun + KILL_TIMEOUT - TICK));
    assert!(rig.has_ended(false, begun + KILL_TIMEOUT));
}

#[test]
fn the_unit_of_a_client_elsewhere_belongs_to_somebody_else() {
    crate::test_util::alone("supervisor::switch_unit::tests::a_client_elsewhere");
}

#[test]
#[ignore = "runs in a process of its own"]
fn a_client_elsewhere() {
    let mut rig = Rig::new();
    let argument = "--unit=nixos-rebuild-switch-to-configuration";
    // Its parent ends, so that it is below another process.
    let script = format!("sh -c 'echo $$; exec 1>&- 2>&-; read -r line; exit 0' {argument} <&3 &");
    let (end, input) = std::io::pipe().unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("exec 3<&0; {script}")]).stdin(end);
    let pid = String::from_utf8(shell.output().unwrap().stdout).unwrap().trim().parse::<i32>().unwrap();
    drop(shell);
    assert_eq!(clients().unwrap(), [pid]);
    rig.activate();
    assert!(!rig.unit.is_active(false));
    rig.unit.kill(Instant::now(), &mut rig.log);
    assert!(rig.process.as_mut().unwrap().try_wait().unwrap().is_none(), "it is not killed");
    drop(input);
    let limit = Instant::now() + Duration::from_secs(20);
    while !clients().unwrap().is_empty() {
        assert!(Instant::now() < limit, "the client goes on");
        std::thread::yield_now();
    }
    // What was found out is kept until the program has ended.
    assert!(!rig.unit.is_active(false));
    assert!(rig.unit.is_active(true), "nobody else waits for it");
    rig.end();
}
