//! Heartbeats within a program of one's own, and what to do when a GPU is under stress (seed 001).
//!
//! ```sh
//! cargo run --example heartbeat_service
//! ```

use std::thread;
use std::time::Duration;

use nixfleet_agent::device::{HeartbeatConfig, HeartbeatService, collect_device_vitals};

fn main() -> std::io::Result<()> {
    let percent =
        |share: Option<f64>| share.map_or_else(|| "unknown".to_owned(), |s| format!("{:.1} %", s * 100.0));

    // Once.
    let vitals = collect_device_vitals("my-device");
    println!(
        "CPU {}, memory {}, GPU {}",
        percent(vitals.cpu_usage),
        percent(vitals.memory_usage),
        percent(vitals.gpu_usage)
    );

    // At a fixed pace.
    let config = HeartbeatConfig { interval: Duration::from_secs(1), ..HeartbeatConfig::new("my-device") };
    let mut service = HeartbeatService::new(config);
    service
        .set_heartbeat_callback(|vitals| println!("{}", serde_json::to_string(vitals).unwrap_or_default()));
    service.set_prewarm_callback(|signal| {
        // Unload a model, call somebody, start a machine elsewhere.
        println!("{}: {}", signal.phase.as_str(), signal.reason);
    });
    let running = service.spawn()?;
    thread::sleep(Duration::from_secs(5));
    running.shutdown();
    Ok(())
}
