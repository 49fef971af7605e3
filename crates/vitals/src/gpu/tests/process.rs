//! Readers that are shell scripts.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, path::PathBuf};

use super::tree::*;
use crate::gpu::reader::Gpus;
use crate::gpu::*;

const ADDRESS: &str = "0000:01:00.0";

/// A host with one NVIDIA GPU, and its reader.
struct Host {
    tree: Tree,
    device: Device,
}

/// What each script begins with. `question` waits for a question, and fails if there is none; `say` answers it with
/// these fields, `gpu` with the values of the GPU.
const BEGIN: &str = r#"#!/bin/sh
folder=${0%/*}
echo "$$" >> "$folder/pids"
question() { read -r number rest; }
say() { printf '%s\t%b\n' "$number" "$1" >&0; }
gpu() { say "read\\t0000:01:00.0\\tok\\t$1\\t$2\\t$3\\t$4\\t$5\\t$6"; }
"#;

const GOOD: &str = "while question; do gpu A 0.5 '' '' '' 70.5; done";

const IDLE: &str = "while question; do gpu A 0; done";

/// Long enough for a script to start on a machine with much else to do.
const TIMEOUT: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_millis(100);
const NEVER: Duration = Duration::from_secs(3600);

impl Host {
    fn new(body: &str) -> Self {
        let tree = Tree::new();
        let device = tree.gpu(ADDRESS, NVIDIA);
        fs::create_dir(tree.path().join("reader")).unwrap();
        let host = Self { tree, device };
        host.script(body);
        host
    }

    /// The next reader is this one.
    fn script(&self, body: &str) {
        let new = self.path("new");
        fs::write(&new, format!("{BEGIN}{body}\n")).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(new, self.path("reader")).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.tree.path().join("reader").join(name)
    }

    fn gpus(&self) -> Gpus {
        let sources = Sources { reader: Some(self.path("reader")), ..self.tree.sources() };
        let mut gpus = self.tree.reader_with(&sources);
        gpus.set_timeout(TIMEOUT, MAX_AGE);
        gpus.set_patience(NEVER, SHORT);
        gpus
    }

    /// The process ids of the readers that were started.
    fn pids(&self) -> Vec<u32> {
        let pids = fs::read_to_string(self.path("pids")).unwrap_or_default();
        pids.lines().map(|pid| pid.parse().unwrap()).collect()
    }
}

fn is_gone(pid: u32) -> bool {
    !Path::new(&format!("/proc/{pid}")).exists()
}

/// The first reading, which is the only one.
#[track_caller]
fn only(gpus: &mut Gpus) -> Gpu {
    let mut read = gpus.read(Instant::now());
    assert_eq!(read.len(), 1, "{read:?}");
    read.remove(0)
}

#[test]
fn what_a_reader_says_is_what_is_reported() {
    let host = Host::new(GOOD);
    let mut gpus = host.gpus();
    for _ in 0..3 {
        let gpu = only(&mut gpus);
        assert_eq!((gpu.status, gpu.name.as_deref(), gpu.usage), (Status::Ok, Some("A"), Some(0.5)));
        assert_eq!((gpu.power_watts, gpu.temperature_celsius), (Some(70.5), None));
    }
    assert_eq!((host.pids().len(), gpus.unanswered()), (1, 0), "one reader for all questions");
}

#[test]
fn a_reader_gets_what_it_needs_and_nothing_of_the_environment() {
    let host = Host::new(r#"env > "$folder/env"; echo "$@" > "$folder/arguments"; question; gpu"#);
    assert_eq!(only(&mut host.gpus()).status, Status::Ok);
    let shown = fs::read_to_string(host.path("env")).unwrap();
    // Variables that a shell sets by itself, and the one for the loader.
    let own = ["PATH=", "PWD=", "SHLVL=", "_=", "OLDPWD=", "LD_LIBRARY_PATH="];
    assert!(shown.lines().all(|line| own.iter().any(|name| line.starts_with(name))), "{shown}");
    let library = &host.tree.sources().nvml[0];
    let wanted = format!("gpu-reader {}\n", library.display());
    assert_eq!(fs::read_to_string(host.path("arguments")).unwrap(), wanted);
}

#[test]
fn there_is_no_reader_where_there_is_nothing_to_read() {
    let host = Host::new(GOOD);
    let mut gpus = host.gpus();
    host.device.suspended();
    assert_eq!(only(&mut gpus).status, Status::Suspended);
    host.device.awake().driver("nouveau");
    assert_eq!(only(&mut gpus).status, Status::NoDriver);
    let other = Tree::new();
    other.gpu("0000:03:00.0", AMD);
    let sources = Sources { reader: Some(host.path("reader")), ..other.sources() };
    assert_eq!(other.reader_with(&sources).read(Instant::now()).len(), 1);
    assert_eq!(host.pids(), [0; 0]);
}

#[test]
fn a_reader_that_ends_costs_its_readings_and_another_one_follows_later() {
    for (body, word) in [
        ("question; kill -SEGV $$", "SIGSEGV"),
        ("question; kill -ABRT $$", "SIGABRT"),
        ("question; exit 0", "exit status: 0"),
        ("exit 3", "exit status: 3"),
    ] {
        let host = Host::new(body);
        let mut gpus = host.gpus();
        gpus.set_patience(NEVER, Duration::from_secs(2));
        host.tree.gpu("0000:03:00.0", AMD).write("gpu_busy_percent", "42");
        for _ in 0..3 {
            let read = gpus.read(Instant::now());
            assert_eq!([read[0].status, read[1].status], [Status::Failed, Status::Ok], "{body}");
            assert_no_reading(&read[0]);
        }
        let hints = gpus.take_hints();
        assert!(hints.len() == 1 && hints[0].text.contains(word), "{hints:?}");
        let pids = host.pids();
        assert_eq!(pids.len(), 1, "not at once: {body}");
        wait_for("the end of the first", || is_gone(pids[0]));
        host.script(GOOD);
        wait_for("another reader", || gpus.read(Instant::now())[0].status == Status::Ok);
        assert_eq!(host.pids().len(), 2);
    }
}

#[test]
fn a_reader_that_hangs_is_killed_and_another_one_follows_later() {
    let host = Host::new("trap '' TERM; question; sleep 600");
    let mut gpus = host.gpus();
    gpus.set_timeout(Duration::from_millis(500), MAX_AGE);
    for round in 0..3 {
        let begun = Instant::now();
        let gpu = only(&mut gpus);
        assert_eq!((gpu.status, gpus.unanswered()), (Status::NoAnswer, 1), "{round}");
        assert_no_reading(&gpu);
        assert!(round == 0 || begun.elapsed() < Duration::from_millis(400), "only the first look waits");
    }
    wait_for("the reader to have begun", || host.pids().len() == 1);
    let pid = host.pids()[0];
    assert!(!is_gone(pid), "it may still answer");
    gpus.set_patience(SHORT, SHORT);
    assert_eq!(only(&mut gpus).status, Status::NoAnswer);
    wait_for("its end", || {
        assert_eq!(only(&mut gpus).status, Status::NoAnswer);
        is_gone(pid)
    });
    gpus.set_patience(NEVER, SHORT);
    host.script(GOOD);
    gpus.set_timeout(TIMEOUT, MAX_AGE);
    wait_for("another reader", || only(&mut gpus).status == Status::Ok);
}

#[test]
fn a_reader_that_is_slow_is_heard_later() {
    let host = Host::new("question; while [ ! -e \"$folder/go\" ]; do sleep 0.01; done; gpu A 0.25");
    let mut gpus = host.gpus();
    gpus.set_timeout(SHORT, MAX_AGE);
    assert_eq!(only(&mut gpus).status, Status::NoAnswer);
    fs::write(host.path("go"), "").unwrap();
    wait_for("its answer", || only(&mut gpus).usage == Some(0.25));
    assert_eq!((host.pids().len(), gpus.unanswered()), (1, 1));
}

#[test]
fn what_is_no_answer_ends_the_reader() {
    for body in [
        "question; echo nonsense >&0; sleep 600",
        "question; echo >&0; sleep 600",
        "question; printf '\\377\\376\\n' >&0; sleep 600",
        // Of another question.
        "question; number=7; gpu; sleep 600",
        "number=0; gpu; question; sleep 600",
        // Of another GPU; too many.
        "question; say 'read\\t0000:09:00.0\\tok\\t\\t\\t\\t\\t\\t'; sleep 600",
        "question; one='\\t0000:01:00.0\\tok\\t\\t\\t\\t\\t\\t'; all=; i=0
         while [ $i -lt 200 ]; do all=$all$one; i=$((i+1)); done; say \"read$all\"; sleep 600",
        // A value too few; no number; no status of a library's.
        "question; say 'read\\t0000:01:00.0\\tok\\t\\t\\t\\t\\t'; sleep 600",
        "question; gpu A much; sleep 600",
        "question; say 'failed\\tok\\t'; sleep 600",
        "exec 3>&0; question; head -c 100000 /dev/zero | tr '\\0' x >&3; sleep 600",
        "question; exec cat /dev/zero >&0",
    ] {
        let host = Host::new(body);
        let mut gpus = host.gpus();
        gpus.set_patience(NEVER, Duration::from_secs(600));
        let gpu = only(&mut gpus);
        assert_eq!(gpu.status, Status::Failed, "{body}");
        assert_no_reading(&gpu);
        let pids = host.pids();
        wait_for("its end", || {
            assert_eq!(only(&mut gpus).status, Status::Failed, "{body}");
            is_gone(pids[0])
        });
        assert_eq!(host.pids().len(), 1, "{body}");
    }
}

#[test]
fn what_a_gpu_cannot_have_is_not_believed() {
    let host = Host::new(
        "question; gpu '\\033[31mA\\rB' 17 -300 2 1 1e9
         question; say 'read\\t0000:01:00.0\\tlost\\t\\033[31mred'",
    );
    let mut gpus = host.gpus();
    let gpu = only(&mut gpus);
    assert_eq!((gpu.status, gpu.name.as_deref()), (Status::Ok, Some("A B")));
    assert_eq!((gpu.vram_total_bytes, gpu.vram_used_bytes), (Some(1), None));
    assert_eq!((gpu.usage, gpu.temperature_celsius, gpu.power_watts), (None, None, None));
    assert_eq!(only(&mut gpus).status, Status::Lost);
    let hints = gpus.take_hints();
    assert!(hints[0].text.contains("red") && !hints[0].text.contains('\u{1b}'), "{hints:?}");
}

#[test]
fn without_a_library_there_is_no_reader_for_a_minute() {
    let host = Host::new("question; say 'failed\\tno_library\\tx'; question");
    let mut gpus = host.gpus();
    for _ in 0..3 {
        assert_eq!(only(&mut gpus).status, Status::NoLibrary);
    }
    let pids = host.pids();
    wait_for("its end", || {
        assert_eq!(only(&mut gpus).status, Status::NoLibrary);
        is_gone(pids[0])
    });
    assert_eq!(host.pids().len(), 1);
}

#[test]
fn a_reader_ends_when_its_gpus_rest() {
    // By itself, or by force.
    for stubborn in ["", "trap '' TERM; while :; do sleep 1; done"] {
        let host = Host::new(&format!("{IDLE}; {stubborn}"));
        host.device.awake();
        let mut gpus = host.gpus();
        let start = Instant::now();
        let mut status = |second| gpus.read(start + Duration::from_secs(second)).remove(0).status;
        assert_eq!([status(0), status(10)], [Status::Ok; 2]);
        let pids = host.pids();
        assert!(!is_gone(pids[0]));
        wait_for("its end", || {
            assert_eq!(status(15), Status::Resting);
            is_gone(pids[0])
        });
        assert_eq!([status(41), status(44)], [Status::Ok, Status::Resting]);
        assert_eq!(host.pids().len(), 2, "a look every half minute needs a reader");
    }
}

#[test]
fn a_reader_ends_with_whoever_reads() {
    for body in [GOOD, "question; trap '' TERM; sleep 600"] {
        let host = Host::new(body);
        let mut gpus = host.gpus();
        gpus.set_timeout(Duration::from_millis(500), MAX_AGE);
        only(&mut gpus);
        wait_for("the reader to have begun", || host.pids().len() == 1);
        let pid = host.pids()[0];
        drop(gpus);
        assert!(is_gone(pid), "{body}");
    }
}
