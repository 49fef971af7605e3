//! Turns strings and numbers into validated values and collects all problems.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use nixfleet_jobs::spec::Secrets;
use nixfleet_os::address::Address;
use nixfleet_vitals::prewarm::Limits;
use url::Url;

use crate::check::{Checker, set};
use crate::hostname::hostname;
use crate::layers::quoted;
use crate::log_level::log_level;
use crate::{
    FreeSpace, GenerationSource, Host, Jobs, LauncherKind, Paths, Prewarm, Rebuild, Repo, Vitals, custom,
    metrics, names, rollback,
};

/// Size limit of a log in bytes. Less than 64 KiB does not hold the beginning and end of a failure; more than
/// 16 GiB is a mistake.
const LOG_LIMIT: RangeInclusive<i64> = 64 * 1024..=16 << 30;

/// Seconds between SIGTERM and SIGKILL. 0 means SIGKILL at once.
const STOP_GRACE: RangeInclusive<i64> = 0..=3600;

/// Seconds over which readings are averaged. Readings may be 5 s apart; with more than ten minutes a signal
/// comes too late.
const WINDOW: RangeInclusive<i64> = 5..=600;

/// Bytes that must be free. More than a PiB is a mistake.
const FREE_BYTES: RangeInclusive<i64> = 0..=1 << 50;

/// Inodes that must be free. More than a billion is a mistake.
const FREE_INODES: RangeInclusive<i64> = 0..=1_000_000_000;

/// Number of job folders kept. At least one, so that the last job can be inspected.
const KEEP: RangeInclusive<i64> = 1..=10_000;

/// Most mount points, and most chips. A longer list is a mistake.
const MAX_MEASURED: usize = 32;

/// Longest label such as `location`, in bytes. Labels are words in a table.
const MAX_LABEL: usize = 64;

/// Words for `location` that dashboards know.
const LOCATIONS: &[&str] = &["home", "work", "cloud"];

/// Words for `device_type` that dashboards know.
const DEVICE_TYPES: &[&str] = &["server", "desktop", "laptop", "gaming"];

/// Variable that turns the checks of a new system off. It is for people who sit at the machine.
const NO_CHECK: &str = "NIXOS_NO_CHECK";

/// Values of `--log-format` of nix and of its fork Lix.
const LOG_FORMATS: &[&str] =
    &["raw", "raw-with-logs", "internal-json", "bar", "bar-with-logs", "multiline", "multiline-with-logs"];

/// Validates the settings of the host. The result is valid only if no problem was found.
pub(super) fn host(check: &mut Checker<'_>) -> Host {
    let settings = &check.layers.settings;
    let state_dir = state_dir(check);
    let nixpkgs_version = set(settings.nixpkgs_version.as_ref());
    let user = match set(settings.user.as_ref()) {
        Some(user) => check.label("user", user, MAX_LABEL),
        None => check.variable("USER").or(check.variable("LOGNAME")).unwrap_or_default().to_owned(),
    };
    Host {
        hostname: hostname(check, &user),
        host_type: if cfg!(target_os = "macos") { "macos" } else { "nixos" },
        user,
        theme_color: color(check),
        location: word(check, "location", &settings.location, LOCATIONS),
        device_type: word(check, "device_type", &settings.device_type, DEVICE_TYPES),
        reported_version: match set(settings.reported_version.as_ref()) {
            Some(version) => check.label("reported_version", version, MAX_LABEL),
            None => env!("CARGO_PKG_VERSION").to_owned(),
        },
        generation: generation(check),
        nixpkgs_version: nixpkgs_version.map(|version| check.label("nixpkgs_version", version, MAX_LABEL)),
        repo: repo(check, &state_dir),
        rebuild: rebuild(check),
        rollback: rollback::rollback(check),
        jobs: jobs(check, &state_dir),
        preflight: preflight(check),
        commands: custom::commands(check, &settings.commands),
        vitals: vitals(check),
        prewarm: prewarm(check),
        reboot: check.layers.settings.reboot.enable,
        metrics: metrics::metrics(check),
        runtime_dir: first_folder(check, "RUNTIME_DIRECTORY"),
        paths: Paths {
            stasysmo: check.path("paths.stasysmo", &settings.paths.stasysmo),
            proc: check.path("paths.proc", &settings.paths.proc),
            sys: check.path("paths.sys", &settings.paths.sys),
            workload: check.path("paths.workload", &settings.paths.workload),
            nvml: check.optional_path("paths.nvml", settings.paths.nvml.as_ref()),
            status: check.optional_path("paths.status", settings.paths.status.as_ref()),
            systemd: check.path("paths.systemd", &settings.paths.systemd),
            current_system: check.path("paths.current_system", &settings.paths.current_system),
            booted_system: check.path("paths.booted_system", &settings.paths.booted_system),
            system_profile: check.path("paths.system_profile", &settings.paths.system_profile),
            switch_lock: check.path("paths.switch_lock", &settings.paths.switch_lock),
            boot: check.path("paths.boot", &settings.paths.boot),
            cgroups: check.path("paths.cgroups", &settings.paths.cgroups),
            os_release: check.path("paths.os_release", &settings.paths.os_release),
        },
        log_level: log_level(check),
        state_dir,
    }
}

