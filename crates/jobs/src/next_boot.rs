//! What the next boot runs, written by jobs for the agent. Where jobs run as root, only root can read the files of the
//! boot loader in most cases.

use std::path::{Path, PathBuf};

use nixfleet_os::text::one_line;
use serde::{Deserialize, Serialize};

use crate::atomic_file::{load_on, store_on};
use crate::boot_entry::{self, Unknown};
use crate::format::Format;
use crate::{JobsDir, Settings, damage};

/// Longest reason that is kept, in characters. It names a file and an error.
const MAX_WHY: usize = 500;

/// Content of `next-boot.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextBoot {
    /// The system that the next boot runs; none if even the job could not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<PathBuf>,
    /// Why it could not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The system of the profile at that time. Who changes it changes the boot loader's files as well.
    #[serde(default)]
    pub profile: Option<PathBuf>,
    /// The boot in which the job ran. The next one may have used up a choice for one boot only, or a try.
    #[serde(default)]
    pub boot_id: Option<String>,
    /// When the files were read, RFC 3339.
    pub at: String,
}

impl Format for NextBoot {
    const VERSION: u32 = 1;
}

impl NextBoot {
    /// Reads the boot loader's files and writes what they say for the agent. On a machine without a boot loader nothing
    /// is written. Calls `remark` if it cannot be written.
    pub fn note(jobs: &JobsDir, settings: &Settings, remark: impl FnOnce(&str)) {
        // A simulated machine has no boot loader.
        if jobs.machine().threads.are_simulated() {
            return;
        }
        let (system, why) = match boot_entry::read(&settings.system) {
            Ok(system) => (Some(system), None),
            Err(Unknown::NoLoader(_)) => return,
            Err(why) => (None, Some(one_line(&why.to_string(), MAX_WHY))),
        };
        let note = Self {
            system,
            why,
            profile: std::fs::canonicalize(&settings.system.profile).ok(),
            boot_id: nixfleet_os::boot_id_on(jobs.disk(), &settings.proc),
            at: jobs.clock().timestamp(),
        };
        if let Err(err) = store_on(jobs.disk(), &jobs.next_boot(), &note) {
            remark(&format!("cannot record what the next boot runs: {err}"));
        }
    }

    /// What the last job wrote, if it still holds: the profile and the boot are the same.
    pub fn noted(jobs: &JobsDir, profile: Option<&Path>, boot_id: Option<&str>) -> Option<Self> {
        let path = jobs.next_boot();
        let noted: Self = load_on(jobs.disk(), &path).unwrap_or_else(|err| {
            damage::report(&path, &err, "what the next boot runs is unknown until the next job");
            None
        })?;
        let same = noted.profile.as_deref() == profile && noted.boot_id.as_deref() == boot_id;
        (same && noted.profile.is_some() && noted.boot_id.is_some()).then_some(noted)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_note_holds_until_the_profile_or_the_boot_is_another_one() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let write = |name: &str, text: &str| {
            fs::create_dir_all(at(name).parent().unwrap()).unwrap();
            fs::write(at(name), text).unwrap();
        };
        fs::create_dir(at("jobs")).unwrap();
        fs::create_dir(at("system")).unwrap();
        write("proc/sys/kernel/random/boot_id", "the-boot\n");
        let mut settings = crate::supervisor::test_settings();
        settings.proc = at("proc");
        settings.system.profile = at("system");
        settings.system.boot = at("boot");
        settings.system.efi_variables = at("efivars");
        let jobs = JobsDir::new(at("jobs"));
        let note = || NextBoot::note(&jobs, &settings, |text| panic!("{text}"));
        note();
        assert!(!jobs.next_boot().exists(), "there is no boot loader");
        let entry = format!("menuentry \"NixOS\" {{\nlinux /k init={}\n}}\n", at("system/init").display());
        write("boot/grub/grub.cfg", &entry);
        note();
        let profile = fs::canonicalize(at("system")).unwrap();
        let noted = |profile: &Path, boot: &str| NextBoot::noted(&jobs, Some(profile), Some(boot));
        assert_eq!(noted(&profile, "the-boot").unwrap().system, Some(at("system")));
        assert_eq!(noted(&profile, "another"), None);
        assert_eq!(noted(&at("other"), "the-boot"), None);
        assert_eq!(NextBoot::noted(&jobs, None, None), None);
        fs::remove_file(at("boot/grub/grub.cfg")).unwrap();
        fs::create_dir(at("boot/grub/grub.cfg")).unwrap();
        note();
        let noted = noted(&profile, "the-boot").unwrap();
        assert!(
            noted.system.is_none() && noted.why.unwrap().contains("grub.cfg"),
            "nothing of before is left"
        );
    }

    #[test]
    fn what_is_written_is_version_1_to_the_letter() {
        const FILE: &str = r#"{"version":1,"system":"/nix/store/a-nixos-system","profile":"/nix/store/b","boot_id":"11","at":"2026-07-14T12:00:00.000Z"}"#;
        let parsed: NextBoot = crate::format::parse(Path::new("x"), FILE.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(crate::format::to_vec(&parsed).unwrap()).unwrap(), FILE);
        let unknown = r#"{"version":1,"why":"x","profile":null,"boot_id":null,"at":""}"#;
        let parsed: NextBoot = crate::format::parse(Path::new("x"), unknown.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(crate::format::to_vec(&parsed).unwrap()).unwrap(), unknown);
    }
}
