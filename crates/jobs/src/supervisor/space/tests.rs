use super::*;

const MIB: u64 = 1 << 20;

const LIMITS: FreeSpace =
    FreeSpace { nix_bytes: 256 * MIB, nix_inodes: 10_000, state_bytes: 64 * MIB, boot_bytes: None };

fn room(path: &str, free: u64, free_inodes: u64) -> Room {
    Room { path: path.into(), size: 20_480 * MIB, free, inodes: 65_536, free_inodes }
}

fn boot(free: u64, reclaimable: Result<u64, String>) -> BootRoom {
    let room = Room { size: 96 * MIB, ..room("/boot", free, 0) };
    BootRoom { room, kernel_and_initrd: Some(58 * MIB), reclaimable }
}

/// A machine with enough of everything.
fn machine() -> Machine {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_784_000_000);
    Machine {
        store: Ok(Some(room("/nix/store", 300 * MIB, 20_000))),
        state: Ok(Some(room("/var/lib/nixfleet-agent", 100 * MIB, 20_000))),
        boot: Ok(Some(boot(60 * MIB, Ok(0)))),
        now,
        last: Some(now - Duration::from_secs(60)),
    }
}

/// The outcome and the reason, and the remarks.
fn judged(limits: &FreeSpace, rebuild: bool, machine: &Machine) -> (Option<(Outcome, String)>, Vec<String>) {
    let mut remarks = Vec::new();
    let judged = judge(limits, Needs { rebuild }, machine, &mut |text: &str| remarks.push(text.to_owned()));
    (judged.err().map(|refusal| (refusal.outcome, refusal.why)), remarks)
}

#[test]
fn each_shortage_has_its_own_reason_with_figures() {
    let of = |change: fn(&mut Machine)| {
        let mut machine = machine();
        change(&mut machine);
        machine
    };
    for (machine, limits, expected) in [
        (machine(), LIMITS, None),
        (
            of(|it| it.store = Ok(Some(room("/nix/store", 120 * MIB, 20_000)))),
            LIMITS,
            Some((
                Outcome::NoSpace,
                "the file system of /nix/store has 126 MB free of 21.5 GB, and 268 MB must be (preflight.nix_free); \
                 free some with `nix-collect-garbage --delete-older-than 30d`",
            )),
        ),
        (
            of(|it| it.store = Ok(Some(room("/nix/store", 300 * MIB, 12)))),
            LIMITS,
            Some((
                Outcome::NoSpace,
                "the file system of /nix/store has 12 inodes free of 65536, and 10000 must be (preflight.nix_inodes); \
                 free some with `nix-collect-garbage --delete-older-than 30d`",
            )),
        ),
        (
            of(|it| it.state = Ok(Some(room("/state", 0, 20_000)))),
            LIMITS,
            Some((
                Outcome::NoSpace,
                "the file system of /state has 0 B free of 21.5 GB, and 67.1 MB must be (preflight.state_free); \
                 remove what is not needed there",
            )),
        ),
        (
            of(|it| it.boot = Ok(Some(boot(12 * MIB, Ok(40 * MIB))))),
            LIMITS,
            Some((
                Outcome::NoSpace,
                "/boot has 12.6 MB free of 101 MB, and one more kernel and initrd may need 60.8 MB, as much as those \
                 of the running system (preflight.boot_free); remove old generations with `nix-collect-garbage \
                 --delete-older-than 30d`, and send the command again",
            )),
        ),
        (
            of(|it| it.boot = Ok(Some(boot(12 * MIB, Ok(0))))),
            FreeSpace { boot_bytes: Some(13 * MIB), ..LIMITS },
            Some((
                Outcome::NoSpace,
                "/boot has 12.6 MB free of 101 MB, and 13.6 MB must be (preflight.boot_free); remove old \
                 generations with `nix-collect-garbage --delete-older-than 30d`, and send the command again",
            )),
        ),
        // The installer makes room before it writes.
        (of(|it| it.boot = Ok(Some(boot(12 * MIB, Ok(46 * MIB))))), LIMITS, None),
        (
            of(|it| it.boot = Ok(Some(boot(12 * MIB, Ok(0))))),
            FreeSpace { boot_bytes: Some(12 * MIB), ..LIMITS },
            None,
        ),
        (
            of(|it| it.now = SystemTime::UNIX_EPOCH + Duration::from_secs(100)),
            LIMITS,
            Some((
                Outcome::Refused,
                "the clock of this machine is wrong, it is at about 1970; certificates and signatures would be refused: \
                 set it, see `timedatectl`",
            )),
        ),
        (
            of(|it| it.last = Some(it.now + Duration::from_secs(3 * 3600))),
            LIMITS,
            Some((
                Outcome::Refused,
                "the clock of this machine is 180 min behind the end of the last command; set it, see `timedatectl`, or \
                 send the command again if the clock is right now and was wrong before",
            )),
        ),
        (of(|it| it.last = Some(it.now + Duration::from_secs(500))), LIMITS, None),
        // A host without a boot partition, without a store and without an earlier command.
        (
            of(|it| {
                (it.boot, it.store, it.state, it.last) = (Ok(None), Ok(None), Ok(None), None);
            }),
            LIMITS,
            None,
        ),
        // btrfs has no fixed number of inodes.
        (of(|it| it.store = Ok(Some(Room { inodes: 0, ..room("/nix/store", 300 * MIB, 0) }))), LIMITS, None),
    ] {
        let expected = expected.map(|(outcome, text)| (outcome, text.to_owned()));
        assert_eq!(judged(&limits, true, &machine), (expected, Vec::new()), "{machine:?}");
    }
}

