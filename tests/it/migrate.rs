//! `nixfleet-agent migrate` on hosts of the Go agent that are made up in a folder.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use crate::rig::program;
use host::{OldHost, USUAL, said};

pub(crate) mod host;

fn check_config(file: &Path) -> (Option<i32>, String) {
    let mut command = program();
    command.arg("--config").arg(file).arg("check-config");
    command.env("NIXFLEET_TOKEN", "token").env("NIXFLEET_STATE_DIR", "/tmp/x");
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_usual_unit_becomes_a_file_that_check_config_accepts() {
    let host = OldHost::new(
        "Environment=\"NIXFLEET_URL=wss://fleet.example.org/ws\" NIXFLEET_HOSTNAME=db\n\
         EnvironmentFile=-/etc/absent.env\nEnvironmentFile=/etc/nixfleet.env\nExecStart=/opt/nixfleet-agent\n\
         Environment=NIXFLEET_LOG_LEVEL=debug NIXFLEET_THEME_COLOR='#7aa2f7' NIXFLEET_BRANCH=from-the-unit NIXFLEET_COLOUR=red\n",
    );
    host.file(
        "etc/nixfleet.env",
        "NIXFLEET_BRANCH=\"a \\\"b\\\"\"\nNIXFLEET_INTERVAL=60\nNIXFLEET_LOCATION=home\nNIXFLEET_DEVICE_TYPE=server\nNIXFLEET_COLOUR=\n\
         NIXFLEET_TOKEN=s3cret\n",
    );
    let extra = host.file(
        "more.env",
        "NIXFLEET_REPO_URL=ssh://git@git.example.org/fleet.git\nNIXFLEET_SSH_KEY=/etc/key\nNIXFLEET_BRANCH=prod\n",
    );
    let found = host.migrate(&["--env-file", extra.to_str().unwrap()]);
    let wanted = "url = \"wss://fleet.example.org/ws\"\ninterval = 60\nhostname = \"db\"\ntheme_color = \"#7aa2f7\"\n\
                  location = \"home\"\ndevice_type = \"server\"\nlog_level = \"debug\"\n\n[repo]\n\
                  url = \"ssh://git@git.example.org/fleet.git\"\nbranch = \"prod\"\nssh_key = \"/etc/key\"\n";
    assert_eq!(found.settings(), wanted);
    assert!(!found.err.contains("absent.env"), "it may be absent: {}", found.err);
    assert!(!found.err.contains("NIXFLEET_COLOUR"), "an empty variable is none: {}", found.err);
    assert_eq!(check_config(&host.file("printed.toml", &found.out)), (Some(0), String::new()));

    let written = host.path("new/agent.toml");
    let mut command = Command::new("sh");
    let script = "umask 077; exec \"$@\"";
    command.args(["-c", script, "sh", env!("CARGO_BIN_EXE_nixfleet-agent"), "migrate", "--write", "--root"]);
    command.arg(host.folder.path()).arg("--env-file").arg(extra).arg("--config").arg(&written);
    let wrote = said(command.arg("--unit").arg(host.path("unit")).output().unwrap());
    assert_eq!((wrote.code, wrote.out.as_str()), (Some(0), ""), "{}", wrote.err);
    assert_eq!(fs::read_to_string(&written).unwrap(), found.out);
    assert_eq!(fs::metadata(&written).unwrap().permissions().mode() & 0o7777, 0o644, "whatever the umask is");
    assert_eq!(fs::read_dir(host.path("new")).unwrap().count(), 1, "no temporary file is left");
}

#[test]
fn the_token_is_told_by_its_place_and_never_shown() {
    let file = OldHost::new(&format!("{USUAL}EnvironmentFile=/run/agent.env\n"));
    let path = file.file("run/agent.env", "export NIXFLEET_TOKEN='s3cret'\n");
    for (mode, words) in [(0o644, "mode 0644, so others"), (0o400, "mode 0400)")] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let found = file.migrate(&[]);
        found.tells("token", &["/run/agent.env", words, "/etc/nixfleet/token, mode 0400"]);
        assert!(!format!("{}{}", found.out, found.err).contains("s3cret"), "{}{}", found.out, found.err);
    }
    let unit = OldHost::new(&format!("{USUAL}Environment=NIXFLEET_TOKEN=s3cret\n"));
    let found = unit.migrate(&["--write"]);
    found.tells("token", &["Environment= of the unit", "make a new one"]);
    let written = fs::read_to_string(unit.path("etc/nixfleet/agent.toml")).unwrap();
    assert!(!format!("{written}{}", found.err).contains("s3cret"), "{written}{}", found.err);
    OldHost::new(USUAL).migrate(&[]).tells("token", &["none was seen", "/etc/nixfleet/token"]);
    let absent = OldHost::new(&format!("{USUAL}EnvironmentFile=/run/gone.env\n")).migrate(&[]);
    absent.tells("token", &["/run/gone.env was not read", "does not exist"]);
    assert!(!absent.err.contains("none was seen"), "it may be in there: {}", absent.err);
}

