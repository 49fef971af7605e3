//! A wall clock that jumps, by libfaketime. Monotonic time goes on as it does on a host.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where distributions have the library; the first one is that of Debian.
const LIBRARIES: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
];

/// The clock of one host.
#[derive(Debug)]
pub(crate) struct Clock {
    library: &'static str,
    file: PathBuf,
    offset: i64,
}

impl Clock {
    /// None if libfaketime is not installed.
    pub(crate) fn new(folder: &Path) -> Option<Self> {
        let library = LIBRARIES.into_iter().find(|path| Path::new(path).exists())?;
        let clock = Self { library, file: folder.join("clock"), offset: 0 };
        clock.write();
        Some(clock)
    }

    fn write(&self) {
        // By a rename: a process that reads half of it would show another time.
        let temporary = self.file.with_extension("tmp");
        fs::write(&temporary, format!("{:+}\n", self.offset)).unwrap();
        fs::rename(&temporary, &self.file).unwrap();
    }

    pub(crate) fn jump(&mut self, seconds: i64) {
        self.offset += seconds;
        self.write();
    }

    /// Gives a program, and all that it starts, this clock.
    pub(crate) fn apply(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", self.library)
            .env("FAKETIME_TIMESTAMP_FILE", &self.file)
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("DONT_FAKE_MONOTONIC", "1");
    }
}
