//! Observes readings, and publishes the newest signal.

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{Hook, Limits, Load, Prewarm, Signal};

/// A signal and its time.
#[derive(Debug, Clone, PartialEq)]
pub struct Notice {
    /// The signal.
    pub signal: Signal,
    /// When it was published, RFC 3339.
    pub at: String,
}

/// The newest signal, kept up to date by a task that ends when this is dropped.
#[derive(Debug)]
pub struct Watcher {
    newest: watch::Receiver<Option<Notice>>,
    task: JoinHandle<()>,
}

impl Watcher {
    /// The newest signal, for waiting for the next one. None until the first signal.
    pub fn watch(&self) -> watch::Receiver<Option<Notice>> {
        self.newest.clone()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Starts a task that observes `readings` and sends signals to `hook`. `load` extracts the load from a
/// reading.
///
/// # Panics
/// When it is called outside of a tokio runtime.
pub fn watch<T, F>(limits: Limits, mut readings: watch::Receiver<T>, load: F, hook: Option<Hook>) -> Watcher
where
    T: Send + Sync + 'static,
    F: Fn(&T) -> Load + Send + 'static,
{
    let (publish, newest) = watch::channel(None);
    let task = tokio::spawn(async move {
        let mut prewarm = Prewarm::new(limits);
        while readings.changed().await.is_ok() {
            let load = load(&readings.borrow_and_update());
            let Some(signal) = prewarm.observe(load, Instant::now()) else { continue };
            tracing::info!(phase = signal.phase.as_str(), "Pre-warm: {}.", signal.reason);
            if let Some(hook) = &hook {
                hook.send(signal.clone());
            }
            publish.send_replace(Some(Notice { signal, at: nixfleet_os::timestamp() }));
        }
        // There are no more readings. The newest signal stays available.
        std::future::pending::<()>().await;
    });
    Watcher { newest, task }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::prewarm::Phase;

    #[tokio::test(start_paused = true)]
    async fn readings_become_notices_at_the_start_and_at_the_end() {
        let readings = watch::Sender::new(0.0);
        let load = |usage: &f64| Load { usage: Some(*usage), temperature: None };
        let watcher = watch(Limits::default(), readings.subscribe(), load, None);
        let mut notices = watcher.watch();
        let feed = tokio::spawn(async move {
            for second in 0..60 {
                readings.send_replace(if second < 30 { 1.0 } else { 0.1 });
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        for phase in [Phase::Start, Phase::End] {
            notices.changed().await.unwrap();
            assert_eq!(notices.borrow_and_update().as_ref().unwrap().signal.phase, phase);
        }
        feed.await.unwrap();
    }
}
