use std::path::Path;
use std::time::Instant;

use nixfleet_jobs::rollback::{Activation, Contact as Said};

use super::*;
use crate::jobs::captured_log::CapturedLog;

/// Waits for what the thread does, twice a second.
fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "still no {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn trial(id: &JobId, folder: &Path) -> Trial {
    Trial {
        id: id.clone(),
        command: "switch".to_owned(),
        boot_id: Some("this".to_owned()),
        previous: folder.join("one"),
        new: folder.join("two"),
        running: folder.join("current"),
        proc: "/proc".into(),
        profile: folder.join("profile"),
        contact: folder.join("contact.json"),
        confirm_timeout_s: 60,
        hold_s: 10,
        checks: Vec::new(),
        asked_ms: now_ms(),
        begun: Begun::Asking,
        activation: None,
    }
}

#[test]
fn the_agent_says_that_it_is_connected_only_while_a_system_is_on_trial() {
    let folder = tempfile::tempdir().unwrap();
    let jobs = JobsDir::new(folder.path().join("jobs"));
    let id = JobId::generate();
    std::fs::create_dir_all(jobs.job(&id).path()).unwrap();
    let file = folder.path().join("contact.json");
    std::fs::write(&file, "of an earlier agent").unwrap();
    let mut contact = Contact::new(jobs.clone(), file.clone(), Some("this".to_owned()));
    assert!(!file.exists(), "of the earlier agent");
    assert!(contact.shared.told().writer.is_some(), "no thread without a switch");
    contact.dialing();
    contact.registered();
    contact.follow(&id);
    let mut trial = trial(&id, folder.path());
    trial.store(&jobs.job(&id)).unwrap();
    let said = eventually("contact", || Said::read(&file));
    assert!(said.is_alive_since(Some("this"), said.opened_ms), "{said:?}");
    assert!(!said.is_alive_since(Some("another"), said.opened_ms));
    assert!(contact.is_open() && !contact.needs_another(), "nothing was activated yet");
    assert_eq!(contact.waits(), None);
    assert_eq!(contact.hurries(Duration::from_secs(60)), LONGEST_DELAY);

    // The activation ends: this connection proves nothing any more, and another one does.
    std::thread::sleep(Duration::from_millis(2));
    let ended_ms = now_ms();
    (trial.begun, trial.activation) = (Begun::Activating, Some(Activation { ended_ms, code: 0 }));
    trial.store(&jobs.job(&id)).unwrap();
    eventually("need of another connection", || contact.needs_another().then_some(()));
    assert!(contact.waits().is_some_and(|text| text.starts_with("confirming, ")), "{:?}", contact.waits());
    contact.lost();
    std::thread::sleep(Duration::from_millis(2));
    contact.dialing();
    assert!(!contact.needs_another());
    let unregistered = |said: Said| (said.opened_ms > ended_ms && said.registered_ms.is_none()).then_some(());
    eventually("a connection without registration", || unregistered(Said::read(&file)?));
    contact.registered();
    let registered =
        eventually("registration", || Said::read(&file).filter(|said| said.registered_ms.is_some()));
    std::thread::sleep(Duration::from_millis(2));
    contact.heard();
    eventually("a sign of life", || Said::read(&file).filter(|said| said.heard_ms > registered.heard_ms));

    // It is decided.
    std::fs::write(jobs.job(&id).result(), "{}").unwrap();
    eventually("end of the file", || (!file.exists()).then_some(()));
    eventually("end of the trial", || (!contact.is_open()).then_some(()));
    assert_eq!(contact.hurries(Duration::from_secs(60)), Duration::from_secs(60));
    let no_thread = || contact.shared.told().writer.is_some().then_some(());
    eventually("end of the thread", no_thread);

    // The next switch has a thread again, also without a trial, and until the agent says that it is over.
    let next = JobId::generate();
    std::fs::create_dir_all(jobs.job(&next).path()).unwrap();
    contact.follow(&next);
    eventually("thread", || contact.shared.told().writer.is_none().then_some(()));
    let again = Trial { asked_ms: now_ms(), begun: Begun::Asking, activation: None, ..trial };
    again.store(&jobs.job(&next)).unwrap();
    eventually("second trial", || contact.is_open().then_some(()));
    eventually("contact", || Said::read(&file));
    contact.unfollow();
    eventually("end of the second thread", no_thread);
    assert!(!file.exists() && !contact.is_open());
}

#[test]
fn a_file_that_cannot_be_written_is_told_once_for_each_trial() {
    let folder = tempfile::tempdir().unwrap();
    let jobs = JobsDir::new(folder.path());
    let file = folder.path().join("away/contact.json");
    let (open, _receiver) = watch::channel(None);
    let mut writer = Writer { jobs, file: file.clone(), boot_id: None, open, written: None, failed: false };
    let log = CapturedLog::default();
    let told = || log.text().matches("so the new system may be taken back").count();
    let said = |heard_ms| Said { heard_ms: Some(heard_ms), ..Said::default() };
    tracing::dispatcher::with_default(&log.dispatch(), || {
        writer.say(said(1));
        writer.say(said(2));
        assert_eq!(told(), 1, "{}", log.text());
        writer.withdraw();
        writer.say(said(3));
        assert_eq!(told(), 2, "{}", log.text());
    });
    std::fs::create_dir(file.parent().unwrap()).unwrap();
    writer.say(said(3));
    assert_eq!(Said::read(&file), Some(said(3)), "it is tried again");
}
