//! Prints three readings of this machine's GPUs as JSON and, if `nvidia-smi` exists, its output for
//! comparison. With the path of the agent, that reads NVIDIA's GPUs in a process of its own.
//!
//! ```sh
//! cargo run -p nixfleet-vitals --example gpu [sysfs] [libnvidia-ml.so.1] [nixfleet-agent]
//! ```

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use nixfleet_vitals::gpu::{Gpu, Gpus, Sources};

/// Time between two readings. Usage is measured over this time.
const BETWEEN: Duration = Duration::from_secs(2);

const SMI: &[&str] = &[
    "--query-gpu=pci.bus_id,name,utilization.gpu,temperature.gpu,memory.used,memory.total,power.draw,mig.mode.current",
    "--format=csv",
];

fn main() {
    let sys = std::env::args_os().nth(1).unwrap_or_else(|| "/sys".into());
    let library = std::env::args_os().nth(2).map(Into::into);
    let reader = std::env::args_os().nth(3).map(Into::into);
    let sources = Sources { reader, ..Sources::new(sys.into(), library) };
    let mut reader = Gpus::new(&sources);
    for number in 1..=3 {
        let started = Instant::now();
        let gpus = reader.read(started);
        let duration = started.elapsed();
        let gpus: Vec<_> = gpus.iter().map(as_json).collect();
        let output = json!({
            "reading": number,
            "milliseconds": duration.as_secs_f64() * 1000.0,
            "unanswered": reader.unanswered(),
            // 20 MB more with NVIDIA's library in this process.
            "resident": resident(),
            "hints": reader.take_hints().into_iter().map(|hint| hint.text).collect::<Vec<_>>(),
            "gpus": gpus,
        });
        println!("{output:#}");
        if number < 3 {
            thread::sleep(BETWEEN);
        }
    }
    match Command::new("nvidia-smi").args(SMI).status() {
        Ok(status) => println!("nvidia-smi: {status}"),
        Err(error) => println!("nvidia-smi: {error}"),
    }
}

/// Memory of this process, as the kernel writes it.
fn resident() -> Option<String> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    Some(status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim().to_owned())
}

fn as_json(gpu: &Gpu) -> serde_json::Value {
    json!({
        "vendor": gpu.vendor.as_str(),
        "name": gpu.name,
        "pci_address": gpu.pci_address,
        "device_id": gpu.device_id.map(|id| format!("{id:#06x}")),
        "usage": gpu.usage,
        "usage_is_estimate": gpu.usage_is_estimate,
        "temperature_celsius": gpu.temperature_celsius,
        "vram_used_bytes": gpu.vram_used_bytes,
        "vram_total_bytes": gpu.vram_total_bytes,
        "vram_usage": gpu.vram_usage(),
        "power_watts": gpu.power_watts,
        "status": gpu.status.as_str(),
    })
}