/// A line of the unit; what is in the settings; a difference with words.
type Case<'a> = (&'a str, &'a str, &'a str, &'a [&'a str]);

#[test]
fn each_difference_is_told_with_what_to_do() {
    let cases: [Case<'_>; 14] = [
        ("NIXFLEET_INTERVAL=", "interval = 5\n", "interval", &["5 s", "30 s", "interval = 5"]),
        ("NIXFLEET_INTERVAL=7200", "interval = 3600\n", "interval", &["7200", "3600"]),
        ("NIXFLEET_INTERVAL=5m", "", "interval", &["\"5m\"", "left out"]),
        ("NIXFLEET_LOG_LEVEL=loud", "", "log level", &["\"loud\"", "meant info", "left out"]),
        ("NIXFLEET_TOKEN_CACHE=/x", "", "token cache", &["NIXFLEET_TOKEN_CACHE is gone", "remove the file"]),
        ("NIXFLEET_NIXPKGS_VERSION=24.05", "", "nixpkgs version", &["\"24.05\"", "running system"]),
        ("NIXFLEET_COLOUR=red", "", "variables", &["NIXFLEET_COLOUR", "left out"]),
        ("NIXFLEET_HOSTNAME=web.lan", "hostname = \"web\"\n", "hostname", &["\"web.lan\"", "another row"]),
        (
            "NIXFLEET_HOSTNAME=a_b",
            "\n[rebuild]\n# The name that the flake has for this host.\nflake_attr = \"a_b\"\n",
            "hostname",
            &["\"a_b\"", "becomes a-b"],
        ),
        ("NIXFLEET_HOSTNAME=_db_1_", "hostname = \"db-1\"\n", "hostname", &["\"_db_1_\"", "becomes db-1,"]),
        ("NIXFLEET_HOSTNAME=___", "", "hostname", &["\"___\" is left out", "such as web-1"]),
        (
            "NIXFLEET_URL=ws://fleet.example.org/ws",
            "",
            "to be set",
            &["url: ws://", "wss://", "allow_insecure = true"],
        ),
        (
            "NIXFLEET_REPO_DIR=/home/alice/fleet",
            "",
            "repository",
            &["\"/home/alice/fleet\"", "/var/lib/nixfleet-agent/repo"],
        ),
        ("NIXFLEET_REPO_URL=https://a:s3cret@git/x", "", "repository", &["contains a login", "chmod 0640"]),
    ];
    for (line, in_settings, about, words) in cases {
        let found = OldHost::new(&format!("{USUAL}Environment={line}\n")).migrate(&[]);
        assert!(found.settings().contains(in_settings), "{line}: {}", found.out);
        found.tells(about, words);
        assert!(
            !found.settings().contains("\ndir = "),
            "a folder beside an address would be overwritten by pull"
        );
        assert!(!found.err.contains("s3cret"), "{}", found.err);
    }
    for own_name in ["%H", "%l"] {
        let found = OldHost::new(&format!("{USUAL}Environment=NIXFLEET_HOSTNAME={own_name}\n")).migrate(&[]);
        assert!(!found.settings().contains("hostname"), "the name of the host: {}", found.out);
    }
    let quiet = OldHost::new(&format!("{USUAL}EnvironmentFile=/t\n"));
    quiet.file("t", "NIXFLEET_TOKEN=x\n");
    let lines = quiet.migrate(&[]).err;
    assert_eq!(lines.lines().filter(|line| line.contains(" -> ")).count(), 1, "only the token:\n{lines}");
}

