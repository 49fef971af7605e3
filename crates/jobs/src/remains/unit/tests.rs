//! The unit of a dead job. Its control group is a folder.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use nixfleet_os::Processes;

use super::*;
use crate::atomic_file::store;
use crate::spec::{Secrets, Step};
use crate::{JobId, JobsDir};

const BOOT: Option<&str> = Some("this-boot");

struct Rig {
    folder: tempfile::TempDir,
    dir: JobDir,
    activations: Activations,
    group: PathBuf,
}

impl Rig {
    /// A job whose supervisor died in that step.
    fn new(command: &str, step: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let id = JobId::generate();
        let dir = JobsDir::new(at("jobs")).job(&id);
        fs::create_dir_all(dir.path()).unwrap();
        let steps = vec![Step {
            name: step.to_owned(),
            argv: vec!["nixos-rebuild".to_owned()],
            cwd: None,
            env: BTreeMap::new(),
            secrets: Secrets::default(),
            user: None,
            activation: false,
            test: false,
        }];
        let spec = Spec {
            id,
            command: command.to_owned(),
            steps,
            timeout_s: None,
            boot_id: BOOT.map(str::to_owned),
            started_at: nixfleet_os::timestamp(),
        };
        store(&dir.spec(), &spec).unwrap();
        let state = State {
            supervisor_pid: 1,
            child_pid: None,
            step: 0,
            step_name: step.to_owned(),
            phase: None,
            phase_since: None,
        };
        store(&dir.state(), &state).unwrap();
        let system = crate::test_util::system_in(folder.path());
        let group = at("cgroup").join("system.slice").join(UNIT);
        let activations = Activations::of("/proc".into(), system, Processes::default());
        Self { folder, dir, activations, group }
    }

    fn activate(&self) {
        fs::create_dir_all(&self.group).unwrap();
        fs::write(self.group.join("cgroup.procs"), "0\n").unwrap();
    }

    fn end(&self) {
        drop(fs::remove_dir_all(&self.group));
    }

    fn wait(&self, boot_id: Option<&str>, go_on: impl Fn() -> bool, begun: impl FnOnce()) -> LeftUnit {
        let jobs = std::slice::from_ref(&self.dir);
        await_unit(jobs, &self.activations, boot_id, false, go_on, |_| begun())
    }
}

#[test]
fn the_activation_of_a_dead_job_is_awaited_and_what_runs_then_is_said() {
    let rig = Rig::new("pull-switch", "switch");
    rig.activate();
    std::os::unix::fs::symlink("/nix/store/new", rig.folder.path().join("current-system")).unwrap();
    let looks = Cell::new(0);
    // It ends while it is awaited.
    let go_on = || {
        looks.set(looks.get() + 1);
        if looks.get() == 3 {
            rig.end();
        }
        true
    };
    let begun = Cell::new(false);
    let left = rig.wait(BOOT, go_on, || begun.set(true));
    assert!(begun.get() && looks.get() == 3);
    assert_eq!(left, LeftUnit::Ended(Some("/nix/store/new".to_owned())));
    let said = format!(
        "the activation went on without it in {UNIT} and has ended; the running system is /nix/store/new"
    );
    assert_eq!(left.describe(), Some(said));
}

#[test]
fn a_wait_that_is_given_up_says_that_the_activation_goes_on() {
    let rig = Rig::new("switch", "switch");
    rig.activate();
    let left = rig.wait(BOOT, || false, || {});
    let said =
        format!("the activation goes on without it in {UNIT} (a process that cannot be seen from here)");
    assert_eq!(left.describe(), Some(said));
}

#[test]
fn other_jobs_left_no_activation() {
    for (command, step, boot_id) in
        [("pull-switch", "fetch", BOOT), ("test", "switch", BOOT), ("switch", "switch", Some("another"))]
    {
        let rig = Rig::new(command, step);
        rig.activate();
        assert_eq!(rig.wait(boot_id, || false, || panic!("{command}")), LeftUnit::None, "{command} {step}");
    }
    let rig = Rig::new("switch", "switch");
    assert_eq!(rig.wait(BOOT, || false, || panic!("it is not active")), LeftUnit::None);
    assert_eq!(LeftUnit::None.describe(), None);
}

#[test]
fn a_supervisor_that_has_just_died_may_have_asked_for_a_unit_that_is_to_come() {
    let rig = Rig::new("switch", "switch");
    let go_on = || {
        if rig.group.exists() {
            rig.end();
        } else {
            rig.activate();
        }
        true
    };
    let jobs = std::slice::from_ref(&rig.dir);
    let left = await_unit(jobs, &rig.activations, BOOT, true, go_on, |_| {});
    assert_eq!(left, LeftUnit::Ended(None));
}
