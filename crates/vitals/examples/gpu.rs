//! Prints what the agent reads of this machine's GPUs as JSON and, if there is one, what `nvidia-smi`
//! says at the same time. For looking at real machines: `cargo run --example gpu`.

use std::{
    process::Command,
    thread,
    time::{Duration, Instant},
};

use nixfleet_vitals::gpu::{Gpu, Gpus, Sources};
use serde_json::json;

/// Time between two looks: usage is what happened in between.
const BETWEEN: Duration = Duration::from_secs(2);

const SMI: &[&str] = &[
    "--query-gpu=pci.bus_id,name,utilization.gpu,temperature.gpu,memory.used,memory.total,power.draw,mig.mode.current",
    "--format=csv",
];

fn main() {
    let sys = std::env::args_os().nth(1).unwrap_or_else(|| "/sys".into());
    let library = std::env::args_os().nth(2).map(Into::into);
    let mut reader = Gpus::new(&Sources::new(sys.into(), library));
    for look in 1..=3 {
        let begun = Instant::now();
        let gpus = reader.look(begun);
        let took = begun.elapsed();
        let gpus: Vec<_> = gpus.iter().map(as_json).collect();
        let seen = json!({
            "look": look,
            "milliseconds": took.as_secs_f64() * 1000.0,
            "unanswered": reader.unanswered(),
            "hints": reader.take_hints().into_iter().map(|hint| hint.text).collect::<Vec<_>>(),
            "gpus": gpus,
        });
        println!("{seen:#}");
        if look < 3 {
            thread::sleep(BETWEEN);
        }
    }
    match Command::new("nvidia-smi").args(SMI).status() {
        Ok(status) => println!("nvidia-smi: {status}"),
        Err(error) => println!("nvidia-smi: {error}"),
    }
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
