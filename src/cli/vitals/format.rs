//! The vitals of one moment as one line, in each format.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use nixfleet_os::time::length;
use nixfleet_protocol::DeviceVitals;

use crate::wire;

/// Longest text of one field, in characters. Names usually have about twenty.
const MAX_TEXT: usize = 256;

/// Format of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// All vitals as one JSON object
    Json,
    /// The five fields of Avocado's heartbeat as JSON
    Avocado,
    /// key=value
    Logfmt,
    /// A sentence for people
    Text,
    /// Straight to the journal, a field for each figure
    Journal,
}

impl Format {
    /// Its name, as `--format` and `FORMAT` take it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Avocado => "avocado",
            Self::Logfmt => "logfmt",
            Self::Text => "text",
            Self::Journal => "journal",
        }
    }
}

/// The vitals as one line, without line end. For [`Format::Journal`] it is the message of the entry.
pub(super) fn line(format: Format, vitals: &DeviceVitals, now: SystemTime) -> String {
    match format {
        Format::Json => json(vitals),
        Format::Avocado => avocado(vitals, now),
        Format::Logfmt => logfmt(vitals),
        Format::Text | Format::Journal => text(vitals),
    }
}

fn json(value: &impl Serialize) -> String {
    // Serializing numbers and text cannot fail.
    serde_json::to_string(value).unwrap_or_default()
}

/// The object of Avocado's heartbeat script, with its fields in the same order. Unknown values are null, not 0.
#[derive(Serialize)]
struct Avocado {
    uptime: Option<u64>,
    mem_free_kb: Option<u64>,
    mem_total_kb: Option<u64>,
    load_1m: Option<String>,
    ts: u64,
}

fn avocado(vitals: &DeviceVitals, now: SystemTime) -> String {
    json(&Avocado {
        uptime: vitals.uptime_s,
        // MemFree of /proc/meminfo. Available memory is in `memory_usage` of the other formats.
        mem_free_kb: vitals.memory_free.map(|bytes| bytes / 1024),
        mem_total_kb: vitals.memory_total.map(|bytes| bytes / 1024),
        load_1m: vitals.load.map(|[one, ..]| format!("{one:.2}")),
        ts: now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
    })
}

fn logfmt(vitals: &DeviceVitals) -> String {
    let plain = |letter: char| letter.is_ascii_graphic() && !['"', '=', '\\'].contains(&letter);
    let pair = |(name, value): (&str, String)| {
        let value = if !value.is_empty() && value.chars().all(plain) { value } else { json(&value) };
        format!("{name}={value}")
    };
    fields(vitals).into_iter().map(pair).collect::<Vec<_>>().join(" ")
}