/// What `migrate` says about the module uses its names, and nothing that is only possible with a file.
#[test]
fn for_the_module_differences_name_its_options() {
    let host = OldHost::new(&format!(
        "{USUAL}User=carol\nEnvironment=NIXFLEET_HOSTNAME=web.lan NIXFLEET_NIXPKGS_VERSION=24.05 NIXFLEET_COLOUR=red\n\
         Environment=NIXFLEET_REPO_URL=https://a:s3cret@git/x\nEnvironmentFile=/run/agenix/token\n"
    ));
    let found = host.migrate(&["--nixos"]);
    found.tells("hostname", &["rebuild.flakeAttr keeps"]);
    found.tells("nixpkgs version", &["set settings.nixpkgs_version"]);
    found.tells("repository", &["in the Nix store", "repo.sshKeyFile"]);
    found.tells("variables", &["NIXFLEET_COLOUR", "put it into settings"]);
    found.tells("token", &["/run/agenix/token was not read", "named in tokenFile"]);
    assert!(!found.err.contains("chmod"), "the file is in the Nix store: {}", found.err);
    // The old module had one such file, which was its `tokenFile`.
    assert!(found.out.contains("\n    tokenFile = \"/run/agenix/token\";\n"), "{}", found.out);
    let ssh = OldHost::new("User=carol\nEnvironment=NIXFLEET_URL=ws://x/ws NIXFLEET_REPO_URL=git@git:x\n");
    let found = ssh.migrate(&["--nixos"]);
    found.tells("SSH key", &["set repo.sshKeyFile"]);
    found.tells("to be set", &["settings.allow_insecure = true"]);
}

#[test]
fn keys_checkouts_and_sudo_rules_of_the_old_user_are_named() {
    let unit =
        "User=alice\nEnvironment=NIXFLEET_URL=wss://x/ws NIXFLEET_REPO_URL=git@git.example.org:fleet.git\n";
    let host = OldHost::new(unit);
    host.migrate(&[]).tells("SSH key", &["\"alice\"", "has no key with a usual name", "set repo.ssh_key"]);
    let stranger = OldHost::new(&unit.replace("alice", "carol"));
    stranger.migrate(&[]).tells("SSH key", &["\"carol\"", "were not seen", "on the host itself"]);
    host.file("home/alice/.ssh/id_ed25519", "key");
    let found = host.migrate(&[]);
    assert!(found.settings().contains("\nssh_key = \"/home/alice/.ssh/id_ed25519\"\n"), "{}", found.out);
    host.file("home/alice/.ssh/id_rsa", "key");
    host.file("home/alice/.ssh/config", "Host git");
    let found = host.migrate(&[]);
    assert!(!found.settings().contains("ssh_key"), "two keys: {}", found.out);
    found.tells("SSH key", &["/home/alice/.ssh/id_rsa, /home/alice/.ssh/id_ed25519", "which of"]);
    found.tells("SSH key", &["/home/alice/.ssh/config", "/root/.ssh/config"]);
    assert!(!found.err.contains("belongs to"), "there is no checkout yet: {}", found.err);

    host.alices("var/lib/nixfleet-agent/repo");
    host.file("etc/sudoers", "# alice: nixos-rebuild\nbob ALL = nixos-rebuild\nalice ALL = reboot\n");
    host.file(
        "etc/sudoers.d/rebuild",
        "\nalice ALL = NOPASSWD: \\\n  /run/current-system/sw/bin/nixos-rebuild\n",
    );
    let found = host.migrate(&[]);
    found.tells("repository", &["belongs to alice", "mv /var/lib/nixfleet-agent/repo", "chown -R root:root"]);
    found.tells("sudo", &["/etc/sudoers.d/rebuild:2", "remove the rule"]);
    assert_eq!(found.err.lines().filter(|line| line.starts_with("sudo")).count(), 1, "{}", found.err);

    let root = OldHost::new(&unit.replace("User=alice\n", ""));
    let found = root.migrate(&[]);
    assert!(!found.err.contains("SSH key"), "root's keys are found as before: {}", found.err);

    let plain =
        OldHost::new("User=alice\nEnvironment=NIXFLEET_URL=wss://x/ws NIXFLEET_NIXCFG=/home/alice/fleet\n");
    plain.alices("home/alice/fleet");
    let found = plain.migrate(&[]);
    assert!(found.settings().contains("[repo]\ndir = \"/home/alice/fleet\"\n"), "{}", found.out);
    found.tells("repository", &["\"/home/alice/fleet\" as alice, its owner"]);
}

