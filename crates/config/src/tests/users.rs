//! What the users of the settings get: the supervisor and the meters.

use std::collections::BTreeMap;

use nixfleet_jobs::spec::Secrets;

use super::*;

#[test]
fn without_settings_the_meters_have_their_own_defaults() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("agent.toml");
    fs::write(&file, "").unwrap();
    let host = Host::for_meters(&Source { file: Some(file), environment: BTreeMap::new() }).unwrap();
    let mut own = nixfleet_vitals::Settings::default();
    // Another program has no subcommand for it.
    own.paths.gpu_reader = Some("/proc/self/exe".into());
    assert_eq!(host.vitals_settings(), own);
}

/// A value of its own for each key, so that none can take the place of another.
#[test]
fn each_setting_reaches_the_supervisor_and_the_meters() {
    let given = Given::new(
        r#"
hostname = "web-2"
user = "alice"
[repo]
url = "https://git.example.org/fleet.git"
dir = "/the/repo"
branch = "the-branch"
ssh_key = "/the/key"
submodules = true
lfs = true
[rebuild]
program = ["sudo", "rebuild"]
flake_attr = "the-attribute"
extra_args = ["--impure"]
log_format = "internal-json"
env = { NIX_SSHOPTS = "-i /the/key" }
netrc_file = "/the/netrc"
access_tokens_file = "/the/tokens"
[rollback]
confirm_timeout = 240
hold = 9
checks = [{ run = ["curl", "-f"], timeout = 8 }, { run = ["true"] }]
[jobs]
launcher = "systemd"
dir = "/the/jobs"
log_limit = 70000
stop_grace = 11
keep = 12
[preflight]
nix_free = 1
nix_inodes = 2
state_free = 3
boot_free = 4
[vitals]
enabled = false
disks = ["/the/disk"]
temperatures = ["the-chip"]
[reboot]
enable = true
[paths]
proc = "/the/proc"
sys = "/the/sys"
workload = "/the/workload"
nvml = "/the/nvml"
systemd = "/the/systemd"
current_system = "/the/current"
booted_system = "/the/booted"
system_profile = "/the/profile"
switch_lock = "/the/lock"
boot = "/the/boot"
cgroups = "/the/cgroups"
[commands.backup]
run = ["restic", "backup"]
"#,
        &[],
    )
    .without("NIXFLEET_HOSTNAME");
    let host = given.loads().host;
    let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<String>>();
    let settings = nixfleet_jobs::Settings {
        hostname: "web-2".to_owned(),
        host_type: host.host_type,
        user: "alice".to_owned(),
        repo: Repo {
            url: Some(Address::new("https://git.example.org/fleet.git".to_owned())),
            dir: Some("/the/repo".into()),
            branch: "the-branch".to_owned(),
            ssh_key: Some("/the/key".into()),
            submodules: true,
            lfs: true,
        },
        rebuild: Rebuild {
            program: Some(words(&["sudo", "rebuild"])),
            flake_attr: Some("the-attribute".to_owned()),
            extra_args: words(&["--impure"]),
            log_format: Some("internal-json".to_owned()),
            env: Secrets([("NIX_SSHOPTS".to_owned(), "-i /the/key".to_owned())].into()),
            netrc_file: Some("/the/netrc".into()),
            access_tokens_file: Some("/the/tokens".into()),
        },
        rollback: Rollback {
            confirm_timeout: Some(Duration::from_secs(240)),
            hold: Duration::from_secs(9),
            checks: vec![
                Check { argv: words(&["curl", "-f"]), timeout: Duration::from_secs(8) },
                Check { argv: words(&["true"]), timeout: Duration::from_secs(30) },
            ],
        },
        commands: host.commands.clone(),
        reboot: true,
        state_dir: "/state".into(),
        dir: "/the/jobs".into(),
        log_limit: 70_000,
        own_units: true,
        stop_grace: Duration::from_secs(11),
        keep: 12,
        remarks: Vec::new(),
        proc: "/the/proc".into(),
        system: nixfleet_jobs::settings::SystemPaths {
            running: "/the/current".into(),
            profile: "/the/profile".into(),
            lock: "/the/lock".into(),
            boot: "/the/boot".into(),
            cgroups: "/the/cgroups".into(),
            systemd: "/the/systemd".into(),
            efi_variables: "/the/sys/firmware/efi/efivars".into(),
        },
        preflight: FreeSpace { nix_bytes: 1, nix_inodes: 2, state_bytes: 3, boot_bytes: Some(4) },
    };
    assert_eq!(host.job_settings(), settings);
    assert_eq!(host.commands["backup"].steps[0].argv, ["restic", "backup"]);
    let settings = nixfleet_vitals::Settings {
        enabled: false,
        disks: vec!["/the/disk".into()],
        temperatures: words(&["the-chip"]),
        stasysmo: None,
        paths: nixfleet_vitals::settings::Paths {
            proc: "/the/proc".into(),
            sys: "/the/sys".into(),
            workload: "/the/workload".into(),
            nvml: Some("/the/nvml".into()),
            gpu_reader: Some("/proc/self/exe".into()),
            systemd: "/the/systemd".into(),
            current_system: "/the/current".into(),
            booted_system: "/the/booted".into(),
        },
    };
    assert_eq!(host.vitals_settings(), settings);
}
