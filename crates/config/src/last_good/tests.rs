use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

const SETTINGS: &str = "/etc/nixfleet/agent.toml";

fn accepted(text: &str) -> Accepted {
    Accepted { text: text.to_owned(), at: "before".to_owned() }
}

fn hash(text: &str) -> String {
    sha256::hash_bytes(text.as_bytes())
}

/// `accepted` or `accepted/proven`.
fn shown(kept: &Kept) -> String {
    let proven = kept.proven.as_ref().map(|proven| format!("/{}", proven.text)).unwrap_or_default();
    format!("{}{proven}", kept.accepted.text)
}

fn kept(shown: &str) -> Option<Kept> {
    let (now, proven) = shown.split_once('/').map_or((shown, None), |(now, proven)| (now, Some(proven)));
    let kept = Kept { file: SETTINGS.to_owned(), accepted: accepted(now), proven: proven.map(accepted) };
    (!shown.is_empty()).then_some(kept)
}

#[test]
fn settings_that_led_to_a_registration_outlive_those_that_did_not() {
    // What is kept, the settings of the last registration, the good text of the file; and what is kept then.
    for (before, registered, text, after) in [
        ("", "", "A", "A"),
        ("", "A", "A", "A"),
        ("A", "", "A", "A"),
        ("A", "A", "B", "B/A"),
        ("A", "", "B", "B"),
        ("B/A", "A", "C", "C/A"),
        ("B/A", "B", "C", "C/B"),
        ("B/A", "A", "B", "B/A"),
        ("B/A", "B", "B", "B/A"),
    ] {
        let found =
            Kept::after_start(kept(before), SETTINGS, text, "now".to_owned(), Some(&hash(registered)));
        assert_eq!(shown(&found), after, "{before} {registered} {text}");
        let is_same = before.split('/').next() == Some(text);
        assert_eq!(found.accepted.at, if is_same { "before" } else { "now" }, "{before} {registered} {text}");
    }
    // What is kept, the settings of the last registration; and what is kept, and used, after a mistake.
    for (before, registered, after) in [
        ("A", "", "A"),
        ("A", "A", "A"),
        ("B/A", "A", "A"),
        ("B/A", "", "A"),
        ("B/A", "B", "B/A"),
        ("B/A", "C", "A"),
    ] {
        let found = kept(before).unwrap().after_mistake(Some(&hash(registered)));
        assert_eq!(shown(&found), after, "{before} {registered}");
    }
    assert_eq!(shown(&kept("B/A").unwrap().after_mistake(None)), "A", "nobody ever registered");
}

#[test]
fn the_copy_of_another_file_is_not_used_and_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::new(folder.path().join("state"));
    assert_eq!(place.read(Path::new(SETTINGS)), Ok(None));
    place.keep(Path::new(SETTINGS), "A").unwrap();
    let found = place.read(Path::new(SETTINGS)).unwrap().unwrap();
    assert_eq!((found.accepted.text.as_str(), found.proven), ("A", None));
    assert_eq!(place.read(Path::new("/other.toml")), Ok(None));
    place.keep(Path::new("/other.toml"), "B").unwrap();
    assert_eq!(place.read(Path::new(SETTINGS)), Ok(None));
    assert_eq!(place.read(Path::new("/other.toml")).unwrap().unwrap().accepted.text, "B");
}

#[test]
fn a_registration_proves_settings_across_starts() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::new(folder.path().join("state"));
    let file = Path::new(SETTINGS);
    let used = || shown(&place.read(file).unwrap().unwrap());
    fs::create_dir_all(folder.path().join("state/agent")).unwrap();
    place.keep(file, "A").unwrap();
    Proof::of(&place, "A").store().unwrap();
    place.keep(file, "B").unwrap();
    assert_eq!(used(), "B/A");
    place.fall_back(file).unwrap();
    assert_eq!(used(), "A", "B never led to a registration");
    place.fall_back(file).unwrap();
    assert_eq!(used(), "A");
    place.keep(file, "B").unwrap();
    Proof::of(&place, "B").store().unwrap();
    place.fall_back(file).unwrap();
    assert_eq!(used(), "B/A");
}

#[test]
fn nobody_believes_what_others_may_have_written() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let place = Place::new(state.clone());
    let file = Path::new(SETTINGS);
    place.keep(file, "A").unwrap();
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let inner = state.join("settings");
    for (path, open, closed) in
        [(&state, 0o777, 0o755), (&inner, 0o770, 0o750), (&place.file(), 0o660, 0o640)]
    {
        mode(path, open);
        let why = place.read(file).unwrap_err();
        assert!(why.contains("may write to") && why.contains(path.to_str().unwrap()), "{why}");
        mode(path, closed);
        assert_eq!(place.read(file).unwrap().unwrap().accepted.text, "A");
    }
    // Somebody else's folder or file, moved in.
    if rustix::process::geteuid().is_root() {
        for path in [&state, &inner, &place.file()] {
            std::os::unix::fs::chown(path, Some(12345), None).unwrap();
            let why = place.read(file).unwrap_err();
            assert!(why.contains("belongs to user 12345"), "{why}");
            std::os::unix::fs::chown(path, Some(0), None).unwrap();
        }
    }
    let elsewhere = folder.path().join("elsewhere");
    fs::rename(&inner, &elsewhere).unwrap();
    symlink(&elsewhere, &inner).unwrap();
    assert!(place.read(file).unwrap_err().contains("is a symbolic link"));
    fs::remove_file(&inner).unwrap();
    fs::rename(&elsewhere, &inner).unwrap();
    fs::write(place.file(), "{").unwrap();
    assert!(place.read(file).unwrap_err().contains("cannot be read"));
    place.keep(file, "B").unwrap();
    assert_eq!(shown(&place.read(file).unwrap().unwrap()), "B", "a damaged copy is replaced");
}

#[test]
fn a_file_that_the_readers_of_the_copy_cannot_read_is_not_kept() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::new(folder.path().join("state"));
    let settings = folder.path().join("agent.toml");
    fs::write(&settings, "").unwrap();
    let inner = folder.path().join("state/settings");
    fs::create_dir_all(&inner).unwrap();
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    for (of_folder, of_file, may) in [
        (0o700, 0o600, true),
        (0o750, 0o600, false),
        (0o750, 0o640, true),
        (0o750, 0o604, true),
        (0o2750, 0o644, true),
    ] {
        mode(&inner, of_folder);
        mode(&settings, of_file);
        assert_eq!(place.may_keep(&settings), may, "{of_folder:o} {of_file:o}");
    }
    mode(&settings, 0o640);
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&settings, None, Some(12345)).unwrap();
        assert!(!place.may_keep(&settings), "of another group");
    }
}
