//! Readings of whole hosts: fixtures, this machine, and broken ones.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::handle::spawn_with;
use crate::probes::Statvfs;
use crate::settings::Paths;

mod accuracy;
mod faults;
mod hosts;
mod interfaces;
mod lines;
mod steps;
mod values;

/// Longest wait for something that usually takes a second or two.
const LIMIT: Duration = Duration::from_secs(30);

const SECOND: Duration = Duration::from_secs(1);

/// A fake host in a folder.
pub(super) struct Fake {
    pub(super) folder: tempfile::TempDir,
}

impl Fake {
    pub(super) fn empty() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// A host from the fixtures.
    pub(super) fn of(name: &str) -> Self {
        let fake = Self::empty();
        let fixtures = fixtures().join(name);
        for (file, place) in [
            ("stat", "proc/stat"),
            ("meminfo", "proc/meminfo"),
            ("loadavg", "proc/loadavg"),
            ("uptime", "proc/uptime"),
            ("mountinfo", "proc/self/mountinfo"),
            ("net-dev", "proc/net/dev"),
            ("net-route", "proc/net/route"),
            ("diskstats", "proc/diskstats"),
            ("arcstats", "proc/spl/kstat/zfs/arcstats"),
            ("pressure-cpu", "proc/pressure/cpu"),
            ("pressure/cpu", "proc/pressure/cpu"),
            ("pressure/memory", "proc/pressure/memory"),
            ("pressure/io", "proc/pressure/io"),
        ] {
            if let Ok(content) = fs::read(fixtures.join(file)) {
                fake.write(place, content);
            }
        }
        let tree = fs::read_to_string(fixtures.join("tree")).unwrap();
        for line in tree.lines() {
            if let Some((path, target)) = line.split_once(" -> ") {
                fake.link(&format!("sys/{path}"), target);
            } else {
                let (path, text) = line.split_once(": ").unwrap_or_else(|| panic!("{line}"));
                fake.write(&format!("sys/{path}"), format!("{text}\n"));
            }
        }
        fake
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), content).unwrap();
    }

    pub(super) fn link(&self, name: &str, target: &str) {
        let link = self.path(name);
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        drop(fs::remove_file(&link));
        symlink(target, link).unwrap();
    }

    pub(super) fn proc(&self) -> PathBuf {
        self.path("proc")
    }

    pub(super) fn sys(&self) -> PathBuf {
        self.path("sys")
    }

    pub(super) fn settings(&self) -> Settings {
        let paths = Paths {
            proc: self.path("proc"),
            sys: self.path("sys"),
            systemd: self.path("run-systemd"),
            booted_system: self.path("booted-system"),
            current_system: self.path("current-system"),
            ..Paths::default()
        };
        Settings { paths, ..Settings::default() }
    }

    /// The second of two readings of /proc that are ten seconds apart.
    pub(super) fn read_proc(&self) -> (ProcSample, Collectors) {
        let collectors = Collectors::default();
        let mut meter = ProcMeter::new(&self.settings().paths);
        let now = Moment::now();
        meter.sample(now, &collectors);
        (meter.sample(now.after(SECOND * 10, Duration::ZERO), &collectors), collectors)
    }
}

fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/vitals")
}

/// Waits until the snapshot is as wanted.
#[track_caller]
fn wait(handle: &VitalsHandle, what: &str, wanted: impl Fn(&Vitals) -> bool) -> Vitals {
    let begin = Instant::now();
    loop {
        let vitals = handle.at(Moment::now());
        if wanted(&vitals) {
            return vitals;
        }
        assert!(begin.elapsed() < LIMIT, "no {what}: {vitals:#?}\n{:#?}", handle.collectors().stats());
        thread::sleep(Duration::from_millis(10));
    }
}

#[track_caller]
fn about(value: f64, wanted: f64, tolerance: f64) {
    assert!((value - wanted).abs() <= tolerance, "{value} is not {wanted} ± {tolerance}");
}

#[test]
fn this_host_has_vitals() {
    let settings = Settings::default();
    let handle = spawn(&settings, SECOND);
    let vitals = wait(&handle, "second look", |vitals| vitals.cpu.is_some() && vitals.disks.is_some());
    assert!((0.0..=1.0).contains(&vitals.cpu.unwrap().busy), "{vitals:?}");
    assert!(vitals.memory.is_some() && vitals.swap.is_some() && vitals.load.is_some());
    assert!(vitals.uptime.is_some() && vitals.boot_id.is_some());
    let vitals = wait(&handle, "root's usage", |vitals| {
        vitals.disks.iter().flat_map(|disks| disks.iter()).any(|disk| disk.usage.is_some())
    });
    assert_eq!(vitals.disks.unwrap()[0].mount.point, Path::new("/"));
    let stats = handle.collectors().stats();
    let cpu = stats.iter().find(|stats| stats.name == "cpu").unwrap();
    assert!(cpu.runs >= 2 && cpu.errors == 0 && cpu.timeouts == 0, "{cpu:?}");
    assert!(cpu.last <= cpu.total && cpu.total > Duration::ZERO, "{cpu:?}");
}

#[test]
fn nothing_is_looked_at_when_the_configuration_says_so() {
    let settings = Settings { enabled: false, ..Settings::default() };
    let handle = spawn(&settings, SECOND);
    assert!(handle.watch().has_changed().is_err(), "somebody could still publish");
    assert_eq!(handle.at(Moment::now()), Vitals::default());
    assert!(handle.collectors().stats().iter().all(|stats| stats.runs == 0));
}

#[tokio::test]
async fn the_threads_end_with_the_handle() {
    let handle = spawn(&Fake::of("cloud-vm").settings(), SECOND);
    let mut watch = handle.watch();
    drop(handle);
    tokio::time::timeout(LIMIT, async { while watch.changed().await.is_ok() {} }).await.unwrap();
}

