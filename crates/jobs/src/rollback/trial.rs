//! `trial.json`: the system that is on trial. The supervisor writes it.

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::atomic_file::{load_on, store_on};
use crate::format::Format;
use crate::{JobDir, JobId};

/// The system that is on trial, and everything that its guard has to know. The guard reads no settings: those of the
/// new system may be others, or wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// The job.
    pub id: JobId,
    /// Name of the command.
    pub command: String,
    /// Boot in which it began.
    pub boot_id: Option<String>,
    /// The system that ran before.
    pub previous: PathBuf,
    /// The system on trial.
    pub new: PathBuf,
    /// Symbolic link to the running system.
    pub running: PathBuf,
    /// Mount point of procfs.
    pub proc: PathBuf,
    /// The profile of the system.
    pub profile: PathBuf,
    /// Where the agent says that it is connected.
    pub contact: PathBuf,
    /// Seconds from the end of the activation within which the system must be confirmed.
    pub confirm_timeout_s: u64,
    /// Seconds for which the connection must hold.
    pub hold_s: u64,
    /// Programs that must succeed as well.
    #[serde(default)]
    pub checks: Vec<TrialCheck>,
    /// When the agent was asked whether it is connected, in milliseconds since the boot.
    pub asked_ms: u64,
    /// How far the supervisor has got.
    #[serde(default)]
    pub begun: Begun,
    /// How the activation ended.
    #[serde(default)]
    pub activation: Option<Activation>,
}

/// How far the supervisor has got.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Begun {
    /// It asks the agent whether it is connected. Nothing is guarded yet.
    #[default]
    Asking,
    /// The guard is started. Nothing was changed.
    Armed,
    /// The activation has begun, so anything may have been changed.
    Activating,
}

/// How the activation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activation {
    /// When, in milliseconds since the boot. The time for the confirmation begins here.
    pub ended_ms: u64,
    /// Exit code; 128 + n if signal n ended it.
    pub code: i32,
}

/// A program that must succeed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrialCheck {
    /// Program and arguments.
    pub run: Vec<String>,
    /// Seconds that it may take.
    pub timeout_s: u64,
}

impl Format for Trial {
    const VERSION: u32 = 1;
}

impl Trial {
    /// Reads that of a job; none if it has none.
    ///
    /// # Errors
    /// As for [`load_on`].
    pub fn load(dir: &JobDir) -> io::Result<Option<Self>> {
        load_on(dir.disk(), &path(dir))
    }

    /// Writes it.
    ///
    /// # Errors
    /// As for [`store_on`].
    pub fn store(&self, dir: &JobDir) -> io::Result<()> {
        store_on(dir.disk(), &path(dir), self)
    }

    /// Removes it: nothing is on trial.
    ///
    /// # Errors
    /// An error of the file system.
    pub fn remove(dir: &JobDir) -> io::Result<()> {
        dir.disk().remove(&path(dir))
    }

    /// Until when the system must be confirmed, in milliseconds since the boot; none before the activation has ended.
    pub fn deadline_ms(&self) -> Option<u64> {
        let ended = self.activation?.ended_ms;
        Some(ended.saturating_add(self.confirm_timeout_s.saturating_mul(1000)))
    }

    /// Whether the machine was booted since, as far as that is known.
    pub fn is_of_another_boot(&self, boot_id: Option<&str>) -> bool {
        self.boot_id.is_some() && boot_id.is_some() && self.boot_id.as_deref() != boot_id
    }
}

fn path(dir: &JobDir) -> PathBuf {
    dir.path().join("trial.json")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{parse, to_vec};

    #[test]
    fn the_file_is_written_as_documented() {
        let trial = Trial {
            id: "0123456789abcdef0123456789abcdef".parse().unwrap(),
            command: "switch".to_owned(),
            boot_id: Some("this".to_owned()),
            previous: "/nix/store/a-nixos".into(),
            new: "/nix/store/b-nixos".into(),
            running: "/run/current-system".into(),
            proc: "/proc".into(),
            profile: "/nix/var/nix/profiles/system".into(),
            contact: "/var/lib/nixfleet-agent/agent/contact.json".into(),
            confirm_timeout_s: 180,
            hold_s: 10,
            checks: vec![TrialCheck { run: vec!["true".to_owned()], timeout_s: 30 }],
            asked_ms: 1000,
            begun: Begun::Activating,
            activation: Some(Activation { ended_ms: 5000, code: 4 }),
        };
        let text = r#"{"version":1,"id":"0123456789abcdef0123456789abcdef","command":"switch","boot_id":"this","previous":"/nix/store/a-nixos","new":"/nix/store/b-nixos","running":"/run/current-system","proc":"/proc","profile":"/nix/var/nix/profiles/system","contact":"/var/lib/nixfleet-agent/agent/contact.json","confirm_timeout_s":180,"hold_s":10,"checks":[{"run":["true"],"timeout_s":30}],"asked_ms":1000,"begun":"activating","activation":{"ended_ms":5000,"code":4}}"#;
        assert_eq!(String::from_utf8(to_vec(&trial).unwrap()).unwrap(), text);
        let path = std::path::Path::new("trial.json");
        assert_eq!(parse::<Trial>(path, text.as_bytes()).unwrap(), trial);
        assert_eq!(trial.deadline_ms(), Some(185_000));
        assert_eq!(Trial { activation: None, ..trial }.deadline_ms(), None);
    }
}
