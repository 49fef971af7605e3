//! The parser as a table, and a look at real files.

use std::fs;

use super::locks::{Identity, holder};
use super::*;

const TABLE: &str = "\
1: POSIX  ADVISORY  WRITE 711 00:19:1193 0 EOF
2: FLOCK  ADVISORY  WRITE 812 00:1a:1193 0 EOF
2: -> FLOCK  ADVISORY  WRITE 813 00:1a:1200 0 EOF
3: FLOCK  ADVISORY  READ -1 00:1a:1194 0 EOF
4: FLOCK  ADVISORY  WRITE 0 fd:01:1195 0 EOF
5: OFDLCK ADVISORY  WRITE -1 00:1a:1196 0 EOF
6: FLOCK  ADVISORY  WRITE
7: FLOCK  ADVISORY  WRITE 900 1a:1197 0 EOF
nonsense
8: FLOCK  ADVISORY  WRITE 901 00:1a:1198 0 EOF";

#[test]
fn a_lock_is_held_by_whom_the_table_of_the_kernel_says() {
    for ((major, minor, inode), expected) in [
        // Of a kind that NixOS does not use.
        ((0, 0x19, 1193), None),
        ((0, 0x1a, 1193), Some(Some(812))),
        // Somebody waits for it.
        ((0, 0x1a, 1200), None),
        // Processes of other namespaces.
        ((0, 0x1a, 1194), Some(None)),
        ((0xfd, 1, 1195), Some(None)),
        ((0, 0x1a, 1196), None),
        // Lines that are cut or odd hide no other one.
        ((0, 0x1a, 1197), None),
        ((0, 0x1a, 1198), Some(Some(901))),
        ((0, 0x1b, 1198), None),
    ] {
        assert_eq!(holder(TABLE, Identity { major, minor, inode }), expected, "{major:x}:{minor:x}:{inode}");
    }
    assert_eq!(holder("", Identity { major: 0, minor: 0, inode: 0 }), None);
}

#[test]
fn a_client_of_the_unit_is_known_by_its_argument() {
    assert!(is_client("--unit=nixos-rebuild-switch-to-configuration"));
    assert!(is_client("--unit=nixos-rebuild-switch-to-configuration.service"));
    assert!(!is_client("--unit=nixos-rebuild-switch-to-configuration-2"));
    assert!(!is_client("nixos-rebuild-switch-to-configuration"));
}

#[cfg(target_os = "linux")]
mod real {
    use std::process::{Command, Stdio};

    use super::*;

    /// A machine whose control groups and lock are in a folder.
    struct Rig {
        folder: tempfile::TempDir,
        activations: Activations,
    }

    impl Rig {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let paths = crate::test_util::system_in(folder.path());
            let activations = Activations { proc: "/proc".into(), paths, processes: Processes::default() };
            fs::create_dir_all(activations.group()).unwrap();
            Self { folder, activations }
        }

        fn unit(&self, pids: &str) {
            fs::write(self.activations.group().join("cgroup.procs"), pids).unwrap();
        }
    }

    #[test]
    fn nobody_activates_where_there_is_neither_a_unit_nor_a_lock() {
        let rig = Rig::new();
        assert_eq!(rig.activations.who(), None);
        rig.unit("");
        fs::write(rig.folder.path().join("lock"), "").unwrap();
        assert_eq!(rig.activations.who(), None);
        assert_eq!(rig.activations.describe_unit(), UNIT);
    }

    #[test]
    fn the_unit_is_named_with_its_process_and_killed_by_it() {
        let rig = Rig::new();
        let mut process = crate::test_util::sleeping();
        rig.unit(&format!("{}\n0\n", process.id()));
        assert_eq!(rig.activations.unit(), [process.id(), 0]);
        let named = format!("{UNIT} (process {}, `sleep 61`)", process.id());
        assert_eq!(rig.activations.who(), Some(format!("the unit {named} is active")));
        rig.activations.kill_unit().unwrap();
        assert!(!process.wait().unwrap().success());
        rig.unit("0\n");
        let seen = rig.activations.describe_unit();
        assert_eq!(seen, format!("{UNIT} (a process that cannot be seen from here)"));
    }

    #[test]
    fn a_group_that_the_kernel_can_kill_is_killed_as_a_whole() {
        let rig = Rig::new();
        let mut process = Command::new("sleep").arg("61").spawn().unwrap();
        rig.unit(&process.id().to_string());
        let order = rig.activations.group().join("cgroup.kill");
        fs::write(&order, "").unwrap();
        rig.activations.kill_unit().unwrap();
        assert_eq!(fs::read_to_string(order).unwrap(), "1");
        assert_eq!(process.try_wait().unwrap(), None, "the kernel does it");
        process.kill().unwrap();
        process.wait().unwrap();
    }

    #[test]
    fn a_lock_that_another_process_holds_is_found_in_the_kernel_with_its_holder() {
        let rig = Rig::new();
        let lock = rig.folder.path().join("lock");
        fs::write(&lock, "").unwrap();
        let mut command = Command::new("flock");
        command.arg(&lock).args(["sh", "-c", "echo held; read -r line; exit 0"]);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = [0; 5];
        process.stdout.as_mut().unwrap().read_exact(&mut line).unwrap();
        let seen = rig.activations.who();
        drop(process.stdin.take());
        process.wait().unwrap();
        // Some containers show no locks of theirs: then nobody can be named.
        if fs::read_to_string("/proc/locks").is_ok_and(|text| text.is_empty()) && seen.is_none() {
            eprintln!("the kernel of this machine shows no locks");
            return;
        }
        let begin = format!("the lock {} is held by process {}, `flock ", lock.display(), process.id());
        assert!(seen.as_ref().is_some_and(|seen| seen.starts_with(&begin)), "{seen:?}, not {begin}");
        assert_eq!(rig.activations.who(), None, "it was given back");
    }
}
