//! What the next boot runs: as the boot loader's files say, or as the last job saw them if only root may read them, or
//! else as the profile says. The last one is marked as such: the boot loader may not have been installed since.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nixfleet_jobs::JobsDir;
use nixfleet_jobs::boot_entry;
use nixfleet_jobs::next_boot::NextBoot as Note;
use nixfleet_jobs::settings::SystemPaths;
use nixfleet_protocol::{HostSystem, NextBoot, NextBootSource};

/// How long an answer holds if nothing that is cheap to read has changed. Variables of the firmware and files on the boot
/// partition are read again after that time only: the firmware may take milliseconds, and the partition may be mounted on
/// first use.
const HOLDS: Duration = Duration::from_secs(5 * 60);

/// What an answer depends on, as far as a look at it is cheap.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Key {
    running: Option<PathBuf>,
    profile: Option<PathBuf>,
}

/// Keeps an eye on what boots.
#[derive(Debug)]
pub(super) struct NextBootWatch {
    paths: SystemPaths,
    jobs: JobsDir,
    newest: Option<(Instant, Key, Option<NextBoot>)>,
}

impl NextBootWatch {
    pub(super) fn new(paths: SystemPaths, jobs: JobsDir) -> Self {
        Self { paths, jobs, newest: None }
    }

    /// What the next boot runs; none if nothing says so. `now`: an answer from before is not enough.
    pub(super) fn look(&mut self, now: bool, boot_id: Option<&str>) -> Option<NextBoot> {
        let running = std::fs::read_link(&self.paths.running).ok();
        let key = Key { running, profile: std::fs::canonicalize(&self.paths.profile).ok() };
        match &self.newest {
            Some((at, of, answer)) if !now && *of == key && at.elapsed() < HOLDS => answer.clone(),
            _ => {
                let answer = self.read(key.profile.as_deref(), boot_id);
                self.newest = Some((Instant::now(), key, answer.clone()));
                answer
            }
        }
    }

    fn read(&self, profile: Option<&Path>, boot_id: Option<&str>) -> Option<NextBoot> {
        let text = |path: &Path| path.to_str().map(str::to_owned);
        let why = match boot_entry::read(&self.paths) {
            Ok(system) => {
                let source = NextBootSource::BootLoader;
                return Some(NextBoot { system: text(&system)?, source, seen_at: None });
            }
            Err(why) => why,
        };
        tracing::debug!(%why, "The boot loader's files do not tell what the next boot runs.");
        if let Some(note) = Note::noted(&self.jobs, profile, boot_id) {
            let source = NextBootSource::BootLoader;
            // Root has read the files, and they do not tell: then the profile does not either.
            return Some(NextBoot { system: text(&note.system?)?, source, seen_at: Some(note.at) });
        }
        // A machine without a boot loader boots nothing from its profile: a container, for example.
        if matches!(why, boot_entry::Unknown::Unreadable { .. }) {
            return Some(NextBoot {
                system: text(profile?)?,
                source: NextBootSource::Profile,
                seen_at: None,
            });
        }
        None
    }
}

/// Whether the next boot certainly runs another system than the one that runs and the one that was booted, as after
/// `boot`. After a system was activated for a try (`nixos-rebuild test`), the next boot runs what was booted: nothing
/// waits then.
pub(super) fn waits(system: &HostSystem) -> bool {
    let HostSystem { current: Some(current), booted: Some(booted), boots: Some(boots), .. } = system else {
        return false;
    };
    boots.source == NextBootSource::BootLoader
        && ![current, booted].contains(&&boots.system)
        && !is_specialisation(&boots.system, current)
}

