//! Room on the boot partition for one more kernel and initrd.
//!
//! NixOS copies the kernel and the initrd of each generation there, unless the Nix store is on the same file system. With
//! systemd-boot it removes those of generations that are gone, or are beyond its limit, when it installs the next one.

use std::collections::BTreeSet;
use std::path::Path;

use nixfleet_os::{Disk, short, size};

use super::{BootRoom, Found, MetadataExt, Outcome, Refusal, Room, io};
use crate::boot_entry::{self, systemd_boot::Entry};
use crate::settings::{FreeSpace, SystemPaths};

/// Where systemd-boot's installer of NixOS keeps kernels and initrds, on the partition.
const KERNELS: &str = "EFI/nixos";

/// Looks at the partition. None if there is none, or if the store in the folder `store` is on it: then nothing is copied.
pub(super) fn look(paths: &SystemPaths, store: &Path) -> Found<BootRoom> {
    let boot = &paths.boot;
    let unknown = |path: &Path| {
        let path = path.display().to_string();
        move |err: io::Error| format!("the room on the boot partition is not known: {path}: {err}")
    };
    let (Some(partition), Some(of_store)) = (
        present(std::fs::metadata(boot)).map_err(unknown(boot))?,
        present(std::fs::metadata(store)).map_err(unknown(store))?,
    ) else {
        return Ok(None);
    };
    let Some(room) = Room::of(boot).map_err(unknown(boot))?.filter(|_| partition.dev() != of_store.dev())
    else {
        return Ok(None);
    };
    let mut kernel_and_initrd = None;
    for name in ["kernel", "initrd"] {
        let path = paths.running.join(name);
        if let Some(metadata) = present(std::fs::metadata(&path)).map_err(unknown(&path))? {
            kernel_and_initrd = Some(kernel_and_initrd.unwrap_or(0) + metadata.len());
        }
    }
    Ok(Some(BootRoom { room, kernel_and_initrd, reclaimable: reclaimable(boot, &paths.profile) }))
}

/// None if it does not exist.
fn present<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
        found => found.map(Some),
    }
}

/// Decides whether there is room. Pure: no I/O.
pub(super) fn judge(
    limits: &FreeSpace,
    boot: &BootRoom,
    remark: &mut impl FnMut(&str),
) -> Result<(), Refusal> {
    let BootRoom { room, kernel_and_initrd, reclaimable } = boot;
    let Some(needed) = limits.boot_bytes.or(*kernel_and_initrd) else { return Ok(()) };
    if room.free >= needed {
        return Ok(());
    }
    let (path, free, all) = (room.path.display(), size(room.free), size(room.size));
    let why = match limits.boot_bytes {
        Some(bytes) => format!("{} must be", size(bytes)),
        None => {
            format!(
                "one more kernel and initrd may need {}, as much as those of the running system",
                size(needed)
            )
        }
    };
    match reclaimable {
        Ok(bytes) if room.free.saturating_add(*bytes) >= needed => Ok(()),
        Ok(_) => Err(Refusal {
            outcome: Outcome::NoSpace,
            why: format!(
                "{path} has {free} free of {all}, and {why} (preflight.boot_free); remove old generations with \
                 `nix-collect-garbage --delete-older-than 30d`, and send the command again"
            ),
        }),
        Err(unknown) => {
            remark(&format!(
                "{path} has {free} free of {all}, and {why}; what the boot loader will remove there is not known: \
                 {unknown}"
            ));
            Ok(())
        }
    }
}

/// Bytes of kernels and initrds that the next installation of systemd-boot removes. 0 with another boot loader: GRUB's
/// installer removes at its end.
fn reclaimable(boot: &Path, profile: &Path) -> Result<u64, String> {
    let entries = boot_entry::entries(boot).map_err(|err| err.to_string())?;
    if entries.is_empty() {
        return Ok(0);
    }
    let generations = generations(profile).map_err(|err| format!("{}: {err}", profile.display()))?;
    let kept = kept(&entries, &generations);
    let folder = boot.join(KERNELS);
    let names = present(Disk::real().list(&folder)).map_err(|err| format!("{}: {err}", folder.display()))?;
    let mut bytes = 0_u64;
    for name in names.unwrap_or_default() {
        let path = folder.join(&name);
        let file = format!("/{KERNELS}/{}", name.to_string_lossy()).to_lowercase();
        if !kept.contains(&file)
            && let Ok(metadata) = std::fs::metadata(&path)
            && metadata.is_file()
        {
            bytes = bytes.saturating_add(metadata.len());
        }
    }
    Ok(bytes)
}

