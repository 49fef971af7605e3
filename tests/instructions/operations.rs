//! The operations. Each is run so many times, on data that is the same on every machine.

use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nixfleet_jobs::journal::{Reader, Source, Writer};
use nixfleet_jobs::{JobDir, JobId, JobsDir};
use nixfleet_protocol::{AgentMessage, BatchLine, DashboardMessage, OutputBatch, Stream};
use nixfleet_vitals::settings::Paths;
use nixfleet_vitals::{Collectors, Moment, ProcMeter};

/// A line as rebuilds write them.
const LINE: &str =
    "copying path '/nix/store/8xyf2gk1ajfqdqj5p5k7yp5jh2vq3cfd-linux-6.12.9-modules' from 'https://cache'...";

/// Lines of a batch.
const BATCH: u32 = 100;

/// Largest log of a job, in bytes.
const LOG: u64 = 1 << 30;

/// A heartbeat with all vitals of a host: copied, bounded and encoded.
pub(crate) fn beats(times: u32) {
    let beat = include_str!("../../crates/protocol/tests/wire/heartbeat-vitals.json");
    let beat = AgentMessage::decode(beat).unwrap();
    for _ in 0..times {
        black_box(black_box(&beat).clone().encode());
    }
}

/// A request of the dashboard: decoded.
pub(crate) fn requests(times: u32) {
    decode(times, include_str!("../../crates/protocol/tests/wire/command-id.json"));
}

/// The acknowledgement of a heartbeat: decoded.
pub(crate) fn acknowledgements(times: u32) {
    decode(times, include_str!("../../crates/protocol/tests/wire/heartbeat_ack.json"));
}

fn decode(times: u32, text: &str) {
    for _ in 0..times {
        black_box(DashboardMessage::decode_noting(black_box(text)).unwrap());
    }
}

/// A line of a command: written to the log of its job.
pub(crate) fn lines_written(times: u32) {
    let (_folder, job) = job();
    write(&job, times);
}

/// A line of a log: written and read again.
pub(crate) fn lines_read(times: u32) {
    let (_folder, job) = job();
    write(&job, times);
    let mut reader = Reader::new(job, 0);
    while !black_box(reader.read(32 * 1024).unwrap()).is_empty() {}
}

fn write(job: &JobDir, lines: u32) {
    let mut log = Writer::create(job.clone(), LOG).unwrap();
    for number in 1..=lines {
        log.line(Source::Stdout, LINE, false);
        if number % BATCH == 0 {
            log.flush();
        }
    }
    log.flush();
}

/// A line in a batch of output: bounded and encoded.
pub(crate) fn lines_sent(times: u32) {
    let line = |number: u32| BatchLine {
        seq: number.into(),
        at: "2025-01-02T03:04:05.678Z".to_owned(),
        stream: Stream::Stdout,
        line: LINE.to_owned(),
        cont: false,
    };
    for first in (0..times).step_by(BATCH as usize) {
        let lines = (first..times.min(first + BATCH)).map(line).collect();
        let batch = OutputBatch { command: "switch".to_owned(), job_id: "8f14e45f".to_owned(), lines };
        for batch in batch.split() {
            black_box(AgentMessage::OutputBatch(batch).encode());
        }
    }
}

/// One reading of /proc of a server, from files.
pub(crate) fn vitals(times: u32) {
    let folder = tempfile::tempdir().unwrap();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/vitals/tests/fixtures/vitals/cloud-vm");
    for (file, place) in [
        ("stat", "stat"),
        ("meminfo", "meminfo"),
        ("loadavg", "loadavg"),
        ("uptime", "uptime"),
        ("net-dev", "net/dev"),
        ("diskstats", "diskstats"),
        ("pressure/cpu", "pressure/cpu"),
        ("pressure/memory", "pressure/memory"),
        ("pressure/io", "pressure/io"),
    ] {
        let place = folder.path().join(place);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::copy(fixtures.join(file), place).unwrap();
    }
    let paths = Paths { proc: folder.path().to_owned(), sys: PathBuf::from("/nowhere"), ..Paths::default() };
    let (mut meter, collectors, mut now) = (ProcMeter::new(&paths), Collectors::default(), Moment::BOOT);
    for _ in 0..times {
        now = now.after(Duration::from_secs(1), Duration::ZERO);
        black_box(meter.sample(now, &collectors));
    }
}

fn job() -> (tempfile::TempDir, JobDir) {
    let folder = tempfile::tempdir().unwrap();
    let job = JobsDir::new(folder.path()).job(&JobId::generate());
    fs::create_dir_all(job.path()).unwrap();
    (folder, job)
}