/// A word that dashboards show. They may know more words than this agent, so another one is only a warning.
fn word(check: &mut Checker<'_>, key: &str, given: &str, known: &[&str]) -> String {
    if !given.is_empty() && !known.contains(&given) {
        let fix = match names::nearest(&given.to_lowercase(), known.iter().copied()) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => "it is sent as it is, and a dashboard may not show it".to_owned(),
        };
        check.warn(key, format!("{} is not one of {}", quoted(given), known.join(", ")), fix);
    }
    check.label(key, given, MAX_LABEL)
}

/// The colour of the host. Dashboards use it in a style sheet, where another text has no effect.
fn color(check: &mut Checker<'_>) -> String {
    const KEY: &str = "theme_color";
    let given = &check.layers.settings.theme_color;
    let is_hex =
        |digits: &str| matches!(digits.len(), 3 | 6) && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    if !given.is_empty() && !given.strip_prefix('#').is_some_and(is_hex) {
        let example = if is_hex(given) { format!("#{given}") } else { "#7aa2f7".to_owned() };
        check.warn(
            KEY,
            format!("{} is neither #rrggbb nor #rgb", quoted(given)),
            format!("write it as \"{example}\""),
        );
    }
    check.label(KEY, given, MAX_LABEL)
}

/// The state folder. Without a file, it is that of the environment.
pub(super) fn state_dir(check: &mut Checker<'_>) -> PathBuf {
    if let Some(given) = set(check.layers.settings.state_dir.as_ref()) {
        return check.path("state_dir", given);
    }
    if let Some(first) = first_folder(check, "STATE_DIRECTORY") {
        return first;
    }
    if rustix::process::geteuid().is_root() {
        return PathBuf::from("/var/lib/nixfleet-agent");
    }
    let below = |name: &str| check.variable(name).filter(|folder| folder.starts_with('/')).map(PathBuf::from);
    if let Some(base) =
        below("XDG_STATE_HOME").or_else(|| below("HOME").map(|home| home.join(".local/state")))
    {
        return base.join("nixfleet-agent");
    }
    check.refuse(
        "state_dir",
        "missing, and there is no HOME to put it in",
        "set NIXFLEET_STATE_DIR to a folder of the agent's own",
    );
    PathBuf::new()
}

/// First folder in a variable of systemd, which separates several folders by colons.
fn first_folder(check: &Checker<'_>, name: &str) -> Option<PathBuf> {
    check.variable(name)?.split(':').next().filter(|folder| folder.starts_with('/')).map(PathBuf::from)
}

