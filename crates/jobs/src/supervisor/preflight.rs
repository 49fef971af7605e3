//! What a plan depends on: the repository as it is now.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::owner;
use super::plan::{JOBS, Preflight, RepoState};
use crate::Settings;
use crate::git::head_commit;
use nixfleet_os::subprocess;

/// Time for git to say whether a folder is a repository: it reads three small files. One that takes
/// longer leaves the question open.
const GIT_PATIENCE: Duration = Duration::from_secs(10);

/// Exit code of git when it cannot go on at all.
const FATAL: i32 = 128;

/// Looks at the repository, for a command of a job that began at `begun`.
pub(super) fn survey(settings: &Settings, command: &str, begun: SystemTime) -> Preflight {
    let Some(dir) = &settings.repo.dir else { return Preflight::default() };
    let above = fs::canonicalize(dir).ok().and_then(|dir| dir.parent().map(Path::to_owned));
    let git = dir.join(".git");
    let mut survey = Preflight { above, test_scripts: test_scripts(settings, dir), ..Preflight::default() };
    survey.repo = if git.exists() {
        RepoState::Git
    } else if fs::read_dir(dir).is_ok_and(|mut items| items.next().is_some()) {
        RepoState::Foreign
    } else {
        RepoState::Missing
    };
    survey.checked_out = head_commit(dir).is_some();
    if settings.repo.url.is_none() {
        // The operator's own commands need nobody's name, and a directory service may take its time.
        survey.owner = JOBS.contains(&command).then(|| owner::of(dir)).flatten();
    } else if survey.repo == RepoState::Git && matches!(command, "clone" | "pull" | "pull-switch") {
        if git_denies(dir, &git, survey.above.as_deref()) {
            survey.repo = RepoState::Corrupt;
        } else {
            survey.leftovers = leftovers(&git, begun);
        }
    }
    survey
}

/// Whether git itself says that this is no repository. A git that is missing, hangs, may not read or
/// does not like the owner has not said so.
fn git_denies(dir: &Path, git: &Path, above: Option<&Path>) -> bool {
    // git says the same of a folder that it cannot read. It is asked about this one alone, so it must
    // not come by another one above; a colon would end the name of the last to look at.
    let (Ok(true), Some(dir), Some(above)) = (is_readable(git), dir.to_str(), above.and_then(Path::to_str))
    else {
        return false;
    };
    if above.contains(':') {
        return false;
    }
    let question = ["-C", dir, "rev-parse", "--git-dir"];
    let environment = [("GIT_CEILING_DIRECTORIES", above)];
    subprocess::outcome(Path::new("git"), &question, &environment, GIT_PATIENCE).is_ok_and(
        |(status, said)| status.code() == Some(FATAL) && said.starts_with("fatal: not a git repository"),
    )
}

/// Whether what git judges a repository by can be read, as far as it is there. A link or a file in
/// place of the folder leads elsewhere, to what may be back later.
fn is_readable(git: &Path) -> io::Result<bool> {
    if !fs::symlink_metadata(git)?.is_dir() {
        return Ok(false);
    }
    fs::read_dir(git)?.try_for_each(|item| item.map(drop))?;
    let absent = |err: &io::Error| err.kind() == io::ErrorKind::NotFound;
    for name in ["HEAD", "config", "commondir"] {
        match File::open(git.join(name)).and_then(|mut file| file.read(&mut [0])) {
            Err(err) if !absent(&err) => return Err(err),
            _ => {}
        }
    }
    for name in ["objects", "refs"] {
        match fs::read_dir(git.join(name)) {
            Err(err) if !absent(&err) => return Err(err),
            _ => {}
        }
    }
    Ok(true)
}

/// Files of a git that was killed, or whose machine lost power: locks, which keep every later git out,
/// and references without content, of which git would say that they are broken. The job's lock keeps
/// other jobs away, and what is as young as this job is left alone.
fn leftovers(git: &Path, begun: SystemTime) -> Vec<PathBuf> {
    let old = |meta: &Metadata| meta.is_file() && meta.modified().is_ok_and(|time| time < begun);
    let is_lock = |path: &Path| path.extension().is_some_and(|extension| extension == "lock");
    let mut found = Vec::new();
    for (folder, deep, references) in
        [("", false, false), ("objects", false, false), ("objects/info", true, false), ("refs", true, true)]
    {
        let mut folders = vec![git.join(folder)];
        while let Some(folder) = folders.pop() {
            for item in fs::read_dir(folder).into_iter().flatten().flatten() {
                // Of the link, not of what it leads to.
                let (path, Ok(meta)) = (item.path(), item.metadata()) else { continue };
                let useless = is_lock(&path) || (references && meta.len() == 0);
                if deep && meta.is_dir() {
                    folders.push(path);
                } else if useless && old(&meta) {
                    found.push(path);
                }
            }
        }
    }
    // Made anew from the branch. git refuses one that ends before it begins.
    let index = git.join("index");
    if fs::symlink_metadata(&index).is_ok_and(|meta| meta.len() == 0 && old(&meta)) {
        found.push(index);
    }
    found.sort();
    found
}

fn test_scripts(settings: &Settings, dir: &Path) -> Vec<PathBuf> {
    let mut scripts: Vec<PathBuf> = fs::read_dir(dir.join("hosts").join(&settings.hostname).join("tests"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|item| item.path())
        .filter(|path| is_test_script(path))
        .collect();
    scripts.sort();
    scripts
}

fn is_test_script(path: &Path) -> bool {
    let named = path.file_name().and_then(|name| name.to_str());
    let executable =
        fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0);
    named.is_some_and(|name| name.starts_with('T') && name.ends_with(".sh")) && executable
}