#[test]
fn units_that_would_stay_in_force_and_arguments_that_are_not_here_are_named() {
    let host = OldHost::new("");
    let unit = "# /etc/systemd/system/nixfleet-agent.service\n[Service]\nExecStart=/opt/bin/nixfleet-agent --quiet\n\
                Environment=NIXFLEET_URL=wss://x/ws\n# /etc/systemd/system/nixfleet-agent.service.d/50-x.conf\n\
                [Service]\nEnvironment=NIXFLEET_INTERVAL=10\n# /usr/lib/systemd/system/service.d/10-all.conf\n";
    host.file("unit", unit);
    let found = host.migrate(&[]);
    assert!(found.settings().contains("interval = 10\n"), "{}", found.out);
    found.tells("unit", &["/etc/systemd/system/nixfleet-agent.service would hide", "daemon-reload"]);
    found.tells("unit", &["drop-in /etc/systemd/system/nixfleet-agent.service.d/50-x.conf", "daemon-reload"]);
    assert!(!found.err.contains("10-all.conf"), "{}", found.err);
    found.tells("arguments", &["\"--quiet\"", "without arguments"]);
    host.file("unit", &unit.replace("nixfleet-agent --quiet", "nixfleet-agent --check"));
    assert!(!host.migrate(&[]).err.contains("arguments  "), "there is --check here, too");
    host.file("unit", &unit.replace("/opt/bin/nixfleet-agent --quiet", "-/nix/store/x-start --quiet"));
    host.migrate(&[]).tells("unit", &["\"-/nix/store/x-start\"", "--env-file"]);
    // On NixOS each switch makes the units anew.
    host.file("etc/NIXOS", "");
    let found = host.migrate(&["--toml"]);
    assert!(!found.err.contains("would hide") && !found.err.contains("drop-in"), "{}", found.err);
}

#[test]
fn systemd_is_asked_for_the_unit_and_a_persons_unit_is_pointed_out() {
    let host = OldHost::new("");
    let old = host.file(
        "old",
        "# /etc/systemd/system/nixfleet-agent.service\n[Service]\nEnvironment=NIXFLEET_URL=wss://x/ws\n",
    );
    let found = host.with_systemctl(
        &format!("[ \"$1 $4\" = 'cat nixfleet-agent.service' ] && cat {}", old.display()),
        &[],
    );
    assert!(found.settings().starts_with("url = \"wss://x/ws\"\n"), "{}", found.out);

    let none = host.with_systemctl("exit 1", &[]);
    assert_eq!((none.code, none.out.as_str()), (Some(1), ""));
    for words in ["systemctl shows no nixfleet-agent.service", "--unit FILE", "--env-file FILE"] {
        assert!(none.err.contains(words), "{}", none.err);
    }
    let unit = host.file(
        "home/alice/.config/systemd/user/nixfleet-agent.service",
        "[Service]\nEnvironment=NIXFLEET_URL=wss://x/ws\n",
    );
    host.alices("home/alice/.config/systemd/user/nixfleet-agent.service");
    let none = host.migrate(&[]);
    assert_eq!(none.code, Some(1));
    assert!(none.err.contains(&format!("--unit {}", unit.display())), "{}", none.err);
    let named = said(host.command(&["--unit", unit.to_str().unwrap()]).output().unwrap());
    named.tells(
        "unit",
        &["a person's service manager", "homeManagerModules.default", "systemctl --user disable --now"],
    );
    named.tells("user", &["as \"alice\""]);

    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("dist/systemd/nixfleet-agent.service");
    let own = host.with_systemctl(&format!("cat {}", own.display()), &[]);
    assert_eq!(own.code, Some(1));
    assert!(own.err.contains("already that of this agent"), "{}", own.err);

    let empty = host.with_systemctl("exit 1", &["--env-file", host.file("e", "A=1\n").to_str().unwrap()]);
    assert!(empty.code == Some(1) && empty.err.contains("no setting in"), "{}", empty.err);
    let env = host.file("f", "NIXFLEET_URL=wss://y/ws\n");
    let found = host.with_systemctl("exit 1", &["--env-file", env.to_str().unwrap()]);
    assert!(found.settings().starts_with("url = \"wss://y/ws\"\n"), "{}", found.out);
}

#[test]
fn nothing_that_exists_is_overwritten_and_nothing_incomplete_is_written() {
    let host = OldHost::new(USUAL);
    let file = host.file("etc/nixfleet/agent.toml", "mine");
    let found = host.migrate(&["--write"]);
    assert!(found.code == Some(1) && found.err.contains("exists and is left as it is"), "{}", found.err);
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
    fs::remove_file(&file).unwrap();
    symlink("/nix/store/gone", &file).unwrap();
    let found = host.migrate(&["--write"]);
    assert!(found.code == Some(1) && found.err.contains("is a link"), "{}", found.err);
    assert!(file.is_symlink());
    fs::remove_file(&file).unwrap();
    // The folder cannot be made, because a file has its name.
    fs::remove_dir(host.path("etc/nixfleet")).unwrap();
    host.file("etc/nixfleet", "");
    let found = host.migrate(&["--write"]);
    assert!(found.code == Some(1) && found.err.contains("cannot make the folder"), "{}", found.err);
    fs::remove_file(host.path("etc/nixfleet")).unwrap();

    host.file("etc/NIXOS", "");
    let found = host.migrate(&["--write"]);
    assert!(found.code == Some(1) && found.err.contains("migrate --nixos"), "{}", found.err);
    fs::remove_file(host.path("etc/NIXOS")).unwrap();

    let incomplete = OldHost::new("Environment=NIXFLEET_INTERVAL=5 NIXFLEET_REPO_DIR=relative\n");
    let found = incomplete.migrate(&["--write"]);
    assert_eq!(found.code, Some(1));
    found.tells("to be set", &["url: missing"]);
    found.tells("to be set", &["repo.dir: \"relative\" is not an absolute path"]);
    assert!(!incomplete.path("etc/nixfleet").exists(), "{}", found.err);

    let login =
        OldHost::new(&format!("{USUAL}Environment=NIXFLEET_REPO_URL=https://token@git.example.org/x\n"));
    assert_eq!(login.migrate(&["--write"]).code, Some(0));
    let mode = fs::metadata(login.path("etc/nixfleet/agent.toml")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o640, "with a login");
}

