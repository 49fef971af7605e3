//! Starts although the settings file is wrong, with the settings that the agent last started with.
//!
//! Only the file is replaced by its copy. The token stays where it is, and variables count as they are now: so a
//! mistake in a variable, or a missing token, is not helped by the copy, and the start fails as it always did.

use std::path::{Path, PathBuf};

use crate::check::Checker;
use crate::connection::Depth;
use crate::last_good::{Place, Proof};
use crate::layers::{self, Layers};
use crate::problem::one_line;
use crate::{Config, ConfigError, DEFAULT_FILE, Host, LauncherKind, Problem, Source, connection, validate};

/// Problems that are told one by one. The rest is counted.
const MAX_TOLD: usize = 8;

/// State folder of the shipped units, where nothing says where it is.
const UNIT_STATE: &str = "/var/lib/nixfleet-agent";

/// Keys that say where `status` and `logs` look.
const PLACES: &[&str] = &["state_dir", "jobs.dir", "paths.status", "paths.proc"];

/// The settings of an agent that starts.
#[derive(Debug, Clone)]
pub struct Started {
    /// The settings.
    pub config: Config,
    /// Why they are not those of the file; none if they are.
    pub last_good: Option<LastGood>,
    /// To be written when a dashboard has taken the registration; none if the settings are not kept.
    pub proof: Option<Proof>,
}

/// The settings in use are older than the file, because the file is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastGood {
    /// The settings file.
    pub file: PathBuf,
    /// When an agent first started with the settings in use, RFC 3339.
    pub accepted_at: String,
    /// What is wrong with the file.
    pub problems: Vec<Problem>,
}

impl LastGood {
    /// One sentence for people: which settings are in use, and what to do.
    pub fn sentence(&self) -> String {
        let Self { file, accepted_at, .. } = self;
        format!(
            "{} is wrong, so the settings that were accepted at {accepted_at} are used; mend it (nixfleet-agent \
             check-config says whether it is good), then restart the agent",
            one_line(&file.to_string_lossy())
        )
    }

    /// What is wrong with the file, one line each. No line has a secret in it.
    pub fn lines(&self) -> Vec<String> {
        told(&self.problems)
    }
}

/// The problems as lines, not too many.
fn told(problems: &[Problem]) -> Vec<String> {
    let mut lines: Vec<String> = problems.iter().take(MAX_TOLD).map(Problem::to_string).collect();
    if problems.len() > MAX_TOLD {
        lines.push(format!("and {} more", problems.len() - MAX_TOLD));
    }
    lines
}

impl Config {
    /// Reads and validates all settings for an agent that starts. If the file is wrong, those that it last started
    /// with are used. Where the agent starts jobs by itself, it also keeps the copy; otherwise root does, see
    /// [`keep_settings`]. An agent with a file and a state folder of its own, such as one for a trial, leaves the state
    /// folder of the installed agent alone, and has no copy.
    ///
    /// # Errors
    /// As for [`Config::load`], if there is no copy that can be used.
    pub fn start(source: &Source) -> Result<Started, ConfigError> {
        let read = layers::read_file(source);
        let text = text_of(&read);
        let (settings, _) = source.file();
        let place = place(source);
        let (config, problems) = Self::checked(source, Layers::of_bytes(source, read), Depth::Settings);
        let Some(mut config) = config else {
            return Self::fall_back(source, problems, true);
        };
        let mut proof = None;
        let place =
            place.filter(|place| settings == Path::new(DEFAULT_FILE) || place.is_in(&config.host.state_dir));
        if let (Some(place), Some(text)) = (place, text) {
            if keeps_by_itself(&config)
                && let Err(why) = place.keep(&settings, &text)
            {
                config
                    .warnings
                    .push(format!("the settings cannot be kept for a start with a wrong file: {why}"));
            }
            proof = Some(Proof::of(&place, &text));
        }
        Ok(Started { config, last_good: None, proof })
    }

