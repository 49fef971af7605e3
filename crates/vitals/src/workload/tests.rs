use std::fs;
use std::io::Write;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::thread;

use super::*;

const GOOD: &str = r#"{"active_sessions": 2, "pending_queries": 5, "loaded_model": "llama-3.1-8b"}"#;

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("workload.json")
    }

    fn read(&self) -> Result<Option<Workload>, WorkloadError> {
        read(&self.path(), SystemTime::now())
    }

    /// A program that writes this to each connection, and then closes it unless it hangs.
    fn listen(&self, answer: &'static str, hang: bool) {
        let listener = UnixListener::bind(self.path()).unwrap();
        thread::spawn(move || {
            let mut open = Vec::new();
            for socket in listener.incoming() {
                let mut socket = socket.unwrap();
                socket.write_all(answer.as_bytes()).ok();
                if hang {
                    open.push(socket);
                }
            }
        });
    }
}

#[test]
fn a_fresh_file_is_quoted_and_an_old_one_is_not() {
    let place = Place::new();
    assert!(place.read().unwrap().is_none(), "none is normal");
    fs::write(place.path(), GOOD).unwrap();
    let workload = place.read().unwrap().unwrap();
    assert_eq!((workload.active_sessions, workload.pending_queries), (Some(2), Some(5)));
    assert_eq!(workload.loaded_model.as_deref(), Some("llama-3.1-8b"));
    let age = |age: Duration| {
        let file = fs::File::options().write(true).open(place.path()).unwrap();
        file.set_modified(SystemTime::now() - age).unwrap();
        place.read().unwrap().is_some()
    };
    assert!(age(MAX_AGE - Duration::from_secs(5)));
    assert!(!age(MAX_AGE + Duration::from_secs(5)));
}

#[test]
fn a_socket_is_asked_each_time() {
    let place = Place::new();
    place.listen(GOOD, false);
    for _ in 0..3 {
        assert_eq!(place.read().unwrap().unwrap().active_sessions, Some(2));
    }
}

#[test]
fn a_socket_that_hangs_costs_half_a_second() {
    let place = Place::new();
    place.listen(r#"{"active_sessions":"#, true);
    let begun = std::time::Instant::now();
    assert!(matches!(place.read(), Err(WorkloadError::Io(_))));
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[test]
fn what_is_missing_or_odd_is_unknown_and_what_is_wrong_is_an_error() {
    let now = SystemTime::now();
    let said = |text: &str| parse(text.as_bytes(), now);
    for text in [
        "{}",
        r#"{"active_sessions":null,"loaded_model":""}"#,
        r#"{"loaded_model":"a\nb","later":1}"#,
        r#"{"loaded_model":"a\u202eb"}"#,
    ] {
        let workload = said(text).unwrap();
        assert_eq!((workload.active_sessions, workload.loaded_model), (None, None), "{text}");
    }
    assert_eq!(
        said(&format!(r#"{{"loaded_model":"{}"}}"#, "ü".repeat(999)))
            .unwrap()
            .loaded_model
            .unwrap()
            .chars()
            .count(),
        MAX_MODEL
    );
    for text in [
        "",
        "[]",
        r#"[2, 5, "m"]"#,
        "5",
        r#"{"active_sessions":-1}"#,
        r#"{"active_sessions":1.5}"#,
        r#"{"active_sessions":"2"}"#,
    ] {
        assert!(said(text).is_err(), "{text}");
    }
}

#[test]
fn a_huge_file_and_a_pipe_are_errors() {
    let place = Place::new();
    fs::write(place.path(), " ".repeat(1 << 20)).unwrap();
    assert!(place.read().is_err());
    fs::remove_file(place.path()).unwrap();
    std::process::Command::new("mkfifo").arg(place.path()).status().unwrap();
    assert!(place.read().is_err(), "and nobody waits for its writer");
}
