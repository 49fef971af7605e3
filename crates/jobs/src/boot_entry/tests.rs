use std::fs;

use super::*;

/// A machine in a folder, with a system in the store for each number.
struct Machine {
    folder: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for number in 1..=3 {
            fs::create_dir_all(folder.path().join(format!("store/{number}"))).unwrap();
        }
        Self { folder }
    }

    fn paths(&self) -> SystemPaths {
        SystemPaths {
            boot: self.folder.path().join("boot"),
            efi_variables: self.folder.path().join("efivars"),
            ..crate::supervisor::test_settings().system
        }
    }

    fn system(&self, number: u32) -> PathBuf {
        self.folder.path().join(format!("store/{number}"))
    }

    fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn variable(&self, name: &str, value: &str) {
        let value: Vec<u8> = value.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
        self.write(&format!("efivars/{name}-{VENDOR}"), [&[7, 0, 0, 0][..], &value].concat());
    }

    fn with_systemd_boot(self) -> Self {
        self.write("boot/loader/loader.conf", "timeout 5\ndefault nixos-generation-2.conf\n");
        self.write("boot/EFI/nixos/k.efi", "kernel");
        self.write("boot/EFI/nixos/i.efi", "initrd");
        for number in 1..=3 {
            let init = self.system(number).join("init");
            let text = format!(
                "title NixOS\nversion Generation {number} NixOS\nlinux /EFI/nixos/k.efi\ninitrd /EFI/nixos/i.efi\n\
                 options init={}\n",
                init.display()
            );
            self.write(&format!("boot/loader/entries/nixos-generation-{number}.conf"), text);
        }
        self
    }

    fn with_grub(self) -> Self {
        let init = self.system(3).join("init");
        let menu = format!("set default=0\nmenuentry \"NixOS\" {{\nlinux /k init={}\n}}\n", init.display());
        self.write("boot/grub/grub.cfg", menu);
        self
    }

    fn read(&self) -> Result<PathBuf, String> {
        read(&self.paths()).map_err(|err| err.to_string())
    }
}

#[test]
fn the_files_of_systemd_boot_and_the_variables_of_the_firmware_decide() {
    let machine = Machine::new().with_systemd_boot();
    assert_eq!(machine.read(), Ok(machine.system(2)));
    machine.variable("LoaderEntryDefault", "nixos-generation-3.conf");
    assert_eq!(machine.read(), Ok(machine.system(3)));
    machine.variable("LoaderEntryOneShot", "nixos-generation-1.conf");
    assert_eq!(machine.read(), Ok(machine.system(1)));
    machine.variable("LoaderEntryOneShot", "");
    assert_eq!(machine.read(), Ok(machine.system(3)), "an empty one is not set");
}

#[test]
fn the_files_of_grub_decide() {
    let machine = Machine::new().with_grub();
    assert_eq!(machine.read(), Ok(machine.system(3)));
}

#[test]
fn of_two_boot_loaders_the_one_counts_that_started_this_system() {
    let machine = Machine::new().with_systemd_boot().with_grub();
    assert_eq!(machine.read(), Ok(machine.system(3)), "without UEFI it can only be GRUB");
    machine.variable("LoaderInfo", "systemd-boot 258.2");
    assert_eq!(machine.read(), Ok(machine.system(2)));
    machine.variable("LoaderInfo", "GRUB 2.12");
    assert_eq!(machine.read(), Ok(machine.system(3)));
    machine.variable("LoaderInfo", "rEFInd");
    assert!(machine.read().unwrap_err().contains("files of systemd-boot and of GRUB"));
}

#[test]
fn what_cannot_boot_is_not_told_as_what_boots() {
    let machine = Machine::new();
    assert!(machine.read().unwrap_err().contains("neither loader/loader.conf nor grub/grub.cfg"));
    let machine = machine.with_systemd_boot();
    // As on a partition that was full.
    machine.write("boot/EFI/nixos/i.efi", "");
    assert!(machine.read().unwrap_err().contains("i.efi, which is not there"));
    machine.write("boot/EFI/nixos/i.efi", "initrd");
    fs::remove_dir(machine.system(2)).unwrap();
    assert!(machine.read().unwrap_err().contains("which does not exist any more"));
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let machine = Machine::new().with_systemd_boot();
    fs::remove_file(machine.folder.path().join("boot/loader/loader.conf")).unwrap();
    fs::create_dir(machine.folder.path().join("boot/loader/loader.conf")).unwrap();
    let text = machine.read().unwrap_err();
    assert!(text.starts_with("cannot read ") && text.contains("loader.conf: "), "{text}");
}
