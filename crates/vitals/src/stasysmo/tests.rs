use std::path::PathBuf;
use std::{fs, process::Command, time::UNIX_EPOCH};

use super::*;
use crate::{Settings, spawn};

/// A folder as the writer leaves it, all files changed at `changed`.
struct Folder {
    folder: tempfile::TempDir,
    now: SystemTime,
}

impl Folder {
    fn new() -> Self {
        let folder = Self { folder: tempfile::tempdir().unwrap(), now: SystemTime::now() };
        for (name, value) in [("cpu", "15.5\n"), ("ram", "42"), ("swap", "0.0"), ("load", "0.5\n")] {
            folder.write(name, value);
        }
        folder.stamp(0);
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).unwrap();
        self.change(name, 0);
    }

    /// Sets a file's time to so many seconds after now.
    fn change(&self, name: &str, seconds: i64) {
        fs::File::open(self.path(name)).unwrap().set_modified(self.after(seconds)).unwrap();
    }

    fn change_all(&self, seconds: i64) {
        for entry in fs::read_dir(self.folder.path()).unwrap() {
            self.change(entry.unwrap().file_name().to_str().unwrap(), seconds);
        }
    }

    fn stamp(&self, seconds: i64) {
        let time = self.after(seconds).duration_since(UNIX_EPOCH).unwrap().as_secs();
        self.write("timestamp", format!("{time}\n"));
    }

    fn after(&self, seconds: i64) -> SystemTime {
        let distance = Duration::from_secs(seconds.unsigned_abs());
        if seconds < 0 { self.now - distance } else { self.now + distance }
    }

    fn read(&self) -> Option<Values> {
        read(self.folder.path(), self.now).map(|reading| reading.values)
    }
}

const USUAL: Values = Values { cpu: 15.5, ram: 42.0, swap: 0.0, load: 0.5 };

#[test]
fn four_fresh_files_make_a_reading() {
    assert_eq!(Folder::new().read(), Some(USUAL));
}

#[test]
fn one_unusable_file_makes_none() {
    for name in ["cpu", "ram", "swap", "load"] {
        let folder = Folder::new();
        fs::remove_file(folder.path(name)).unwrap();
        assert_eq!(folder.read(), None, "{name} is missing");
        let garbage: [&[u8]; 12] =
            [b"", b"\n", b"x", b"-1", b"NaN", b"inf", b"-inf", b"1e999", b"1.5%", b"1 2", b"1,5", b"\xff"];
        for content in garbage {
            folder.write(name, content);
            assert_eq!(folder.read(), None, "{name}: {content:?}");
        }
        folder.write(name, vec![b'0'; 1 << 20]);
        assert_eq!(folder.read(), None, "{name} is huge");
        fs::remove_file(folder.path(name)).unwrap();
        folder.write(&format!("{name}.tmp"), "1");
        assert_eq!(folder.read(), None, "{name}.tmp does not count");
        assert!(Command::new("mkfifo").arg(folder.path(name)).status().unwrap().success());
        assert_eq!(folder.read(), None, "{name} is a FIFO");
        fs::remove_file(folder.path(name)).unwrap();
        fs::create_dir(folder.path(name)).unwrap();
        assert_eq!(folder.read(), None, "{name} is a folder");
        fs::remove_dir(folder.path(name)).unwrap();
        std::os::unix::fs::symlink(folder.path(&format!("{name}.tmp")), folder.path(name)).unwrap();
        assert_eq!(folder.read(), None, "{name} is a link");
    }
}

#[test]
fn numbers_are_taken_as_they_are() {
    for (content, wanted) in
        [("7", 7.0), ("  7.25\n", 7.25), ("0", 0.0), ("-0.0", 0.0), ("1e1", 10.0), ("104.2", 104.2)]
    {
        let folder = Folder::new();
        folder.write("cpu", content);
        let cpu = folder.read().unwrap().cpu;
        assert_eq!((cpu, cpu.is_sign_negative()), (wanted, false), "{content:?}");
    }
}

#[test]
fn age_decides() {
    for (what, stamp, changed, wanted) in [
        ("both new", Some(0), 0, true),
        ("at the limit", Some(-30), -30, true),
        ("both old", Some(-32), -32, false),
        ("the newer of both counts: stamp", Some(-5), -3600, true),
        ("the newer of both counts: change", Some(-3600), -5, true),
        ("no stamp, new", None, -29, true),
        ("no stamp, old", None, -31, false),
        ("slightly ahead", Some(10), -3600, true),
        ("a stamp far ahead says nothing", Some(3600), -31, false),
        ("a stamp far ahead does no harm", Some(3600), -5, true),
        ("changes far ahead say nothing", None, 3600, false),
    ] {
        let folder = Folder::new();
        match stamp {
            Some(seconds) => folder.stamp(seconds),
            None => fs::remove_file(folder.path("timestamp")).unwrap(),
        }
        folder.change_all(changed);
        assert_eq!(folder.read().is_some(), wanted, "{what}");
    }
}

#[test]
fn a_set_is_as_old_as_its_oldest_file() {
    let folder = Folder::new();
    fs::remove_file(folder.path("timestamp")).unwrap();
    folder.change("swap", -20);
    let reading = read(folder.folder.path(), folder.now).unwrap();
    assert_eq!(reading.measured_at, folder.after(-20));
    folder.change("swap", -40);
    assert_eq!(folder.read(), None);
}

#[test]
fn an_unusable_stamp_is_left_out() {
    for content in ["", "soon", "-1", "1e300", "NaN"] {
        let folder = Folder::new();
        folder.write("timestamp", content);
        assert_eq!(folder.read(), Some(USUAL), "{content:?}");
    }
}

#[test]
fn a_reading_grows_old() {
    let now = SystemTime::now();
    let reading = Reading { values: USUAL, measured_at: now };
    assert_eq!(reading.fresh(now + MAX_AGE), Some(USUAL));
    assert_eq!(reading.fresh(now + MAX_AGE + Duration::from_secs(1)), None);
    assert_eq!(reading.fresh(now - MAX_AHEAD), Some(USUAL));
    assert_eq!(reading.fresh(now - MAX_AHEAD - Duration::from_secs(1)), None);
}

#[tokio::test]
async fn the_snapshot_follows_the_files() {
    let folder = Folder::new();
    // Other vitals may be turned off.
    let settings =
        Settings { enabled: false, stasysmo: Some(folder.folder.path().to_owned()), ..Settings::default() };
    let handle = spawn(&settings, Duration::from_secs(1));
    let mut watch = handle.stasysmo();
    let at = |now| handle.stasysmo().borrow().and_then(|reading| reading.fresh(now));
    let patience = Duration::from_secs(20);
    tokio::time::timeout(patience, watch.wait_for(Option::is_some)).await.unwrap().unwrap();
    assert_eq!(at(folder.now), Some(USUAL));
    assert_eq!(at(folder.after(31)), None, "whatever the thread does, a beat sees the age");
    fs::remove_file(folder.path("load")).unwrap();
    tokio::time::timeout(patience, watch.wait_for(Option::is_none)).await.unwrap().unwrap();
    assert_eq!(at(folder.now), None);
    drop(handle);
    tokio::time::timeout(patience, async { while watch.changed().await.is_ok() {} }).await.unwrap();
}
