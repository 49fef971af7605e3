//! The state of the repository before a command, on which its plan depends.

use std::fs::{self, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nixfleet_os::{bounded_read, short, subprocess};

use super::owner;
use super::plan::{JOBS, NotRun, Preflight, RepoState, TestScripts};
use crate::Settings;
use crate::git::head_commit;

/// How long git may take to say whether a folder is a repository, which is in three small files, and which
/// branches are in the way. After a timeout the folder counts as a repository without such branches.
const GIT_TIMEOUT: Duration = Duration::from_secs(10);

/// Exit code of git after a fatal error.
const FATAL: i32 = 128;

/// Inspects the repository for a command of a job that started at `begun`.
pub(super) fn inspect(settings: &Settings, command: &str, begun: SystemTime) -> Preflight {
    let unreadable = unreadable(settings);
    let Some(dir) = &settings.repo.dir else { return Preflight { unreadable, ..Preflight::default() } };
    let above = fs::canonicalize(dir).ok().and_then(|dir| dir.parent().map(Path::to_owned));
    let git = dir.join(".git");
    let mut preflight =
        Preflight { above, tests: test_scripts(settings, dir), unreadable, ..Preflight::default() };
    preflight.repo = if git.exists() {
        RepoState::Git
    } else if fs::read_dir(dir).is_ok_and(|mut items| items.next().is_some()) {
        RepoState::Foreign
    } else {
        RepoState::Missing
    };
    preflight.checked_out = head_commit(dir).is_some();
    if settings.repo.url.is_none() {
        // Custom commands do not need the owner, and a query to a directory service may be slow.
        preflight.owner = JOBS.contains(&command).then(|| owner::of(dir)).flatten();
    } else if preflight.repo == RepoState::Git && matches!(command, "clone" | "pull" | "pull-switch") {
        if git_denies(dir, &git, preflight.above.as_deref()) {
            preflight.repo = RepoState::Corrupt;
        } else {
            preflight.leftovers = leftovers(&git, begun);
            preflight.blocking = blocking_branches(dir, &settings.repo.branch);
        }
    }
    preflight
}

/// The files with logins and tokens for nix that cannot be read. nix would go on without them in silence, and what the
/// server says then is no hint at them.
fn unreadable(settings: &Settings) -> Vec<String> {
    let rebuild = &settings.rebuild;
    let files = [
        ("rebuild.netrc_file", &rebuild.netrc_file),
        ("rebuild.access_tokens_file", &rebuild.access_tokens_file),
    ];
    let remark = |(key, path): (&str, &Option<PathBuf>)| {
        let path = path.as_ref()?;
        let err = bounded_read::open(path).and_then(|mut file| file.read(&mut [0])).err()?;
        Some(format!("warning: {key} cannot be read, nix goes on without it: {}: {err}", path.display()))
    };
    files.into_iter().filter_map(remark).collect()
}

/// Whether git itself says that this is not a repository. If git is missing, hangs, may not read the folder
/// or refuses its owner, the answer is no.
fn git_denies(dir: &Path, git: &Path, above: Option<&Path>) -> bool {
    // git gives the same answer for a folder that it cannot read, so readability is checked first. git must
    // not find another repository in a parent folder, so the search ends at `above`. A colon would separate
    // two paths in that variable.
    let (Ok(true), Some(dir), Some(above)) = (is_readable(git), dir.to_str(), above.and_then(Path::to_str))
    else {
        return false;
    };
    if above.contains(':') {
        return false;
    }
    let question = ["-C", dir, "rev-parse", "--git-dir"];
    let environment = [("GIT_CEILING_DIRECTORIES", above)];
    subprocess::outcome(Path::new("git"), &question, &environment, GIT_TIMEOUT).is_ok_and(|(status, said)| {
        status.code() == Some(FATAL) && said.starts_with("fatal: not a git repository")
    })
}

/// Whether all existing files by which git recognizes a repository can be read. False for a link or a file in
/// place of the folder: it points to another folder, which may only be temporarily absent.
fn is_readable(git: &Path) -> io::Result<bool> {
    if !fs::symlink_metadata(git)?.is_dir() {
        return Ok(false);
    }
    fs::read_dir(git)?.try_for_each(|item| item.map(drop))?;
    let absent = |err: &io::Error| err.kind() == io::ErrorKind::NotFound;
    // In the checkout of somebody else a name may be a FIFO, on which a usual open would wait for ever.
    for name in ["HEAD", "config", "commondir"] {
        match bounded_read::open(&git.join(name)).and_then(|mut file| file.read(&mut [0])) {
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

/// Files that a killed git or a power failure left behind: locks, which block every later git, and empty
/// references, which git reports as broken. The lock of the host excludes other jobs. Files that are not
/// older than this job are left alone.
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
                // The metadata are those of a link itself, not of its target.
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
    // git refuses an empty index, and makes a new one from the branch if there is none.
    let index = git.join("index");
    if fs::symlink_metadata(&index).is_ok_and(|meta| meta.len() == 0 && old(&meta)) {
        found.push(index);
    }
    short::sort(&mut found);
    found
}

/// The remote branches that are in the way of `branch`. git keeps a branch in a file, so `main` and `main/prod`
/// cannot both exist: after such a renaming every fetch would fail. If git gives no answer, its message about
/// the fetch tells.
fn blocking_branches(dir: &Path, branch: &str) -> Vec<String> {
    let wanted = format!("origin/{branch}");
    let Some(dir) = dir.to_str() else { return Vec::new() };
    // git lists what has one of these names or is below it, so the answer is short.
    let slashes = wanted.match_indices('/').skip(1).map(|(at, _)| at).chain([wanted.len()]);
    let patterns = slashes.filter_map(|end| Some(format!("refs/remotes/{}", wanted.get(..end)?)));
    let mut question: Vec<String> =
        ["-C", dir, "for-each-ref", "--format=%(refname:lstrip=2)"].map(str::to_owned).to_vec();
    question.extend(patterns);
    let question: Vec<&str> = question.iter().map(String::as_str).collect();
    let answer = subprocess::output(Path::new("git"), &question, GIT_TIMEOUT).unwrap_or_default();
    let names = String::from_utf8_lossy(&answer);
    names
        .lines()
        .filter(|name| is_below(name, &wanted) || is_below(&wanted, name))
        .map(str::to_owned)
        .collect()
}

fn is_below(name: &str, folder: &str) -> bool {
    name.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

/// The folder with the tests of this host: that of its hostname, or else that of its flake attribute. The two
/// differ where dashboards refuse the name that the host has in the flake, such as one with an underscore or a
/// domain. An attribute that is no plain name, such as `..`, is no folder.
fn tests_folder(settings: &Settings, dir: &Path) -> Option<PathBuf> {
    let attribute =
        settings.rebuild.flake_attr.as_deref().filter(|name| !name.contains('/') && !name.starts_with('.'));
    let names = [Some(settings.hostname.as_str()), attribute];
    let folders = names.into_iter().flatten().map(|name| dir.join("hosts").join(name).join("tests"));
    folders.into_iter().find(|folder| folder.is_dir())
}

/// Looks at the tests of this host. Folders, and files that are neither scripts nor programs, are no tests.
fn test_scripts(settings: &Settings, dir: &Path) -> TestScripts {
    let mut found = TestScripts::default();
    let items = tests_folder(settings, dir).and_then(|folder| fs::read_dir(folder).ok());
    for item in items.into_iter().flatten().flatten() {
        let (path, name) = (item.path(), item.file_name().to_string_lossy().into_owned());
        let script = name.ends_with(".sh");
        let named = script && name.starts_with('T');
        let why = match fs::metadata(&path) {
            Ok(meta) if !meta.is_file() => continue,
            Ok(meta) => match (named, meta.permissions().mode() & 0o111 != 0) {
                (true, true) => {
                    found.run.push(path);
                    continue;
                }
                (true, false) => NotRun::NotExecutable,
                (false, executable) if script || executable => NotRun::OtherName,
                (false, _) => continue,
            },
            Err(_) if named => NotRun::Unreadable,
            Err(_) => continue,
        };
        found.not_run.push((name, why));
    }
    short::sort(&mut found.run);
    short::sort(&mut found.not_run);
    found
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    #[test]
    fn a_fifo_in_place_of_a_file_of_git_hangs_nothing() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["objects", "refs"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        assert!(is_readable(folder.path()).unwrap());
        mknodat(CWD, folder.path().join("HEAD"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        let (answer, answered) = mpsc::channel();
        let git = folder.path().to_owned();
        thread::spawn(move || answer.send(is_readable(&git).map_err(|err| err.kind())));
        let answer = answered.recv_timeout(Duration::from_secs(20)).expect("an answer");
        assert_eq!(answer, Err(io::ErrorKind::InvalidInput));
    }
}