/// The known values, without lists: names in lower case, text of bounded length.
pub(super) fn fields(vitals: &DeviceVitals) -> Vec<(&'static str, String)> {
    let share = |value: Option<f64>| value.map(|value| rounded(value, 4));
    let tenth = |value: Option<f64>| value.map(|value| rounded(value, 1));
    let whole = |value: Option<f64>| value.map(|value| rounded(value, 0));
    let hundredth = |value: Option<f64>| value.map(|value| format!("{value:.2}"));
    let load = vitals.load;
    let pressure = vitals.pressure.unwrap_or_default();
    let hottest = vitals.temperatures.iter().filter_map(|sensor| sensor.celsius).reduce(f64::max);
    let all = [
        ("timestamp", Some(short(&vitals.timestamp))),
        ("device_id", Some(short(&vitals.device_id))),
        ("uptime_s", vitals.uptime_s.map(|value| value.to_string())),
        ("cpu_usage", share(vitals.cpu_usage)),
        ("memory_usage", share(vitals.memory_usage)),
        ("memory_total", vitals.memory_total.map(|value| value.to_string())),
        ("memory_free", vitals.memory_free.map(|value| value.to_string())),
        ("swap_usage", share(vitals.swap_usage)),
        ("disk_usage", share(vitals.disk_usage)),
        ("load_1m", hundredth(load.map(|load| load[0]))),
        ("load_5m", hundredth(load.map(|load| load[1]))),
        ("load_15m", hundredth(load.map(|load| load[2]))),
        ("pressure_cpu", share(pressure.cpu)),
        ("pressure_memory", share(pressure.memory)),
        ("pressure_io", share(pressure.io)),
        ("network_received", whole(vitals.network.map(|rate| rate.received))),
        ("network_sent", whole(vitals.network.map(|rate| rate.sent))),
        ("disk_read", whole(vitals.disk_io.map(|rate| rate.read))),
        ("disk_written", whole(vitals.disk_io.map(|rate| rate.written))),
        ("temp_celsius", tenth(hottest)),
        ("gpu_usage", share(vitals.gpu_usage)),
        ("gpu_temp_celsius", tenth(vitals.gpu_temp_celsius)),
        ("gpu_vram_usage", share(vitals.gpu_vram_usage)),
        ("active_sessions", vitals.active_sessions.map(|value| value.to_string())),
        ("pending_queries", vitals.pending_queries.map(|value| value.to_string())),
        ("loaded_model", vitals.loaded_model.as_deref().map(short)),
        ("failed_units", vitals.failed_units.as_ref().map(|units| units.count.to_string())),
        ("reboot_required", vitals.reboot_required.map(|value| value.to_string())),
    ];
    all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

fn rounded(value: f64, digits: i32) -> String {
    wire::vitals::rounded(value, digits).to_string()
}

fn text(vitals: &DeviceVitals) -> String {
    let mut parts = Vec::new();
    let mut add = |name: &str, value: Option<f64>| {
        parts.extend(value.map(|value| format!("{name} {}", percent(value))));
    };
    add("cpu", vitals.cpu_usage);
    add("memory", vitals.memory_usage);
    add("swap", vitals.swap_usage);
    add("disk", vitals.disk_usage);
    add("gpu", vitals.gpu_usage);
    parts.extend(vitals.gpu_temp_celsius.map(|celsius| format!("gpu {} °C", rounded(celsius, 1))));
    parts.extend(vitals.load.map(|load| format!("load {}", loads(load))));
    parts.extend(vitals.uptime_s.map(|seconds| format!("up {}", length(Duration::from_secs(seconds)))));
    let failed = vitals.failed_units.as_ref().map(|units| units.count).filter(|count| *count > 0);
    parts.extend(failed.map(|count| format!("failed units {count}")));
    parts.extend(vitals.reboot_required.filter(|required| *required).map(|_| "reboot required".to_owned()));
    if parts.is_empty() {
        parts.push("nothing is known".to_owned());
    }
    format!("{}: {}", short(&vitals.device_id), parts.join(", "))
}

pub(super) fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

pub(super) fn loads([one, five, fifteen]: [f64; 3]) -> String {
    format!("{one:.2} {five:.2} {fifteen:.2}")
}

/// Text from elsewhere as part of one line: without control characters, and shortened.
pub(super) fn short(text: &str) -> String {
    let shown = |letter: char| if letter.is_control() { ' ' } else { letter };
    text.chars().take(MAX_TEXT).map(shown).collect()
}

/// The datagram for the journal in its native protocol: lines of `NAME=value`. No value contains a line end,
/// which would need another encoding.
pub(super) fn datagram(vitals: &DeviceVitals) -> Vec<u8> {
    let head = format!("MESSAGE={}\nPRIORITY=6\nSYSLOG_IDENTIFIER=nixfleet-heartbeat\n", text(vitals));
    let field = |(name, value): (&str, String)| format!("NIXFLEET_{}={value}\n", name.to_ascii_uppercase());
    fields(vitals).into_iter().map(field).fold(head, |lines, field| lines + &field).into_bytes()
}

#[cfg(test)]
mod tests;
