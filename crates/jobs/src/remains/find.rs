//! The processes of a job, by /proc.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;

use procfs::process::{Process, all_processes};
use rustix::process::Pid;

use super::{Found, JOB_VARIABLE, is_activation};
use crate::JobId;

struct Seen {
    parent: i32,
    session: i32,
    activates: bool,
    tagged: bool,
}

/// Every live process of these jobs, but this one and those above it. Zombies are left out.
pub(super) fn find(jobs: &[JobId]) -> Vec<Found> {
    let Ok(all) = all_processes() else { return Vec::new() };
    let seen: HashMap<i32, Seen> = all.flatten().filter_map(|process| look(&process, jobs)).collect();
    let own = std::process::id().cast_signed();
    let spared = above(own, None, &seen);
    // An agent that a command of the job started is no part of the job, nor is what it started.
    let own_session = seen.get(&own).map(|own| own.session);
    let sessions: HashSet<i32> =
        seen.values().filter(|process| process.tagged).map(|process| process.session).collect();
    let belongs = |pid: i32| {
        let process = &seen[&pid];
        let in_session = Some(process.session) != own_session && sessions.contains(&process.session);
        process.tagged || in_session || above(pid, Some(own), &seen).iter().any(|pid| seen[pid].tagged)
    };
    let found = seen.keys().copied().filter(|pid| !spared.contains(pid) && belongs(*pid));
    found
        .filter_map(|pid| Some(Found { pid: Pid::from_raw(pid)?, activates: seen[&pid].activates }))
        .collect()
}

fn look(process: &Process, jobs: &[JobId]) -> Option<(i32, Seen)> {
    // A process may end while its files are read. It then needs no signal.
    let stat = process.stat().ok().filter(|stat| stat.state != 'Z')?;
    // Only root and the same user may read it.
    let value = process.environ().ok().and_then(|mut all| all.remove(OsStr::new(JOB_VARIABLE)));
    let tagged = value.is_some_and(|value| jobs.iter().any(|id| value == id.as_str()));
    let activates = process.cmdline().is_ok_and(|argv| argv.iter().any(|arg| is_activation(arg)));
    Some((stat.pid, Seen { parent: stat.ppid, session: stat.session, activates, tagged }))
}

/// The process and those above it, up to the process `end`, which is left out.
fn above(pid: i32, end: Option<i32>, seen: &HashMap<i32, Seen>) -> HashSet<i32> {
    let mut found = HashSet::new();
    let mut next = Some(pid);
    // A pid that was used again while the list was read could make a circle.
    while let Some(pid) = next.filter(|pid| Some(*pid) != end && seen.contains_key(pid) && found.insert(*pid))
    {
        next = Some(seen[&pid].parent);
    }
    found
}
