use rustix::io::Errno;

use super::tree::*;
use crate::gpu::reader::Gpus;
use crate::gpu::*;

const XE: &str = "tile0/gt0/gtidle/idle_residency_ms";
const XE_MEDIA: &str = "tile0/gt1/gtidle/idle_residency_ms";
const I915: &str = "drm/card0/gt/gt0/rc6_residency_ms";
const I915_OLD: &str = "drm/card0/power/rc6_residency_ms";

/// A GPU whose parts were off for so many milliseconds.
struct Meter {
    tree: Tree,
    device: Device,
    reader: Gpus,
    now: Instant,
}

impl Meter {
    fn new(files: &[(&str, u64)]) -> Self {
        let tree = Tree::new();
        let device = tree.gpu("0000:00:02.0", INTEL);
        let reader = tree.reader();
        let mut meter = Self { tree, device, reader, now: Instant::now() };
        meter.set(files);
        let first = meter.read(0);
        assert_eq!((first.usage, first.usage_is_estimate), (None, false), "nothing to compare with yet");
        meter
    }

    fn set(&self, files: &[(&str, u64)]) {
        for (name, value) in files {
            self.device.write(name, format!("{value}\n"));
        }
    }

    fn read(&mut self, milliseconds: u64) -> Gpu {
        self.now += Duration::from_millis(milliseconds);
        self.reader.read(self.now).remove(0)
    }
}

#[test]
fn usage_is_estimated_from_the_time_not_spent_switched_off() {
    for file in [XE, I915, I915_OLD] {
        let mut meter = Meter::new(&[(file, 50_000)]);
        meter.set(&[(file, 53_000)]);
        let gpu = meter.read(4_000);
        assert_eq!((gpu.usage, gpu.usage_is_estimate), (Some(0.25), true), "{file}");
        assert_eq!(meter.read(4_000).usage, Some(1.0), "{file}: not off at all");
        meter.set(&[(file, 57_000)]);
        assert_eq!(meter.read(4_000).usage, Some(0.0), "{file}: off all the time");
    }
}

#[test]
fn a_gpu_is_as_busy_as_its_busiest_part() {
    let mut meter = Meter::new(&[(XE, 50_000), (XE_MEDIA, 70_000)]);
    meter.set(&[(XE, 51_000), (XE_MEDIA, 72_000)]);
    assert_eq!(meter.read(2_000).usage, Some(0.5));
    meter.tree.fail(XE, Errno::OPNOTSUPP);
    meter.set(&[(XE_MEDIA, 73_500)]);
    assert_eq!(meter.read(2_000).usage, Some(0.25), "of those that can be read");
}

#[test]
fn counters_that_make_no_sense_make_no_usage() {
    // In order: the counters were reset; more time off than has passed; garbage.
    for after in ["10\n", "60000\n", "-1\n", "x\n", ""] {
        let mut meter = Meter::new(&[(XE, 50_000)]);
        meter.device.write(XE, after);
        let gpu = meter.read(1_000);
        assert_eq!((gpu.usage, gpu.usage_is_estimate, gpu.status), (None, false, Status::Ok), "{after:?}");
    }
}

#[test]
fn a_gpu_that_is_never_switched_off_is_not_called_busy() {
    let mut meter = Meter::new(&[(XE, 0)]);
    assert_eq!(meter.read(5_000).usage, None);
}

#[test]
fn two_looks_at_once_make_no_usage() {
    let mut meter = Meter::new(&[(XE, 50_000)]);
    assert_eq!(meter.read(0).usage, None);
    assert_eq!(meter.read(50).usage, None);
}

#[test]
fn a_clock_that_is_a_little_off_is_no_error() {
    let mut meter = Meter::new(&[(XE, 50_000)]);
    meter.set(&[(XE, 51_020)]);
    assert_eq!(meter.read(1_000).usage, Some(0.0));
}

#[test]
fn power_is_what_was_used_between_two_looks() {
    const CARD: &str = "hwmon/hwmon3/energy1_input";
    let mut meter = Meter::new(&[(CARD, 1_000_000_000)]);
    meter
        .device
        .write("hwmon/hwmon3/energy1_label", "card\n")
        .write("hwmon/hwmon3/energy2_input", "5\n")
        .write("hwmon/hwmon3/energy2_label", "pkg\n")
        .write("hwmon/hwmon3/temp2_input", "48000\n")
        .write("hwmon/hwmon3/temp2_label", "pkg\n")
        .write("hwmon/hwmon3/temp3_input", "60000\n")
        .write("hwmon/hwmon3/temp3_label", "vram\n");
    meter.set(&[(CARD, 1_150_000_000)]);
    let gpu = meter.read(5_000);
    assert_eq!((gpu.power_watts, gpu.temperature_celsius), (Some(30.0), Some(48.0)));
    meter.set(&[(CARD, 10)]);
    assert_eq!(meter.read(5_000).power_watts, None, "the counter began anew");
}

#[test]
fn one_parts_sensors_are_not_the_gpus() {
    let mut meter = Meter::new(&[("hwmon/hwmon2/energy1_input", 1_000_000)]);
    meter.device.write("hwmon/hwmon2/name", "i915_gt0\n");
    meter.set(&[("hwmon/hwmon2/energy1_input", 9_000_000)]);
    assert_eq!(meter.read(1_000).power_watts, None);
}

#[test]
fn a_gpu_within_a_processor_has_no_memory_of_its_own() {
    let mut meter = Meter::new(&[(XE, 50_000)]);
    let gpu = meter.read(1_000);
    assert_eq!((gpu.vram_used_bytes, gpu.vram_total_bytes, gpu.vram_usage()), (None, None, None));
}

#[test]
fn sleep_between_two_looks_is_no_usage() {
    let mut meter = Meter::new(&[(XE, 50_000)]);
    meter.device.suspended();
    let gpu = meter.read(1_000);
    assert_eq!(gpu.status, Status::Suspended);
    assert_no_reading(&gpu);
    meter.device.awake();
    meter.set(&[(XE, 50_900)]);
    assert_eq!(meter.read(1_000).usage, Some(0.55), "over both seconds");
}