/// Whether `special` is one of the specialisations of `system`. One that was chosen in the menu is not what the boot
/// loader has as its default, and nothing waits because of that.
fn is_specialisation(system: &str, special: &str) -> bool {
    let mut links =
        std::fs::read_dir(Path::new(system).join("specialisation")).into_iter().flatten().flatten();
    links.any(|link| std::fs::canonicalize(link.path()).is_ok_and(|path| path == Path::new(special)))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn state(current: &str, booted: &str, boots: &str, source: NextBootSource) -> HostSystem {
        let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        HostSystem {
            current: text(current),
            booted: text(booted),
            boots: text(boots).map(|system| NextBoot { system, source, seen_at: None }),
            ..HostSystem::default()
        }
    }

    #[test]
    fn a_system_waits_if_it_neither_runs_nor_was_booted() {
        use NextBootSource::{BootLoader, Profile};
        for (current, booted, boots, source, expected) in [
            ("/a", "/a", "/a", BootLoader, false),
            // After `boot`.
            ("/a", "/a", "/b", BootLoader, true),
            // After `switch`.
            ("/b", "/a", "/b", BootLoader, false),
            // After `test`.
            ("/b", "/a", "/a", BootLoader, false),
            ("/b", "/a", "/c", BootLoader, true),
            // That is not known for certain.
            ("/a", "/a", "/b", Profile, false),
            ("/a", "/a", "", BootLoader, false),
            ("", "/a", "/b", BootLoader, false),
            ("/a", "", "/b", BootLoader, false),
        ] {
            let system = state(current, booted, boots, source);
            assert_eq!(waits(&system), expected, "{system:?}");
        }
    }

    #[test]
    fn a_specialisation_that_was_chosen_in_the_menu_leaves_nothing_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| fs::canonicalize(folder.path()).unwrap().join(name);
        fs::create_dir_all(at("a/specialisation")).unwrap();
        fs::create_dir(at("special")).unwrap();
        let (special, system) = (at("special"), at("a"));
        let state = || {
            let special = special.to_str().unwrap();
            state(special, special, system.to_str().unwrap(), NextBootSource::BootLoader)
        };
        assert!(waits(&state()));
        symlink(&special, at("a/specialisation/gaming")).unwrap();
        assert!(!waits(&state()));
    }

    #[test]
    fn the_files_come_first_then_the_note_of_a_job_and_the_profile_last() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| fs::canonicalize(folder.path()).unwrap().join(name);
        for name in ["a", "b", "jobs", "boot/grub"] {
            fs::create_dir_all(at(name)).unwrap();
        }
        symlink(at("a"), at("profile")).unwrap();
        let paths = nixfleet_jobs::test_util::system_in(&fs::canonicalize(folder.path()).unwrap());
        let menu = at("boot/grub/grub.cfg");
        let mut watch = NextBootWatch::new(paths, JobsDir::new(at("jobs")));
        let mut look = |now| {
            let answer = watch.look(now, Some("this-boot"));
            answer.map(|boots| {
                (boots.system.rsplit_once('/').unwrap().1.to_owned(), boots.source, boots.seen_at)
            })
        };
        let (loader, profile) = (NextBootSource::BootLoader, NextBootSource::Profile);
        assert_eq!(look(true), None, "there is no boot loader");

        fs::write(&menu, format!("menuentry \"NixOS\" {{\nlinux /k init={}\n}}\n", at("b/init").display()))
            .unwrap();
        assert_eq!(look(false), None, "nothing cheap has changed");
        assert_eq!(look(true), Some(("b".to_owned(), loader, None)));

        // Not even root can read a folder as a file.
        fs::remove_file(&menu).unwrap();
        fs::create_dir(&menu).unwrap();
        assert_eq!(look(true), Some(("a".to_owned(), profile, None)));
        let note = |system: &str, profile: &str, boot: &str| {
            let (system, profile) = (at(system), at(profile));
            let text = serde_json::json!({"version": 1, "system": system, "profile": profile, "boot_id": boot, "at": "then"});
            fs::write(at("jobs/next-boot.json"), text.to_string()).unwrap();
        };
        note("b", "a", "this-boot");
        assert_eq!(look(true), Some(("b".to_owned(), loader, Some("then".to_owned()))));
        note("b", "a", "another-boot");
        assert_eq!(look(true), Some(("a".to_owned(), profile, None)));
        note("b", "b", "this-boot");
        assert_eq!(look(true), Some(("a".to_owned(), profile, None)));

        // Another profile is seen at once.
        fs::remove_file(at("profile")).unwrap();
        symlink(at("b"), at("profile")).unwrap();
        assert_eq!(look(false), Some(("b".to_owned(), loader, Some("then".to_owned()))));
    }
}