#[test]
fn what_is_too_old_is_unknown_even_if_the_host_slept_meanwhile() {
    let fake = Fake::of("zfs-server");
    let sample = fake.read_proc().0;
    let now = sample.load.unwrap().taken_at;
    let mut vitals = Vitals::default();
    vitals.take_proc(sample, now);
    let usage = Usage { total: 2, used: 1, available: 1, inodes: None };
    let mount = Mount { point: "/".into(), filesystem: "ext4".to_owned() };
    let disk = Disk { mount, usage: Some(Timed { value: usage, taken_at: now }) };
    vitals.disks = Some(Timed { value: vec![disk], taken_at: now.after(MAX_AGE, Duration::ZERO) });
    vitals.failed_units = Some(Timed { value: FailedUnits::default(), taken_at: now });
    vitals.reboot_required = Some(Timed { value: true, taken_at: now });

    let at = |awake: Duration, asleep: Duration| vitals.at(now.after(awake, asleep));
    assert!(at(MAX_AGE, Duration::ZERO).memory.is_some());
    assert!(at(MAX_AGE + SECOND, Duration::ZERO).memory.is_none());
    assert!(at(MAX_AGE + SECOND, Duration::ZERO).load.is_none());
    let after_sleep = at(SECOND, MAX_AGE);
    assert!(after_sleep.memory.is_none() && after_sleep.reboot_required.is_some());
    // Each has an age of its own: the list of mounts is newer than the usage of the disk.
    let later = at(MAX_AGE_SLOW + SECOND, Duration::ZERO);
    assert_eq!(later.disks.unwrap()[0].usage, None);
    assert!(later.reboot_required.is_none() && later.failed_units.is_some());
    let night = at(SECOND, SECOND * 3600 * 8);
    assert_eq!(night, Vitals::default());
}

#[test]
fn a_file_system_that_hangs_costs_its_own_value_and_no_other() {
    let fake = Fake::of("zfs-server");
    let mut settings = fake.settings();
    settings.disks = ["/mnt/backup", "/", "/nix", "/tank"].map(PathBuf::from).into();
    let (release, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(Some(gate));
    let probe: Statvfs = Arc::new(move |point: &Path| {
        if point == Path::new("/mnt/backup") {
            // Only the first query hangs, until the sender is dropped.
            if let Some(gate) = gate.lock().unwrap().take() {
                assert!(gate.recv().is_err());
            }
        }
        Ok(Some(Usage { total: 100, used: 10, available: 90, inodes: None }))
    });
    let handle = spawn_with(&settings, SECOND, &probe, None);
    let known = |vitals: &Vitals| -> Vec<bool> {
        vitals.disks.iter().flat_map(|disks| disks.iter()).map(|disk| disk.usage.is_some()).collect()
    };
    wait(&handle, "the other three", |vitals| known(vitals) == [false, true, true, true]);
    // After more than one round, it has been queried only once and counted only once.
    let begin = Instant::now();
    while begin.elapsed() < SECOND * 3 {
        let vitals = handle.at(Moment::now());
        assert_eq!(known(&vitals), [false, true, true, true]);
        let age = vitals.memory.unwrap().age(Moment::now());
        assert!(age < SECOND * 2, "the others are not updated: {age:?}");
        thread::sleep(Duration::from_millis(50));
    }
    let disks = handle.collectors().disks.stats();
    assert_eq!((disks.timeouts, disks.errors), (1, 0));
    let released = Moment::now();
    drop(release);
    let vitals = wait(&handle, "all four", |vitals| known(vitals) == [true; 4]);
    // The value of the stuck query is too old to be used; the disk was queried again.
    let backup = vitals.disks.unwrap()[0].usage.unwrap();
    assert_eq!(released.since(backup.taken_at), Duration::ZERO);
    assert_eq!(handle.collectors().disks.stats().timeouts, 1);
}

#[test]
fn a_panic_costs_one_value_and_is_counted() {
    let fake = Fake::of("zfs-server");
    let probe: Statvfs = Arc::new(|point: &Path| {
        assert!(point != Path::new("/nix"), "on purpose");
        Ok(Some(Usage { total: 100, used: 10, available: 90, inodes: None }))
    });
    let handle = spawn_with(&fake.settings(), SECOND, &probe, None);
    let vitals = wait(&handle, "/boot", |vitals| {
        vitals.disks.iter().flat_map(|disks| disks.iter()).filter(|disk| disk.usage.is_some()).count() == 2
    });
    let unknown: Vec<_> = vitals.disks.as_ref().unwrap().iter().filter(|disk| disk.usage.is_none()).collect();
    assert_eq!(unknown[0].mount.point, Path::new("/nix"));
    assert!(handle.collectors().disks.stats().errors >= 1);
}

#[test]
fn a_job_can_ask_for_a_look_at_once() {
    let fake = Fake::empty();
    for system in ["a", "b"] {
        fake.link(&format!("{system}/kernel"), &format!("/nix/store/{system}-linux/bzImage"));
    }
    fake.link("booted-system", fake.path("a").to_str().unwrap());
    fake.link("current-system", fake.path("a").to_str().unwrap());
    // At the slowest pace, nothing is read twice during this test unless requested.
    let handle = spawn(&fake.settings(), SECOND * 3600);
    let required = |wanted| move |vitals: &Vitals| vitals.reboot_required.map(|timed| *timed) == Some(wanted);
    wait(&handle, "look", required(false));
    fake.link("current-system", fake.path("b").to_str().unwrap());
    let begin = Instant::now();
    handle.refresh();
    wait(&handle, "second look", required(true));
    assert!(begin.elapsed() < SECOND * 10);
}
