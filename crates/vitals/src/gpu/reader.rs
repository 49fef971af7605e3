//! Reads all GPUs of the host, and remembers what is needed from the previous reading.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nixfleet_os::short;

use super::card::{Card, Power};
use super::nvidia::{Answers, Failure, Nvidia, Selection};
use super::rest::Rest;
use super::sysfs::Sysfs;
use super::{Gpu, Reading, Sources, Status, Vendor, amd, card, intel};
use crate::fault::Faults;

/// Time between two searches for GPUs. A GPU can appear and disappear with a cable or a virtual machine.
pub const SEARCH: Duration = Duration::from_secs(30);

/// The GPUs of the host.
#[derive(Debug)]
pub struct Gpus {
    sys: PathBuf,
    wsl: PathBuf,
    sysfs: Sysfs,
    nvidia: Nvidia,
    cards: Vec<Card>,
    searched: Option<Instant>,
    /// What is remembered of each GPU, by PCI address.
    states: BTreeMap<String, State>,
    /// The hints that have been given: one for each GPU and status, however often the status returns.
    logged: BTreeSet<(String, Status)>,
    hints: Vec<Hint>,
}

/// What is remembered of a GPU from earlier readings.
#[derive(Debug, Default)]
struct State {
    name: Option<String>,
    rest: Rest,
    counters: intel::Counters,
}

/// A log line about a GPU that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint {
    /// PCI address of the GPU.
    pub pci_address: String,
    /// Status of the GPU.
    pub status: Status,
    /// What to do about it, and the message of the driver.
    pub text: String,
}

impl Hint {
    pub(super) fn log(&self) {
        let Self { pci_address, status, text } = self;
        match status {
            // The operator may have chosen this deliberately.
            Status::NoDriver | Status::NoLibrary => {
                tracing::info!(gpu = pci_address, status = status.as_str(), "{text}");
            }
            _ => tracing::warn!(gpu = pci_address, status = status.as_str(), "{text}"),
        }
    }
}

/// A GPU in this reading, before it is queried.
struct Candidate {
    card: Card,
    /// Why it is not queried; None if it is.
    skipped: Option<Status>,
}

impl Gpus {
    /// A reader of these sources. Nothing is read yet.
    pub fn new(sources: &Sources) -> Self {
        Self::with(sources, Sysfs::new())
    }

    pub(super) fn with(sources: &Sources, sysfs: Sysfs) -> Self {
        Self {
            sys: sources.sys.clone(),
            wsl: sources.wsl.clone(),
            sysfs,
            nvidia: Nvidia::new(sources),
            cards: Vec::new(),
            searched: None,
            states: BTreeMap::new(),
            logged: BTreeSet::new(),
            hints: Vec::new(),
        }
    }

    #[cfg(all(test, feature = "nvml", target_os = "linux"))]
    pub(super) fn set_timeout(&mut self, timeout: Duration, max_age: Duration) {
        self.nvidia.set_timeout(timeout, max_age);
    }

    #[cfg(all(test, feature = "nvml", target_os = "linux"))]
    pub(super) fn set_patience(&mut self, patience: Duration, first_delay: Duration) {
        self.nvidia.set_patience(patience, first_delay);
    }

    /// Count of queries to NVML that were not answered in time.
    pub fn unanswered(&self) -> u64 {
        self.nvidia.unanswered()
    }

    /// The files that could not be read or understood.
    pub(super) fn faults(&self) -> Arc<Faults> {
        Arc::clone(self.sysfs.faults())
    }

    /// Takes the hints that are new since the last call.
    pub fn take_hints(&mut self) -> Vec<Hint> {
        std::mem::take(&mut self.hints)
    }

    /// Reads all GPUs, except those that must not be queried now. It takes milliseconds, but up to 3 s if
    /// NVML does not answer, and it never returns if a file of sysfs hangs.
    pub fn read(&mut self, now: Instant) -> Vec<Gpu> {
        self.search(now);
        let candidates: Vec<Candidate> =
            self.cards.clone().into_iter().map(|card| self.candidate(card, now)).collect();
        let nvidia = |candidate: &&Candidate| candidate.card.vendor == Vendor::Nvidia;
        let asks_nvml = self.ask_nvml(&candidates.iter().filter(nvidia).collect::<Vec<_>>());
        // These are read while NVML works.
        let mut gpus: Vec<Gpu> = candidates
            .iter()
            .filter(|candidate| !nvidia(candidate))
            .map(|candidate| self.read_sysfs(candidate, now))
            .collect();
        let mut answers = asks_nvml.then(|| self.nvidia.answer());
        for candidate in candidates.iter().filter(nvidia) {
            let reading = match (candidate.skipped, &mut answers) {
                (Some(status), _) => Err(status.into()),
                (None, Some(answers)) => answers.of(&candidate.card.address),
                (None, None) => Err(Status::NoAnswer.into()),
            };
            gpus.push(self.gpu(candidate, reading, now));
        }
        gpus.extend(self.off_the_bus(&candidates, answers));
        short::sort_by(&mut gpus, |a, b| a.pci_address.cmp(&b.pci_address));
        gpus
    }

    /// Ends what asks NVIDIA's library, before its thread ends. Returns false while a question is open.
    pub(super) fn rest(&mut self) -> bool {
        let is_idle = self.nvidia.is_idle();
        if is_idle {
            self.nvidia.close();
        }
        is_idle
    }

