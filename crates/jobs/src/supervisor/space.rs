//! What must be there before a command begins: room on the file systems that it needs, and a clock that can be right.
//!
//! A rebuild that finds a full disk half-way leaves a mess: a profile that was set, and a boot loader that was not. So
//! it is refused before anything has changed. What cannot be found out is said in the log and refuses nothing.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nixfleet_os::size;

use super::done::Done;
use crate::settings::FreeSpace;
use crate::spec::{Outcome, capitalized};
use crate::{JobsDir, Settings};

mod boot_partition;

#[cfg(test)]
mod tests;

/// Inodes that must be free for the state folder: a checkout and a log have some hundred files.
const STATE_INODES: u64 = 1000;

/// 2024-01-01, in seconds since 1970. This agent was written later.
const FIRST_SECOND: u64 = 1_704_067_200;

/// How far the clock may be behind the end of the last command. Clocks are corrected by less while a machine runs.
const CLOCK_SLACK: Duration = Duration::from_secs(10 * 60);

/// The folder of the Nix store on a machine whose running system does not tell it.
const STORE: &str = "/nix/store";

/// What a command needs of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Needs {
    /// It builds a system, and sets what boots.
    rebuild: bool,
}

impl Needs {
    /// None for a command that needs nothing in particular. `rollback` activates what is there.
    fn of(command: &str) -> Option<Self> {
        match command {
            "clone" | "pull" => Some(Self { rebuild: false }),
            "switch" | "pull-switch" | "boot" => Some(Self { rebuild: true }),
            _ => None,
        }
    }
}

/// Room on a file system.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Room {
    /// A folder on it.
    path: PathBuf,
    /// Bytes in all.
    size: u64,
    /// Bytes that this process can still fill.
    free: u64,
    /// Inodes in all; 0 if there is no fixed number of them.
    inodes: u64,
    /// Inodes that are free.
    free_inodes: u64,
}

impl Room {
    /// Asks the file system of a folder. None if there is no such folder, or if it has no size.
    fn of(path: &Path) -> io::Result<Option<Self>> {
        let stat = match rustix::fs::statvfs(path) {
            Err(err) if err == rustix::io::Errno::NOENT => return Ok(None),
            stat => stat?,
        };
        let block = if stat.f_frsize > 0 { stat.f_frsize } else { stat.f_bsize };
        // Root can fill what is reserved for it, and the daemon of nix is root as well.
        let blocks = if rustix::process::geteuid().is_root() { stat.f_bfree } else { stat.f_bavail };
        Ok((stat.f_blocks > 0).then(|| Self {
            path: path.to_owned(),
            size: stat.f_blocks.saturating_mul(block),
            free: blocks.saturating_mul(block),
            inodes: stat.f_files,
            free_inodes: stat.f_ffree,
        }))
    }
}

/// What was found of something; none if the machine has no such thing.
type Found<T> = Result<Option<T>, String>;

/// Room on the boot partition.
#[derive(Debug, Clone, PartialEq, Eq)]
struct BootRoom {
    room: Room,
    /// Size of the kernel and the initrd of the running system; none if it has none of its own.
    kernel_and_initrd: Option<u64>,
    /// Bytes of files that the next installation of the boot loader removes; or why that is not known.
    reclaimable: Result<u64, String>,
}

/// What was found on the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Machine {
    store: Found<Room>,
    state: Found<Room>,
    boot: Found<BootRoom>,
    now: SystemTime,
    /// When the last command ended.
    last: Option<SystemTime>,
}

/// Why a command must not begin.
#[derive(Debug, PartialEq, Eq)]
struct Refusal {
    outcome: Outcome,
    why: String,
}

/// Refuses a command for which there is not enough room, or while the clock is wrong. Calls `remark` with what could
/// not be found out.
///
/// # Errors
/// The end of the command.
pub(super) fn check(
    settings: &Settings,
    command: &str,
    jobs: &JobsDir,
    mut remark: impl FnMut(&str),
) -> Result<(), Done> {
    let Some(needs) = Needs::of(command) else { return Ok(()) };
    // The room of a simulated machine is that of the real one.
    if jobs.machine().threads.are_simulated() {
        return Ok(());
    }
    let machine = look(settings, needs, jobs);
    judge(&settings.preflight, needs, &machine, &mut remark).map_err(|Refusal { outcome, why }| {
        let message = format!("{}: not begun: {why}", capitalized(command));
        Done { outcome, exit_code: 1, message, ..Done::default() }
    })
}

