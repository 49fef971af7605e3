//! The figures of a heartbeat that are worth a glance.

use nixfleet_protocol::Heartbeat;

/// Percent, as StaSysMo counts.
const PERCENT: f64 = 100.0;

/// Shares are numbers from 0 to 1. What is not known is none.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Figures {
    pub(super) cpu: Option<f64>,
    pub(super) memory: Option<f64>,
    /// Of the fullest file system.
    pub(super) disk: Option<f64>,
    /// Of the busiest GPU.
    pub(super) gpu: Option<f64>,
    /// Of the hottest GPU, in degrees Celsius.
    pub(super) gpu_temp: Option<f64>,
    /// Milliseconds from a heartbeat to its acknowledgement.
    pub(super) rtt_ms: Option<f64>,
}

impl Figures {
    /// Those of a heartbeat. What StaSysMo says counts more than what the agent has measured, as in existing
    /// dashboards.
    pub(super) fn of(beat: &Heartbeat) -> Self {
        let (metrics, vitals) = (beat.metrics, beat.vitals.as_deref());
        let fullest = |vitals: &nixfleet_protocol::DeviceVitals| {
            vitals.disks.iter().filter_map(|disk| disk.usage).reduce(f64::max).or(vitals.disk_usage)
        };
        Self {
            cpu: metrics.map(|metrics| metrics.cpu / PERCENT).or(vitals.and_then(|vitals| vitals.cpu_usage)),
            memory: metrics
                .map(|metrics| metrics.ram / PERCENT)
                .or(vitals.and_then(|vitals| vitals.memory_usage)),
            disk: vitals.and_then(fullest),
            gpu: vitals.and_then(|vitals| vitals.gpu_usage),
            gpu_temp: vitals.and_then(|vitals| vitals.gpu_temp_celsius),
            rtt_ms: beat.ack_rtt_ms,
        }
    }
}

/// A number with so many digits behind the point: more of them tell nobody anything, and are most of a list of many
/// hosts.
pub(super) fn rounded(value: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    (value * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use nixfleet_protocol::{DeviceVitals, DiskVitals, Metrics};

    use super::*;

    #[test]
    fn vitals_stand_in_where_stasysmo_is_silent() {
        let disk = |usage| DiskVitals { usage, ..DiskVitals::default() };
        let vitals = DeviceVitals {
            cpu_usage: Some(0.25),
            memory_usage: Some(0.5),
            disk_usage: Some(0.1),
            disks: vec![disk(Some(0.1)), disk(None), disk(Some(0.9))],
            ..DeviceVitals::default()
        };
        let mut beat = Heartbeat { vitals: Some(Box::new(vitals)), ..Heartbeat::default() };
        let figures = Figures::of(&beat);
        assert_eq!((figures.cpu, figures.memory, figures.disk), (Some(0.25), Some(0.5), Some(0.9)));
        beat.metrics = Some(Metrics { cpu: 75.0, ram: 30.0, swap: 0.0, load: 1.0 });
        let figures = Figures::of(&beat);
        assert_eq!((figures.cpu, figures.memory, figures.gpu), (Some(0.75), Some(0.3), None));
        assert_eq!(Figures::of(&Heartbeat::default()), Figures::default());
    }
}
