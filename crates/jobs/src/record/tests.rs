use std::fs;

use super::*;
use crate::test_util::{alone, limit_files};

#[test]
fn records_come_back_in_the_order_of_their_jobs() {
    let folder = tempfile::tempdir().unwrap();
    let records = Records::new(folder.path().join("delivery"));
    assert!(records.load().is_empty());
    let made: Vec<Record> =
        (0..3).map(|n| Record { delivered_seq: n, ..Record::accept(format!("c{n}"), None) }).collect();
    for record in made.iter().rev() {
        records.save(record).unwrap();
    }
    fs::write(records.path().join("junk.json"), "{").unwrap();
    let torn = records.file(&made[0].id).with_extension("tmp");
    fs::copy(records.file(&made[0].id), torn).unwrap();
    assert_eq!(records.load(), made);
    records.forget(&made[1].id).unwrap();
    records.forget(&made[1].id).unwrap();
    assert_eq!(records.load().len(), 2);
}

#[test]
fn an_announced_reboot_is_forgotten_in_the_next_boot() {
    let folder = tempfile::tempdir().unwrap();
    let (records, jobs) = (Records::new(folder.path().join("delivery")), JobsDir::new(folder.path()));
    let (reboot, pull) = (
        Record { announced: true, ..Record::accept("reboot".to_owned(), None) },
        Record::accept("pull".to_owned(), None),
    );
    for record in [&reboot, &pull] {
        records.save(record).unwrap();
        fs::create_dir_all(jobs.job(&record.id).path()).unwrap();
        let spec = Spec {
            id: record.id.clone(),
            command: record.command.clone(),
            steps: Vec::new(),
            timeout_s: None,
            boot_id: Some("one".to_owned()),
            started_at: String::new(),
        };
        atomic_file::store(&jobs.job(&record.id).spec(), &spec).unwrap();
    }
    let both = vec![reboot.clone(), pull.clone()];
    let newest = Some(pull.id.clone());
    let opened =
        |resumed, happened| Opened { resumed, happened, newest: newest.clone(), ..Opened::default() };
    assert_eq!(records.open(&jobs, Some("one")), opened(both, vec![]), "it has not happened yet");
    assert_eq!(records.open(&jobs, Some("two")), opened(vec![pull.clone()], vec![reboot]));
    assert_eq!(records.load(), [pull], "for good");
}

/// An accepted command with a record, and its file.
fn accepted(records: &Records) -> (Record, PathBuf) {
    let record = Record { delivered_seq: 9, ..Record::accept("pull".to_owned(), Some("c-17".to_owned())) };
    records.save(&record).unwrap();
    let path = records.file(&record.id);
    (record, path)
}

/// The folder of a job, with its spec.
fn job_folder(jobs: &JobsDir, record: &Record, command: &str) {
    fs::create_dir_all(jobs.job(&record.id).path()).unwrap();
    let spec = Spec {
        id: record.id.clone(),
        command: command.to_owned(),
        steps: Vec::new(),
        timeout_s: None,
        boot_id: None,
        started_at: "2026-07-14T12:00:00.000Z".to_owned(),
    };
    atomic_file::store(&jobs.job(&record.id).spec(), &spec).unwrap();
}