    /// The settings that the agent last started with. Changes nothing.
    ///
    /// # Errors
    /// As for [`Config::load`]: what is wrong with the file, if it is not good and there is no copy that can be used.
    pub fn last_good(source: &Source) -> Result<Started, ConfigError> {
        match Self::load(source) {
            Ok(config) => Ok(Started { config, last_good: None, proof: None }),
            Err(ConfigError { problems }) => Self::fall_back(source, problems, false),
        }
    }

    /// The settings of the copy. `decide`: which of the kept settings count may still have to be decided.
    fn fall_back(source: &Source, problems: Vec<Problem>, decide: bool) -> Result<Started, ConfigError> {
        let (file, _) = source.file();
        let Some(place) = place(source) else { return Err(ConfigError { problems }) };
        let validated = |text: &str| Self::of_text(source, &place.file(), text);
        let copy = || place.read(&file);
        let used = copy().and_then(|kept| {
            let Some(kept) = kept else { return Ok(None) };
            let config = validated(&kept.accepted.text).map_err(|err| first(&err))?;
            if !(decide && keeps_by_itself(&config)) {
                return Ok(Some((config, kept)));
            }
            // If the decision cannot be written, what is there counts: a supervisor will read that as well.
            drop(place.fall_back(&file));
            let Some(kept) = copy()? else { return Ok(None) };
            Ok(Some((validated(&kept.accepted.text).map_err(|err| first(&err))?, kept)))
        });
        let ((config, kept), problems) = or_problems(used, problems)?;
        let proof = decide.then(|| Proof::of(&place, &kept.accepted.text));
        let last_good = LastGood { file, accepted_at: kept.accepted.at, problems };
        Ok(Started { config, last_good: Some(last_good), proof })
    }
}

impl Host {
    /// Reads and validates the settings for a supervisor. Problems of the connection are ignored.
    ///
    /// # Errors
    /// As for [`Config::load`].
    pub fn load(source: &Source) -> Result<Self, ConfigError> {
        match Self::without_connection(source, Layers::read(source)) {
            (Some(host), problems) if problems.is_empty() => Ok(host),
            (_, problems) => Err(ConfigError { problems }),
        }
    }

    /// Like [`Host::load`]. If the file is wrong, those are used that the agent uses then.
    ///
    /// # Errors
    /// As for [`Host::load`], if there is no copy that can be used.
    pub fn for_job(source: &Source) -> Result<(Self, Option<LastGood>), ConfigError> {
        let problems = match Self::load(source) {
            Ok(host) => return Ok((host, None)),
            Err(ConfigError { problems }) => problems,
        };
        let (file, _) = source.file();
        let Some(place) = place(source) else { return Err(ConfigError { problems }) };
        let used = place.read(&file).and_then(|kept| {
            let Some(kept) = kept else { return Ok(None) };
            let read = Layers::of_text(source, &place.file(), &kept.accepted.text);
            match Self::without_connection(source, read) {
                (Some(host), wrong) if wrong.is_empty() => Ok(Some((host, kept.accepted.at))),
                (_, problems) => Err(first(&ConfigError { problems })),
            }
        });
        let ((host, accepted_at), problems) = or_problems(used, problems)?;
        Ok((host, Some(LastGood { file, accepted_at, problems })))
    }

    /// Settings that say where an agent of this host answers and where its jobs are, whatever the file says; and a line
    /// about what was used instead of the file.
    pub fn to_look_at(source: &Source) -> (Self, Option<String>) {
        let problems = match Self::for_job(source) {
            Ok((host, None)) => return (host, None),
            Ok((host, Some(last_good))) => {
                let line = format!("{}: {}", last_good.sentence(), last_good.lines().join("; "));
                return (host, Some(line));
            }
            Err(ConfigError { problems }) => problems,
        };
        let usable = |read| {
            let (host, wrong) = Self::without_connection(source, read);
            host.filter(|_| !wrong.iter().any(|problem| PLACES.contains(&problem.key.as_str())))
        };
        let (mut host, what) = match (usable(Layers::read(source)), usable(Layers::without_file(source))) {
            (Some(host), _) => (host, "what is right in them"),
            (None, Some(host)) => (host, "the environment alone"),
            (None, None) => (Self::usual(), "the usual place"),
        };
        if host.state_dir.as_os_str().is_empty() {
            host.state_dir = PathBuf::from(UNIT_STATE);
            host.jobs.dir = host.state_dir.join("jobs");
        }
        let line = format!(
            "the settings are wrong, so {what} counts: state folder {}, jobs in {}; {}",
            host.state_dir.display(),
            host.jobs.dir.display(),
            told(&problems).join("; ")
        );
        (host, Some(line))
    }

