//! The processes of a job, by /proc.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;

use procfs::ProcResult;
use procfs::process::Process;
use rustix::process::Pid;

use super::{Found, JOB_VARIABLE, is_activation};
use crate::JobId;
use crate::process_list::{each, optional};

struct Seen {
    parent: i32,
    session: i32,
    activates: bool,
    tagged: bool,
}

/// Every live process of these jobs, but this one and those above it. Zombies are left out. None if that cannot be
/// known now.
pub(super) fn find(jobs: &[JobId]) -> Option<Vec<Found>> {
    let seen: HashMap<i32, Seen> = each(|process| look(process, jobs))?.into_iter().collect();
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
    let with_pid = |pid| Some(Found { pid: Pid::from_raw(pid)?, activates: seen[&pid].activates });
    Some(found.filter_map(with_pid).collect())
}

fn look(process: &Process, jobs: &[JobId]) -> ProcResult<Option<(i32, Seen)>> {
    let stat = process.stat()?;
    if stat.state == 'Z' {
        return Ok(None);
    }
    // Only root and the same user may read it.
    let value = optional(process.environ())?.and_then(|mut all| all.remove(OsStr::new(JOB_VARIABLE)));
    let tagged = value.is_some_and(|value| jobs.iter().any(|id| value == id.as_str()));
    let argv = optional(process.cmdline())?;
    let activates = argv.is_some_and(|argv| argv.iter().any(|arg| is_activation(arg)));
    Ok(Some((stat.pid, Seen { parent: stat.ppid, session: stat.session, activates, tagged })))
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
