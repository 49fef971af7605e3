//! Which GPUs there are, what drives them, whether they sleep. All of it without waking one: these files
//! are the PCI bus's own, not the driver's.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use super::Vendor;
use super::sysfs::{Sysfs, entries, numbered};

/// PCI's class for displays (VGA, 3D, others), in the upper byte.
const DISPLAY: u32 = 0x03;
/// PCI's class for accelerators. AMD's for datacenters are such. So are NPUs of Intel's, which are no GPUs.
const ACCELERATOR: u32 = 0x12;

/// A driver that keeps a device for virtual machines. It shows nothing, and NVML must not look for it.
const PASSES_THROUGH: &str = "vfio-pci";

/// A GPU on the PCI bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Card {
    pub(super) vendor: Vendor,
    /// Such as `0000:01:00.0`.
    pub(super) address: String,
    pub(super) device_id: Option<u16>,
    /// Its folder on the bus.
    pub(super) device: PathBuf,
    /// Its folder as a card for programs that draw; i915 has files there.
    pub(super) drm: Option<PathBuf>,
}

/// Whether a GPU may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Power {
    /// It does not sleep, whatever it has to do.
    On,
    /// Awake now, but it would go to sleep with nothing to do and nobody asking.
    MaySleep,
    /// Asleep, or about to be.
    Asleep,
}

/// All GPUs of the known vendors, in the order of their addresses.
pub(super) fn find(sys: &Path, sysfs: &Sysfs) -> Vec<Card> {
    let drm: BTreeMap<String, PathBuf> = entries(&sys.join("class/drm"), |name| numbered(name, "card"))
        .into_iter()
        .filter_map(|card| {
            let device = fs::canonicalize(card.join("device")).ok()?;
            Some((device.file_name()?.to_str()?.to_owned(), card))
        })
        .collect();
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
            // A share of a GPU, made for a virtual machine. The whole is in the list.
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

/// `domain:bus:device.function`, all hexadecimal.
fn is_address(name: &str) -> bool {
    let parts: Vec<&str> = name.split([':', '.']).collect();
    parts.len() == 4
        && parts.iter().all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

impl Card {
    /// Whether there is a driver that can tell something. NVML knows the GPUs of NVIDIA's driver alone.
    pub(super) fn has_driver(&self) -> bool {
        let Ok(driver) = fs::read_link(self.device.join("driver")) else { return false };
        match driver.file_name().and_then(|name| name.to_str()) {
            Some(name) if self.vendor == Vendor::Nvidia => name == "nvidia",
            Some(name) => name != PASSES_THROUGH,
            None => false,
        }
    }

    /// Read anew before each question: asking a GPU that sleeps wakes it.
    pub(super) fn power(&self, sysfs: &Sysfs) -> Power {
        let file = |name: &str| sysfs.text(&self.device.join("power").join(name));
        match file("runtime_status").as_deref() {
            Some("suspended" | "suspending") => Power::Asleep,
            // `unsupported`, or no file: a kernel without power management, so it does not sleep.
            _ if file("control").as_deref() == Some("auto") => Power::MaySleep,
            _ => Power::On,
        }
    }
}

/// An address as sysfs writes it. NVML has eight digits for the domain, and capital letters.
#[cfg(any(test, all(feature = "nvml", target_os = "linux")))]
pub(super) fn normal_address(given: &str) -> String {
    let lower = given.to_ascii_lowercase();
    match lower.split_once(':') {
        Some((domain, rest)) if domain.len() > 4 => {
            let (leading, kept) = domain.split_at(domain.len() - 4);
            // Domains above ffff exist, behind Intel's VMD: sysfs writes them without leading zeros.
            let leading = leading.trim_start_matches('0');
            format!("{leading}{kept}:{rest}")
        }
        _ => lower,
    }
}
