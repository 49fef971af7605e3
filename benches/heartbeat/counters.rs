//! What the kernel counts for the threads of a process.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// The counters of one thread.
#[derive(Clone, Default)]
pub(crate) struct Thread {
    pub(crate) name: String,
    pub(crate) cpu: Duration,
    /// How often it slept, so how often it was woken.
    pub(crate) wakes: u64,
    /// How often it was interrupted by another one.
    preempted: u64,
}

/// The counters of all threads, by their number.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) threads: BTreeMap<u32, Thread>,
}

impl Counters {
    pub(crate) fn read(task: &Path) -> Self {
        let folders = fs::read_dir(task).into_iter().flatten().flatten();
        let threads = folders.filter_map(|folder| {
            let id = folder.file_name().to_str()?.parse().ok()?;
            Some((id, thread(&folder.path())?))
        });
        Self { threads: threads.collect() }
    }

    /// What was counted since then. Threads that have ended in between are not in it.
    pub(crate) fn since(&self, then: &Self) -> Self {
        let threads = self.threads.iter().map(|(id, now)| {
            let then = then.threads.get(id).cloned().unwrap_or_default();
            let grown = Thread {
                name: now.name.clone(),
                cpu: now.cpu.saturating_sub(then.cpu),
                wakes: now.wakes.saturating_sub(then.wakes),
                preempted: now.preempted.saturating_sub(then.preempted),
            };
            (*id, grown)
        });
        Self { threads: threads.collect() }
    }

    pub(crate) fn cpu(&self) -> Duration {
        self.threads.values().map(|thread| thread.cpu).sum()
    }

    pub(crate) fn wakes(&self) -> u64 {
        self.threads.values().map(|thread| thread.wakes).sum()
    }

    pub(crate) fn switches(&self) -> u64 {
        self.threads.values().map(|thread| thread.wakes + thread.preempted).sum()
    }
}

fn thread(folder: &Path) -> Option<Thread> {
    let status = fs::read_to_string(folder.join("status")).ok()?;
    let field = |name: &str| {
        status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    };
    let schedule = fs::read_to_string(folder.join("schedstat")).ok()?;
    Some(Thread {
        name: field("Name")?.to_owned(),
        cpu: Duration::from_nanos(schedule.split(' ').next()?.parse().ok()?),
        wakes: field("voluntary_ctxt_switches")?.parse().ok()?,
        preempted: field("nonvoluntary_ctxt_switches")?.parse().ok()?,
    })
}