#[test]
fn on_nixos_the_options_of_the_module_are_printed() {
    let host = OldHost::new(&format!(
        "{USUAL}EnvironmentFile=/run/agenix/fleet\nEnvironment=NIXFLEET_INTERVAL= NIXFLEET_LOCATION=attic \
         \"NIXFLEET_THEME_COLOR=a \\\"${{b}}\\\\\" NIXFLEET_HOSTNAME=web_1\n"
    ));
    host.file("run/agenix/fleet", "NIXFLEET_TOKEN=s3cret\n");
    host.file("etc/NIXOS", "");
    let found = host.migrate(&[]);
    let (head, options) = found.out.split_once('\n').unwrap();
    assert!(
        head.starts_with("# Options of the Go agent's module, by nixfleet-agent migrate. Read: "),
        "{head}"
    );
    let wanted = r##"{
  services.nixfleet-agent = {
    enable = true;
    url = "wss://fleet.example.org/ws";
    tokenFile = "/run/agenix/fleet";
    # The default of the Go agent. Here it is 30.
    interval = 5;
    # Dashboards accept letters, digits and hyphens only.
    hostname = "web-1";
    themeColor = "a \"\${b}\\";
    settings.location = "attic";
    repo.url = "https://git.example.org/fleet.git";
    # The name that the flake has for this host.
    rebuild.flakeAttr = "web_1";
  };
}
"##;
    assert_eq!(options, wanted);
    let toml = host.migrate(&["--toml"]);
    assert!(toml.settings().starts_with("url = "), "{}", toml.out);
    let elsewhere = OldHost::new(USUAL).migrate(&["--nixos"]);
    assert!(elsewhere.out.contains("tokenFile = \"/run/secrets/nixfleet-token\";"), "{}", elsewhere.out);
}

#[test]
fn text_of_the_unit_does_nothing_to_a_terminal_or_a_file() {
    let host = OldHost::new(&format!(
        "{USUAL}Environment=NIXFLEET_BRANCH=a\x1b]0;title\x07 NIXFLEET_LOG_LEVEL=x\u{202e}y NIXFLEET_Z\x1b[2J=1\n"
    ));
    let found = host.migrate(&[]);
    found.tells("variables", &["NIXFLEET_BRANCH is left out", "control characters"]);
    found.tells("variables", &["NIXFLEET_Z is none"]);
    let shown = format!("{}{}", found.out, found.err);
    assert!(!shown.contains(['\x1b', '\x07', '\u{202e}']), "{shown:?}");
}

#[test]
fn what_cannot_be_read_or_meant_is_told() {
    let host = OldHost::new("");
    host.file("unit", "<?xml version=\"1.0\"?>\n<plist version=\"1.0\"><dict/></plist>\n");
    let found = host.migrate(&[]);
    assert!(
        found.code == Some(1) && found.err.contains("launchd") && found.err.contains("--env-file"),
        "{}",
        found.err
    );
    host.file("unit", &"x".repeat(300 * 1024));
    assert_eq!(host.migrate(&[]).code, Some(1), "too long");
    let absent = OldHost::new(USUAL).migrate(&["--env-file", "/no/such/file"]);
    assert!(
        absent.code == Some(1) && absent.err.contains("/no/such/file: it does not exist"),
        "{}",
        absent.err
    );
    for wrong in [["--nixos", "--toml"], ["--nixos", "--write"], ["--all", "--write"]] {
        assert_eq!(OldHost::new(USUAL).migrate(&wrong).code, Some(64), "{wrong:?}");
    }
    let without_unit = said(OldHost::new(USUAL).command(&[]).output().unwrap());
    assert!(without_unit.code == Some(64) && without_unit.err.contains("--unit"), "{}", without_unit.err);
}
