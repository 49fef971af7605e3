//! What a process uses, from `/proc`.

use std::fs;
use std::ops::Add;

use rustix::process::Pid;

/// What a process uses, or several together.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    /// Resident memory, in KiB.
    pub(crate) rss: u64,
    pub(crate) threads: u64,
    pub(crate) descriptors: u64,
    /// Children that have ended and that nobody waited for.
    pub(crate) zombies: u64,
}

impl Usage {
    pub(crate) fn of(pid: Pid) -> Self {
        let process = format!("/proc/{}", pid.as_raw_nonzero());
        Self {
            rss: field(pid, "VmRSS:"),
            threads: field(pid, "Threads:"),
            descriptors: fs::read_dir(format!("{process}/fd")).unwrap().count() as u64,
            zombies: zombies_of(pid),
        }
    }
}

/// The number that this field of its status begins with: KiB of memory, or a count.
pub(crate) fn field(pid: Pid, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

fn zombies_of(parent: Pid) -> u64 {
    let wanted = parent.as_raw_nonzero().to_string();
    let is_zombie = |stat: &str| {
        // Behind the name, which may have any character: state and parent.
        let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        fields.next() == Some("Z") && fields.next() == Some(&wanted)
    };
    let stats = fs::read_dir("/proc").unwrap().flatten().map(|item| item.path().join("stat"));
    stats.filter_map(|path| fs::read_to_string(path).ok()).filter(|stat| is_zombie(stat)).count() as u64
}

impl Add for Usage {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            rss: self.rss + other.rss,
            threads: self.threads + other.threads,
            descriptors: self.descriptors + other.descriptors,
            zombies: self.zombies + other.zombies,
        }
    }
}
