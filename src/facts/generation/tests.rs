use std::fs;

use nixfleet_jobs::JobId;
use nixfleet_jobs::history::Reached;
use nixfleet_jobs::spec::{JobResult, Outcome};
use nixfleet_os::test_util::write_script;

use super::*;

const HEAD: &str = "aaaaaaa0000000000000000000000000000000aa";

/// A host whose `/run/current-system` is `<folder>/current`.
struct Host {
    folder: tempfile::TempDir,
    generation: Generation,
}

impl Host {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let below = |name: &str| folder.path().join(name);
        fs::create_dir_all(below("repo/.git")).unwrap();
        fs::create_dir_all(below("jobs")).unwrap();
        fs::write(below("repo/.git/HEAD"), HEAD).unwrap();
        let generation = Generation::new(
            GenerationSource::Deployed,
            JobsDir::new(below("jobs")),
            below("current"),
            Some(below("repo")),
        );
        Self { folder, generation }
    }

    fn below(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes a system and activates it. `script` is its version program; without it, the program fails.
    fn switch(&self, name: &str, script: Option<&str>) {
        let bin = self.below(name).join("sw/bin");
        fs::create_dir_all(&bin).unwrap();
        let script = format!(
            "#!/bin/sh\necho x >> {}\n{}\n",
            self.below("runs").display(),
            script.unwrap_or("exit 1")
        );
        let program = self.below(name).join(VERSION_PROGRAM);
        write_script(&program, &script);
        let link = self.below("current");
        if link.is_symlink() {
            fs::remove_file(&link).unwrap();
        }
        std::os::unix::fs::symlink(self.below(name), link).unwrap();
    }

    fn note_down(&self, system: &str, commit: &str) {
        let mut history = History::default();
        let result = JobResult {
            system_after: Some(self.below(system)),
            commit: Some(commit.to_owned()),
            ..JobResult::without_supervisor(Outcome::Ok, String::new(), 0)
        };
        history.note(Reached::by("switch", 0, 1, Outcome::Ok), &JobId::generate(), "switch", &result, None);
        history.store(&self.jobs()).unwrap();
    }

    fn jobs(&self) -> JobsDir {
        JobsDir::new(self.below("jobs"))
    }

    fn lookup(&self) -> Lookup {
        self.generation.lookup(&History::load(&self.jobs()).unwrap_or_default())
    }

    fn runs(&self) -> usize {
        fs::read_to_string(self.below("runs")).map_or(0, |text| text.lines().count())
    }

    /// The result of a lookup, after asking the system if necessary.
    fn found(&mut self) -> Lookup {
        if self.lookup() == Lookup::NotAnswered {
            self.generation.ask();
        }
        self.lookup()
    }
}

fn known(commit: &str) -> Lookup {
    Lookup::Known(commit.to_owned())
}

#[test]
fn the_noted_commit_counts_while_its_system_runs() {
    let mut host = Host::new();
    host.switch("one", Some(r#"echo '{"configurationRevision":"ccccccc1"}'"#));
    host.note_down("one", "bbbbbbb0000000000000000000000000000000bb");
    assert_eq!(host.found(), known("bbbbbbb"));
    assert_eq!(host.runs(), 0, "nobody need be asked");
    host.switch("two", Some(r#"echo '{"configurationRevision":"ddddddd1"}'"#));
    assert_eq!(host.found(), known("ddddddd"), "somebody else has switched");
}

#[test]
fn a_system_is_asked_once_and_the_next_one_again() {
    let mut host = Host::new();
    host.switch("one", Some(r#"echo '{"nixosVersion":"26.05","configurationRevision":"CCCCCCC1-dirty"}'"#));
    assert_eq!(host.lookup(), Lookup::NotAnswered, "HEAD is no answer while the system can be asked");
    for _ in 0..3 {
        assert_eq!(host.found(), known("ccccccc"));
    }
    let said = host.generation.revision(&host.below("one"));
    assert_eq!(said, Some(Some("ccccccc-dirty")), "for those who judge by it");
    assert_eq!(host.runs(), 1);
    host.switch("two", Some(r#"echo '{"configurationRevision":"ddddddd1"}'"#));
    assert_eq!(host.found(), known("ddddddd"));
    assert_eq!(host.runs(), 2);
}

#[test]
fn head_is_the_last_resort() {
    let mut host = Host::new();
    assert_eq!(host.found(), known("aaaaaaa"), "not NixOS");
    for (name, script) in [
        ("no-revision", "echo '{\"nixosVersion\":\"26.05\"}'"),
        ("null", "echo '{\"configurationRevision\":null}'"),
        ("words", "echo '{\"configurationRevision\":\"unknown\"}'"),
        ("letters", "echo '{\"configurationRevision\":\"größer!!\"}'"),
        ("garbage", "echo garbage"),
        ("failing", "exit 3"),
    ] {
        host.switch(name, Some(script));
        assert_eq!(host.found(), known("aaaaaaa"), "{name}");
        host.note_down(name, "not a commit");
        assert_eq!(host.found(), known("aaaaaaa"), "{name}");
    }
    fs::remove_file(host.below("repo/.git/HEAD")).unwrap();
    assert_eq!(host.found(), Lookup::Unknown);
}

/// Home Manager on another system than NixOS has no `/run/current-system`.
#[test]
fn without_a_link_to_the_system_the_last_switch_counts() {
    let mut host = Host::new();
    let mut history = History::default();
    let result = JobResult {
        commit: Some("bbbbbbb0000000000000000000000000000000bb".to_owned()),
        ..JobResult::without_supervisor(Outcome::Ok, String::new(), 0)
    };
    history.note(Reached::by("switch", 0, 1, Outcome::Ok), &JobId::generate(), "switch", &result, None);
    history.store(&host.jobs()).unwrap();
    assert_eq!(host.found(), known("bbbbbbb"));
    host.switch("one", None);
    assert_eq!(host.found(), known("aaaaaaa"), "another system than the one of that switch");
}

#[test]
fn a_note_that_cannot_be_read_is_no_note() {
    let mut host = Host::new();
    host.switch("one", None);
    let note = host.jobs().history();
    for content in ["", "{", "[]", "{\"deployed\":5}", "{\"deployed\":{\"system\":\"/x\"}}"] {
        fs::write(&note, content).unwrap();
        assert_eq!(host.found(), known("aaaaaaa"), "{content:?}");
    }
    fs::write(&note, vec![b' '; 1024 * 1024]).unwrap();
    assert_eq!(host.found(), known("aaaaaaa"));
}

#[test]
fn a_system_that_does_not_answer_in_time_is_no_reason_to_believe_head() {
    let mut host = Host::new();
    host.switch("one", Some(r#"echo '{"configurationRevision":"ccccccc1"}'"#));
    let asked = |ago| Asked {
        system: host.below("one"),
        revision: None,
        timed_out: Some(Instant::now().checked_sub(ago).unwrap()),
    };
    let (now, then) = (asked(Duration::ZERO), asked(RETRY));
    host.generation.asked = Some(now);
    assert_eq!(host.lookup(), Lookup::NotAnswered);
    assert_eq!(host.generation.revision(&host.below("one")), Some(None), "not asked again at once");
    host.generation.asked = Some(then);
    assert_eq!(host.generation.revision(&host.below("one")), None, "but after a while");
    assert_eq!(host.found(), known("ccccccc"));
}
