use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use nixfleet_config::{Config, GenerationSource, Source};
use nixfleet_jobs::JobId;
use nixfleet_jobs::git::head_commit;
use nixfleet_jobs::history::Reached;
use nixfleet_jobs::spec::{JobResult, Outcome};
use nixfleet_os::test_util::write_script;
use nixfleet_protocol::UpdateState;

use super::*;

mod revision;

/// Longest wait for something that should take milliseconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// A host with everything below one folder.
fn host(folder: &Path) -> nixfleet_config::Host {
    let below = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let environment: BTreeMap<String, String> = [
        ("NIXFLEET_URL", "ws://localhost".to_owned()),
        ("NIXFLEET_TOKEN", "t".to_owned()),
        ("NIXFLEET_HOSTNAME", "web-1".to_owned()),
        ("NIXFLEET_STATE_DIR", below("state")),
        ("NIXFLEET_REPO_DIR", below("repo")),
        ("NIXFLEET_PATHS__PROC", below("proc")),
        ("NIXFLEET_PATHS__CURRENT_SYSTEM", below("current-system")),
        ("NIXFLEET_PATHS__OS_RELEASE", below("os-release")),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect();
    write(folder, "agent.toml", "");
    Config::load(&Source { file: Some(folder.join("agent.toml")), environment }).unwrap().host
}

fn write(folder: &Path, name: &str, content: &str) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// A NixOS host whose system does not tell its revision, with a checkout.
fn fill(folder: &Path) {
    write(folder, "system/nixos-version", "26.05.20260714.7beb50e\n");
    fs::create_dir_all(folder.join("system/sw/bin")).unwrap();
    symlink("/bin/false", folder.join("system/sw/bin/nixos-version")).unwrap();
    symlink(folder.join("system"), folder.join("current-system")).unwrap();
    write(folder, "os-release", "NAME=NixOS\nVERSION_ID=\"26.05\"\n");
    write(folder, "proc/sys/kernel/random/boot_id", "11111111-2222-3333-4444-555555555555\n");
    write(folder, "repo/.git/HEAD", "1d91f2b4c0ffee00000000000000000000000001\n");
    write(folder, "repo/flake.lock", "{}");
}

/// The facts without the update status, which contains the time.
fn without_update_status(facts: &Facts) -> Facts {
    Facts { update_status: UpdateStatus::default(), ..facts.clone() }
}

#[test]
fn what_did_not_change_is_the_same_and_is_not_published() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path());
    let mut collector = Collector::new(&host(folder.path()));
    collector.refresh(false, |_| {}, || {});
    let before = collector.facts.clone();
    collector.refresh(false, |_| {}, || {});
    assert_eq!(collector.facts, before, "to the time of each verdict");
}

#[test]
fn nothing_known_is_unknown_and_not_empty() {
    let folder = tempfile::tempdir().unwrap();
    let mut collector = Collector::new(&host(folder.path()));
    collector.refresh(false, |_| {}, || {});
    assert_eq!(collector.facts.generation, "");
    assert_eq!(collector.facts.nixpkgs_version, UNKNOWN);
    assert_eq!(without_update_status(&collector.facts), Facts { complete: true, ..Facts::default() });
}

#[test]
fn everything_there_is_found() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path());
    let mut collector = Collector::new(&host(folder.path()));
    collector.refresh(false, |_| {}, || {});
    let commit = "1d91f2b4c0ffee00000000000000000000000001".to_owned();
    assert_eq!(
        without_update_status(&collector.facts),
        Facts {
            system: HostSystem {
                current: folder.path().join("system").to_str().map(str::to_owned),
                repo_commit: Some(commit),
                ..HostSystem::default()
            },
            generation: "1d91f2b".to_owned(),
            nixpkgs_version: "26.05.20260714.7beb50e".to_owned(),
            os_version: "26.05".to_owned(),
            lock_hash: "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a".to_owned(),
            boot_id: Some("11111111-2222-3333-4444-555555555555".to_owned()),
            complete: true,
            ..Facts::default()
        }
    );
}

