//! What a rebuild waits for, from the lines of nix: a substituter that stalls or is tried again, a machine, a lock; and
//! the machine that builds.
//!
//! nix says nothing when the wait is over. So whatever it does next ends it.

/// Longest name of a machine or a server in a detail, in characters. Names in the DNS have 253 at most, and the
/// beginning tells them apart.
const MAX_NAME: usize = 64;

/// Beginnings of lines in which nix says what it waits for, and the same in few words.
const WAITS: &[(&str, &str)] = &[
    ("waiting for a machine to build ", "waiting for a machine that may build"),
    ("waiting for the upload lock to ", "waiting to copy to a machine that builds"),
    ("waiting for lock on ", "waiting for a lock of the store"),
    ("waiting for locks", "waiting for locks, build slots or build users"),
    ("waiting for the big Nix store lock", "waiting for the lock of the whole store"),
    ("waiting for exclusive access to the Nix store", "waiting for the lock of the whole store"),
];

/// Texts in the reason of a retry when nothing arrived any more.
const STALLS: &[&str] = &["Operation too slow", "Timeout was reached", "timed out"];

/// What a line says about a delay.
#[derive(Debug, PartialEq, Eq)]
enum Sign<'a> {
    /// A download is tried again.
    Retry { url: &'a str, stalled: bool, attempt: Option<(u32, u32)> },
    /// A binary cache is not asked for a while.
    Disabled { url: &'a str, seconds: &'a str },
    /// It waits.
    Waits(&'static str),
}

/// The delay that was told last, and the machine.
#[derive(Debug, Default)]
pub(super) struct Delays {
    /// What it waits for; empty if nothing is known.
    text: String,
    /// The address that is tried again, and how often it was.
    retried: (String, u32),
    /// The machine of the newest build; empty for this one.
    machine: String,
}

impl Delays {
    /// Reads a line. Returns whether it changed anything.
    pub(super) fn read(&mut self, line: &str) -> bool {
        let Some(sign) = sign(line) else { return false };
        self.text = match sign {
            Sign::Retry { url, stalled, attempt } => {
                let times = if self.retried.0 == url { self.retried.1.saturating_add(1) } else { 1 };
                self.retried = (url.to_owned(), times);
                let what = if stalled { "stalled" } else { "tried again" };
                let count = match attempt {
                    Some((number, of)) => format!("attempt {number} of {of}"),
                    // Earlier versions of nix do not say it.
                    None => format!("attempt {times} failed"),
                };
                format!("{} {what}, {count}", host(url))
            }
            Sign::Disabled { url, seconds } => format!("{} not used for {seconds} s", host(url)),
            Sign::Waits(text) => text.to_owned(),
        };
        true
    }

    /// Something was begun or done, so the wait is over.
    pub(super) fn end(&mut self) {
        self.text.clear();
        self.retried = Default::default();
    }

    /// A build begins, as this line says.
    pub(super) fn building(&mut self, line: &str) {
        self.machine = machine(line).unwrap_or_default();
    }

    /// Adds to the counts of a phase.
    pub(super) fn describe(&self, counts: String) -> String {
        let mut parts = vec![counts];
        if !self.machine.is_empty() {
            parts.push(format!("newest on {}", self.machine));
        }
        parts.push(self.text.clone());
        parts.retain(|part| !part.is_empty());
        parts.join("; ")
    }
}

fn sign(line: &str) -> Option<Sign<'_>> {
    // Most lines are ruled out by their first letter.
    match line.as_bytes().first()? {
        b'w' => retry(line).or_else(|| waits(line)),
        b'd' => {
            let (url, rest) = line.strip_prefix("disabling binary cache '")?.split_once("' for ")?;
            let seconds = rest.strip_suffix(" seconds").filter(|text| text.parse::<u32>().is_ok())?;
            Some(Sign::Disabled { url, seconds })
        }
        _ => None,
    }
}

fn waits(line: &str) -> Option<Sign<'_>> {
    WAITS.iter().find(|(begin, _)| line.starts_with(begin)).map(|(_, text)| Sign::Waits(text))
}

