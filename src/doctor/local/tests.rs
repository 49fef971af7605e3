use std::time::Duration;

use nixfleet_config::Secret;

use super::*;
use crate::doctor::Verdict;
use crate::doctor::tests::subject;
use crate::unit::Unit;

#[track_caller]
fn check(found: &Finding, verdict: Verdict, words: &[&str]) {
    assert_eq!(found.verdict, verdict, "{found:?}");
    for word in words {
        assert!(found.text.contains(word) || found.fix.contains(word), "`{word}` is not in {found:?}");
    }
}

fn disk(free_mb: u64, inodes: (u64, u64)) -> StatVfs {
    StatVfs {
        f_frsize: 1_000_000,
        f_bavail: free_mb,
        f_files: inodes.0,
        f_favail: inodes.1,
        ..statvfs("/").unwrap()
    }
}

#[test]
fn a_disk_is_full_when_a_job_could_fill_it() {
    let limit = 64 << 20;
    for (free, inodes, verdict, words) in [
        (50_000, (1000, 500_000), Verdict::Ok, "50.0 GB free at /x"),
        (50_000, (0, 0), Verdict::Ok, "free"),
        (50_000, (100_000, 12), Verdict::Fail, "12 inodes free"),
        (500, (0, 0), Verdict::Warning, "nix-collect-garbage"),
        (83, (0, 0), Verdict::Fail, "less than the log of one job"),
        (84, (0, 0), Verdict::Warning, "84.0 MB"),
    ] {
        let inodes = if inodes == (1000, 500_000) { (1_000_000, 500_000) } else { inodes };
        check(&space(Path::new("/x"), &disk(free, inodes), limit), verdict, &[words]);
    }
}

#[test]
fn a_state_folder_is_the_agents() {
    let folder = tempfile::tempdir().unwrap();
    let mut subject = subject(folder.path());
    let own = folder.path().join("state/agent");
    check(&state_folder(&subject), Verdict::Ok, &["is not there yet", "makes it"]);
    fs::create_dir_all(&own).unwrap();
    check(&state_folder(&subject), Verdict::Ok, &["can be written"]);
    subject.agent_unit = Some(Unit { user: Some("no-such-user-here".to_owned()), ..Unit::default() });
    check(&state_folder(&subject), Verdict::Fail, &["no-such-user-here", "systemd-sysusers"]);
    let metadata = fs::metadata(&own).unwrap();
    check(&owner(&own, &metadata, "fleet", Some(metadata.uid())), Verdict::Ok, &["belongs to fleet"]);
    check(&owner(&own, &metadata, "fleet", Some(metadata.uid() + 1)), Verdict::Fail, &["chown -R fleet /"]);
}

#[test]
fn tokens_are_judged_without_being_shown() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    let source = TokenSource::File(path.clone());
    check(&only(token_file(&source)), Verdict::Fail, &["cannot read the token file"]);
    for (text, mode, verdict, words) in [
        ("0123456789abcdef\n", 0o400, Verdict::Ok, "16 letters"),
        ("0123456789abcde\n", 0o400, Verdict::Warning, "only 15 letters"),
        ("0123456789abcdef\n", 0o444, Verdict::Warning, "everybody"),
        ("", 0o400, Verdict::Fail, "holds no token"),
        ("two words\n", 0o400, Verdict::Fail, "character 4"),
    ] {
        drop(fs::remove_file(&path));
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let found = only(token_file(&source));
        check(&found, verdict, &[words]);
        assert!(text.is_empty() || !format!("{found:?}").contains(text.trim()), "{found:?}");
    }
    let given = TokenSource::Environment(Secret::new("0123456789abcdef"));
    check(&only(token_file(&given)), Verdict::Ok, &["NIXFLEET_TOKEN holds"]);

    // An environment file: the token in it is judged, and the form of the file.
    fs::remove_file(&path).unwrap();
    fs::write(&path, "NIXFLEET_TOKEN='0123456789abcdef'\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    let found = token_file(&source);
    check(&found[0], Verdict::Ok, &["16 letters"]);
    check(
        &found[1],
        Verdict::Warning,
        &["is an environment file", "without NIXFLEET_TOKEN= and without quotes"],
    );
    assert_eq!(found[1].fix, "write the token alone into it, without NIXFLEET_TOKEN= and without quotes");
    assert!(found.len() == 2 && !format!("{found:?}").contains("0123456789abcdef"), "{found:?}");
}

#[track_caller]
fn only(mut findings: Vec<Finding>) -> Finding {
    assert_eq!(findings.len(), 1, "{findings:?}");
    findings.remove(0)
}

