//! Heartbeats in a program of your own, and a reaction when a GPU is under stress.
//!
//! ```sh
//! cargo run -p nixfleet-vitals --example heartbeat_service
//! ```

use std::thread;
use std::time::Duration;

use nixfleet_vitals::device::{DeviceVitals, HeartbeatConfig, HeartbeatService, collect_device_vitals};

fn line(vitals: &DeviceVitals) -> String {
    let percent = |share: Option<f64>| {
        share.map_or_else(|| "unknown".to_owned(), |share| format!("{:.1} %", share * 100.0))
    };
    format!(
        "{}: CPU {}, memory {}, GPU {}",
        vitals.timestamp,
        percent(vitals.cpu_usage),
        percent(vitals.memory_usage),
        percent(vitals.gpu_usage)
    )
}

fn main() -> std::io::Result<()> {
    // Measure once.
    let vitals = collect_device_vitals("my-device");
    println!("{}", line(&vitals));

    // Measure at a fixed interval.
    let config = HeartbeatConfig { interval: Duration::from_secs(1), ..HeartbeatConfig::new("my-device") };
    let mut service = HeartbeatService::new(config);
    service.set_heartbeat_callback(|vitals| println!("{}", line(vitals)));
    service.set_prewarm_callback(|signal| {
        // For example: unload a model, notify somebody, or start another machine.
        println!("{}: {}", signal.phase.as_str(), signal.reason);
    });
    let running = service.spawn()?;
    thread::sleep(Duration::from_secs(5));
    running.shutdown();
    Ok(())
}