fn repo(check: &mut Checker<'_>, state_dir: &Path) -> Repo {
    let given = &check.layers.settings.repo;
    let url = set(given.url.as_ref());
    if let Some(url) = url {
        check.label("repo.url", url, 4096);
        // git takes text with a leading hyphen for an option, and runs a program for `helper::address`.
        let helper =
            url.split_once("::").is_some_and(|(helper, _)| helper.bytes().all(|b| b.is_ascii_alphanumeric()));
        if url.starts_with('-') || helper {
            let what = "is not the address of a repository";
            check.refuse("repo.url", what, "write https://HOST/PATH, ssh://USER@HOST/PATH or USER@HOST:PATH");
        }
        exposed_secrets(check, url);
    }
    let dir = check.optional_path("repo.dir", given.dir.as_ref());
    if !is_branch(&given.branch) {
        let what = format!("{} is not the name of a branch", quoted(&given.branch));
        check.refuse("repo.branch", what, "set it to a name such as main");
    }
    Repo {
        url: url.map(|url| Address::new(url.to_owned())),
        dir: dir.or_else(|| url.map(|_| state_dir.join("repo"))),
        branch: given.branch.clone(),
        ssh_key: check.optional_path("repo.ssh_key", given.ssh_key.as_ref()),
        submodules: given.submodules,
        lfs: given.lfs,
    }
}

/// Warns of secrets in the address of the repository that git has to get as an argument: the agent can keep a
/// login for HTTP to itself, and nothing else.
fn exposed_secrets(check: &mut Checker<'_>, url: &str) {
    const SEEN: &str = "which every user of this host sees in the arguments of git";
    let Ok(url) = Url::parse(url) else { return };
    let is_web = matches!(url.scheme(), "http" | "https");
    if is_web && url.query().is_some() {
        let fix = "write a token as a login instead, https://NAME:TOKEN@HOST/PATH";
        check.warn("repo.url", format!("has a query, {SEEN}"), fix);
    }
    if !is_web && url.password().is_some() {
        check.warn("repo.url", format!("has a password, {SEEN}"), "leave it out, and set repo.ssh_key");
    }
}

/// The relevant rules of git-check-ref-format(1): no text with another meaning for git or in a URL.
fn is_branch(name: &str) -> bool {
    let bad = |letter: char| letter.is_control() || letter.is_whitespace() || "~^:?*[\\".contains(letter);
    !name.is_empty()
        && !name.starts_with(['-', '/', '.'])
        && !name.ends_with(['/', '.'])
        && !name.ends_with(".lock")
        && !["..", "//", "@{", "/."].iter().any(|part| name.contains(part))
        && !name.contains(bad)
}

fn rebuild(check: &mut Checker<'_>) -> Rebuild {
    let given = &check.layers.settings.rebuild;
    if let Some(attribute) = set(given.flake_attr.as_ref())
        && attribute.contains(|letter: char| letter.is_control() || letter.is_whitespace() || letter == '#')
    {
        check.refuse_value("rebuild.flake_attr", format!("{} is not an attribute", quoted(attribute)));
    }
    custom::variables(check, "rebuild.env", &given.env);
    if given.env.contains_key(NO_CHECK) {
        let what =
            format!("holds {NO_CHECK}, with which nobody is warned of a system that breaks the running one");
        check.refuse(
            "rebuild.env",
            what,
            "leave it out; where a check refuses a system, send `boot` and then `reboot`",
        );
    }
    let log_format = set(given.log_format.as_ref());
    if let Some(format) = log_format.filter(|format| !LOG_FORMATS.contains(format)) {
        let what = format!("{} is not a format of nix's log", quoted(format));
        check.refuse("rebuild.log_format", what, format!("set it to one of {}", LOG_FORMATS.join(", ")));
    }
    Rebuild {
        program: given.program.as_ref().map(|words| check.program("rebuild.program", words)),
        flake_attr: set(given.flake_attr.as_ref()).map(str::to_owned),
        extra_args: check.arguments("rebuild.extra_args", &given.extra_args),
        log_format: log_format.map(str::to_owned),
        env: Secrets(given.env.clone()),
        netrc_file: nix_path(check, "rebuild.netrc_file", given.netrc_file.as_ref()),
        access_tokens_file: nix_path(check, "rebuild.access_tokens_file", given.access_tokens_file.as_ref()),
    }
}

/// A path that is named in a setting of nix, where white space ends a word and `#` begins a comment.
fn nix_path(check: &mut Checker<'_>, key: &str, given: Option<&String>) -> Option<PathBuf> {
    let bad = |letter: char| letter.is_whitespace() || letter.is_control() || letter == '#';
    if let Some(path) = set(given).filter(|path| path.contains(bad)) {
        let what = format!("{} has white space or a #, which nix does not read in a path", quoted(path));
        check.refuse(key, what, "name the file by another path, such as that of a symbolic link");
    }
    check.optional_path(key, given)
}