/// The numbers of the profile's generations: links `<profile>-<number>-link` beside it.
fn generations(profile: &Path) -> io::Result<BTreeSet<u64>> {
    let (Some(folder), Some(name)) = (profile.parent(), profile.file_name().and_then(|name| name.to_str()))
    else {
        return Ok(BTreeSet::new());
    };
    let names = Disk::real().list(folder)?;
    let number =
        |file: &str| file.strip_prefix(name)?.strip_prefix('-')?.strip_suffix("-link")?.parse::<u64>().ok();
    Ok(short::gather(names.iter().filter_map(|file| number(file.to_str()?))))
}

/// The files that are still needed when one more generation is installed: in lower case, because the partition does not
/// tell letters apart.
fn kept(entries: &[Entry], generations: &BTreeSet<u64>) -> BTreeSet<String> {
    let of_generation = |entry: &Entry| entry.generation().filter(|number| generations.contains(number));
    let with_entry: BTreeSet<u64> = short::gather(entries.iter().filter_map(of_generation));
    // There are fewer entries than generations: the limit of entries is reached, and the oldest one makes room.
    let oldest = with_entry.first().filter(|_| with_entry.len() < generations.len());
    let stays = |entry: &&Entry| match entry.generation() {
        None => true,
        Some(number) => generations.contains(&number) && Some(&number) != oldest,
    };
    short::gather(entries.iter().filter(stays).flat_map(Entry::files).map(|file| file.to_lowercase()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn kernels_of_removed_generations_and_beyond_the_limit_make_room() {
        let folder = tempfile::tempdir().unwrap();
        let (boot, profile) = (folder.path().join("boot"), folder.path().join("profiles/system"));
        for folder in [boot.join("loader/entries"), boot.join(KERNELS), folder.path().join("profiles")] {
            fs::create_dir_all(folder).unwrap();
        }
        // Each generation has an initrd of its own, of as many bytes as its number; all share one kernel.
        let install = |number: usize| {
            fs::write(boot.join(format!("{KERNELS}/{number}-initrd.efi")), vec![0; number]).unwrap();
            let text = format!(
                "version Generation {number} NixOS\nlinux /EFI/nixos/kernel.efi\ninitrd /EFI/nixos/{number}-Initrd.efi\n"
            );
            fs::write(boot.join(format!("loader/entries/nixos-{number}.conf")), text).unwrap();
        };
        let link = |number: usize| {
            fs::write(folder.path().join(format!("profiles/system-{number}-link")), "").unwrap();
        };
        assert_eq!(reclaimable(&boot, &profile), Ok(0), "without entries");
        fs::write(boot.join(format!("{KERNELS}/kernel.efi")), [0; 1000]).unwrap();
        for number in [10, 11, 12] {
            install(number);
            link(number);
        }
        assert_eq!(reclaimable(&boot, &profile), Ok(0), "all are needed");
        fs::remove_file(folder.path().join("profiles/system-10-link")).unwrap();
        assert_eq!(reclaimable(&boot, &profile), Ok(10), "generation 10 is gone");
        link(10);
        link(9);
        assert_eq!(reclaimable(&boot, &profile), Ok(10), "9 has no entry, so there is a limit");
        fs::write(boot.join("loader/entries/memtest.conf"), "linux /EFI/nixos/10-initrd.efi\n").unwrap();
        assert_eq!(reclaimable(&boot, &profile), Ok(0), "another entry needs it");
        fs::remove_dir_all(folder.path().join("profiles")).unwrap();
        assert!(reclaimable(&boot, &profile).is_err());
    }
}
