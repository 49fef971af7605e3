//! NVML itself: opening it, asking it, and what its errors mean.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::{Duration, Instant},
};

use nvml_wrapper::{
    Device, Nvml,
    bitmasks::InitFlags,
    enum_wrappers::device::{Sampling, TemperatureSensor},
    enums::device::SampleValue,
    error::NvmlError,
};

use super::{Answer, Found, Reading, Status, Trouble, Whom};
use crate::gpu::card::normal_address;

/// Time until a library that could not be opened is tried again.
const RETRY: Duration = Duration::from_secs(60);

/// The same after a mismatch. Only a reboot or a reload of the driver ends one, and the kernel logs
/// every attempt.
const RETRY_MISMATCH: Duration = Duration::from_secs(600);

/// The library, open or not.
#[derive(Debug)]
pub(super) struct Library {
    paths: Vec<PathBuf>,
    open: Option<Open>,
    /// Why it could not be opened, and when to try again.
    failed: Option<(Instant, Trouble)>,
    /// Time of the newest sample that was used, by PCI address. Outlives the open library, so that
    /// nothing from before a pause is counted twice.
    used: BTreeMap<String, u64>,
}

#[derive(Debug)]
struct Open {
    nvml: Nvml,
    /// GPUs that this handle keeps awake.
    attached: BTreeSet<String>,
}

impl Library {
    pub(super) fn new(paths: Vec<PathBuf>) -> Self {
        Self { paths, open: None, failed: None, used: BTreeMap::new() }
    }

    /// Closes it.
    pub(super) fn close(&mut self) {
        self.open = None;
    }

    /// Asks GPUs for all they can tell.
    pub(super) fn look(&mut self, whom: &Whom) -> Answer {
        let spare_others = matches!(whom, Whom::These { spare_others: true, .. });
        if let (Whom::These { addresses, .. }, Some(open)) = (whom, &self.open)
            && spare_others
            && open.attached.iter().any(|attached| !addresses.contains(attached))
        {
            // A GPU that is to rest can be let go only with all others.
            self.open = None;
        }
        let open = match self.open.take() {
            Some(open) => open,
            None => self.try_open(spare_others)?,
        };
        let open = self.open.insert(open);
        let found = ask(open, whom, &mut self.used);
        let closed = |trouble: &Trouble| {
            // The driver was unloaded or replaced below the open library.
            matches!(trouble.status, Status::NoDriver | Status::Mismatch)
        };
        let unusable = match &found {
            Ok(found) => found.iter().any(|found| found.reading.as_ref().is_err_and(closed)),
            Err(_) => true,
        };
        if unusable {
            self.open = None;
        }
        found
    }

    fn try_open(&mut self, spare_others: bool) -> Result<Open, Trouble> {
        if let Some((again, trouble)) = &self.failed
            && Instant::now() < *again
        {
            return Err(trouble.clone());
        }
        match open(&self.paths, spare_others) {
            Ok(nvml) => {
                self.failed = None;
                Ok(Open { nvml, attached: BTreeSet::new() })
            }
            Err(trouble) => {
                let pause = if trouble.status == Status::Mismatch { RETRY_MISMATCH } else { RETRY };
                self.failed = Some((Instant::now() + pause, trouble.clone()));
                Err(trouble)
            }
        }
    }
}

/// Opens the first library that can be opened. What it says then counts, even if it is an error.
fn open(paths: &[PathBuf], spare_others: bool) -> Result<Nvml, Trouble> {
    let mut missing = Vec::new();
    for path in paths {
        let mut builder = Nvml::builder();
        builder.lib_path(path.as_os_str());
        if spare_others {
            // Otherwise opening it wakes every GPU of the host.
            builder.flags(InitFlags::NO_ATTACH);
        }
        match builder.init() {
            Ok(nvml) => return Ok(nvml),
            Err(error @ (NvmlError::LibloadingError(_) | NvmlError::FailedToLoadSymbol(_))) => {
                missing.push(error.to_string());
            }
            Err(error) => return Err(trouble(error)),
        }
    }
    Err(Trouble { status: Status::NoLibrary, detail: missing.join("; ") })
}

