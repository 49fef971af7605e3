//! NVIDIA's library as the tests want it: `tests/fixtures/gpu/nvml.c`, a copy for each test.

use std::{fs, io::Write, path::PathBuf, process::Command, sync::OnceLock};

use super::tree::*;
use crate::gpu::reader::Gpus;
use crate::gpu::*;

const SOURCE: &str = include_str!("../../../tests/fixtures/gpu/nvml.c");

/// The library's bytes; none without a compiler. An old one lacks newer functions.
fn library(old: bool) -> Option<&'static [u8]> {
    static LIBRARIES: [OnceLock<Option<Vec<u8>>>; 2] = [const { OnceLock::new() }; 2];
    LIBRARIES[usize::from(old)].get_or_init(|| build(old)).as_deref()
}

fn build(old: bool) -> Option<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let (source, library) = (folder.path().join("nvml.c"), folder.path().join("nvml.so"));
    fs::write(&source, SOURCE).unwrap();
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let mut command = Command::new(&compiler);
    command.args(["-Wall", "-Werror", "-shared", "-fPIC"]).args(old.then_some("-DOLD"));
    match command.arg("-o").args([&library, &source]).arg("-ldl").output() {
        Ok(output) => {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            Some(fs::read(&library).unwrap())
        }
        Err(error) => {
            // Not by a macro: the test runner swallows what those print.
            let line = format!("\nSKIPPED: no test of NVML was run: {}: {error}\n", compiler.display());
            std::io::stderr().write_all(line.as_bytes()).unwrap();
            None
        }
    }
}

/// A host with NVIDIA's GPUs, and its library.
pub(super) struct Fake {
    pub(super) tree: Tree,
    pub(super) folder: PathBuf,
}

impl Fake {
    /// None, loudly, where no compiler is.
    pub(super) fn new() -> Option<Self> {
        let tree = Tree::new();
        let folder = tree.path().join("nvml");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("libnvidia-ml.so.1"), library(false)?).unwrap();
        Some(Self { tree, folder })
    }

    /// Its library now is one of an old driver's.
    pub(super) fn make_old(&self) {
        fs::write(self.folder.join("libnvidia-ml.so.1"), library(true).unwrap()).unwrap();
    }

    /// With GPUs on the bus, at 01:00.0 and further.
    pub(super) fn with_gpus(count: u8) -> Option<(Self, Vec<Device>)> {
        let fake = Self::new()?;
        let devices = (1..=count).map(|bus| fake.tree.gpu(&format!("0000:{bus:02x}:00.0"), NVIDIA)).collect();
        Some((fake, devices))
    }

    pub(super) fn sources(&self) -> Sources {
        Sources { nvml: vec![self.folder.join("libnvidia-ml.so.1")], ..self.tree.sources() }
    }

    pub(super) fn reader(&self) -> Gpus {
        self.tree.reader_with(&self.sources())
    }

    pub(super) fn gpus(&self) -> Vec<Gpu> {
        self.reader().read(Instant::now())
    }

    /// What the library says from now on. By rename, because it may be reading.
    pub(super) fn says(&self, lines: &str) {
        let new = self.folder.join("control.new");
        fs::write(&new, lines).unwrap();
        fs::rename(new, self.folder.join("control")).unwrap();
    }

    /// How often this function was called.
    pub(super) fn calls(&self, name: &str) -> usize {
        let calls = fs::read_to_string(self.folder.join("calls")).unwrap_or_default();
        calls.lines().filter(|line| *line == name).count()
    }

    pub(super) fn was_opened(&self) -> bool {
        self.folder.join("calls").exists()
    }
}

/// What a GPU with such a number says.
pub(super) fn usual(number: u8) -> String {
    format!(
        "{number}.bus 00000000:{:02X}:00.0\n\
         {number}.name NVIDIA Test {number}\n\
         {number}.used 1000000000\n\
         {number}.total 4000000000\n\
         {number}.temperature 4{number}\n\
         {number}.power 12345{number}\n\
         {number}.utilization 50\n\
         {number}.samples 100:20 200:40\n",
        number + 1
    )
}