#[test]
fn a_damaged_record_is_answered_from_what_can_be_read() {
    let other = Record::accept("backup".to_owned(), Some("c-99".to_owned()));
    let other = String::from_utf8(format::to_vec(&other).unwrap()).unwrap();
    // The damaged text from the whole one; which command and id are known without the job's folder.
    type Damage<'a> = Box<dyn Fn(&str) -> String + 'a>;
    let cut = |at: &'static str| -> Damage<'_> {
        Box::new(move |whole: &str| whole.split(at).next().unwrap().to_owned())
    };
    let cases: Vec<(&str, Damage<'_>, &str, Option<&str>)> = vec![
        ("empty", Box::new(|_: &str| String::new()), "unknown", None),
        ("garbage", Box::new(|_: &str| "\u{0}\u{1}{{é".to_owned()), "unknown", None),
        ("a list", Box::new(|_: &str| "[1,2]".to_owned()), "unknown", None),
        ("cut before the id", cut("c-17"), "pull", None),
        ("cut behind the id", cut("\"accepted_at"), "pull", Some("c-17")),
        ("cut in the last field", cut("rue}"), "pull", Some("c-17")),
        ("odd position", Box::new(|whole: &str| whole.replace(":9", ":-9")), "pull", Some("c-17")),
        ("of another job", Box::new(|_: &str| other.clone()), "unknown", None),
    ];
    for (case, damage, command, command_id) in cases {
        for folder_exists in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let (records, jobs) = (Records::new(folder.path().join("delivery")), JobsDir::new(folder.path()));
            let (record, path) = accepted(&records);
            let damaged = damage(&fs::read_to_string(&path).unwrap());
            fs::write(&path, &damaged).unwrap();
            if folder_exists {
                job_folder(&jobs, &record, "switch");
            }
            let opened = records.open(&jobs, None);
            let [found] = &opened.resumed[..] else { panic!("{case}: {opened:?}") };
            assert_eq!(found.id, record.id, "{case}");
            assert_eq!(found.command, if folder_exists { "switch" } else { command }, "{case}");
            assert_eq!(found.command_id.as_deref(), command_id, "{case}");
            assert_eq!((found.delivered_seq, found.line_numbers), (0, true), "{case}");
            match (folder_exists, &found.result) {
                // The folder says how it ended.
                (true, None) => {}
                (false, Some(result)) => {
                    assert_eq!(result.outcome, crate::spec::Outcome::Lost, "{case}");
                    assert!(result.message.contains("is damaged"), "{case}: {}", result.message);
                }
                other => panic!("{case}: {other:?}"),
            }
            let aside = path.with_extension("damaged");
            assert_eq!(fs::read_to_string(aside).unwrap(), damaged, "{case}");
            assert_eq!(
                records.open(&jobs, None).resumed,
                opened.resumed,
                "{case}: the next agent knows it too"
            );
        }
    }
}

#[test]
fn what_is_kept_of_a_damaged_record_is_short_and_safe_to_show() {
    let long = "x".repeat(60_000);
    for (field, whole, odd) in [
        ("command", "pull", "pu\\u001b[31mll\\nERROR forged\\u202e"),
        ("command", "pull", long.as_str()),
        ("accepted_at", "20", "yesterday\\n20"),
        ("accepted_at", "20", long.as_str()),
        ("command_id", "c-17", long.as_str()),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let (records, jobs) = (Records::new(folder.path().join("delivery")), JobsDir::new(folder.path()));
        let (_, path) = accepted(&records);
        let text = fs::read_to_string(&path).unwrap();
        let text = text.replace(&format!("\"{field}\":\"{whole}"), &format!("\"{field}\":\"{odd}"));
        // The last field is damaged, so that the others count.
        fs::write(&path, text.replace(":9", ":-9")).unwrap();
        let opened = records.open(&jobs, None);
        let [found] = &opened.resumed[..] else { panic!("{opened:?}") };
        let id = found.command_id.clone().unwrap_or_default();
        for (text, most) in [(&found.command, 64), (&found.accepted_at, 40), (&id, 256)] {
            assert!(text.chars().count() <= most && !text.chars().any(char::is_control), "{field}: {text:?}");
            assert!(!text.contains('\u{202e}'), "{field}: {text:?}");
        }
        let changed = [&found.command, &found.accepted_at, &id].into_iter().any(|text| text.contains("xxx"));
        assert_eq!(changed, field == "command" && odd == long, "{field}");
    }
}

#[test]
fn a_damaged_record_that_cannot_be_made_anew_is_answered_by_the_next_agent() {
    alone("record::tests::salvage_on_a_full_disk");
}