    /// The settings of an empty file and an empty environment.
    fn usual() -> Self {
        let nothing = Source::default();
        let read = Layers::without_file(&nothing);
        Self::without_connection(&nothing, read)
            .0
            .expect("neither a file nor a variable is wrong, because there is none")
    }

    /// The settings as far as they are right, and the problems; those of the connection do not count.
    fn without_connection(
        source: &Source,
        read: Result<(Layers, Vec<Problem>), Vec<Problem>>,
    ) -> (Option<Self>, Vec<Problem>) {
        let (layers, mut problems) = match read {
            Ok(read) => read,
            Err(problems) => return (None, problems),
        };
        problems.retain(|problem| !connection::KEYS.contains(&problem.key.as_str()));
        let host = validate::host(&mut Checker::new(&layers, source, &mut problems));
        (Some(host), problems)
    }
}

/// Keeps the settings of an agent that is about to start as a user without rights; for root. Returns a line if there is
/// something to say.
///
/// # Errors
/// The copy cannot be written, with its path.
pub fn keep_settings(source: &Source) -> Result<Option<String>, String> {
    let read = layers::read_file(source);
    let text = text_of(&read);
    let (settings, _) = source.file();
    let place = place(source).ok_or("there is no state folder; set NIXFLEET_STATE_DIR")?;
    let (_, mut problems) = Config::checked(source, Layers::of_bytes(source, read), Depth::Settings);
    // systemd passes the token to the agent alone.
    problems.retain(|problem| problem.key != "token");
    match text {
        Some(_) if problems.is_empty() && !place.may_keep(&settings) => Ok(Some(format!(
            "{} is not kept for a start with a wrong file, because the agent's group cannot read it",
            settings.display()
        ))),
        Some(text) if problems.is_empty() => place.keep(&settings, &text).map(|()| None),
        // The settings are all in variables.
        None if problems.is_empty() => Ok(None),
        // The agent says what is wrong.
        _ => place.fall_back(&settings).map(|()| None),
    }
}

/// Whether the agent writes the copy. With the systemd launcher root does, because root uses it.
fn keeps_by_itself(config: &Config) -> bool {
    config.host.jobs.launcher == LauncherKind::Direct
}

/// The text of a file that was read.
fn text_of(read: &Result<Option<Vec<u8>>, Problem>) -> Option<String> {
    String::from_utf8(read.as_ref().ok()?.clone()?).ok()
}

/// Where the copy is; none if there is no state folder.
fn place(source: &Source) -> Option<Place> {
    let (layers, _) = Layers::without_file(source).ok()?;
    let mut problems = Vec::new();
    let folder = validate::state_dir(&mut Checker::new(&layers, source, &mut problems));
    let usable = problems.is_empty() && folder != Path::new("");
    usable.then(|| Place::new(folder))
}

/// What the copy gave, and what is wrong with the file; an error if there is no copy that can be used. Why it cannot be
/// is left out if that is one of the problems anyway, such as a missing token.
fn or_problems<T>(
    used: Result<Option<T>, String>,
    mut problems: Vec<Problem>,
) -> Result<(T, Vec<Problem>), ConfigError> {
    match used {
        Ok(Some(found)) => return Ok((found, problems)),
        Err(why) if problems.iter().all(|problem| problem.to_string() != why) => problems.push(Problem {
            key: "last good settings".to_owned(),
            what: format!("cannot be used either: {why}"),
            origin: String::new(),
            fix: String::new(),
        }),
        Ok(None) | Err(_) => {}
    }
    Err(ConfigError { problems })
}

/// The first problem.
fn first(err: &ConfigError) -> String {
    err.problems().first().map(Problem::to_string).unwrap_or_default()
}
