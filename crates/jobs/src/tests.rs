//! Names that come from outside, and files that must be whole.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::*;
use crate::atomic_file;
use crate::format::Format;

const ID: &str = "0197f9c0a1b27c3d8e4f5a6b7c8d9e0f";

#[test]
fn no_hostile_instance_name_is_accepted() {
    let long = "a".repeat(4096);
    let refused = [
        String::new(),
        "-".to_owned(),
        "pull".to_owned(),
        ID.to_owned(),
        format!("-{ID}"),
        format!("--{ID}"),
        format!("--help-{ID}"),
        format!("-pull-{ID}"),
        format!("../x-{ID}"),
        format!("../../etc/passwd-{ID}"),
        format!("/pull-{ID}"),
        format!("pull/x-{ID}"),
        format!("pull.service-{ID}"),
        format!("pull -{ID}"),
        format!(" pull-{ID}"),
        format!("pull-{ID} "),
        format!("pull-{ID}\n"),
        format!("pull\n-{ID}"),
        format!("pull\0-{ID}"),
        format!("pull-{ID}\0"),
        format!("pull\t-{ID}"),
        format!("%i-{ID}"),
        format!("%h-{ID}"),
        format!("pull\\x2d-{ID}"),
        format!("$HOME-{ID}"),
        format!("`id`-{ID}"),
        format!("a;b-{ID}"),
        format!("pull*-{ID}"),
        format!("pull@x-{ID}"),
        format!("pull_x-{ID}"),
        format!("Pull-{ID}"),
        format!("püll-{ID}"),
        format!("pull\u{2010}{ID}"),
        format!("pull\u{202e}-{ID}"),
        format!("pull-{}", ID.to_uppercase()),
        format!("pull-{}", &ID[1..]),
        format!("pull-{ID}0"),
        format!("pull-{}g", &ID[1..]),
        format!("pull-{}", "0197f9c0-a1b2-7c3d-8e4f-5a6b7c8d9e0f"),
        format!("pull-0x{}", &ID[2..]),
        format!("pull-{}", "０".repeat(32)),
        format!("{}-{ID}", "a".repeat(MAX_COMMAND_NAME + 1)),
        format!("pull-{ID}-{ID}"),
        format!("{long}-{ID}"),
        format!("pull-{long}"),
        long,
    ];
    for text in refused {
        assert!(text.parse::<Instance>().is_err(), "{text:?}");
    }
}

#[test]
fn what_is_no_job_id_is_refused_in_files_as_well() {
    for text in ["", "..", "../../etc", &ID.to_uppercase(), &ID[1..], "lock"] {
        assert!(text.parse::<JobId>().is_err(), "{text:?}");
        assert!(serde_json::from_value::<JobId>(text.into()).is_err(), "{text:?}");
    }
    assert_eq!(serde_json::from_value::<JobId>(ID.into()).unwrap().as_str(), ID);
}

#[test]
fn a_job_lives_in_a_folder_directly_below_that_of_all_jobs() {
    let jobs = JobsDir::new("/jobs");
    let dir = jobs.job(&ID.parse().unwrap());
    assert_eq!(dir.path(), Path::new("/jobs").join(ID));
    for file in [dir.spec(), dir.state(), dir.result(), dir.log(0), dir.log(7)] {
        assert_eq!(file.parent(), Some(dir.path()));
    }
    // Neither can be taken for a job.
    for other in [jobs.lock(), jobs.history(), jobs.checkout()] {
        assert!(other.file_name().unwrap().to_str().unwrap().parse::<JobId>().is_err());
    }
}

#[test]
fn job_ids_sort_by_the_time_they_were_made() {
    let begun = jiff::Timestamp::now().as_millisecond();
    let ids: Vec<JobId> = (0..10_000).map(|_| JobId::generate()).collect();
    assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
    // The digits in front are the time, so this holds across processes and folders, too.
    let made = i64::from_str_radix(&ids[0].as_str()[..12], 16).unwrap();
    assert!((begun..begun + 60_000).contains(&made), "{made} is not just after {begun}");
    assert!(ids.iter().all(|id| id.as_str().parse::<JobId>().as_ref() == Ok(id)));
}

