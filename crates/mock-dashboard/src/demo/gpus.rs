//! The GPUs of a host of the demo: files in place of sysfs, as amdgpu has them, and what stands in for NVIDIA's library
//! where that was built. The load of one of them rises and falls, so that there is something to see.

use std::fs;
use std::io;
use std::path::PathBuf;

use super::files::{link, replace, write};
use super::fleet::Home;

/// The stand-in for NVIDIA's library, beside this program or in the package's folder for libraries.
/// `cargo xtask demo` and the Nix package build it from the source that the tests use.
const LIBRARY: [&str; 2] = ["nvml-stand-in.so", "../lib/nvml-stand-in.so"];

/// Places on the bus.
const AMD: &str = "0000:0b:00.0";
const NVIDIA: &str = "0000:01:00.0";

/// Bytes of memory of the GPU that works, and of the one that shows the desktop.
const MEMORY: f64 = 24.0 * 1024.0 * 1024.0 * 1024.0;
const SMALL_MEMORY: f64 = 2.0 * 1024.0 * 1024.0 * 1024.0;

/// Seconds from one rise of the load to the next. The agent sends one pre-warm signal a minute at most.
const PERIOD: f64 = 120.0;

/// Seconds of the period in which the load is low, rises, is high, and falls.
const LOW: f64 = 45.0;
const RISE: f64 = 10.0;
const HIGH: f64 = 45.0;
const FALL: f64 = 10.0;

/// Seconds of the period that are over when the demo starts: the first rise comes while somebody still looks.
const BEGUN: f64 = 30.0;

/// The share of a difference in temperature that is gone after a second: the chip follows its load in half a minute.
const WARMING: f64 = 0.08;

/// Makes the files that do not change.
pub(super) fn prepare(home: &Home) -> Result<(), String> {
    card(home, AMD, ["0x1002", "0x164e"], "amdgpu")?;
    for (name, text) in [("name", "amdgpu"), ("temp1_label", "edge"), ("power1_label", "PPT")] {
        write(&device(home, AMD).join("hwmon/hwmon0").join(name), text)?;
    }
    write(&device(home, AMD).join("product_name"), "Radeon (stand-in)")?;
    for (name, text) in [("name", "k10temp"), ("temp1_label", "Tctl"), ("temp1_input", "45000")] {
        write(&home.sys().join("class/hwmon/hwmon0").join(name), text)?;
    }
    let Some(library) = library() else { return Ok(()) };
    let copy = home.nvml();
    let folder = home.join("nvml");
    fs::create_dir_all(&folder)
        .and_then(|()| fs::copy(&library, &copy))
        .map_err(|err| format!("cannot copy {} to {}: {err}", library.display(), folder.display()))?;
    // The library notes its calls in that file, for tests. In a demo that runs for a day it would grow.
    link(&folder.join("calls"), "/dev/null")?;
    card(home, NVIDIA, ["0x10de", "0x2684"], "nvidia")
}

fn library() -> Option<PathBuf> {
    let own = std::env::current_exe().ok()?;
    let folder = own.parent()?;
    LIBRARY.iter().map(|name| folder.join(name)).find(|path| path.is_file())
}

fn device(home: &Home, address: &str) -> PathBuf {
    home.sys().join("bus/pci/devices").join(address)
}

fn card(home: &Home, address: &str, [vendor, model]: [&str; 2], driver: &str) -> Result<(), String> {
    let device = device(home, address);
    for (name, text) in
        [("vendor", vendor), ("device", model), ("class", "0x030000"), ("power/control", "on")]
    {
        write(&device.join(name), text)?;
    }
    link(&device.join("driver"), format!("../../drivers/{driver}"))
}

/// The GPUs of a host while the demo runs.
#[derive(Debug)]
pub(super) struct Gpus {
    amd: PathBuf,
    /// The file that the stand-in for NVIDIA's library reads.
    nvml: Option<PathBuf>,
    celsius: f64,
}

impl Gpus {
    pub(super) fn new(home: &Home) -> Self {
        let nvml = home.nvml().exists().then(|| home.join("nvml/control"));
        Self { amd: device(home, AMD), nvml, celsius: 40.0 }
    }

    /// Writes what they do so many seconds after the start.
    pub(super) fn write(&mut self, seconds: f64) -> io::Result<()> {
        let usage = load(seconds);
        self.celsius += (36.0 + 42.0 * usage - self.celsius) * WARMING;
        let memory = MEMORY * (0.08 + 0.7 * usage);
        let watts = 22.0 + 290.0 * usage;
        let (celsius, idle) = (self.celsius, 0.03 + 0.02 * ripple(seconds));
        let Some(control) = &self.nvml else {
            return self.write_amd(usage, celsius, memory, MEMORY, watts);
        };
        let text = format!(
            "count 1\n0.bus 0000{NVIDIA}\n0.name NVIDIA (stand-in)\n0.used {memory:.0}\n0.total {MEMORY:.0}\n\
             0.temperature {celsius:.0}\n0.power {power:.0}\n0.utilization {percent:.0}\n",
            power = watts * 1000.0,
            percent = usage * 100.0,
        );
        replace(control, &text)?;
        self.write_amd(idle, 38.0, SMALL_MEMORY * 0.2, SMALL_MEMORY, 9.0)
    }

    fn write_amd(&self, usage: f64, celsius: f64, used: f64, total: f64, watts: f64) -> io::Result<()> {
        for (name, value) in [
            ("gpu_busy_percent", usage * 100.0),
            ("mem_info_vram_used", used),
            ("mem_info_vram_total", total),
            ("hwmon/hwmon0/temp1_input", celsius * 1000.0),
            ("hwmon/hwmon0/power1_average", watts * 1e6),
        ] {
            replace(&self.amd.join(name), &format!("{value:.0}\n"))?;
        }
        Ok(())
    }
}

/// The share of time in which the GPU that works is busy, so many seconds after the start.
fn load(seconds: f64) -> f64 {
    let phase = (seconds + BEGUN) % PERIOD;
    let rising = (phase - LOW) / RISE;
    let falling = (LOW + RISE + HIGH + FALL - phase) / FALL;
    let work = rising.min(falling).clamp(0.0, 1.0);
    0.10 + 0.82 * work + 0.04 * ripple(seconds)
}

/// Something between -1 and 1 that does not look regular.
fn ripple(seconds: f64) -> f64 {
    ((seconds * 1.7).sin() + (seconds * 0.61).sin()) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The mean of the load over this many seconds before a second.
    fn mean(end: u32, window: u32) -> f64 {
        (end - window..end).map(|second| load(f64::from(second))).sum::<f64>() / f64::from(window)
    }

    #[test]
    fn the_load_crosses_both_limits_of_a_pre_warm_signal_in_each_period() {
        assert!((0..600).all(|second| (0.0..=1.0).contains(&load(f64::from(second)))));
        // The agent's limits by default, and the demo's window.
        let stressed: Vec<u32> = (10..600).filter(|second| mean(*second, 10) > 0.80).collect();
        let calm: Vec<u32> = (10..600).filter(|second| mean(*second, 10) < 0.65).collect();
        for period in 0..4 {
            let within = |seconds: &[u32]| seconds.iter().any(|second| second / 120 == period);
            assert!(within(&stressed) && within(&calm), "{period}");
        }
        assert!(stressed.first().is_some_and(|first| *first < 45), "{:?}", stressed.first());
    }
}
