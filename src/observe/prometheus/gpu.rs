//! Measurements of the host's GPUs.

use jiff::Timestamp;

use nixfleet_vitals::gpu::{Gpu, Snapshot};

use super::Look;
use super::text::{Labels, Text};

/// How long before `now` the snapshot was taken, in seconds.
pub(super) fn age(snapshot: &Snapshot, now: Timestamp) -> Option<f64> {
    let taken = Timestamp::try_from(snapshot.taken_at).ok()?;
    // The clock may have been set back since.
    Some(now.duration_since(taken).as_secs_f64().max(0.0))
}

/// Everything that is measured of the GPUs.
pub(super) fn all(text: &mut Text, look: &Look) {
    let gpus = look.fresh_gpus().map(|snapshot| snapshot.gpus.as_slice()).unwrap_or_default();
    text.rows(
        "gpu_info",
        "gauge",
        "The GPUs, and whether their usage is measured or estimated.",
        gpus.iter().enumerate().map(|(index, gpu)| {
            let usage = if gpu.usage_is_estimate { "estimated" } else { "measured" };
            let mut labels = labels(index, gpu);
            labels.push(("vendor", gpu.vendor.as_str().into()));
            labels.push(("usage", usage.into()));
            (labels, Some(1.0))
        }),
    );
    text.rows(
        "gpu_status",
        "gauge",
        "Whether the GPU has readings, or why not: 1 for the status that it has.",
        gpus.iter().enumerate().map(|(index, gpu)| {
            let mut labels = labels(index, gpu);
            labels.push(("status", gpu.status.as_str().into()));
            (labels, Some(1.0))
        }),
    );
    let mut each = |name: &str, help: &str, value: fn(&Gpu) -> Option<f64>| {
        let rows = gpus.iter().enumerate().map(|(index, gpu)| (labels(index, gpu), value(gpu)));
        text.rows(name, "gauge", help, rows);
    };
    each("gpu_usage_ratio", "Share of time in which the GPU was busy.", |gpu| gpu.usage);
    each("gpu_temperature_celsius", "Temperature of the chip.", |gpu| gpu.temperature_celsius);
    each("gpu_memory_used_bytes", "GPU memory in use.", |gpu| Some(gpu.vram_used_bytes? as f64));
    each("gpu_memory_size_bytes", "Size of the GPU's memory.", |gpu| Some(gpu.vram_total_bytes? as f64));
    each("gpu_power_watts", "Power consumption.", |gpu| gpu.power_watts);
}

/// Which GPU it is. A GPU that was not asked yet has no name.
fn labels(index: usize, gpu: &Gpu) -> Labels<'_> {
    vec![
        ("gpu", index.to_string().into()),
        ("pci_address", gpu.pci_address.as_str().into()),
        ("name", gpu.name.as_deref().unwrap_or_default().into()),
    ]
}
