//! A heartbeat service for other programs: vitals at a fixed interval, and a callback when a GPU is under
//! stress. It needs no dashboard and no tokio runtime.

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

/// The shortest interval. Values are measured four times a second at most.
const MIN_INTERVAL: Duration = Duration::from_millis(250);

/// The longest interval.
const MAX_INTERVAL: Duration = Duration::from_secs(24 * 3600);

/// Time between two checks of the GPUs. Signals do not wait for the next heartbeat.
const GPU_INTERVAL: Duration = Duration::from_secs(1);

/// Configuration of a [`HeartbeatService`].
#[derive(Debug, Clone, PartialEq)]
pub struct HeartbeatConfig {
    /// Name of the device, for [`DeviceVitals::device_id`].
    pub device_id: String,
    /// Time between heartbeats. Values outside of 250 ms to one day are replaced by the nearest of the two.
    pub interval: Duration,
    /// When a GPU counts as stressed.
    pub prewarm: Limits,
}

impl HeartbeatConfig {
    /// The defaults: a heartbeat every 30 s, stress above 80 % usage or 80 °C.
    pub fn new(device_id: impl Into<String>) -> Self {
        let interval = Duration::from_secs(30);
        Self { device_id: device_id.into(), interval, prewarm: Limits::default() }
    }
}

type OnHeartbeat = Box<dyn FnMut(&DeviceVitals) + Send>;
type OnPrewarm = Box<dyn FnMut(&Signal) + Send>;

/// A heartbeat service that has not been started.
///
/// ```
/// use std::time::Duration;
///
/// use nixfleet_vitals::device::{HeartbeatConfig, HeartbeatService};
///
/// let config = HeartbeatConfig { interval: Duration::from_secs(1), ..HeartbeatConfig::new("my-device") };
/// let mut service = HeartbeatService::new(config);
/// service.set_heartbeat_callback(|vitals| println!("{}: CPU {:?}", vitals.timestamp, vitals.cpu_usage));
/// service.set_prewarm_callback(|signal| println!("{}: {}", signal.phase.as_str(), signal.reason));
/// let running = service.spawn()?;
/// running.shutdown();
/// # Ok::<(), std::io::Error>(())
/// ```
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
    /// A service without callbacks.
    pub fn new(config: HeartbeatConfig) -> Self {
        Self { config, on_heartbeat: None, on_prewarm: None }
    }

    /// Sets the callback for heartbeats. It is called on the service's own thread: heartbeats that become due
    /// while it runs are skipped.
    pub fn set_heartbeat_callback(&mut self, callback: impl FnMut(&DeviceVitals) + Send + 'static) {
        self.on_heartbeat = Some(Box::new(callback));
    }

    /// Sets the callback for the begin and the end of stress. It is called on a thread of its own, so it
    /// delays no heartbeat. If it is too slow, new signals are dropped.
    pub fn set_prewarm_callback(&mut self, callback: impl FnMut(&Signal) + Send + 'static) {
        self.on_prewarm = Some(Box::new(callback));
    }

    /// Starts the service: the first heartbeat after 250 ms, when rates are known, then one per interval.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn spawn(self) -> io::Result<RunningService> {
        let hook = self.on_prewarm.map(Hook::callback).transpose()?;
        let (publish, newest) = watch::channel(None);
        let (stop, stopped) = mpsc::channel();
        let interval = self.config.interval.clamp(MIN_INTERVAL, MAX_INTERVAL);
        let runner = Runner {
            meters: Meters::start(&Settings::default(), interval),
            device_id: self.config.device_id,
            interval,
            prewarm: Prewarm::new(self.config.prewarm),
            hook,
            on_heartbeat: self.on_heartbeat,
            publish,
            stopped,
        };
        let thread = thread::Builder::new().name("heartbeat".to_owned()).spawn(move || runner.run())?;
        Ok(RunningService { newest, stop, thread })
    }
}

/// A running heartbeat service. Dropping it stops the service without waiting.
#[derive(Debug)]
pub struct RunningService {
    newest: watch::Receiver<Option<DeviceVitals>>,
    /// Dropping it stops the thread; nothing is ever sent.
    stop: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

impl RunningService {
    /// The newest heartbeat; None before the first one.
    pub fn latest(&self) -> Option<DeviceVitals> {
        self.newest.borrow().clone()
    }

    /// Stops the service and waits until no heartbeat callback runs any more.
    pub fn shutdown(self) {
        drop(self.stop);
        // The panic of a callback has been printed to standard error.
        drop(self.thread.join());
    }
}

struct Runner {
    meters: Meters,
    device_id: String,
    interval: Duration,
    prewarm: Prewarm,
    hook: Option<Hook>,
    on_heartbeat: Option<OnHeartbeat>,
    publish: watch::Sender<Option<DeviceVitals>>,
    stopped: mpsc::Receiver<()>,
}

impl Runner {
    fn run(mut self) {
        // The second reading of the counters is available then, and with it the rates.
        let mut next_heartbeat = Instant::now() + MIN_INTERVAL;
        let mut next_check = Instant::now();
        loop {
            let wake = next_heartbeat.min(next_check).saturating_duration_since(Instant::now());
            if let Err(RecvTimeoutError::Disconnected) = self.stopped.recv_timeout(wake) {
                return;
            }
            let now = Instant::now();
            if now >= next_check {
                next_check = now + GPU_INTERVAL;
                self.check_gpus(now);
            }
            if now >= next_heartbeat {
                self.heartbeat();
                // Heartbeats are due at start + n x interval. Those missed because of a slow callback or
                // sleep are skipped.
                while next_heartbeat <= Instant::now() {
                    next_heartbeat += self.interval;
                }
                self.meters.expect(next_heartbeat.into());
            }
        }
    }

    fn check_gpus(&mut self, now: Instant) {
        let gpus = self.meters.gpus().at(SystemTime::now()).unwrap_or_default();
        if let Some(signal) = self.prewarm.observe(gpu_load(&gpus), now)
            && let Some(hook) = &self.hook
        {
            hook.send(signal);
        }
    }

    fn heartbeat(&mut self) {
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

    /// Longer than any step takes on a busy machine.
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
        // The callback has been dropped with its thread, so no heartbeat can follow.
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