#[test]
fn of_a_checkout_that_is_not_ours_to_read_the_last_job_told() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path());
    let repo = folder.path().join("repo");
    fs::rename(&repo, folder.path().join("locked-away")).unwrap();
    // Nobody can follow a link to itself, not even root.
    symlink(&repo, &repo).unwrap();
    let note = |dir: &str| {
        let dir = folder.path().join(dir);
        let (commit, lock_hash) = (Some("abcdef1".repeat(6)[..40].to_owned()), Some("11".repeat(32)));
        let note = checkout::Checkout { dir, commit, lock_hash };
        fs::create_dir_all(folder.path().join("state/jobs")).unwrap();
        let file = folder.path().join("state/jobs/checkout.json");
        fs::write(file, serde_json::to_vec(&note).unwrap()).unwrap();
        let mut collector = Collector::new(&host(folder.path()));
        collector.refresh(false, |_| {}, || {});
        collector.facts
    };
    let facts = note("another-repo");
    assert_eq!((facts.generation.as_str(), facts.lock_hash.as_str()), ("", ""));
    let facts = note("repo");
    assert_eq!((facts.generation, facts.lock_hash), ("abcdef1".to_owned(), "11".repeat(32)));
    // A checkout that can be read is newer than any note.
    fs::remove_file(&repo).unwrap();
    fs::rename(folder.path().join("locked-away"), &repo).unwrap();
    let facts = note("repo");
    assert_eq!(facts.generation, "1d91f2b");
    assert_ne!(facts.lock_hash, "11".repeat(32));
}

#[test]
fn a_note_of_a_checkout_that_is_gone_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path());
    let mut collector = Collector::new(&host(folder.path()));
    let repo = folder.path().join("repo");
    fs::create_dir_all(collector.jobs.path()).unwrap();
    let note = serde_json::to_vec(&checkout::Checkout::read(&repo)).unwrap();
    fs::write(collector.jobs.checkout(), note).unwrap();
    collector.refresh(false, |_| {}, || {});
    assert!(collector.facts.system.repo_commit.is_some());
    fs::remove_dir_all(&repo).unwrap();
    collector.refresh(false, |_| {}, || {});
    assert_eq!(collector.facts.system.repo_commit, None);
    let verdict = &collector.facts.update_status.lock;
    assert_eq!(
        (verdict.status, verdict.message.as_str()),
        (UpdateState::Unknown, "there is no checkout yet")
    );
}

#[test]
fn a_removed_lock_is_told_and_its_hash_still_reported() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path());
    let mut collector = Collector::new(&host(folder.path()));
    let mut history = History::default();
    let commit = head_commit(&folder.path().join("repo"));
    let result = JobResult { commit, ..JobResult::without_supervisor(Outcome::Ok, String::new(), 0) };
    let lock = checkout::Checkout::read(&folder.path().join("repo")).lock_hash;
    let reached = Reached::by("pull", 0, 1, Outcome::Ok);
    history.note(reached, &JobId::generate(), "pull", &result, lock.clone());
    fs::create_dir_all(collector.jobs.path()).unwrap();
    history.store(&collector.jobs).unwrap();
    let mut lock_verdict = || {
        collector.refresh(false, |_| {}, || {});
        let verdict = collector.facts.update_status.lock.clone();
        (collector.facts.lock_hash.clone(), verdict.status, verdict.message)
    };
    let pulled = (lock.unwrap(), UpdateState::Ok, "flake.lock is as pulled with 1d91f2b".to_owned());
    for _ in 0..2 {
        assert_eq!(lock_verdict(), pulled, "also when nothing is new");
    }
    fs::remove_file(folder.path().join("repo/flake.lock")).unwrap();
    let gone = (pulled.0, UpdateState::Unknown, "the checkout has no flake.lock".to_owned());
    assert_eq!(lock_verdict(), gone);
}

