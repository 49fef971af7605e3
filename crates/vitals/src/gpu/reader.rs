//! All GPUs of the host, and what must be known from the look before.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::{Duration, Instant},
};

use super::card::{Card, Power};
use super::nvidia::{Answers, Nvidia, Trouble, Whom};
use super::rest::Rest;
use super::sysfs::Sysfs;
use super::{Gpu, Reading, Sources, Status, Vendor, amd, card, intel};

/// Time between two searches for GPUs. They come and go with a cable, or with a virtual machine.
const SEARCH: Duration = Duration::from_secs(30);

/// The GPUs of the host.
#[derive(Debug)]
pub struct Gpus {
    sys: PathBuf,
    wsl: PathBuf,
    sysfs: Sysfs,
    nvidia: Nvidia,
    cards: Vec<Card>,
    searched: Option<Instant>,
    /// By PCI address.
    kept: BTreeMap<String, Kept>,
    /// What has been said in the log: once for each GPU and state, however often it comes back.
    told: BTreeSet<(String, Status)>,
    hints: Vec<Hint>,
}

/// What is known of a GPU from earlier looks.
#[derive(Debug, Default)]
struct Kept {
    name: Option<String>,
    rest: Rest,
    counters: intel::Counters,
}

/// A line for the log about a GPU that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint {
    /// Which.
    pub pci_address: String,
    /// In which state.
    pub status: Status,
    /// What to do about it; what the driver said.
    pub text: String,
}

impl Hint {
    pub(super) fn log(&self) {
        let Self { pci_address, status, text } = self;
        match status {
            // Chosen by whoever set up the host.
            Status::NoDriver | Status::NoLibrary => {
                tracing::info!(gpu = pci_address, status = status.as_str(), "{text}");
            }
            _ => tracing::warn!(gpu = pci_address, status = status.as_str(), "{text}"),
        }
    }
}

/// A GPU at this look, before it is asked.
struct Turn {
    card: Card,
    /// Why it is not asked.
    passed_over: Option<Status>,
}