/// `warning: error: unable to download 'URL': REASON; retrying in 267 ms (attempt 1/5)`, of which earlier versions have
/// only a part.
fn retry(line: &str) -> Option<Sign<'_>> {
    let (_, rest) = line.strip_prefix("warning: ")?.split_once("unable to download '")?;
    let (url, rest) = rest.split_once("': ")?;
    let (reason, how) = rest.rsplit_once("; retrying ")?;
    let attempt = how.rsplit_once("(attempt ").and_then(|(_, text)| {
        let (number, of) = text.strip_suffix(')')?.split_once('/')?;
        Some((number.parse().ok()?, of.parse().ok()?))
    });
    Some(Sign::Retry { url, stalled: STALLS.iter().any(|text| reason.contains(text)), attempt })
}

/// The machine in `building '/nix/store/..drv' on 'ssh://builder'...`.
fn machine(line: &str) -> Option<String> {
    let (_, rest) = line.split_once(".drv' on '")?;
    Some(host(rest.split_once('\'')?.0))
}

/// The host in an address, without user and password.
fn host(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let host = authority.rsplit('@').next().unwrap_or(authority);
    // A store of files has no host.
    let host = if host.is_empty() { "the cache" } else { host };
    host.chars().filter(|letter| !letter.is_control()).take(MAX_NAME).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(lines: &[&str], text: &str) {
        let mut delays = Delays::default();
        for line in lines {
            delays.read(line);
        }
        assert_eq!(delays.describe(String::new()), text, "{lines:?}");
    }

    #[test]
    fn a_download_that_is_tried_again_is_told_with_its_server() {
        let nar = "https://cache.nixos.org/nar/123.nar.xz";
        check(
            &[&format!(
                "warning: error: unable to download '{nar}': Operation too slow. Less than 1 bytes/sec transferred \
                 the last 300 seconds (28); retrying in 2119 ms (attempt 4/5)"
            )],
            "cache.nixos.org stalled, attempt 4 of 5",
        );
        check(
            &[&format!(
                "warning: unable to download '{nar}': Could not resolve hostname (6) Could not resolve host: \
                 cache.nixos.org; retrying in 1104 ms (attempt 3/5)"
            )],
            "cache.nixos.org tried again, attempt 3 of 5",
        );
        let old = format!(
            "warning: error: unable to download '{nar}': HTTP error 200 (curl error: Timeout was reached); retrying \
             from offset 186000000 in 267 ms"
        );
        check(&[&old], "cache.nixos.org stalled, attempt 1 failed");
        check(&[&old, &old], "cache.nixos.org stalled, attempt 2 failed");
        check(
            &[
                &old,
                "warning: unable to download 'http://me:pw@[fd00::1]:5000/nix-cache-info': x; retrying in 5 ms",
            ],
            "[fd00::1]:5000 tried again, attempt 1 failed",
        );
        check(
            &["disabling binary cache 'https://cache.garnix.io' for 60 seconds"],
            "cache.garnix.io not used for 60 s",
        );
    }

    #[test]
    fn what_nix_waits_for_is_told_and_other_lines_are_not() {
        check(
            &["waiting for a machine to build '/nix/store/h1-app.drv'"],
            "waiting for a machine that may build",
        );
        check(&["waiting for lock on '/nix/store/h1-app'"], "waiting for a lock of the store");
        check(
            &["waiting for locks, build slots or build users..."],
            "waiting for locks, build slots or build users",
        );
        for line in [
            "waiting for the printer",
            "warning: Git tree '/repo' is dirty",
            "warning: unable to download 'https://cache.nixos.org/x': HTTP error 404",
            "warning: unable to download",
            "disabling binary cache 'x' for ever",
            "error: unable to download 'https://cache.nixos.org/x': timed out; retrying in 5 ms",
            "",
        ] {
            check(&[line], "");
        }
    }

    #[test]
    fn the_machine_of_the_newest_build_is_told_until_one_builds_here() {
        let mut delays = Delays::default();
        delays.building(
            "building '/nix/store/h1-app-1.0.drv' on 'ssh-ng://builder@builder-1.example.org?x=y'...",
        );
        assert_eq!(
            delays.describe("1/3 derivations".to_owned()),
            "1/3 derivations; newest on builder-1.example.org"
        );
        delays.read("waiting for a machine to build '/nix/store/h2.drv'");
        assert_eq!(
            delays.describe("1/3 derivations".to_owned()),
            "1/3 derivations; newest on builder-1.example.org; waiting for a machine that may build"
        );
        delays.end();
        delays.building("building '/nix/store/h2-app-1.0.drv'...");
        assert_eq!(delays.describe("2/3 derivations".to_owned()), "2/3 derivations");
    }
}