fn ask(open: &mut Open, whom: &Whom, used: &mut BTreeMap<String, u64>) -> Answer {
    let Open { nvml, attached } = open;
    let mut answer = |address: String, device: Result<Device<'_>, NvmlError>| {
        let reading = device.map_err(trouble).and_then(|device| {
            attached.insert(address.clone());
            read(&device, used.entry(address.clone()).or_default())
        });
        Found { address, reading }
    };
    match whom {
        Whom::These { addresses, .. } => Ok(addresses
            .iter()
            .map(|address| answer(address.clone(), nvml.device_by_pci_bus_id(address.as_str())))
            .collect()),
        Whom::Everyone => {
            let mut found = Vec::new();
            for index in 0..nvml.device_count().map_err(trouble)? {
                let device = nvml.device_by_index(index).map_err(trouble)?;
                let address = normal_address(&device.pci_info().map_err(trouble)?.bus_id);
                found.push(answer(address, Ok(device)));
            }
            Ok(found)
        }
    }
}

/// What an error means for a whole GPU.
fn trouble(error: NvmlError) -> Trouble {
    let status = match error {
        NvmlError::GpuLost | NvmlError::ResetRequired => Status::Lost,
        NvmlError::LibRmVersionMismatch => Status::Mismatch,
        NvmlError::DriverNotLoaded | NvmlError::Uninitialized => Status::NoDriver,
        NvmlError::NoPermission => Status::NoPermission,
        _ => Status::Failed,
    };
    Trouble { status, detail: error.to_string() }
}

/// Collects single values. Most errors say that this GPU does not have this one; some say that there is
/// no such GPU any more, and then nothing of what it said counts.
#[derive(Default)]
struct Values {
    fatal: Option<Trouble>,
    other: Option<Trouble>,
    any: bool,
}

impl Values {
    fn take<T>(&mut self, value: Result<T, NvmlError>) -> Option<T> {
        match value.map_err(trouble) {
            Ok(value) => {
                self.any = true;
                Some(value)
            }
            Err(trouble) => {
                let all_of_it = matches!(trouble.status, Status::Lost | Status::Mismatch | Status::NoDriver);
                let noted = if all_of_it { &mut self.fatal } else { &mut self.other };
                noted.get_or_insert(trouble);
                None
            }
        }
    }

    /// Why there is no reading, if there is none.
    fn trouble(self) -> Option<Trouble> {
        self.fatal.or(self.other.filter(|_| !self.any))
    }
}

fn read(device: &Device<'_>, used: &mut u64) -> Result<Reading, Trouble> {
    let mut values = Values::default();
    let memory = values.take(device.memory_info());
    let reading = Reading {
        name: values.take(device.name()),
        usage: usage(device, &mut values, used),
        temperature_celsius: values.take(device.temperature(TemperatureSensor::Gpu)).map(f64::from),
        vram_used_bytes: memory.as_ref().map(|memory| memory.used),
        vram_total_bytes: memory.as_ref().map(|memory| memory.total),
        power_watts: values.take(device.power_usage()).map(|milliwatts| f64::from(milliwatts) / 1000.0),
    };
    values.trouble().map_or_else(|| Ok(reading.plausible()), Err)
}

/// The mean of the samples since the last look. A single figure of NVML's covers between a sixth of a
/// second and one, and says little about the seconds between two looks.
fn usage(device: &Device<'_>, values: &mut Values, used: &mut u64) -> Option<f64> {
    // All there are, and not from a time on: if the clock was set back, NVML would have none to give
    // until it has caught up.
    let samples = values.take(device.samples(Sampling::GpuUtilization, None)).unwrap_or_default();
    let percents = samples.iter().map(|sample| {
        let percent = match sample.value {
            SampleValue::F64(value) => value,
            SampleValue::U32(value) => f64::from(value),
            SampleValue::U64(value) => value as f64,
            SampleValue::I64(value) => value as f64,
        };
        (sample.timestamp, percent)
    });
    let percent = mean_since(percents, used)
        .or_else(|| values.take(device.utilization_rates()).map(|rates| f64::from(rates.gpu)))?;
    Some(percent / 100.0)
}

/// The mean of what is newer than `used`, which becomes the time of the newest. Places of the buffer that
/// were never filled have the time 0.
pub(super) fn mean_since(samples: impl Iterator<Item = (u64, f64)>, used: &mut u64) -> Option<f64> {
    let (mut newest, mut sum, mut count) = (0, 0.0, 0_u32);
    for (time, percent) in samples {
        newest = newest.max(time);
        if time > *used && (0.0..=100.0).contains(&percent) {
            sum += percent;
            count += 1;
        }
    }
    if newest > 0 {
        *used = newest;
    }
    (count > 0).then(|| sum / f64::from(count))
}