#[test]
fn stasysmo_is_absent_fresh_stale_or_broken() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("stasysmo");
    let now = SystemTime::now();
    check(&stasysmo_files(&dir, now), Verdict::Skipped, &["metrics are null"]);
    fs::create_dir(&dir).unwrap();
    check(&stasysmo_files(&dir, now), Verdict::Warning, &["cannot read", "cpu"]);
    for name in ["cpu", "ram", "swap", "load"] {
        fs::write(dir.join(name), "1.5\n").unwrap();
    }
    check(&stasysmo_files(&dir, SystemTime::now()), Verdict::Ok, &["0 s old"]);
    check(&stasysmo_files(&dir, now + Duration::from_secs(120)), Verdict::Warning, &["older than 30 s"]);
}

#[test]
fn gpus_are_judged_by_their_status() {
    let gpu = |name: Option<&str>, status: &str| GpuVitals {
        vendor: "nvidia".to_owned(),
        name: name.map(str::to_owned),
        status: status.to_owned(),
        ..GpuVitals::default()
    };
    check(&gpus(&[]), Verdict::Skipped, &["none"]);
    check(
        &gpus(&[gpu(Some("H200"), "ok"), gpu(None, "resting")]),
        Verdict::Ok,
        &["H200: ok, nvidia: resting"],
    );
    for (status, words) in [
        ("driver_mismatch", "reboot"),
        ("no_library", "NIXFLEET_PATHS__NVML"),
        ("no_driver", "no driver"),
        ("no_permission", "/dev"),
        ("lost", "dmesg"),
        ("no_answer", "dmesg"),
        ("failed", "dmesg"),
    ] {
        check(&gpus(&[gpu(None, "ok"), gpu(None, status)]), Verdict::Warning, &[words]);
    }
}

#[test]
fn failed_units_and_unknown_values_are_warnings() {
    let units = |count| Some(nixfleet_protocol::FailedUnits { count, names: vec!["a.service".to_owned()] });
    let known = DeviceVitals {
        cpu_usage: Some(0.25),
        memory_usage: Some(0.5),
        disk_usage: Some(0.75),
        ..DeviceVitals::default()
    };
    check(&vitals_of(&known), Verdict::Ok, &["processor 25 %, memory 50 %, disk 75 %"]);
    let due = DeviceVitals { reboot_required: Some(true), failed_units: units(0), ..known.clone() };
    check(&vitals_of(&due), Verdict::Ok, &["a reboot is due"]);
    let failed = DeviceVitals { failed_units: units(1), ..known.clone() };
    check(&vitals_of(&failed), Verdict::Warning, &["1 unit has failed: a.service", "systemctl"]);
    let unknown = DeviceVitals { disk_usage: None, ..known };
    check(&vitals_of(&unknown), Verdict::Warning, &["nothing is known of disk"]);
}

#[test]
fn files_that_are_not_understood_are_named_with_line_and_reason() {
    let odd =
        nixfleet_vitals::Odd { line: Some(2), label: "MemFree".to_owned(), reason: "is odd".to_owned() };
    let fault = |path: &str| Fault { path: path.into(), odd: odd.clone() };
    assert_eq!(odd_files(&[]), []);
    let one = only(odd_files(&[fault("/proc/meminfo")]));
    check(
        &one,
        Verdict::Warning,
        &["/proc/meminfo, line 2 (MemFree): is odd", "all others are not affected"],
    );
    let many: Vec<Fault> = (0..20).map(|number| fault(&format!("/sys/{number}"))).collect();
    let found = odd_files(&many);
    assert_eq!(found.len(), MAX_FAULTS + 1);
    check(&found[MAX_FAULTS], Verdict::Warning, &["12 further files"]);
}

#[test]
fn a_host_without_an_adapter_is_told_why_it_has_no_figure_of_its_network() {
    let folder = tempfile::tempdir().unwrap();
    let paths =
        Paths { proc: folder.path().join("proc"), sys: folder.path().join("sys"), ..Paths::default() };
    fs::create_dir_all(paths.proc.join("net")).unwrap();
    let dev = "Inter-|\n face |\n  eth0: 1 0 0 0 0 0 0 0 1 0 0 0 0 0 0 0\n";
    fs::write(paths.proc.join("net/dev"), dev).unwrap();
    let wanted = ["no figure of the network", "no interface has hardware behind it or a default route: eth0"];
    check(&no_network(&paths).unwrap(), Verdict::Skipped, &wanted);
    fs::write(paths.proc.join("net/route"), "eth0 00000000 010010AC 0003 0 0 0 00000000 0 0 0\n").unwrap();
    assert_eq!(no_network(&paths), None);
}
