//! Which GPUs exist, their drivers, and whether they sleep. Reading this wakes no GPU: the files belong to
//! the PCI bus, not to the driver.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use nixfleet_os::short;

use super::Vendor;
use super::sysfs::{Sysfs, entries, numbered};

/// PCI class of displays (VGA, 3D and others), the upper byte of the class.
const DISPLAY: u32 = 0x03;
/// PCI class of accelerators. AMD's GPUs for datacenters have this class. Intel's NPUs, which are no GPUs,
/// have it too.
const ACCELERATOR: u32 = 0x12;

/// A driver that passes a device to virtual machines. It has no readings, and NVML must not query the device.
const PASS_THROUGH_DRIVER: &str = "vfio-pci";

/// A GPU on the PCI bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Card {
    pub(super) vendor: Vendor,
    /// PCI address, such as `0000:01:00.0`.
    pub(super) address: String,
    pub(super) device_id: Option<u16>,
    /// Folder of the device in sysfs.
    pub(super) device: PathBuf,
    /// Folder of the DRM card in sysfs, where i915 has files.
    pub(super) drm: Option<PathBuf>,
}

/// Power state of a GPU, which decides whether it may be queried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Power {
    /// It never sleeps.
    On,
    /// Awake now, but it goes to sleep when it is idle and not queried.
    MaySleep,
    /// Asleep, or going to sleep.
    Asleep,
}

/// All GPUs of the known vendors, in the order of their addresses.
pub(super) fn find(sys: &Path, sysfs: &Sysfs) -> Vec<Card> {
    let cards = entries(&sys.join("class/drm"), |name| numbered(name, "card"));
    let drm: BTreeMap<String, PathBuf> = short::gather(cards.into_iter().filter_map(|card| {
        let device = fs::canonicalize(card.join("device")).ok()?;
        Some((device.file_name()?.to_str()?.to_owned(), card))
    }));
    entries(&sys.join("bus/pci/devices"), is_address)
        .into_iter()
        .filter_map(|device| {
            let vendor = match sysfs.hex(&device.join("vendor"))? {
                0x10de => Vendor::Nvidia,
                0x1002 => Vendor::Amd,
                0x8086 => Vendor::Intel,
                _ => return None,
            };
            match sysfs.hex(&device.join("class"))? >> 16 {
                DISPLAY => {}
                ACCELERATOR if vendor == Vendor::Amd => {}
                _ => return None,
            }
            // A virtual function: a part of a GPU for a virtual machine. The whole GPU is in the list too.
            if device.join("physfn").exists() {
                return None;
            }
            let address = device.file_name()?.to_str()?.to_owned();
            let device_id = sysfs.hex(&device.join("device")).and_then(|id| u16::try_from(id).ok());
            let drm = drm.get(&address).cloned();
            Some(Card { vendor, address, device_id, device, drm })
        })
        .collect()
}

/// Whether a name is a PCI address: `domain:bus:device.function`, all hexadecimal.
pub(super) fn is_address(name: &str) -> bool {
    let parts: Vec<&str> = name.split([':', '.']).collect();
    parts.len() == 4
        && parts.iter().all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

impl Card {
    /// Whether the GPU has a driver with readings. NVML only knows GPUs with NVIDIA's own driver.
    pub(super) fn has_driver(&self) -> bool {
        let Ok(driver) = fs::read_link(self.device.join("driver")) else { return false };
        match driver.file_name().and_then(|name| name.to_str()) {
            Some(name) if self.vendor == Vendor::Nvidia => name == "nvidia",
            Some(name) => name != PASS_THROUGH_DRIVER,
            None => false,
        }
    }

    /// The current power state. Read it before each query, because a query wakes a sleeping GPU.
    pub(super) fn power(&self, sysfs: &Sysfs) -> Power {
        let file = |name: &str| sysfs.text(&self.device.join("power").join(name));
        match file("runtime_status").as_deref() {
            Some("suspended" | "suspending") => Power::Asleep,
            // `unsupported`, or no file: the kernel has no power management, so the GPU does not sleep.
            _ if file("control").as_deref() == Some("auto") => Power::MaySleep,
            _ => Power::On,
        }
    }
}

/// Converts an address to the form of sysfs. NVML writes eight digits for the domain, and capital letters.
#[cfg(any(test, all(feature = "nvml", target_os = "linux")))]
pub(super) fn normal_address(given: &str) -> String {
    let lower = given.to_ascii_lowercase();
    match lower.split_once(':') {
        Some((domain, rest)) if domain.len() > 4 => {
            let (leading, kept) = domain.split_at(domain.len() - 4);
            // Domains above ffff exist behind Intel's VMD. sysfs writes them without leading zeros.
            let leading = leading.trim_start_matches('0');
            format!("{leading}{kept}:{rest}")
        }
        _ => lower,
    }
}