impl PartialEq for BadJobId {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

proptest! {
    #[test]
    fn every_proper_instance_name_comes_back_as_it_was(
        command in "[a-z0-9][a-z0-9-]{0,31}",
        id in "[0-9a-f]{32}",
    ) {
        let text = format!("{command}-{id}");
        let instance: Instance = text.parse().unwrap();
        prop_assert_eq!((&instance.command, instance.id.as_str()), (&command, id.as_str()));
        prop_assert_eq!(instance.to_string(), text);
    }

    /// Whatever is accepted names a folder of its own and is safe as a part of a unit's name.
    #[test]
    fn whatever_is_accepted_is_harmless(text in r"[a-zA-Z0-9./%\- \n\\]{0,12}-[0-9a-fA-F]{31,33}") {
        if let Ok(instance) = text.parse::<Instance>() {
            prop_assert!(text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'));
            prop_assert!(!text.starts_with('-') && text.len() <= MAX_COMMAND_NAME + 33);
            prop_assert_eq!(instance.to_string(), text);
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in any::<String>()) {
        drop(text.parse::<Instance>());
        drop(text.parse::<JobId>());
    }
}

fn names_in(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|item| item.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A file with one field.
#[derive(Serialize, Deserialize)]
struct Content<T> {
    content: T,
}

impl<T: Serialize + DeserializeOwned> Format for Content<T> {
    const VERSION: u32 = 1;
}

fn store<T: Serialize + DeserializeOwned>(path: &Path, content: T) -> io::Result<()> {
    atomic_file::store(path, &Content { content })
}

fn load<T: Serialize + DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    Ok(atomic_file::load(path)?.map(|Content { content }| content))
}

#[test]
fn what_is_stored_is_what_is_loaded_and_nothing_is_left_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    assert_eq!(load::<Vec<u32>>(&path).unwrap(), None, "nothing there yet");
    for value in [vec![1, 2, 3], vec![], (0..10_000).collect()] {
        store(&path, value.clone()).unwrap();
        assert_eq!(load::<Vec<u32>>(&path).unwrap(), Some(value));
    }
    assert_eq!(names_in(folder.path()), ["state.json"]);
}

#[test]
fn a_reader_sees_the_old_content_or_the_new_and_never_a_part() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    let values = [vec![1_u32; 20_000], vec![2; 10]];
    store(&path, values[0].clone()).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut seen = 0;
            while !done.load(Relaxed) || seen < 10 {
                let value: Vec<u32> = load(&path).unwrap().expect("there at all times");
                assert!(values.contains(&value), "{} elements", value.len());
                seen += 1;
            }
        });
        for n in 1..=100 {
            store(&path, values[n % 2].clone()).unwrap();
        }
        done.store(true, Relaxed);
        reader.join().unwrap();
    });
}

#[test]
fn a_file_that_is_no_such_value_is_an_error_and_not_an_absence() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    for text in ["", "{", "null", "{}", r#"{"version":1}"#, "[1,2", "\0\0\0\0"] {
        fs::write(&path, text).unwrap();
        assert!(load::<Vec<u32>>(&path).is_err(), "{text:?}");
    }
    assert!(load::<Vec<u32>>(folder.path()).is_err(), "a folder");
}

#[test]
fn a_value_that_cannot_be_stored_leaves_the_old_one_and_no_rubbish() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    store(&path, "old".to_owned()).unwrap();

    // A value that does not serialize to the end.
    let unserializable = std::collections::BTreeMap::from([(vec![1_u8], 1_u8)]);
    assert!(store(&path, unserializable).is_err());
    assert_eq!(load::<String>(&path).unwrap().as_deref(), Some("old"));
    assert_eq!(names_in(folder.path()), ["state.json"]);

    // The rename does not go through.
    let taken = folder.path().join("taken.json");
    fs::create_dir_all(taken.join("full")).unwrap();
    assert!(store(&taken, "new".to_owned()).is_err());
    assert_eq!(names_in(folder.path()), ["state.json", "taken.json"]);
}

#[test]
fn a_read_only_folder_keeps_the_old_content() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    store(&path, "old".to_owned()).unwrap();
    let mode = |mode| fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
    mode(0o555);
    // Root can write to every folder, so for root the test has no meaning; the test above covers that case.
    let means_something = fs::write(folder.path().join("probe"), "").is_err();
    let stored = store(&path, "new".to_owned());
    mode(0o755);
    if means_something {
        assert_eq!(stored.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(load::<String>(&path).unwrap().as_deref(), Some("old"));
        assert_eq!(names_in(folder.path()), ["state.json"]);
    }
}

#[test]
fn a_folder_that_is_gone_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gone/state.json");
    assert_eq!(store(&path, "new".to_owned()).unwrap_err().kind(), io::ErrorKind::NotFound);
    assert_eq!(load::<String>(&path).unwrap(), None);
}