fn generation(check: &mut Checker<'_>) -> GenerationSource {
    let settings = &check.layers.settings;
    match settings.generation.as_str() {
        "checkout" => {
            if set(settings.repo.url.as_ref()).or(set(settings.repo.dir.as_ref())).is_none() {
                let what = "\"checkout\" needs a repository, and none is set";
                check.refuse("generation", what, "set repo.url or repo.dir, or remove this key");
            }
            GenerationSource::Checkout
        }
        other => {
            if other != "deployed" {
                let what = format!("{} is not a source of the generation", quoted(other));
                check.refuse("generation", what, "set it to deployed or checkout");
            }
            GenerationSource::Deployed
        }
    }
}

fn jobs(check: &mut Checker<'_>, state_dir: &Path) -> Jobs {
    let given = &check.layers.settings.jobs;
    let keep = check.number("jobs.keep", given.keep, KEEP, "");
    let launcher = match given.launcher.as_str() {
        "systemd" => LauncherKind::Systemd,
        other => {
            if other != "direct" {
                let what = format!("{} is not a launcher", quoted(other));
                check.refuse("jobs.launcher", what, "set it to direct or systemd");
            }
            LauncherKind::Direct
        }
    };
    Jobs {
        launcher,
        dir: check.optional_path("jobs.dir", given.dir.as_ref()).unwrap_or_else(|| state_dir.join("jobs")),
        log_limit: check.number("jobs.log_limit", given.log_limit, LOG_LIMIT, " bytes"),
        stop_grace: check.seconds("jobs.stop_grace", given.stop_grace, STOP_GRACE),
        keep: usize::try_from(keep).unwrap_or(usize::MAX),
    }
}

fn preflight(check: &mut Checker<'_>) -> FreeSpace {
    let given = &check.layers.settings.preflight;
    FreeSpace {
        nix_bytes: check.number("preflight.nix_free", given.nix_free, FREE_BYTES, " bytes"),
        nix_inodes: check.number("preflight.nix_inodes", given.nix_inodes, FREE_INODES, " inodes"),
        state_bytes: check.number("preflight.state_free", given.state_free, FREE_BYTES, " bytes"),
        boot_bytes: given
            .boot_free
            .map(|bytes| check.number("preflight.boot_free", bytes, FREE_BYTES, " bytes")),
    }
}

fn vitals(check: &mut Checker<'_>) -> Vitals {
    let given = &check.layers.settings.vitals;
    for (key, list) in [("vitals.disks", &given.disks), ("vitals.temperatures", &given.temperatures)] {
        if list.len() > MAX_MEASURED {
            check.refuse_value(key, format!("has more than {MAX_MEASURED} entries"));
        }
    }
    Vitals {
        enabled: given.enabled,
        disks: given.disks.iter().map(|mount| check.path("vitals.disks", mount)).collect(),
        temperatures: given
            .temperatures
            .iter()
            .map(|chip| check.label("vitals.temperatures", chip, MAX_LABEL))
            .collect(),
    }
}

fn prewarm(check: &mut Checker<'_>) -> Prewarm {
    let given = &check.layers.settings.prewarm;
    let mut pair = |name: &str, high: i64, low: i64, most: i64, unit: &str| {
        let (key, low_key) = (format!("prewarm.{name}"), format!("prewarm.{name}_low"));
        let high = check.number(&key, high, 1..=most, unit);
        let low = check.number(&low_key, low, 0..=most, unit);
        if low >= high {
            check.refuse(
                &low_key,
                format!("{low} is not below {key}, which is {high}"),
                "set it some way below, so that signals do not flutter",
            );
        }
        (high as f64, low as f64)
    };
    let (usage, usage_low) = pair("usage", given.usage, given.usage_low, 100, " percent");
    let (temperature, temperature_low) =
        pair("temperature", given.temperature, given.temperature_low, 150, " degrees");
    Prewarm {
        limits: Limits {
            usage: usage / 100.0,
            usage_low: usage_low / 100.0,
            temperature,
            temperature_low,
            window: check.seconds("prewarm.window", given.window, WINDOW),
        },
        hook: given.hook.as_ref().map(|words| check.program("prewarm.hook", words)),
    }
}
