use std::fs;
use std::time::Duration;

use nixfleet_os::sha256::{PROGRAM, hash_file};

use super::*;

const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

#[test]
fn a_store_path_is_cut_off_below_its_name() {
    for (program, wanted) in [
        ("/nix/store/abc-agent-1.0/bin/nixfleet-agent", Some("/nix/store/abc-agent-1.0")),
        ("/nix/store/abc-agent-1.0", Some("/nix/store/abc-agent-1.0")),
        ("/nix/store", None),
        ("/nix/store/../../etc/x", None),
        ("/usr/bin/nixfleet-agent", None),
        ("/nix/storehouse/abc/bin/x", None),
    ] {
        assert_eq!(store_path(Path::new(program)).as_deref(), wanted, "{program}");
    }
}

#[test]
fn a_file_is_hashed_and_a_folder_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x");
    fs::write(&file, "abc").unwrap();
    assert_eq!(hash_file(&file, PROGRAM).unwrap(), ABC);
    assert!(hash_file(folder.path(), PROGRAM).is_err());
    assert!(hash_file(&folder.path().join("none"), PROGRAM).is_err());
}

#[test]
fn the_running_binary_is_hashed() {
    let hash = hash_file(&running_binary().unwrap(), PROGRAM).unwrap();
    assert_eq!(hash, hash_file(&std::env::current_exe().unwrap(), PROGRAM).unwrap());
    assert_eq!(hash.len(), 64);
}

#[test]
fn a_file_is_hashed_again_only_when_it_changed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flake.lock");
    let mut watched = WatchedHash::new(path.clone());
    let gone = |result: io::Result<String>| result.is_err_and(|err| err.kind() == io::ErrorKind::NotFound);
    assert!(gone(watched.current()), "not there yet");
    fs::write(&path, "abc").unwrap();
    let time = fs::metadata(&path).unwrap().modified().unwrap();
    assert_eq!(watched.current().unwrap(), ABC);
    // The same time and length: not read again.
    fs::write(&path, "xyz").unwrap();
    fs::File::open(&path).unwrap().set_modified(time).unwrap();
    assert_eq!(watched.current().unwrap(), ABC);
    fs::write(&path, "abcd").unwrap();
    fs::File::open(&path).unwrap().set_modified(time).unwrap();
    let longer = watched.current().unwrap();
    assert_ne!(longer, ABC, "another length");
    fs::write(&path, "abce").unwrap();
    fs::File::open(&path).unwrap().set_modified(time + Duration::from_secs(5)).unwrap();
    assert_ne!(watched.current().unwrap(), longer, "another time");
    fs::remove_file(&path).unwrap();
    assert!(gone(watched.current()));
}
