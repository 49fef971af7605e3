//! The two looks at the units, with a program in the place of `systemctl`.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::thread;

use nixfleet_os::Machine;

use super::*;
use crate::journal::Writer;
use crate::supervisor::done::Done;
use crate::supervisor::stop::Stop;
use crate::test_util::alone;
use crate::{JobId, JobsDir, Settings};

const NAMED: &str = "activating the configuration...\nrestarting sysinit-reactivation.target\nwarning: the following \
                     units failed: web.service\n";

/// A host with links to its systems and a `systemctl` that answers from files: `failed` and `states`.
struct Host {
    folder: tempfile::TempDir,
    settings: Settings,
    log: Writer,
    stop: Stop,
}

impl Host {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let mut settings = host(&[]);
        settings.system.running = path("current-system");
        settings.system.profile = path("profile");
        settings.system.systemd = path("systemd");
        fs::create_dir_all(path("systemd/system")).unwrap();
        fs::create_dir_all(path("old")).unwrap();
        fs::create_dir_all(path("new")).unwrap();
        fs::write(path("failed"), "").unwrap();
        fs::write(path("states"), "").unwrap();
        // What systemctl would print is there; an unknown call fails.
        let script = format!(
            "#!/bin/sh\ncd {} || exit 9\ncase $1 in list-units) cat failed ;; show) cat states ;; *) exit 9 ;; esac\n",
            folder.path().display()
        );
        fs::write(path("systemctl"), script).unwrap();
        fs::set_permissions(path("systemctl"), fs::Permissions::from_mode(0o755)).unwrap();
        let dir = JobsDir::new(folder.path()).job(&JobId::generate());
        fs::create_dir(dir.path()).unwrap();
        let log = Writer::create(dir, 1 << 20).unwrap();
        let stop = Stop::listen(Duration::from_secs(1), Machine::default()).unwrap();
        let new = Self { folder, settings, log, stop };
        new.runs("old");
        new
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes that system the running one and that of the profile.
    fn runs(&self, name: &str) {
        for link in ["current-system", "profile"] {
            fs::remove_file(self.path(link)).ok();
            symlink(self.path(name), self.path(link)).unwrap();
        }
    }

    /// Changes what systemctl says.
    fn units(folder: &Path, failed: &[&str], states: &str) {
        let line = |unit: &&str| format!("{unit} loaded failed failed A unit\n");
        fs::write(folder.join("failed"), failed.iter().map(line).collect::<String>()).unwrap();
        fs::write(folder.join("states"), states).unwrap();
    }

    fn watch(&self, pause: Duration) -> Watch {
        let mut watch = Watch { systemctl: self.path("systemctl"), pause, ..Watch::default() };
        watch.begin(&self.settings, "switch", 1, &self.log);
        watch
    }

    /// Looks behind a rebuild that wrote this and ended with exit code 4.
    fn end(&mut self, watch: &mut Watch, text: &str) {
        let mut lines = SwitchLines::default();
        for line in text.lines() {
            lines.read(Source::Stderr, &Piece { text: Cow::Borrowed(line), cont: false });
        }
        let done = Done { outcome: Outcome::Failed, exit_code: 4, ..Done::default() };
        if watch.end(&self.settings, "switch", &done, lines, &self.stop, &self.log) {
            watch.look_again(&self.settings, &mut self.stop, &mut self.log);
        }
    }
}

#[test]
fn a_unit_that_was_between_two_starts_has_recovered_at_the_second_look() {
    let mut host = Host::new();
    Host::units(host.folder.path(), &["old.service"], "");
    let mut watch = host.watch(Duration::from_millis(300));
    host.runs("new");
    Host::units(host.folder.path(), &["old.service", "web.service"], "");
    let folder = host.folder.path().to_owned();
    let later = thread::spawn(move || {
        thread::sleep(Duration::from_millis(100));
        Host::units(&folder, &["old.service"], "Id=web.service\nActiveState=active\nResult=success\n");
    });
    host.end(&mut watch, NAMED);
    later.join().unwrap();
    let change = watch.change.as_deref().unwrap();
    assert_eq!(change.recovered, ["web.service"]);
    assert_eq!(change.newly_failed, [""; 0]);
    assert_eq!(change.before.failed_units, Some(vec!["old.service".to_owned()]));
    assert_eq!(change.after.failed_units, change.before.failed_units);
    assert_eq!(change.after.running, Some(host.path("new")));
    assert!(watch.units.old.is_empty(), "nobody named the old one");
}

#[test]
fn a_unit_that_is_started_again_and_again_has_not_recovered() {
    let mut host = Host::new();
    let mut watch = host.watch(Duration::from_millis(10));
    host.runs("new");
    let states = "Id=web.service\nActiveState=activating\nResult=exit-code\n";
    Host::units(host.folder.path(), &[], states);
    host.end(&mut watch, NAMED);
    let change = watch.change.as_deref().unwrap();
    assert_eq!((&change.newly_failed[..], &change.recovered[..]), (&["web.service".to_owned()][..], &[][..]));
}

#[test]
fn a_stop_ends_the_wait_for_the_second_look() {
    alone("supervisor::verdict::tests::second_look::the_wait_ends_by_a_signal");
}

#[test]
#[ignore = "runs in a process of its own, which gets a signal"]
fn the_wait_ends_by_a_signal() {
    let mut host = Host::new();
    let mut watch = host.watch(Duration::from_secs(60));
    host.runs("new");
    // It is between two starts, and nobody says so: without the second look the rebuild is believed.
    let begun = std::time::Instant::now();
    thread::spawn(|| {
        thread::sleep(Duration::from_millis(200));
        let signal = crate::Urgency::Stop.signal();
        rustix::process::kill_process(rustix::process::getpid(), signal).unwrap();
    });
    host.end(&mut watch, NAMED);
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    assert_eq!(watch.change.unwrap().newly_failed, ["web.service"]);
}

#[test]
fn nothing_is_waited_for_without_a_doubt() {
    let mut host = Host::new();
    let pause = Duration::from_secs(60);
    let begun = std::time::Instant::now();
    // Nothing was activated.
    Host::units(host.folder.path(), &[], "");
    let mut watch = host.watch(pause);
    Host::units(host.folder.path(), &["web.service"], "");
    host.end(&mut watch, "error: a\n");
    assert_eq!(
        watch.change.unwrap().newly_failed,
        ["web.service"],
        "it is in the result of the job all the same"
    );
    // No unit failed, and none was named.
    Host::units(host.folder.path(), &["old.service"], "");
    let mut watch = host.watch(pause);
    host.runs("new");
    host.end(&mut watch, "activating the configuration...\n");
    assert_eq!(watch.change.unwrap().newly_failed, [""; 0]);
    // Without systemd.
    fs::remove_dir(host.path("systemd/system")).unwrap();
    let mut watch = host.watch(pause);
    host.runs("old");
    host.end(&mut watch, NAMED);
    assert_eq!(watch.change.unwrap().newly_failed, ["web.service"], "the rebuild is believed");
    assert!(begun.elapsed() < pause, "{:?}", begun.elapsed());
}

#[test]
fn a_systemd_that_does_not_answer_is_asked_again() {
    let mut host = Host::new();
    let mut watch = host.watch(Duration::from_millis(10));
    host.runs("new");
    fs::write(host.path("failed"), "Failed to list units: Transport endpoint is not connected\n").unwrap();
    host.end(&mut watch, "activating the configuration...\n");
    assert!(watch.unknown.is_some());
    assert_eq!(watch.change.unwrap().after.failed_units, None);
}