#[test]
fn what_is_absent_counts_only_after_a_whole_look() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path());
    let mut collector = Collector::new(&host(folder.path()));
    assert!(!collector.facts.complete);
    let published = RefCell::new(Vec::new());
    let publish = |facts: &Facts| {
        published.borrow_mut().push((facts.complete, facts.update_status != UpdateStatus::default()));
    };
    collector.refresh(false, publish, || {});
    assert_eq!(published.into_inner(), [(false, false), (false, false), (true, true)]);
}

#[test]
fn what_is_known_stays_known_when_its_source_goes_away() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path());
    let mut collector = Collector::new(&host(folder.path()));
    collector.refresh(false, |_| {}, || {});
    let before = collector.facts.clone();
    for gone in ["repo", "system", "proc"] {
        fs::remove_dir_all(folder.path().join(gone)).unwrap();
    }
    for gone in ["current-system", "os-release"] {
        fs::remove_file(folder.path().join(gone)).unwrap();
    }
    collector.refresh(false, |_| {}, || {});
    let known = |facts: &Facts| Facts { system: HostSystem::default(), ..without_update_status(facts) };
    assert_eq!(known(&collector.facts), known(&before));
    assert_eq!(collector.facts.system, HostSystem::default(), "the truth about now");
}

#[test]
fn what_was_known_is_still_known_to_the_next_agent() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path());
    Collector::new(&host(folder.path())).refresh(false, |_| {}, || {});
    let before = Memory::at(host(folder.path()).own_dir(), GenerationSource::Deployed).facts();
    assert_eq!((before.generation.as_str(), before.lock_hash.len()), ("1d91f2b", 64));
    for gone in ["repo", "system"] {
        fs::remove_dir_all(folder.path().join(gone)).unwrap();
    }
    let mut collector = Collector::new(&host(folder.path()));
    collector.refresh(false, |_| {}, || {});
    assert_eq!(collector.facts.generation, "1d91f2b");
    assert_eq!(collector.facts.nixpkgs_version, "26.05.20260714.7beb50e");
    assert_eq!(collector.facts.lock_hash, before.lock_hash);
    assert_eq!(collector.facts.update_status.tests, before.update_status.tests, "with its time");
}

#[test]
fn quick_facts_are_published_before_slow_ones() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path());
    let mut collector = Collector::new(&host(folder.path()));
    let published = RefCell::new(Vec::new());
    let publish = |facts: &Facts| published.borrow_mut().push(facts.clone());
    collector.refresh(false, publish, || {});
    collector.hash_once(publish);
    let published = published.borrow();
    assert_eq!(published[0].nixpkgs_version, "26.05.20260714.7beb50e");
    assert_eq!((published[0].generation.as_str(), published[0].lock_hash.as_str()), ("", ""));
    assert_eq!(published[2].generation, "1d91f2b");
    let last = published.last().unwrap();
    assert!(published[published.len() - 2].binary_hash.is_empty() && last.binary_hash.len() == 64);
}

#[test]
fn the_program_is_hashed_by_the_first_agent_and_known_to_the_second_at_once() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path());
    let mut first = Collector::new(&host(folder.path()));
    assert_eq!(first.facts.binary_hash, "");
    first.refresh(false, |_| {}, || {});
    first.hash_once(|_| {});
    let second = Collector::new(&host(folder.path()));
    assert_eq!((second.facts.binary_hash.len(), second.binary_hashed), (64, true));
    assert_eq!(second.facts.binary_hash, first.facts.binary_hash);
}

#[test]
fn the_setting_wins_over_the_systems_version() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path());
    let mut host = host(folder.path());
    host.nixpkgs_version = Some("mine".to_owned());
    let mut collector = Collector::new(&host);
    assert_eq!(collector.facts.nixpkgs_version, "mine");
    collector.refresh(false, |_| {}, || {});
    assert_eq!(collector.facts.nixpkgs_version, "mine");
}

