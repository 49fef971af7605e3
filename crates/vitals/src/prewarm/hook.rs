//! Reactions to pre-warm signals: a program of the operator, or a callback.
//!
//! The hook runs on a thread of its own and handles one signal after the other. The sender never waits for
//! it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use nixfleet_os::text::one_line;
use nixfleet_os::{error, subprocess};

use super::Signal;

/// Most signals that wait for the hook. A start and its end come at most once a minute.
const QUEUE: usize = 4;

/// Longest run of the program. It should unload a model or notify somebody, not do long work itself.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// Longest line of a program that failed that is logged, in characters.
const MAX_SAID: usize = 200;

/// Stack of the thread, in bytes.
const STACK: usize = 256 * 1024;

/// Sends signals to a program or a callback. Clones share one queue and one thread.
#[derive(Debug, Clone)]
pub struct Hook {
    queue: SyncSender<Signal>,
    dropped: Arc<AtomicU64>,
}

impl Hook {
    /// Starts a program for each signal. `argv` is the program and its arguments. The environment of the
    /// program has `PREWARM_PHASE` (`start` or `end`), `PREWARM_REASON`, `PREWARM_GPU_USAGE` (0 to 1) and
    /// `PREWARM_GPU_TEMPERATURE` (degrees Celsius); the last two are empty when unknown. The program may run
    /// for a minute, and write as much as it likes: of a program that failed, the last line is logged. An empty
    /// `argv` does nothing.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn program(argv: Vec<String>) -> std::io::Result<Self> {
        Self::callback(move |signal| run(&argv, signal))
    }

    /// Calls a function for each signal. Its thread ends after the last clone of this hook is dropped.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn callback(mut act: impl FnMut(&Signal) + Send + 'static) -> std::io::Result<Self> {
        let (queue, signals) = sync_channel::<Signal>(QUEUE);
        let run = move || signals.iter().for_each(|signal| act(&signal));
        thread::Builder::new().name("prewarm-hook".to_owned()).stack_size(STACK).spawn(run)?;
        Ok(Self { queue, dropped: Arc::default() })
    }

    /// Sends a signal. Does not wait: if the queue is full, the signal is dropped, counted and logged.
    pub fn send(&self, signal: Signal) {
        if let Err(TrySendError::Full(signal)) = self.queue.try_send(signal) {
            let dropped = self.dropped.fetch_add(1, Ordering::Relaxed) + 1;
            let phase = signal.phase.as_str();
            tracing::warn!(phase, dropped, "The pre-warm hook is too slow, dropped a signal.");
        }
    }

    /// Count of dropped signals.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

fn run(argv: &[String], signal: &Signal) {
    let Some((name, arguments)) = argv.split_first() else { return };
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let text = |value: Option<f64>| value.map(|value| format!("{value:.3}")).unwrap_or_default();
    let (usage, temperature) = (text(signal.load.usage), text(signal.load.temperature));
    let environment = [
        ("PREWARM_PHASE", signal.phase.as_str()),
        ("PREWARM_REASON", &signal.reason),
        ("PREWARM_GPU_USAGE", &usage),
        ("PREWARM_GPU_TEMPERATURE", &temperature),
    ];
    match subprocess::outcome_with_tail(Path::new(name), &arguments, &environment, TIME_LIMIT) {
        Ok((status, _)) if status.success() => tracing::debug!("The pre-warm hook ended well."),
        Ok((status, output)) => {
            let said = last_line(&output);
            tracing::warn!(%status, said, "The pre-warm hook {name} failed.");
        }
        Err(err) => tracing::warn!("The pre-warm hook {name} {}.", error::chain(&err)),
    }
}

/// The last line of an output that is not empty, safe to show and cut.
fn last_line(output: &str) -> String {
    let mut lines = output.lines().map(str::trim);
    one_line(lines.rfind(|line| !line.is_empty()).unwrap_or_default(), MAX_SAID)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::prewarm::{Load, Phase};

    fn signal(phase: Phase) -> Signal {
        let load = Load { usage: Some(0.9), temperature: None };
        Signal { phase, load, reason: "busy; rm -rf \"$HOME\"".to_owned() }
    }

    fn shell(script: String) -> Hook {
        Hook::program(vec!["sh".to_owned(), "-c".to_owned(), script]).unwrap()
    }

    fn wait_for(condition: impl Fn() -> bool) {
        let started = Instant::now();
        while !condition() {
            assert!(started.elapsed() < Duration::from_secs(20), "it did not come to that");
            thread::yield_now();
        }
    }

    #[test]
    fn the_program_is_told_by_its_environment_in_order_and_never_twice_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let (log, lock) = (folder.path().join("log"), folder.path().join("lock"));
        let script = format!(
            "mkdir {lock} || echo twice >> {log}; \
             echo \"$PREWARM_PHASE|$PREWARM_GPU_USAGE|$PREWARM_GPU_TEMPERATURE|$PREWARM_REASON\" >> {log}; \
             rmdir {lock}",
            lock = lock.display(),
            log = log.display()
        );
        let hook = shell(script);
        hook.send(signal(Phase::Start));
        hook.send(signal(Phase::End));
        let read = || std::fs::read_to_string(&log).unwrap_or_default();
        wait_for(|| read().lines().count() == 2);
        assert_eq!(read(), "start|0.900||busy; rm -rf \"$HOME\"\nend|0.900||busy; rm -rf \"$HOME\"\n");
    }

    #[test]
    fn a_program_that_writes_much_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("done");
        let hook = shell(format!("head -c 300000 /dev/zero; echo done > {}", file.display()));
        hook.send(signal(Phase::Start));
        wait_for(|| std::fs::read_to_string(&file).is_ok_and(|text| text == "done\n"));
    }

    #[test]
    fn the_last_line_of_an_output_is_shown_without_control_characters() {
        for (output, wanted) in [("", ""), ("a\nb\n\n \n", "b"), ("a\n\u{1b}[31mr\u{202e}ed\u{7}", "red")] {
            assert_eq!(last_line(output), wanted, "{output:?}");
        }
        assert_eq!(last_line(&"ü".repeat(5000)).chars().count(), MAX_SAID);
    }

    #[test]
    fn a_slow_program_costs_signals_and_nobody_any_time() {
        let folder = tempfile::tempdir().unwrap();
        // It runs until the test ends, successful or not.
        let hook = shell(format!("while [ -d {} ]; do sleep 0.01; done", folder.path().display()));
        let started = Instant::now();
        for _ in 0..100 {
            hook.send(signal(Phase::Start));
        }
        assert!(started.elapsed() < Duration::from_secs(10));
        // One may run while four wait.
        assert!((95..=96).contains(&hook.dropped()), "{}", hook.dropped());
    }
}
