use std::fs;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

mod client_certificates;
mod files;
mod hints;
mod hostnames;
mod last_good;
mod messages;
mod page;
mod secrets;
mod tokens;
mod users;

/// A complete environment that does not depend on this machine.
fn minimal() -> Vec<(&'static str, &'static str)> {
    vec![
        ("NIXFLEET_URL", "wss://fleet.example.org/ws"),
        ("NIXFLEET_TOKEN", "s3cret"),
        ("NIXFLEET_HOSTNAME", "web-1"),
        ("NIXFLEET_STATE_DIR", "/state"),
    ]
}

/// A folder with `agent.toml` in it.
struct Given {
    folder: TempDir,
    source: Source,
}

impl Given {
    fn new(toml: &str, extra: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("agent.toml");
        fs::write(&file, toml).unwrap();
        let variables = minimal().into_iter().chain(extra.iter().copied());
        let environment = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Self { source: Source { file: Some(file), environment }, folder }
    }

    fn without(mut self, name: &str) -> Self {
        self.source.environment.remove(name);
        self
    }

    #[track_caller]
    fn loads(&self) -> Config {
        Config::load(&self.source).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The errors, with FILE in place of the path of the file.
    #[track_caller]
    fn fails(&self) -> String {
        let file = self.folder.path().join("agent.toml");
        let error = Config::load(&self.source).expect_err("a problem").to_string();
        error.replace(file.to_str().unwrap(), "FILE")
    }
}

#[test]
fn the_environment_alone_is_enough() {
    let given = Given::new("", &[]);
    let config = given.loads();
    assert_eq!(config.connection.url.expose().as_str(), "wss://fleet.example.org/ws");
    assert_eq!(config.connection.interval, Duration::from_secs(30));
    assert_eq!(config.connection.token.read().unwrap().expose(), "s3cret");
    let host = config.host;
    assert_eq!((host.hostname.as_str(), host.host_type), ("web-1", "nixos"));
    assert_eq!(host.reported_version, env!("CARGO_PKG_VERSION"));
    assert_eq!(host.jobs.dir, PathBuf::from("/state/jobs"));
    assert_eq!(host.jobs.log_limit, 64 * 1024 * 1024);
    assert_eq!((host.jobs.stop_grace, host.jobs.keep), (Duration::from_secs(10), 20));
    assert_eq!(
        host.repo,
        Repo {
            url: None,
            dir: None,
            branch: "main".to_owned(),
            ssh_key: None,
            submodules: false,
            lfs: false
        }
    );
    assert_eq!(host.log_level, "info");
    assert_eq!(host.paths.current_system, PathBuf::from("/run/current-system"));
}

#[test]
fn a_variable_wins_over_the_file_and_the_file_over_the_default() {
    let toml =
        "interval = 5\nlocation = 'home'\n[repo]\nbranch = 'stable'\ndir = '/file'\n[jobs]\nkeep = 3\n";
    let given = Given::new(toml, &[("NIXFLEET_BRANCH", "edge"), ("NIXFLEET_JOBS__STOP_GRACE", "2")]);
    let config = given.loads();
    assert_eq!(config.connection.interval, Duration::from_secs(5));
    assert_eq!(config.host.location, "home");
    assert_eq!((config.host.repo.branch.as_str(), config.host.repo.dir), ("edge", Some("/file".into())));
    assert_eq!((config.host.jobs.keep, config.host.jobs.stop_grace), (3, Duration::from_secs(2)));
}

#[test]
fn an_empty_variable_counts_as_unset() {
    let given = Given::new("interval = 5", &[("NIXFLEET_INTERVAL", ""), ("NIXFLEET_REPO_URL", "")]);
    assert_eq!(given.loads().connection.interval, Duration::from_secs(5));
    assert_eq!(given.loads().host.repo.url, None);
}

#[test]
fn the_newest_name_of_a_variable_wins() {
    let names = ["NIXFLEET_NIXCFG", "NIXFLEET_REPO_DIR", "NIXFLEET_REPO__DIR"];
    for count in 1..=names.len() {
        let set: Vec<(&str, &str)> = names[..count].iter().map(|name| (*name, *name)).collect();
        let values: Vec<String> = set.iter().map(|(_, name)| format!("/{name}")).collect();
        let set: Vec<(&str, &str)> =
            set.iter().zip(&values).map(|((name, _), value)| (*name, value.as_str())).collect();
        let given = Given::new("", &set);
        assert_eq!(given.loads().host.repo.dir, Some(PathBuf::from(&values[count - 1])));
    }
}

#[test]
fn the_long_name_of_a_variable_wins_over_the_short_one() {
    let given = Given::new("", &[("NIXFLEET_SSH_KEY", "/short"), ("NIXFLEET_REPO__SSH_KEY", "/long")]);
    assert_eq!(given.loads().host.repo.ssh_key, Some(PathBuf::from("/long")));
}

#[test]
fn text_that_looks_like_a_number_stays_text() {
    let given = Given::new(
        "",
        &[("NIXFLEET_TOKEN", "12345"), ("NIXFLEET_HOSTNAME", "007"), ("NIXFLEET_BRANCH", "true")],
    );
    let config = given.loads();
    assert_eq!(config.connection.token.read().unwrap().expose(), "12345");
    assert_eq!((config.host.hostname.as_str(), config.host.repo.branch.as_str()), ("007", "true"));
}

#[test]
fn every_key_can_be_set_in_the_file_and_by_a_variable() {
    for key in keys::KEYS {
        let (section, name) = key.path.rsplit_once('.').unwrap_or(("", key.path));
        let section = section.replace('*', "my-backup");
        let head = if section.is_empty() { String::new() } else { format!("[{section}]\n") };
        let given = Given::new(&format!("{head}{name} = {}\n", key.example), &[]).without("NIXFLEET_URL");
        let (layers, problems) = layers::Layers::read(&given.source).unwrap();
        assert_eq!(problems, [], "{}", key.path);
        let origin = layers.origin(&key.path.replace('*', "my-backup"));
        if !matches!(key.path, "hostname" | "state_dir") {
            assert!(origin.ends_with("agent.toml"), "{}: {origin}", key.path);
        }

        let variable =
            format!("NIXFLEET_{}", key.path.replace('*', "my_backup").to_uppercase().replace('.', "__"));
        let given = Given::new("", &[(&variable, key.example.trim_matches('"'))]);
        let (layers, problems) = layers::Layers::read(&given.source).unwrap();
        assert_eq!(problems, [], "{variable}");
        let origin = layers.origin(&key.path.replace('*', "my-backup"));
        assert_eq!(origin, format!("environment variable {variable}"));
    }
}

#[test]
fn the_table_of_keys_has_every_field_of_the_file() {
    // The error for an unknown field lists all known fields.
    const SECTIONS: [&str; 10] = [
        "repo",
        "rebuild",
        "rollback",
        "jobs",
        "preflight",
        "vitals",
        "prewarm",
        "reboot",
        "metrics",
        "paths",
    ];
    for section in SECTIONS.into_iter().chain(["", "commands.x"]) {
        let head = if section.is_empty() { String::new() } else { format!("[{section}]\n") };
        let toml: String = format!("{head}nonsense = 1\n");
        let error =
            figment::Figment::from(<figment::providers::Toml as figment::providers::Format>::string(&toml))
                .extract::<file::File>()
                .unwrap_err();
        let figment::error::Kind::UnknownField(_, fields) = error.kind else { panic!("{error}") };
        for field in fields {
            let path = if section.is_empty() { (*field).to_owned() } else { format!("{section}.{field}") };
            let parts: Vec<String> = path.split('.').map(str::to_owned).collect();
            let is_section = path == "commands" || SECTIONS.contains(&path.as_str());
            assert!(is_section || keys::find(&parts).is_some(), "{path} is not in KEYS");
        }
    }
}

#[test]
fn the_table_of_keys_has_each_key_once() {
    let paths: Vec<&str> = keys::KEYS.iter().map(|key| key.path).collect();
    let unique: std::collections::BTreeSet<&&str> = paths.iter().collect();
    assert_eq!(unique.len(), paths.len(), "{paths:?}");
}

#[test]
fn a_url_without_a_path_means_ws() {
    for (given, wanted) in [
        ("ws://localhost:8000", "ws://localhost:8000/ws"),
        ("ws://127.8.9.1/", "ws://127.8.9.1/ws"),
        ("ws://[::1]:80/agent?x=1", "ws://[::1]/agent?x=1"),
        ("wss://fleet.example.org/a/b", "wss://fleet.example.org/a/b"),
    ] {
        assert_eq!(
            Given::new("", &[("NIXFLEET_URL", given)]).loads().connection.url.expose().as_str(),
            wanted
        );
    }
    let allowed = [("NIXFLEET_URL", "ws://192.0.2.1/ws"), ("NIXFLEET_ALLOW_INSECURE", "1")];
    assert_eq!(Given::new("", &allowed).loads().connection.url.expose().as_str(), "ws://192.0.2.1/ws");
}

#[test]
fn a_supervisor_needs_neither_url_nor_token() {
    let toml = "interval = 'x'\ntoken_file = 5\nca_file = 'rel'\n[commands.a]\nrun = ['true']\n";
    let given = Given::new(toml, &[("NIXFLEET_URL", "gopher://x")]).without("NIXFLEET_TOKEN");
    let host = Host::load(&given.source).unwrap();
    assert_eq!(host.commands["a"].steps[0].argv, ["true"]);
    let given = Given::new("[jobs]\nkeep = 0\n", &[]);
    assert!(Host::load(&given.source).unwrap_err().to_string().starts_with("jobs.keep: 0 is not"));
}

#[test]
fn commands_keep_their_steps_and_limits() {
    let toml = r#"
        [commands.backup]
        run = ["restic", "backup", "/home"]
        timeout = 600
        killable = false
        env = { LANG = "C" }
        [commands.deploy]
        steps = [["a", "b c"], { run = ["d"], activation = true }]
    "#;
    let variables = [("NIXFLEET_COMMANDS__TEST_LONG__RUN", r#"["sh","-c","sleep 1; echo x"]"#)];
    let commands = Given::new(toml, &variables).loads().host.commands;
    let backup = &commands["backup"];
    assert_eq!((backup.timeout, backup.killable), (Some(Duration::from_secs(600)), false));
    assert_eq!(backup.env["LANG"], "C");
    let deploy = &commands["deploy"];
    let steps: Vec<(&[String], bool)> =
        deploy.steps.iter().map(|step| (step.argv.as_slice(), step.activation)).collect();
    assert_eq!(steps, [(&["a".to_owned(), "b c".to_owned()][..], false), (&["d".to_owned()][..], true)]);
    assert_eq!((deploy.timeout, deploy.killable), (None, true));
    assert_eq!(commands["test-long"].steps[0].argv, ["sh", "-c", "sleep 1; echo x"]);
}

#[test]
fn the_state_folder_is_systemds_when_there_is_one() {
    let given = Given::new("", &[("STATE_DIRECTORY", "/var/lib/a:/var/lib/b")]).without("NIXFLEET_STATE_DIR");
    let host = given.loads().host;
    assert_eq!(host.state_dir, PathBuf::from("/var/lib/a"));
    assert_eq!(host.jobs.dir, PathBuf::from("/var/lib/a/jobs"));
    let given = Given::new("", &[("STATE_DIRECTORY", "/s"), ("NIXFLEET_REPO_URL", "git@h:r")])
        .without("NIXFLEET_STATE_DIR");
    assert_eq!(given.loads().host.repo.dir, Some(PathBuf::from("/s/repo")));
}

#[test]
fn a_login_in_the_repository_url_stays_on_the_host() {
    for (given, wanted) in [
        ("https://me:pw@git.example.org/r.git", "https://git.example.org/r.git"),
        ("https://t0ken@git.example.org/r.git", "https://git.example.org/r.git"),
        ("https://t0ken:@git.example.org/r.git", "https://git.example.org/r.git"),
        ("https://git.example.org/r.git", "https://git.example.org/r.git"),
        ("git@git.example.org:r.git", "git@git.example.org:r.git"),
    ] {
        let repo = Given::new("", &[("NIXFLEET_REPO_URL", given)]).loads().host.repo;
        assert_eq!(repo.public_url().as_deref(), Some(wanted));
    }
}

proptest! {
    #[test]
    fn no_text_in_any_variable_panics(name in prop::sample::select(every_name()), text in "\\PC*|.{0,80}", other in ".{0,20}") {
        let mut given = Given::new("", &[(&name, &text)]);
        given.source.environment.insert(format!("NIXFLEET_{other}"), text);
        if let Err(error) = Config::load(&given.source) {
            prop_assert_eq!(error.to_string().lines().count(), error.problems().len());
        }
        drop(Host::load(&given.source));
        environment::warnings(&given.source);
    }

    #[test]
    fn no_file_panics(text in ".{0,200}") {
        let given = Given::new(&text, &[]);
        drop(Config::load(&given.source));
    }
}

fn every_name() -> Vec<String> {
    let long = keys::KEYS.iter().map(|key| key.path.replace('*', "x").to_uppercase().replace('.', "__"));
    let short = ["TOKEN", "CONFIG", "NIXCFG", "REPO_URL", "BRANCH"].map(str::to_owned);
    long.chain(short)
        .map(|name| format!("NIXFLEET_{name}"))
        .chain(["HOME", "STATE_DIRECTORY"].map(str::to_owned))
        .collect()
}