impl Gpus {
    /// Reads from these places. Touches nothing yet.
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
            kept: BTreeMap::new(),
            told: BTreeSet::new(),
            hints: Vec::new(),
        }
    }

    #[cfg(test)]
    pub(super) fn set_patience(&mut self, patience: Duration, too_old: Duration) {
        self.nvidia.set_patience(patience, too_old);
    }

    /// Questions to NVML that were not answered in time.
    pub fn unanswered(&self) -> u64 {
        self.nvidia.unanswered()
    }

    /// What is new and worth a line in the log.
    pub fn take_hints(&mut self) -> Vec<Hint> {
        std::mem::take(&mut self.hints)
    }

    /// Reads all GPUs that may be asked. Takes milliseconds, but seconds where NVML does not answer, and
    /// for ever where a file of sysfs does not.
    pub fn look(&mut self, now: Instant) -> Vec<Gpu> {
        self.search(now);
        let turns: Vec<Turn> = self.cards.clone().into_iter().map(|card| self.turn(card, now)).collect();
        let nvidia = |turn: &&Turn| turn.card.vendor == Vendor::Nvidia;
        let asks_nvml = self.ask_nvml(&turns.iter().filter(nvidia).collect::<Vec<_>>());
        // While NVML thinks about it.
        let mut gpus: Vec<Gpu> =
            turns.iter().filter(|turn| !nvidia(turn)).map(|turn| self.read_sysfs(turn, now)).collect();
        let mut answers = asks_nvml.then(|| self.nvidia.answer());
        for turn in turns.iter().filter(nvidia) {
            let reading = match (turn.passed_over, &mut answers) {
                (Some(status), _) => Err(status.into()),
                (None, Some(answers)) => answers.of(&turn.card.address),
                (None, None) => Err(Status::NoAnswer.into()),
            };
            gpus.push(self.gpu(turn, reading, now));
        }
        gpus.extend(self.off_the_bus(&turns, answers));
        gpus.sort_by(|a, b| a.pci_address.cmp(&b.pci_address));
        gpus
    }

    fn search(&mut self, now: Instant) {
        let due = self.searched.is_none_or(|then| now.saturating_duration_since(then) >= SEARCH);
        if due || self.cards.iter().any(|card| !card.device.exists()) {
            self.searched = Some(now);
            self.cards = card::find(&self.sys, &self.sysfs);
            let there: BTreeSet<&str> = self.cards.iter().map(|card| card.address.as_str()).collect();
            self.kept.retain(|address, _| there.contains(address.as_str()));
        }
    }

    fn turn(&mut self, card: Card, now: Instant) -> Turn {
        let rest = &mut self.kept.entry(card.address.clone()).or_default().rest;
        let power = card.power(&self.sysfs);
        let passed_over = if !card.has_driver() {
            Some(Status::NoDriver)
        } else if power == Power::Asleep {
            rest.slept();
            Some(Status::Suspended)
        } else if rest.leaves_alone(power, now) {
            Some(Status::Resting)
        } else {
            None
        };
        Turn { card, passed_over }
    }

    /// Whether there is an answer to wait for.
    fn ask_nvml(&mut self, turns: &[&Turn]) -> bool {
        let asked = turns.iter().filter(|turn| turn.passed_over.is_none());
        let addresses: Vec<String> = asked.map(|turn| turn.card.address.clone()).collect();
        let whom = if turns.is_empty() && self.wsl.exists() {
            Whom::Everyone
        } else if addresses.is_empty() {
            self.nvidia.let_go();
            return false;
        } else {
            let spare_others = addresses.len() < turns.len();
            Whom::These { addresses, spare_others }
        };
        self.nvidia.ask(whom);
        true
    }

    fn read_sysfs(&mut self, turn: &Turn, now: Instant) -> Gpu {
        let reading = match turn.passed_over {
            Some(status) => Err(status.into()),
            None => {
                self.sysfs.take_gone();
                let reading = if turn.card.vendor == Vendor::Amd {
                    amd::read(&turn.card, &self.sysfs)
                } else {
                    let kept = self.kept.entry(turn.card.address.clone()).or_default();
                    intel::read(&turn.card, &mut kept.counters, &self.sysfs, now)
                };
                if self.sysfs.take_gone() { Err(Status::Lost.into()) } else { Ok(reading) }
            }
        };
        self.gpu(turn, reading, now)
    }

    fn gpu(&mut self, turn: &Turn, reading: Result<Reading, Trouble>, now: Instant) -> Gpu {
        let kept = self.kept.entry(turn.card.address.clone()).or_default();
        if let Ok(reading) = &reading {
            kept.rest.asked(reading.usage, now);
            if reading.name.is_some() {
                kept.name.clone_from(&reading.name);
            }
        }
        let name = kept.name.clone();
        let Card { vendor, address, device_id, .. } = &turn.card;
        self.make((*vendor, address, *device_id), name, reading)
    }

    /// GPUs that NVML knows and the PCI bus does not.
    fn off_the_bus(&mut self, turns: &[Turn], answers: Option<Answers>) -> Vec<Gpu> {
        let Some(Answers::Each(found)) = answers else { return Vec::new() };
        let known = |address: &str| turns.iter().any(|turn| turn.card.address == address);
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
        reading: Result<Reading, Trouble>,
    ) -> Gpu {
        let (status, reading) = match reading {
            Ok(reading) => (Status::Ok, reading),
            Err(trouble) => {
                self.hint(address, &trouble);
                (trouble.status, Reading::default())
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

    fn hint(&mut self, address: &str, trouble: &Trouble) {
        let advice = match trouble.status {
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
        if self.told.insert((address.to_owned(), trouble.status)) {
            let text = match trouble.detail.as_str() {
                "" => advice.to_owned(),
                detail => format!("{advice} It says: {detail}."),
            };
            self.hints.push(Hint { pci_address: address.to_owned(), status: trouble.status, text });
        }
    }
}