#[test]
#[ignore = "runs in a process of its own"]
fn salvage_on_a_full_disk() {
    for is_file in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let (records, jobs) = (Records::new(folder.path().join("delivery")), JobsDir::new(folder.path()));
        let (record, path) = accepted(&records);
        fs::write(&path, "{").unwrap();
        if !is_file {
            fs::remove_file(&path).unwrap();
            fs::create_dir(&path).unwrap();
        }
        limit_files(Some(0));
        let first = records.open(&jobs, None).resumed;
        limit_files(None);
        let next = records.open(&jobs, None).resumed;
        let ids = [first, next].map(|found| found.into_iter().map(|record| record.id).collect::<Vec<_>>());
        assert_eq!(ids, [[record.id.clone()], [record.id]], "a file: {is_file}");
        assert!(path.with_extension("damaged").exists());
    }
}

#[test]
fn a_reboot_whose_record_is_damaged_was_announced_nevertheless() {
    let folder = tempfile::tempdir().unwrap();
    let (records, jobs) = (Records::new(folder.path().join("delivery")), JobsDir::new(folder.path()));
    let (record, path) = accepted(&records);
    fs::write(&path, "{").unwrap();
    job_folder(&jobs, &record, "reboot");
    let opened = records.open(&jobs, Some("the next boot"));
    assert_eq!(
        opened.happened.iter().map(|record| &record.id).collect::<Vec<_>>(),
        [&record.id],
        "{opened:?}"
    );
}

#[test]
fn damaged_records_that_are_kept_have_a_bound() {
    let folder = tempfile::tempdir().unwrap();
    let (records, jobs) = (Records::new(folder.path().join("delivery")), JobsDir::new(folder.path()));
    for _ in 0..20 {
        let (record, path) = accepted(&records);
        fs::write(&path, "").unwrap();
        records.open(&jobs, None);
        records.forget(&record.id).unwrap();
    }
    assert_eq!(fs::read_dir(records.path()).unwrap().count(), 8);
}

#[test]
fn leftovers_of_writes_that_were_cut_short_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    let (records, jobs) = (Records::new(folder.path().join("delivery")), JobsDir::new(folder.path()));
    let (record, path) = accepted(&records);
    fs::write(path.with_extension("tmp"), "{").unwrap();
    fs::write(records.path().join("notes.tmp"), "not ours").unwrap();
    assert_eq!(records.open(&jobs, None).resumed, [record]);
    assert!(!path.with_extension("tmp").exists() && records.path().join("notes.tmp").exists());
}

#[test]
fn an_empty_id_of_an_earlier_agent_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let records = Records::new(folder.path());
    let record = Record::accept("pull".to_owned(), Some(String::new()));
    records.save(&record).unwrap();
    assert_eq!(records.load()[0].command_id, None);
}

#[test]
fn the_newest_job_is_known_from_records_and_folders() {
    let folder = tempfile::tempdir().unwrap();
    let (records, jobs) =
        (Records::new(folder.path().join("delivery")), JobsDir::new(folder.path().join("jobs")));
    assert_eq!(records.open(&jobs, None).newest, None);
    let ahead: JobId = "e".repeat(32).parse().unwrap();
    fs::create_dir_all(jobs.job(&ahead).path()).unwrap();
    let (record, _) = accepted(&records);
    assert_eq!(records.open(&jobs, None).newest, Some(ahead.clone()));
    // The clock was set back since then: the next job is newer nevertheless.
    let next = Record::accept("pull".to_owned(), None).after(Some(&ahead));
    assert!(next.id > ahead);
    let [older, newer] = [record.clone(), record.clone().after(Some(&record.id))].map(|record| record.id);
    assert!(newer > older);
    assert_eq!(record.clone().after(None).id, record.id);
    let last: JobId = "f".repeat(32).parse().unwrap();
    assert_eq!(record.clone().after(Some(&last)).id, record.id, "there is none behind it");
}