#[tokio::test]
async fn a_look_that_is_asked_for_comes_at_once() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path());
    let facts = spawn(&host(folder.path()));
    let refreshed =
        async |facts: &FactsHandle| tokio::time::timeout(PATIENCE, facts.refresh()).await.unwrap().unwrap();
    refreshed(&facts).await;
    assert_eq!(facts.newest().generation, "1d91f2b");
    write(folder.path(), "repo/.git/HEAD", "2222222222222222222222222222222222222222\n");
    // Much sooner than the next periodic refresh.
    let begin = std::time::Instant::now();
    refreshed(&facts).await;
    assert!(begin.elapsed() < PERIOD / 2);
    assert_eq!(facts.newest().generation, "2222222");
}

#[tokio::test]
async fn changes_are_published_and_sameness_is_not() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path());
    let facts = spawn(&host(folder.path()));
    let mut watch = facts.watch();
    let hashed = watch.wait_for(|facts| !facts.binary_hash.is_empty());
    tokio::time::timeout(PATIENCE, hashed).await.unwrap().unwrap();
    let before = watch.borrow_and_update().clone();
    tokio::time::timeout(PATIENCE, facts.refresh()).await.unwrap().unwrap();
    let after = watch.borrow_and_update().clone();
    assert_eq!(without_update_status(&before), without_update_status(&after));
    let times = |facts: &Facts| facts.update_status.system.checked_at.clone();
    assert!(times(&before) < times(&after), "it was asked for");
    for _ in 0..1000 {
        drop(facts.refresh());
    }
    drop(facts);
    // The thread ends and takes the sending side with it.
    tokio::time::timeout(PATIENCE, async { while watch.changed().await.is_ok() {} }).await.unwrap();
}

/// `/System/Library/CoreServices/SystemVersion.plist`.
const MACOS: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
	<key>BuildID</key>
	<string>00000000-0000-0000-0000-000000000000</string>
	<key>ProductBuildVersion</key>
	<string>24G90</string>
	<key>ProductName</key>
	<string>macOS</string>
	<key>ProductUserVisibleVersion</key>
	<string>15.6</string>
	<key>ProductVersion</key>
	<string>15.6.1</string>
	<key>iOSSupportVersion</key>
	<string>18.6</string>
</dict>
</plist>
"#;

#[test]
fn versions_are_read_as_they_are_written() {
    let folder = tempfile::tempdir().unwrap();
    for (content, wanted) in [
        ("VERSION_ID=\"26.05\"\n", Some("26.05")),
        ("VERSION_ID='12'\nX=1", Some("12")),
        ("VERSION_ID=12", Some("12")),
        ("OLD_VERSION_ID=1\nVERSION_ID=2\n", Some("2")),
        ("VERSION_ID=\"\"", None),
        ("NAME=Arch", None),
        ("", None),
        (MACOS, Some("15.6.1")),
        ("<?xml version=\"1.0\"?><dict><key>ProductVersion</key><array/></dict>", None),
        ("<?xml version=\"1.0\"?>\n<!-- VERSION_ID=1 -->\n<dict></dict>", None),
        ("<?xml version=\"1.0\"?><key>ProductVersion</key><string>15", None),
    ] {
        write(folder.path(), "os-release", content);
        assert_eq!(system::os_version(&folder.path().join("os-release")).as_deref(), wanted, "{content:?}");
    }
    for (content, wanted) in [
        ("24.11.20241201.abc1234", Some("24.11.20241201.abc1234")),
        ("24.11\nmore\n", Some("24.11")),
        ("\n", None),
        ("a\u{1b}[31mb", None),
    ] {
        write(folder.path(), "nixos-version", content);
        assert_eq!(system::nixpkgs_version(folder.path()).as_deref(), wanted, "{content:?}");
    }
}