#[test]
fn a_pull_needs_the_state_folder_and_the_clock_only() {
    let empty =
        Machine { store: Ok(Some(room("/nix/store", 0, 0))), boot: Ok(Some(boot(0, Ok(0)))), ..machine() };
    assert_eq!(judged(&LIMITS, false, &empty), (None, Vec::new()));
    assert!(judged(&LIMITS, true, &empty).0.is_some());
    for (command, rebuild) in
        [("pull", Some(false)), ("clone", Some(false)), ("switch", Some(true)), ("boot", Some(true))]
    {
        assert_eq!(Needs::of(command).map(|needs| needs.rebuild), rebuild, "{command}");
    }
    assert_eq!(Needs::of("pull-switch"), Some(Needs { rebuild: true }));
    for command in ["test", "rollback", "update", "backup"] {
        assert_eq!(Needs::of(command), None, "{command}");
    }
}

#[test]
fn what_is_not_known_is_said_and_refuses_nothing() {
    let unknown = Machine {
        store: Err("store?".to_owned()),
        state: Err("state?".to_owned()),
        boot: Err("boot?".to_owned()),
        ..machine()
    };
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    assert_eq!(judged(&LIMITS, true, &unknown), (None, texts(&["state?", "store?", "boot?"])));
    let removed = Machine { boot: Ok(Some(boot(12 * MIB, Err("why".to_owned())))), ..machine() };
    let said = "/boot has 12.6 MB free of 101 MB, and one more kernel and initrd may need 60.8 MB, as much as those of \
                the running system; what the boot loader will remove there is not known: why";
    assert_eq!(judged(&LIMITS, true, &removed), (None, texts(&[said])));
}

#[test]
fn zero_turns_a_check_off() {
    let off = FreeSpace { nix_bytes: 0, nix_inodes: 0, state_bytes: 0, boot_bytes: Some(0) };
    let empty = Machine {
        store: Ok(Some(room("/nix/store", 0, 0))),
        state: Ok(Some(room("/state", 0, 0))),
        boot: Ok(Some(boot(0, Ok(0)))),
        ..machine()
    };
    assert_eq!(judged(&off, true, &empty), (None, Vec::new()));
}

#[test]
fn the_room_of_a_folder_is_that_of_its_file_system() {
    let folder = tempfile::tempdir().unwrap();
    let room = Room::of(folder.path()).unwrap().unwrap();
    assert!(room.size > 0 && room.free <= room.size, "{room:?}");
    assert_eq!(Room::of(&folder.path().join("gone")).unwrap(), None);
    if Path::new("/proc/self").exists() {
        assert_eq!(Room::of(Path::new("/proc")).unwrap(), None, "it has no size");
    }
}
