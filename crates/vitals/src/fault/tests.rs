use std::io;
use std::sync::Arc;

use tracing::subscriber::with_default;

use super::*;

/// The log lines at WARN and above, without a formatter.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl tracing::Subscriber for Log {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::WARN
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        struct Message(String);
        impl tracing::field::Visit for Message {
            fn record_debug(&mut self, _: &tracing::field::Field, value: &dyn fmt::Debug) {
                self.0 = format!("{value:?}");
            }
        }
        let mut message = Message(String::new());
        event.record(&mut message);
        self.0.lock().unwrap().push(message.0);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

/// The log of `act`.
fn logged(act: impl FnOnce()) -> Vec<String> {
    let log = Log::default();
    with_default(log.clone(), act);
    std::mem::take(&mut *log.0.lock().unwrap())
}

const MEMINFO: &str = "/proc/meminfo";

fn odd(line: usize, label: &str) -> Option<Odd> {
    Some(Odd::in_line(line, label, "is no number with kB behind it"))
}

#[test]
fn a_file_is_named_once_and_again_when_the_reason_changes() {
    let faults = Faults::default();
    let note = |odd: Option<Odd>| logged(|| faults.note(Path::new(MEMINFO), odd));
    assert_eq!(
        note(odd(2, "MemFree")),
        [
            "A figure of this host is unknown: /proc/meminfo, line 2 (MemFree): is no number with kB behind it."
        ]
    );
    assert!(note(odd(2, "MemFree")).is_empty());
    assert!(note(odd(5, "MemFree")).is_empty(), "the line has moved, the reason is the same");
    assert!(note(None).is_empty());
    assert!(faults.now().is_empty(), "it is good again");
    assert!(note(odd(2, "MemFree")).is_empty(), "a file that is good and bad in turns");
    assert_eq!(note(odd(1, "MemTotal")).len(), 1);
    let denied = unreadable(&io::Error::from(io::ErrorKind::PermissionDenied));
    assert_eq!(
        note(Some(denied)),
        ["A figure of this host is unknown: /proc/meminfo: cannot be read: permission denied."]
    );
    assert_eq!(faults.now().len(), 1);
}

#[test]
fn a_file_that_is_other_garbage_each_time_does_not_fill_the_log() {
    let faults = Faults::default();
    let lines = logged(|| {
        for round in 0..1000 {
            faults.note(Path::new(MEMINFO), odd(1, &format!("x{round}")));
        }
    });
    assert_eq!(lines.len(), MAX_WARNINGS as usize);
    assert_eq!(faults.now()[0].odd.label, "x999", "and what is wrong now is known");
}

#[test]
fn files_without_end_are_bounded() {
    let faults = Faults::default();
    let lines = logged(|| {
        for round in 0..1000 {
            faults.note(&PathBuf::from(format!("/sys/{round}")), odd(1, ""));
        }
    });
    assert_eq!((lines.len(), faults.now().len()), (MAX_FILES + 1, MAX_FILES));
    assert!(lines[MAX_FILES].contains("no more are named"), "{}", lines[MAX_FILES]);
}

#[test]
fn text_of_a_file_is_shown_without_control_characters_and_cut() {
    let fault =
        Fault { path: MEMINFO.into(), odd: odd(1, &format!("a\n\u{1b}[31m{}", "x".repeat(99))).unwrap() };
    let text = fault.to_string();
    assert!(!text.contains(char::is_control) && text.len() < 120, "{text}");
}