    fn search(&mut self, now: Instant) {
        let due = self.searched.is_none_or(|then| now.saturating_duration_since(then) >= SEARCH);
        // Without one, nobody reads but to search.
        if due || self.cards.is_empty() || self.cards.iter().any(|card| !card.device.exists()) {
            self.searched = Some(now);
            self.cards = card::find(&self.sys, &self.sysfs);
            let cards = &self.cards;
            self.states.retain(|address, _| cards.iter().any(|card| card.address == *address));
        }
    }

    fn candidate(&mut self, card: Card, now: Instant) -> Candidate {
        let rest = &mut self.states.entry(card.address.clone()).or_default().rest;
        let power = card.power(&self.sysfs);
        let skipped = if !card.has_driver() {
            Some(Status::NoDriver)
        } else if power == Power::Asleep {
            rest.slept();
            Some(Status::Suspended)
        } else if rest.is_resting(power, now) {
            Some(Status::Resting)
        } else {
            None
        };
        Candidate { card, skipped }
    }

    /// Sends a query to NVML if one is needed. Returns whether there is an answer to wait for.
    fn ask_nvml(&mut self, candidates: &[&Candidate]) -> bool {
        let asked = candidates.iter().filter(|candidate| candidate.skipped.is_none());
        let addresses: Vec<String> = asked.map(|candidate| candidate.card.address.clone()).collect();
        let selection = if candidates.is_empty() && self.wsl.exists() {
            Selection::All
        } else if addresses.is_empty() {
            self.nvidia.close();
            return false;
        } else {
            let let_others_sleep = addresses.len() < candidates.len();
            Selection::Only { addresses, let_others_sleep }
        };
        self.nvidia.ask(selection);
        true
    }

    fn read_sysfs(&mut self, candidate: &Candidate, now: Instant) -> Gpu {
        let reading = match candidate.skipped {
            Some(status) => Err(status.into()),
            None => {
                self.sysfs.take_gone();
                let reading = if candidate.card.vendor == Vendor::Amd {
                    amd::read(&candidate.card, &self.sysfs)
                } else {
                    let state = self.states.entry(candidate.card.address.clone()).or_default();
                    intel::read(&candidate.card, &mut state.counters, &self.sysfs, now)
                };
                if self.sysfs.take_gone() { Err(Status::Lost.into()) } else { Ok(reading) }
            }
        };
        self.gpu(candidate, reading, now)
    }

    fn gpu(&mut self, candidate: &Candidate, reading: Result<Reading, Failure>, now: Instant) -> Gpu {
        let state = self.states.entry(candidate.card.address.clone()).or_default();
        if let Ok(reading) = &reading {
            state.rest.asked(reading.usage, now);
            if reading.name.is_some() {
                state.name.clone_from(&reading.name);
            }
        }
        let name = state.name.clone();
        let Card { vendor, address, device_id, .. } = &candidate.card;
        self.make((*vendor, address, *device_id), name, reading)
    }

    /// GPUs that NVML knows but that are not on the PCI bus, as on WSL.
    fn off_the_bus(&mut self, candidates: &[Candidate], answers: Option<Answers>) -> Vec<Gpu> {
        let Some(Answers::Each(found)) = answers else { return Vec::new() };
        let known = |address: &str| candidates.iter().any(|candidate| candidate.card.address == address);
        found
            .into_iter()
            .filter(|(address, _)| !known(address))
            .map(|(address, reading)| {
                let name = reading.as_ref().ok().and_then(|reading| reading.name.clone());
                self.make((Vendor::Nvidia, &address, None), name, reading)
            })
            .collect()
    }

    fn make(
        &mut self,
        (vendor, address, device_id): (Vendor, &str, Option<u16>),
        name: Option<String>,
        reading: Result<Reading, Failure>,
    ) -> Gpu {
        let (status, reading) = match reading {
            Ok(reading) => (Status::Ok, reading),
            Err(failure) => {
                self.hint(address, &failure);
                (failure.status, Reading::default())
            }
        };
        Gpu {
            vendor,
            name,
            pci_address: address.to_owned(),
            device_id,
            usage: reading.usage,
            usage_is_estimate: vendor == Vendor::Intel && reading.usage.is_some(),
            temperature_celsius: reading.temperature_celsius,
            vram_used_bytes: reading.vram_used_bytes,
            vram_total_bytes: reading.vram_total_bytes,
            power_watts: reading.power_watts,
            status,
        }
    }

    fn hint(&mut self, address: &str, failure: &Failure) {
        let advice = match failure.status {
            Status::Ok | Status::Suspended | Status::Resting => return,
            Status::Lost => "The GPU does not answer on the bus any more, or needs a reset: reboot the host.",
            Status::Mismatch => {
                "The NVIDIA driver in the kernel and its library differ, as after a switch to a new \
                 driver: reboot to read the GPU again."
            }
            Status::NoDriver => "No driver that could be asked has the GPU.",
            Status::NoLibrary => "The GPU is not read: NVML is not there.",
            Status::NoPermission => "The GPU may not be read: the agent needs access to /dev/nvidia*.",
            Status::NoAnswer => "The GPU's driver has not answered in time; its readings are left out.",
            Status::Failed => "The GPU's driver cannot read it.",
        };
        if self.logged.insert((address.to_owned(), failure.status)) {
            let text = match failure.detail.as_str() {
                "" => advice.to_owned(),
                detail => format!("{advice} Reason: {detail}."),
            };
            self.hints.push(Hint { pci_address: address.to_owned(), status: failure.status, text });
        }
    }
}
