//! What it costs to look at this host.
//!
//! ```text
//! cargo bench --bench vitals                  a few seconds
//! cargo bench --bench vitals -- --strict      exit code 1 when a "must" is missed
//! ```
//!
//! # What the figures mean
//! Each look is made over and over in one thread; a figure is the median of a look's time. The agent
//! looks at /proc four times in an interval between heartbeats, at the rest once. A host with many
//! mounts, interfaces, disks or sensors costs more. `systemctl` is a program, so its row is in
//! milliseconds, and only there where systemd runs.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use nixfleet_vitals::{
    Moment, cpu, disk, disk_io, load, memory, network, pressure, reboot, temperature, units,
};

/// Looks for each figure.
const LOOKS: usize = 1000;

/// For a program that is started.
const FEW_LOOKS: usize = 20;

/// Whole snapshot, units and GPU left out, in microseconds.
const MUST: f64 = 500.0;
const AIM: f64 = 100.0;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if !arguments.iter().any(|argument| argument == "--bench") {
        // `cargo test --benches` only wants to know that it starts.
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
    let mut interfaces = network::NetworkMeter::new(proc, sys);
    let mut whole_disks = disk_io::DiskIoMeter::new(proc, sys);

    println!("{:<28}{:>12}   found", "look", "median, us");
    let mut whole = 0.0;
    let mut row = |name: &str, looks: usize, counts: bool, look: &mut dyn FnMut() -> &'static str| {
        let mut found = "";
        let mut times: Vec<Duration> = (0..looks)
            .map(|_| {
                let begun = Instant::now();
                let answer = look();
                let took = begun.elapsed();
                // A share of no time at all is unknown, so of looks in a row not each has one.
                found = if found == "yes" { found } else { answer };
                took
            })
            .collect();
        times.sort_unstable();
        let median = times[times.len() / 2].as_secs_f64() * 1e6;
        println!("{name:<28}{median:>12.1}   {found}");
        if counts {
            whole += median;
        }
    };
    row("cpu", LOOKS, true, &mut || found(&processors.sample()));
    row("memory, swap, ZFS", LOOKS, true, &mut || found(&memory::read(proc)));
    row("load", LOOKS, true, &mut || found(&load::read(proc, sys)));
    row("uptime", LOOKS, true, &mut || found(&load::read_uptime(proc)));
    for resource in ["cpu", "memory", "io"] {
        let name = format!("pressure, {resource}");
        row(&name, LOOKS, true, &mut || found(&pressure::read(proc, resource)));
    }
    row("network", LOOKS, true, &mut || found(&interfaces.sample(Moment::now())));
    row("disk throughput", LOOKS, true, &mut || found(&whole_disks.sample(Moment::now())));
    row("list of mounts", LOOKS, true, &mut || found(&disk::mounts(proc, &disks)));
    row("space of /", LOOKS, true, &mut || found(&disk::usage(Path::new("/")).map(Some)));
    row("temperatures", LOOKS, true, &mut || found(&temperature::read(sys, &chips)));
    let (booted, current) = (Path::new("/run/booted-system"), Path::new("/run/current-system"));
    row("reboot required", LOOKS, true, &mut || found(&reboot::required(booted, current)));
    let systemctl = Path::new("systemctl");
    row("failed units", FEW_LOOKS, false, &mut || found(&units::read(Path::new("/run/systemd"), systemctl)));
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
