//! Real NATS servers for tests.
//!
//! A server is looked for in the variable `NIXFLEET_NATS_SERVER`, or else on `PATH`. Where there is none that is new
//! enough, [`Nats::start`] says so and returns none, and the test has nothing to do.

use std::env;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

pub use cluster::Cluster;
pub use place::Place;
pub use server::{Nats, Setup};

mod cluster;
mod place;
mod server;

/// The oldest server with entries that expire one by one and leave a marker.
const MIN_VERSION: (u32, u32) = (2, 11);

/// The program, if there is one that is new enough. Says once why there is none.
#[must_use]
pub fn program() -> Option<&'static PathBuf> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    let find = || {
        let program = env::var_os("NIXFLEET_NATS_SERVER").map_or_else(|| "nats-server".into(), PathBuf::from);
        match version(&program) {
            Some(version) if version >= MIN_VERSION => return Some(program),
            Some((major, minor)) => say(&format!("{} is {major}.{minor}", program.display())),
            None => say(&format!("{} cannot be run", program.display())),
        }
        None
    };
    FOUND.get_or_init(find).as_ref()
}

/// Not by a macro: the test runner swallows what those print. Where a server was named, there must be one.
fn say(why: &str) {
    assert!(env::var_os("NIXFLEET_NATS_SERVER").is_none(), "NIXFLEET_NATS_SERVER: {why}");
    let line =
        format!("\nskipped: no nats-server of 2.11 or newer ({why}); set NIXFLEET_NATS_SERVER to one\n");
    drop(io::stderr().write_all(line.as_bytes()));
}

/// Major and minor version, out of `nats-server: v2.14.0`.
fn version(program: &PathBuf) -> Option<(u32, u32)> {
    let output = Command::new(program).arg("--version").stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let mut numbers = text.rsplit('v').next()?.trim().split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}
