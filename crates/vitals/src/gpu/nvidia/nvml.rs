//! NVML itself: opens it, queries it, and interprets its errors.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Instant;

use nvml_wrapper::{
    Device, Nvml,
    bitmasks::InitFlags,
    enum_wrappers::device::{Sampling, TemperatureSensor},
    enums::device::SampleValue,
    error::NvmlError,
};

use super::{Answer, Failure, Found, Reading, Selection, Status, retry_after};
use crate::gpu::card::normal_address;

/// The library, open or not.
#[derive(Debug)]
pub(super) struct Library {
    paths: Vec<PathBuf>,
    open: Option<Open>,
    /// Why it could not be opened, and when to try again.
    failed: Option<(Instant, Failure)>,
    /// Time of the newest sample that was used, by PCI address. It is kept while the library is closed, so
    /// that no sample is counted twice.
    used: BTreeMap<String, u64>,
}

#[derive(Debug)]
struct Open {
    nvml: Nvml,
    /// PCI addresses of the GPUs that this handle keeps awake.
    attached: BTreeSet<String>,
}

impl Library {
    pub(super) fn new(paths: Vec<PathBuf>) -> Self {
        Self { paths, open: None, failed: None, used: BTreeMap::new() }
    }

    /// Closes the library.
    pub(super) fn close(&mut self) {
        self.open = None;
    }

    /// Reads all values of the selected GPUs.
    pub(super) fn read(&mut self, selection: &Selection) -> Answer {
        let let_others_sleep = matches!(selection, Selection::Only { let_others_sleep: true, .. });
        if let (Selection::Only { addresses, .. }, Some(open)) = (selection, &self.open)
            && let_others_sleep
            && open.attached.iter().any(|attached| !addresses.contains(attached))
        {
            // A single GPU cannot be released, so that it can sleep; only all at once can.
            self.open = None;
        }
        let open = match self.open.take() {
            Some(open) => open,
            None => self.try_open(let_others_sleep)?,
        };
        let open = self.open.insert(open);
        let found = ask(open, selection, &mut self.used);
        let closed = |failure: &Failure| {
            // The driver was unloaded or replaced while the library was open.
            matches!(failure.status, Status::NoDriver | Status::Mismatch)
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

    fn try_open(&mut self, let_others_sleep: bool) -> Result<Open, Failure> {
        if let Some((again, failure)) = &self.failed
            && Instant::now() < *again
        {
            return Err(failure.clone());
        }
        match open(&self.paths, let_others_sleep) {
            Ok(nvml) => {
                self.failed = None;
                Ok(Open { nvml, attached: BTreeSet::new() })
            }
            Err(failure) => {
                self.failed = Some((Instant::now() + retry_after(failure.status), failure.clone()));
                Err(failure)
            }
        }
    }
}

/// Loads the first library that can be loaded. Its error is the result even if later paths exist.
fn open(paths: &[PathBuf], let_others_sleep: bool) -> Result<Nvml, Failure> {
    let mut missing = Vec::new();
    for path in paths {
        let mut builder = Nvml::builder();
        builder.lib_path(path.as_os_str());
        if let_others_sleep {
            // Otherwise opening the library wakes every GPU of the host.
            builder.flags(InitFlags::NO_ATTACH);
        }
        match builder.init() {
            Ok(nvml) => return Ok(nvml),
            Err(error @ (NvmlError::LibloadingError(_) | NvmlError::FailedToLoadSymbol(_))) => {
                missing.push(error.to_string());
            }
            Err(error) => return Err(failure(error)),
        }
    }
    Err(Failure { status: Status::NoLibrary, detail: missing.join("; ") })
}

fn ask(open: &mut Open, selection: &Selection, used: &mut BTreeMap<String, u64>) -> Answer {
    let Open { nvml, attached } = open;
    let mut answer = |address: String, device: Result<Device<'_>, NvmlError>| {
        let reading = device.map_err(failure).and_then(|device| {
            attached.insert(address.clone());
            read(&device, used.entry(address.clone()).or_default())
        });
        Found { address, reading }
    };
    match selection {
        Selection::Only { addresses, .. } => Ok(addresses
            .iter()
            .map(|address| answer(address.clone(), nvml.device_by_pci_bus_id(address.as_str())))
            .collect()),
        Selection::All => {
            let mut found = Vec::new();
            for index in 0..nvml.device_count().map_err(failure)? {
                let device = nvml.device_by_index(index).map_err(failure)?;
                let address = normal_address(&device.pci_info().map_err(failure)?.bus_id);
                found.push(answer(address, Ok(device)));
            }
            Ok(found)
        }
    }
}

/// The meaning of an error for the whole GPU.
fn failure(error: NvmlError) -> Failure {
    let status = match error {
        NvmlError::GpuLost | NvmlError::ResetRequired => Status::Lost,
        NvmlError::LibRmVersionMismatch => Status::Mismatch,
        NvmlError::DriverNotLoaded | NvmlError::Uninitialized => Status::NoDriver,
        NvmlError::NoPermission => Status::NoPermission,
        _ => Status::Failed,
    };
    Failure { status, detail: error.to_string() }
}

/// Collects single values. Most errors mean that this GPU does not have the value. Some mean that the GPU is
/// gone, and then no value is used.
#[derive(Default)]
struct Values {
    fatal: Option<Failure>,
    other: Option<Failure>,
    any: bool,
}

impl Values {
    fn take<T>(&mut self, value: Result<T, NvmlError>) -> Option<T> {
        match value.map_err(failure) {
            Ok(value) => {
                self.any = true;
                Some(value)
            }
            Err(failure) => {
                let is_fatal = matches!(failure.status, Status::Lost | Status::Mismatch | Status::NoDriver);
                let noted = if is_fatal { &mut self.fatal } else { &mut self.other };
                noted.get_or_insert(failure);
                None
            }
        }
    }

    /// Why there is no reading; None if there is one.
    fn failure(self) -> Option<Failure> {
        self.fatal.or(self.other.filter(|_| !self.any))
    }
}

fn read(device: &Device<'_>, used: &mut u64) -> Result<Reading, Failure> {
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
    values.failure().map_or_else(|| Ok(reading.plausible()), Err)
}

/// The mean of the samples since the previous reading. A single sample covers a sixth of a second to one
/// second, which says little about the time between two readings.
fn usage(device: &Device<'_>, values: &mut Values, used: &mut u64) -> Option<f64> {
    // All samples are requested, not those after a time: if the clock was set back, NVML would return none
    // until the clock reaches the old time.
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

/// The mean of the samples that are newer than `used`, which becomes the time of the newest sample. Unused
/// places of the buffer have time 0.
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
