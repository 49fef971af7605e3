//! Heartbeats for a program of one's own (seed 001): vitals at a fixed pace, and a callback when a GPU
//! is under stress. No dashboard, no runtime: a thread.

use std::fmt;
use std::io;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::Instant;

use super::{DeviceVitals, Meters, gpu_load};
use crate::Settings;
use crate::prewarm::{Hook, Limits, Prewarm, Signal};

/// The shortest time between two beats. The meters look four times a second at most.
const MIN_INTERVAL: Duration = Duration::from_millis(250);

/// The longest: whoever wants none has no need of the service.
const MAX_INTERVAL: Duration = Duration::from_secs(24 * 3600);

/// Between two looks at the GPUs, for signals do not wait for the next beat.
const GPU_LOOK: Duration = Duration::from_secs(1);

/// What a service needs to know.
#[derive(Debug, Clone, PartialEq)]
pub struct HeartbeatConfig {
    /// Name of the device, for [`DeviceVitals::device_id`].
    pub device_id: String,
    /// Time between heartbeats, 250 ms to a day.
    pub interval: Duration,
    /// When a GPU counts as stressed.
    pub prewarm: Limits,
}

impl HeartbeatConfig {
    /// The defaults of seed 001: every 30 s, stress above 80 %.
    pub fn new(device_id: impl Into<String>) -> Self {
        let interval = Duration::from_secs(30);
        Self { device_id: device_id.into(), interval, prewarm: Limits::default() }
    }
}

type OnHeartbeat = Box<dyn FnMut(&DeviceVitals) + Send>;
type OnPrewarm = Box<dyn FnMut(&Signal) + Send>;

/// Heartbeats that have not begun.
pub struct HeartbeatService {
    config: HeartbeatConfig,
    on_heartbeat: Option<OnHeartbeat>,
    on_prewarm: Option<OnPrewarm>,
}

impl fmt::Debug for HeartbeatService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeartbeatService").field("config", &self.config).finish_non_exhaustive()
    }
}

impl HeartbeatService {
    /// A service that nobody listens to yet.
    pub fn new(config: HeartbeatConfig) -> Self {
        Self { config, on_heartbeat: None, on_prewarm: None }
    }

    /// Calls this with each heartbeat, on the service's own thread: while it runs no other beat is made,
    /// and those that are missed are skipped.
    pub fn set_heartbeat_callback(&mut self, callback: impl FnMut(&DeviceVitals) + Send + 'static) {
        self.on_heartbeat = Some(Box::new(callback));
    }

    /// Calls this at the beginning and at the end of stress, on a thread of its own: a slow one delays no
    /// beat, and of signals that it cannot keep up with the newest are dropped.
    pub fn set_prewarm_callback(&mut self, callback: impl FnMut(&Signal) + Send + 'static) {
        self.on_prewarm = Some(Box::new(callback));
    }

    /// Begins: one heartbeat as soon as there is anything to tell, then one each interval.
    ///
    /// # Errors
    /// When no thread can be had.
    pub fn spawn(self) -> io::Result<RunningService> {
        let hook = self.on_prewarm.map(Hook::callback).transpose()?;
        let (publish, newest) = watch::channel(None);
        let (stop, stopped) = mpsc::channel();
        let interval = self.config.interval.clamp(MIN_INTERVAL, MAX_INTERVAL);
        let beater = Beater {
            meters: Meters::start(&Settings::default(), interval),
            device_id: self.config.device_id,
            interval,
            prewarm: Prewarm::new(self.config.prewarm),
            hook,
            on_heartbeat: self.on_heartbeat,
            publish,
            stopped,
        };
        let thread = thread::Builder::new().name("heartbeat".to_owned()).spawn(move || beater.run())?;
        Ok(RunningService { newest, stop, thread })
    }
}

