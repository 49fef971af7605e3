//! The cost of reading the vitals of this host.
//!
//! ```text
//! cargo bench -p nixfleet-vitals --bench vitals                  a few seconds
//! cargo bench -p nixfleet-vitals --bench vitals -- --strict      exit code 1 when a "must" is missed
//! ```
//!
//! # Meaning of the numbers
//! Each source is read many times in one thread; the number is the median time. The agent reads /proc once for each
//! heartbeat, and the other sources every 5 to 60 seconds. A host with many mounts, interfaces,
//! disks or sensors costs more. The row of failed units needs milliseconds, because it starts `systemctl`,
//! and has a result only where systemd runs.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use nixfleet_vitals::{
    Collectors, Faults, Moment, cpu, disk, disk_io, load, memory, network, pressure, reboot, temperature,
    units,
};

/// Readings for each number.
const READINGS: usize = 1000;

/// Readings for a source that starts a program.
const FEW_READINGS: usize = 20;

/// Limit and goal for a whole snapshot without units and GPUs, in microseconds.
const MUST: f64 = 500.0;
const AIM: f64 = 100.0;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if !arguments.iter().any(|argument| argument == "--bench") {
        // `cargo test --benches` only checks that it starts.
        println!("Nothing measured; run `cargo bench --bench vitals`.");
        return ExitCode::SUCCESS;
    }
    let whole = measure();
    let strict = arguments.iter().any(|argument| argument == "--strict");
    if strict && whole > MUST { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn measure() -> f64 {
    let (proc, sys) = (Path::new("/proc"), Path::new("/sys"));
    let disks: Vec<PathBuf> = ["/", "/nix", "/boot"].map(PathBuf::from).into();
    let chips: Vec<String> =
        ["coretemp", "k10temp", "zenpower", "cpu_thermal", "acpitz", "nvme"].map(str::to_owned).into();
    let mut processors = cpu::CpuMeter::new(proc);
    let mut memory = memory::MemoryMeter::new(proc);
    let mut uptime = load::UptimeMeter::new(proc);
    let mut load = load::LoadMeter::new(proc, sys);
    let mut interfaces = network::NetworkMeter::new(proc, sys);
    let mut whole_disks = disk_io::DiskIoMeter::new(proc, sys);

    let collectors = Collectors::default();
    let faults = Faults::default();
    println!("{:<28}{:>12}   found", "look", "median, us");
    let mut whole = 0.0;
    let mut row = |name: &str, readings: usize, counts: bool, read: &mut dyn FnMut() -> &'static str| {
        let mut found = "";
        let mut times: Vec<Duration> = (0..readings)
            .map(|_| {
                let started = Instant::now();
                let answer = read();
                let duration = started.elapsed();
                // A share is unknown if no clock tick passed since the previous reading, so not every reading
                // has one.
                found = if found == "yes" { found } else { answer };
                duration
            })
            .collect();
        times.sort_unstable();
        let median = times[times.len() / 2].as_secs_f64() * 1e6;
        println!("{name:<28}{median:>12.1}   {found}");
        if counts {
            whole += median;
        }
    };
    row("cpu", READINGS, true, &mut || found(&processors.sample(Moment::now(), &faults)));
    row("memory, swap, ZFS", READINGS, true, &mut || {
        found::<_, ()>(&Ok(memory.sample(Moment::now(), &collectors).0))
    });
    row("load", READINGS, true, &mut || found(&load.sample(Moment::now(), &faults)));
    row("uptime", READINGS, true, &mut || found(&uptime.sample(Moment::now(), &faults)));
    for resource in ["cpu", "memory", "io"] {
        let name = format!("pressure, {resource}");
        let mut meter = pressure::PressureMeter::new(proc, resource);
        row(&name, READINGS, true, &mut || found(&meter.sample(Moment::now(), &faults)));
    }
    row("network", READINGS, true, &mut || found(&interfaces.sample(Moment::now(), &faults)));
    row("disk throughput", READINGS, true, &mut || found(&whole_disks.sample(Moment::now(), &faults)));
    row("list of mounts", READINGS, true, &mut || found(&disk::mounts(proc, &disks, &faults)));
    row("space of /", READINGS, true, &mut || found(&disk::usage(Path::new("/")).map(Some)));
    row("temperatures", READINGS, true, &mut || found(&temperature::read(sys, &chips, &faults)));
    let (booted, current) = (Path::new("/run/booted-system"), Path::new("/run/current-system"));
    row("reboot required", READINGS, true, &mut || found(&reboot::required(booted, current)));
    let systemctl = Path::new("systemctl");
    row("failed units", FEW_READINGS, false, &mut || {
        found(&units::read(Path::new("/run/systemd"), systemctl))
    });
    let said = if whole <= AIM {
        "aim reached"
    } else if whole <= MUST {
        "ok"
    } else {
        "MISSED"
    };
    println!("{:<28}{whole:>12.1}   {said}; must {MUST}, aim {AIM}", "whole snapshot, no units");
    whole
}

fn found<T, E>(sample: &Result<Option<T>, E>) -> &'static str {
    match sample {
        Ok(Some(_)) => "yes",
        Ok(None) => "not on this host",
        Err(_) => "FAILED",
    }
}
