//! Heartbeats within a program of one's own, and what to do when a GPU is under stress.
//!
//! ```sh
//! cargo run --example heartbeat_service
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
    // Once.
    let vitals = collect_device_vitals("my-device");
    println!("{}", line(&vitals));

    // At a fixed pace.
    let config = HeartbeatConfig { interval: Duration::from_secs(1), ..HeartbeatConfig::new("my-device") };
    let mut service = HeartbeatService::new(config);
    service.set_heartbeat_callback(|vitals| println!("{}", line(vitals)));
    service.set_prewarm_callback(|signal| {
        // Unload a model, call somebody, start a machine elsewhere.
        println!("{}: {}", signal.phase.as_str(), signal.reason);
    });
    let running = service.spawn()?;
    thread::sleep(Duration::from_secs(5));
    running.shutdown();
    Ok(())
}