/// Heartbeats that are being made. Dropping it ends them without waiting.
#[derive(Debug)]
pub struct RunningService {
    newest: watch::Receiver<Option<DeviceVitals>>,
    /// Its end is the thread's sign to stop; nothing is ever sent.
    stop: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

impl RunningService {
    /// The newest heartbeat.
    pub fn latest(&self) -> Option<DeviceVitals> {
        self.newest.borrow().clone()
    }

    /// Ends it and waits until no callback for heartbeats runs any more.
    pub fn shutdown(self) {
        drop(self.stop);
        // A callback that panicked has said so on standard error.
        drop(self.thread.join());
    }
}

struct Beater {
    meters: Meters,
    device_id: String,
    interval: Duration,
    prewarm: Prewarm,
    hook: Option<Hook>,
    on_heartbeat: Option<OnHeartbeat>,
    publish: watch::Sender<Option<DeviceVitals>>,
    stopped: mpsc::Receiver<()>,
}

impl Beater {
    fn run(mut self) {
        // The meters' second look comes then, and rates with it.
        let mut next_beat = Instant::now() + MIN_INTERVAL;
        let mut next_look = Instant::now();
        loop {
            let wake = next_beat.min(next_look).saturating_duration_since(Instant::now());
            if let Err(RecvTimeoutError::Disconnected) = self.stopped.recv_timeout(wake) {
                return;
            }
            let now = Instant::now();
            if now >= next_look {
                next_look = now + GPU_LOOK;
                self.look_at_gpus(now);
            }
            if now >= next_beat {
                self.beat();
                // At start + n x interval; what a slow callback or a suspension took is skipped.
                while next_beat <= Instant::now() {
                    next_beat += self.interval;
                }
            }
        }
    }

    fn look_at_gpus(&mut self, now: Instant) {
        let gpus = self.meters.gpus().at(SystemTime::now()).unwrap_or_default();
        if let Some(signal) = self.prewarm.observe(gpu_load(&gpus), now)
            && let Some(hook) = &self.hook
        {
            hook.tell(signal);
        }
    }

    fn beat(&mut self) {
        let vitals = self.meters.read(&self.device_id, SystemTime::now());
        if let Some(callback) = &mut self.on_heartbeat {
            callback(&vitals);
        }
        self.publish.send_replace(Some(vitals));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    /// Longer than anything here takes on a busy machine.
    const LIMIT: Duration = Duration::from_secs(20);

    #[test]
    fn beats_come_at_their_pace_until_the_shutdown() {
        let config = HeartbeatConfig { interval: Duration::from_millis(300), ..HeartbeatConfig::new("mine") };
        let mut service = HeartbeatService::new(config);
        let (sender, beats) = channel();
        service.set_heartbeat_callback(move |vitals| drop(sender.send((Instant::now(), vitals.clone()))));
        let running = service.spawn().unwrap();
        let received: Vec<(Instant, DeviceVitals)> =
            (0..4).map(|_| beats.recv_timeout(LIMIT).unwrap()).collect();
        assert!(received.iter().all(|(_, vitals)| vitals.device_id == "mine"));
        let span = received[3].0 - received[0].0;
        assert!(span >= Duration::from_millis(850), "{span:?}");
        assert_eq!(running.latest().unwrap().device_id, "mine");
        running.shutdown();
        // The callback is gone with its thread: nothing comes any more.
        while beats.try_recv().is_ok() {}
        assert!(beats.recv().is_err());
    }

    #[test]
    fn dropping_a_service_does_not_wait_for_its_callback() {
        let config = HeartbeatConfig { interval: Duration::ZERO, ..HeartbeatConfig::new("mine") };
        let mut service = HeartbeatService::new(config);
        let (entered, inside) = channel();
        let (leave, gate) = channel::<()>();
        service.set_heartbeat_callback(move |_| {
            entered.send(()).ok();
            gate.recv().ok();
        });
        let running = service.spawn().unwrap();
        inside.recv_timeout(LIMIT).unwrap();
        drop(running);
        drop(leave);
    }
}
