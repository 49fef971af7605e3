//! The built program, in a place that other users can reach.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// First of the users that the agents of root's tests have: nobody else's, and one for each schedule, because the
/// kernel counts the threads of a user.
const FIRST_USER: u32 = 61_000;

/// Number of such users.
const USERS: u64 = 4_000;

/// The user of the agent of this schedule. None without root: it is then the user of the tests.
pub(crate) fn user(seed: u64) -> Option<u32> {
    let number = (u64::from(std::process::id()) * 97 + seed) % USERS;
    rustix::process::geteuid().is_root().then(|| FIRST_USER + u32::try_from(number).unwrap())
}

/// The agent's binary, copied once for all schedules: other users may not be able to reach the folder of the build.
#[derive(Debug)]
pub(crate) struct Program(tempfile::TempDir);

impl Program {
    pub(crate) fn copy() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let built = std::env::var_os("CHAOS_AGENT").unwrap_or(env!("CARGO_BIN_EXE_nixfleet-agent").into());
        fs::copy(built, folder.path().join("nixfleet-agent")).unwrap();
        Self(folder)
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.path().join("nixfleet-agent")
    }
}
