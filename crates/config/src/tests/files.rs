//! What is where a file or a folder is expected.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::mpsc;
use std::thread;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::*;

/// Far longer than any check takes. A check that waits for a writer of a FIFO would take for ever.
const PATIENCE: Duration = Duration::from_secs(20);

/// The errors of `check-config`, one a line, or an empty text; within [`PATIENCE`].
#[track_caller]
fn checked(source: &Source) -> String {
    let source = source.clone();
    let (answer, answered) = mpsc::channel();
    thread::spawn(move || {
        answer.send(Config::check(&source).err().map_or_else(String::new, |error| error.to_string()))
    });
    answered.recv_timeout(PATIENCE).expect("the check ends")
}

/// Puts something at a path.
type Make = fn(&Path);

fn fifo(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::RWXU, 0).unwrap();
}

#[test]
fn a_fifo_a_folder_or_a_device_in_place_of_a_file_is_told_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("place");
    let shown = place.to_str().unwrap();
    let kinds: [(&str, Make); 4] = [
        ("FIFO", fifo),
        ("folder", |path| fs::create_dir(path).unwrap()),
        ("device", |path| symlink("/dev/zero", path).unwrap()),
        ("socket", |path| drop(std::os::unix::net::UnixListener::bind(path).unwrap())),
    ];
    for (what, make) in kinds {
        make(&place);
        let mut given = Given::new("", &[]);
        given.source.file = Some(place.clone());
        let error = checked(&given.source);
        assert!(error.contains(shown) && error.contains("; name a readable TOML file"), "{what}: {error}");

        for (name, fix) in [
            ("NIXFLEET_TOKEN_FILE", "; name a file that has the token and nothing else"),
            ("NIXFLEET_CA_FILE", "; name a file with certificates in PEM"),
            ("NIXFLEET_PROXY_LOGIN_FILE", "; name a file with one line in it, USER:PASSWORD"),
            ("NIXFLEET_SSH_KEY", "; name the file of a private key"),
        ] {
            let given = Given::new("", &[(name, shown)]);
            let given = if name == "NIXFLEET_TOKEN_FILE" { given.without("NIXFLEET_TOKEN") } else { given };
            let error = checked(&given.source);
            assert!(error.contains(shown) && error.contains(fix), "{what} as {name}: {error}");
            let is_named = error.contains("is a folder, not a file");
            assert_eq!(is_named, what == "folder", "{what} as {name}: {error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
        fs::remove_file(&place).or_else(|_| fs::remove_dir(&place)).unwrap();
    }
}

#[test]
fn a_file_in_place_of_a_folder_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (file, below) = (folder.path().join("file"), folder.path().join("file/below"));
    fs::write(&file, "").unwrap();
    for (name, key) in [
        ("NIXFLEET_STATE_DIR", "state_dir"),
        ("NIXFLEET_JOBS__DIR", "jobs.dir"),
        ("NIXFLEET_REPO_DIR", "repo.dir"),
    ] {
        for (path, said) in [(&file, "is not a folder"), (&below, "a part of its path is a file")] {
            let given = Given::new("", &[(name, path.to_str().unwrap())]);
            let error = checked(&given.source);
            assert!(error.starts_with(&format!("{key}: {} ", path.display())), "{error}");
            assert!(error.contains(said) && error.contains("; name a folder"), "{error}");
            // The agent itself starts: it connects, and says so.
            given.loads();
        }
        let good = Given::new("", &[(name, folder.path().join("to-be-made").to_str().unwrap())]);
        assert_eq!(checked(&good.source), "");
    }
}

#[test]
fn a_file_of_an_editor_on_windows_is_read_or_told() {
    let text = "interval = 5\r\n[repo]\r\nbranch = 'stable'\r\n";
    let check = |bytes: &[u8]| {
        let given = Given::new("", &[]);
        fs::write(given.source.file.as_ref().unwrap(), bytes).unwrap();
        Config::check(&given.source).map(|config| config.host.repo.branch).map_err(|error| error.to_string())
    };
    assert_eq!(check(text.as_bytes()), Ok("stable".to_owned()));
    assert_eq!(check(format!("\u{feff}{text}").as_bytes()), Ok("stable".to_owned()));
    for bytes in [&b"\xff\xfei\0n\0"[..], b"\xfe\xff\0i\0n"] {
        let error = check(bytes).unwrap_err();
        assert!(error.contains("agent.toml:1:1: UTF-16, not UTF-8; save the file as UTF-8"), "{error}");
    }
    let error = check(b"location = '\xe4'").unwrap_err();
    assert!(error.contains("agent.toml:1:13: not UTF-8; save the file as UTF-8"), "{error}");
}