/// Looks at the machine, as far as `needs` and the settings want to know.
fn look(settings: &Settings, needs: Needs, jobs: &JobsDir) -> Machine {
    let limits = &settings.preflight;
    let room = |path: &Path, wanted: bool| {
        if !wanted {
            return Ok(None);
        }
        Room::of(path).map_err(|err| format!("the room for {} is not known: {err}", path.display()))
    };
    let running = std::fs::read_link(&settings.system.running).ok();
    let store = running.as_deref().and_then(Path::parent).filter(|folder| folder.is_absolute());
    let store = store.unwrap_or(Path::new(STORE));
    let changed = |path: PathBuf| std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    let boot = if needs.rebuild && limits.boot_bytes != Some(0) {
        boot_partition::look(&settings.system, store)
    } else {
        Ok(None)
    };
    Machine {
        store: room(store, needs.rebuild && (limits.nix_bytes > 0 || limits.nix_inodes > 0)),
        state: room(&settings.state_dir, limits.state_bytes > 0),
        boot,
        now: jobs.clock().system_time(),
        last: changed(jobs.checkout()).max(changed(jobs.history())),
    }
}

/// Decides. Pure: no I/O.
fn judge(
    limits: &FreeSpace,
    needs: Needs,
    machine: &Machine,
    remark: &mut impl FnMut(&str),
) -> Result<(), Refusal> {
    clock(machine.now, machine.last)?;
    let mut known = |found: &Found<Room>| {
        found.clone().unwrap_or_else(|why| {
            remark(&why);
            None
        })
    };
    if let Some(state) = known(&machine.state) {
        bytes(&state, limits.state_bytes, "preflight.state_free", "remove what is not needed there")?;
        if limits.state_bytes > 0 {
            inodes(&state, STATE_INODES, "preflight.state_free", "remove files that are not needed there")?;
        }
    }
    if !needs.rebuild {
        return Ok(());
    }
    if let Some(store) = known(&machine.store) {
        let remedy = "free some with `nix-collect-garbage --delete-older-than 30d`";
        bytes(&store, limits.nix_bytes, "preflight.nix_free", remedy)?;
        inodes(&store, limits.nix_inodes, "preflight.nix_inodes", remedy)?;
    }
    match &machine.boot {
        Ok(Some(boot)) => boot_partition::judge(limits, boot, remark),
        Ok(None) => Ok(()),
        Err(why) => {
            remark(why);
            Ok(())
        }
    }
}

fn clock(now: SystemTime, last: Option<SystemTime>) -> Result<(), Refusal> {
    let refused = |why: String| Err(Refusal { outcome: Outcome::Refused, why });
    let since_1970 = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    if since_1970 < FIRST_SECOND {
        let year = 1970 + since_1970 / (365 * 24 * 3600 + 6 * 3600);
        return refused(format!(
            "the clock of this machine is wrong, it is at about {year}; certificates and signatures would be refused: \
             set it, see `timedatectl`"
        ));
    }
    let behind = last.and_then(|last| last.duration_since(now).ok()).unwrap_or_default();
    if behind > CLOCK_SLACK {
        // This command notes its own end, so the next one is compared with a time of this clock.
        return refused(format!(
            "the clock of this machine is {} min behind the end of the last command; set it, see `timedatectl`, or send \
             the command again if the clock is right now and was wrong before",
            behind.as_secs() / 60
        ));
    }
    Ok(())
}

fn bytes(room: &Room, needed: u64, key: &str, remedy: &str) -> Result<(), Refusal> {
    let Room { path, size: all, free, .. } = room;
    if *free >= needed {
        return Ok(());
    }
    let (free, all, needed) = (size(*free), size(*all), size(needed));
    let why = format!(
        "the file system of {} has {free} free of {all}, and {needed} must be ({key}); {remedy}",
        path.display()
    );
    Err(Refusal { outcome: Outcome::NoSpace, why })
}

fn inodes(room: &Room, needed: u64, key: &str, remedy: &str) -> Result<(), Refusal> {
    let Room { path, inodes, free_inodes, .. } = room;
    if *inodes == 0 || *free_inodes >= needed {
        return Ok(());
    }
    let why = format!(
        "the file system of {} has {free_inodes} inodes free of {inodes}, and {needed} must be ({key}); {remedy}",
        path.display()
    );
    Err(Refusal { outcome: Outcome::NoSpace, why })
}
