//! A sysfs of the tests' own, with the links that the kernel's has.

use std::{
    cell::Cell,
    collections::HashMap,
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use rustix::io::Errno;

use crate::gpu::reader::Gpus;
use crate::gpu::sysfs::Sysfs;
use crate::gpu::*;

pub(super) const NVIDIA: &str = "0x10de";
pub(super) const AMD: &str = "0x1002";
pub(super) const INTEL: &str = "0x8086";

pub(super) struct Tree {
    folder: tempfile::TempDir,
    cards: Cell<u32>,
    /// Errors instead of contents, by the end of the path; what was read.
    files: Arc<Files>,
}

#[derive(Default)]
pub(super) struct Files {
    errors: Mutex<HashMap<String, Errno>>,
    read: Mutex<Vec<PathBuf>>,
}

impl Tree {
    pub(super) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), cards: Cell::new(0), files: Arc::default() }
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A device on the bus.
    pub(super) fn device(&self, address: &str, vendor: &str, class: &str) -> Device {
        let device = Device(self.path().join("devices/pci0000:00").join(address));
        device.write("vendor", vendor);
        device.write("class", class);
        device.write("device", "0x2684\n");
        device.write("power/runtime_status", "active\n");
        device.write("power/control", "on\n");
        let bus = self.path().join("bus/pci/devices");
        fs::create_dir_all(&bus).unwrap();
        symlink(&device.0, bus.join(address)).unwrap();
        device
    }

    /// A GPU with its driver and its card.
    pub(super) fn gpu(&self, address: &str, vendor: &str) -> Device {
        let driver = match vendor {
            NVIDIA => "nvidia",
            AMD => "amdgpu",
            _ => "xe",
        };
        let device = self.device(address, vendor, "0x030000\n");
        device.driver(driver);
        let name = format!("card{}", self.cards.replace(self.cards.get() + 1));
        let card = device.0.join("drm").join(&name);
        fs::create_dir_all(&card).unwrap();
        symlink(&device.0, card.join("device")).unwrap();
        let class = self.path().join("class/drm");
        fs::create_dir_all(&class).unwrap();
        symlink(&card, class.join(&name)).unwrap();
        device
    }

    /// Nobody's library, so that the machine's own is never opened.
    pub(super) fn sources(&self) -> Sources {
        Sources {
            sys: self.path().to_owned(),
            nvml: vec![self.path().join("no/libnvidia-ml.so.1")],
            reader: None,
            wsl: self.path().join("no/wsl"),
        }
    }

    pub(super) fn reader(&self) -> Gpus {
        self.reader_with(&self.sources())
    }

    pub(super) fn reader_with(&self, sources: &Sources) -> Gpus {
        let files = Arc::clone(&self.files);
        let sysfs = Sysfs::with(Box::new(move |path| {
            files.read.lock().unwrap().push(path.to_owned());
            for (end, errno) in &*files.errors.lock().unwrap() {
                if path.ends_with(end) {
                    return Err(io::Error::from(*errno));
                }
            }
            nixfleet_os::bounded_read::read(path, 4096)
        }));
        Gpus::with(sources, sysfs)
    }

    /// One reading by a new reader.
    pub(super) fn gpus(&self) -> Vec<Gpu> {
        self.reader().read(Instant::now())
    }

    #[track_caller]
    pub(super) fn only(&self) -> Gpu {
        let gpus = self.gpus();
        assert_eq!(gpus.len(), 1, "{gpus:?}");
        gpus.into_iter().next().unwrap()
    }

    /// Reading files with such an end fails from now on.
    pub(super) fn fail(&self, end: &str, errno: Errno) {
        self.files.errors.lock().unwrap().insert(end.to_owned(), errno);
    }

    pub(super) fn heal(&self) {
        self.files.errors.lock().unwrap().clear();
    }

    /// Names of the files read since the last call.
    pub(super) fn take_read(&self) -> Vec<String> {
        let read = std::mem::take(&mut *self.files.read.lock().unwrap());
        read.iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect()
    }
}

pub(super) struct Device(pub(super) PathBuf);

impl Device {
    pub(super) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> &Self {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    pub(super) fn remove(&self, name: &str) -> &Self {
        fs::remove_file(self.0.join(name)).unwrap();
        self
    }

    pub(super) fn driver(&self, name: &str) -> &Self {
        let link = self.0.join("driver");
        if link.is_symlink() {
            fs::remove_file(&link).unwrap();
        }
        symlink(format!("../../../bus/pci/drivers/{name}"), link).unwrap();
        self
    }

    pub(super) fn suspended(&self) -> &Self {
        self.write("power/runtime_status", "suspended\n").write("power/control", "auto\n")
    }

    pub(super) fn awake(&self) -> &Self {
        self.write("power/runtime_status", "active\n").write("power/control", "auto\n")
    }
}

/// Whether nothing is known of it but what the bus says.
#[track_caller]
pub(super) fn assert_no_reading(gpu: &Gpu) {
    assert_eq!(
        (gpu.usage, gpu.temperature_celsius, gpu.vram_used_bytes, gpu.vram_total_bytes, gpu.power_watts),
        (None, None, None, None, None),
        "{gpu:?}"
    );
    assert!(!gpu.usage_is_estimate, "an estimate of nothing");
}

/// Waits for a state, but not for ever.
#[track_caller]
pub(super) fn wait_for(what: &str, mut state: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !state() {
        assert!(begun.elapsed() < Duration::from_secs(20), "not within 20 s: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
