use std::future::ready;

use super::*;

#[tokio::test(start_paused = true)]
async fn answers_come_in_the_order_of_their_questions() {
    let mut queries = Queries::default();
    let (send, receive) = oneshot::channel::<()>();
    assert!(
        queries
            .add("first", async move { receive.await.map(|()| "1".to_owned()).map_err(|_| String::new()) })
    );
    assert!(queries.add("second", ready(Ok("2".to_owned()))));
    let waited = timeout(Duration::from_secs(1), queries.next()).await;
    assert!(waited.is_err(), "the first is not done, and a wait that is cut short loses nothing");
    send.send(()).unwrap();
    assert_eq!(queries.next().await, ("first".to_owned(), Ok("1".to_owned())));
    assert_eq!(queries.next().await, ("second".to_owned(), Ok("2".to_owned())));
    assert!(timeout(Duration::from_secs(3600), queries.next()).await.is_err(), "nothing waits");
}

#[tokio::test(start_paused = true)]
async fn a_look_that_hangs_is_told_as_late() {
    let mut queries = Queries::default();
    queries.add("refresh-lock", std::future::pending());
    let (command, answer) = queries.next().await;
    assert_eq!(command, "refresh-lock");
    assert!(answer.unwrap_err().starts_with("no answer within 10s"));
}

#[test]
fn a_flood_of_questions_is_bounded() {
    let mut queries = Queries::default();
    let taken = (0..100).filter(|_| queries.add("refresh-all", std::future::pending())).count();
    assert_eq!(taken, WAITING);
}

fn facts() -> Facts {
    let verdict = |status, message: &str| Verdict {
        status,
        message: message.to_owned(),
        checked_at: "2026-07-14T12:00:00.000Z".to_owned(),
    };
    let mut facts = Facts::default();
    facts.update_status.lock = verdict(UpdateState::Ok, "as pulled");
    facts.update_status.system = verdict(UpdateState::Outdated, "b is pulled");
    facts.update_status.tests = verdict(UpdateState::Error, "4/5 passed");
    facts.system.repo_commit = Some("1d91f2b".to_owned());
    facts
}

#[tokio::test]
async fn each_question_is_answered_with_its_own_part() {
    for (question, expected) in [
        (Question::Git, "1d91f2b is checked out"),
        (Question::Lock, "ok: as pulled"),
        (Question::System, "outdated: b is pulled"),
        (Question::All, "lock ok: as pulled; system outdated: b is pulled; tests error: 4/5 passed"),
    ] {
        let (looked, receiver) = oneshot::channel();
        let (publish, watched) = watch::channel(Arc::new(Facts::default()));
        let answer = refreshed(question, receiver, watched);
        publish.send_replace(Arc::new(facts()));
        looked.send(()).unwrap();
        assert_eq!(answer.await, Ok(expected.to_owned()), "what the look found, not what was known before");
    }
    let (_, watched) = watch::channel(Arc::new(Facts::default()));
    let (_, gone) = oneshot::channel();
    assert!(refreshed(Question::All, gone, watched).await.unwrap_err().contains("or restart it"));
}

#[test]
fn two_versions_are_told_apart() {
    let same = Installed { program: PathBuf::from("/usr/bin/nixfleet-agent"), same: true };
    assert_eq!(versions("0.1.0", "", &same), "0.1.0 runs and is installed");
    let stored = "/nix/store/a-nixfleet-agent-0.1.0";
    let other = Installed { program: PathBuf::from("/nix/store/b/bin/nixfleet-agent"), same: false };
    assert_eq!(
        versions("0.1.0", stored, &other),
        "0.1.0 (/nix/store/a-nixfleet-agent-0.1.0) runs, but /nix/store/b/bin/nixfleet-agent is installed; `restart` moves to it"
    );
}

#[tokio::test]
async fn this_very_program_is_the_installed_one() {
    let nowhere = PathBuf::from("/nonexistent");
    let answer = version(nowhere, String::new()).await.unwrap();
    assert_eq!(answer, concat!(env!("CARGO_PKG_VERSION"), " runs and is installed"));
}

/// Far longer than anything here takes: only a hang reaches it.
const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn looks_that_hang_hold_one_thread_and_the_next_is_told() {
    static BUSY: AtomicBool = AtomicBool::new(false);
    let (release, hangs) = std::sync::mpsc::channel::<()>();
    let (begun, begins) = oneshot::channel();
    let hanging = tokio::spawn(exclusively(&BUSY, move || {
        begun.send(thread::current().name().map(str::to_owned)).unwrap();
        hangs.recv_timeout(LIMIT)
    }));
    assert_eq!(begins.await.unwrap().as_deref(), Some("version"), "none of the runtime's");
    // The query is gone, as after its timeout, but its thread is not.
    hanging.abort();
    assert!(hanging.await.unwrap_err().is_cancelled());
    for _ in 0..3 {
        let refused = exclusively(&BUSY, || unreachable!("a second thread")).await;
        assert!(refused.is_err_and(|why: String| why.contains("the last look at the programs still hangs")));
    }
    release.send(()).unwrap();
    free(&BUSY).await;
}

/// Waits until the thread has ended.
async fn free(busy: &'static AtomicBool) {
    let again = async {
        while exclusively(busy, || ()).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    timeout(LIMIT, again).await.expect("the thread before is over");
}

#[tokio::test]
async fn a_look_that_panics_gives_its_turn_back() {
    static BUSY: AtomicBool = AtomicBool::new(false);
    let failed = exclusively(&BUSY, || panic!("for the test")).await;
    assert!(failed.is_err_and(|why: String| why.contains("the look at the programs failed")));
    free(&BUSY).await;
    for number in 0..100 {
        assert_eq!(exclusively(&BUSY, move || number).await, Ok(number), "at once, each time");
    }
}
