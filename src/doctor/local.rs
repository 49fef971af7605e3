//! State of this host: folders, disk, token file, StaSysMo, GPUs, vitals.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use jiff::Timestamp;
use rustix::fs::{Access, StatVfs, access, statvfs};

use nixfleet_config::{Host, TOKEN_VARIABLE, TokenError, TokenSource};
use nixfleet_os::bounded_read;
use nixfleet_os::error::chain;
use nixfleet_os::size;
use nixfleet_protocol::{DeviceVitals, GpuVitals};
use nixfleet_vitals::settings::Paths;
use nixfleet_vitals::{Fault, device, stasysmo};

use super::users::uid_of;
use super::{Finding, Subject, client_certificate, fail, ok, root_only, skipped, warning, warning_of_line};
use crate::wire;

/// Free space below which there is a warning, in bytes: a build of NixOS needs more.
const LOW_SPACE: u64 = 1 << 30;

/// Space needed besides the log of a job, in bytes: its other files, and those of the agent.
const OTHER_FILES: u64 = 16 << 20;

/// Number of free inodes below which there is a failure.
const FEW_INODES: u64 = 1000;

/// A token with fewer characters is weak, or was cut off.
const SHORT_TOKEN: usize = 16;

/// Most files that are named one by one.
const MAX_FAULTS: usize = 8;

/// Findings about the state folder, disk space and token file.
pub(super) fn state(subject: &Subject) -> Vec<Finding> {
    let mut findings = vec![state_folder(subject), disk_space(&subject.host)];
    findings.extend(token_file(&subject.connection.token));
    findings.extend(client_certificate::findings(&subject.connection, Timestamp::now()));
    findings
}

fn state_folder(subject: &Subject) -> Finding {
    const NAME: &str = "state folder";
    let dir = &subject.host.state_dir;
    let own = dir.join("agent");
    let user = subject.agent_unit.as_ref().and_then(|unit| unit.user.as_deref());
    match fs::metadata(&own) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => not_made_yet(dir),
        Err(err) if err.kind() == io::ErrorKind::PermissionDenied => root_only(NAME, own.display()),
        Err(err) => fail(NAME, format!("cannot look at {}: {err}", own.display()), ""),
        Ok(folder) => match user.filter(|_| subject.is_root || !can_write(&own)) {
            Some(user) => owner(&own, &folder, user, uid_of(user)),
            None if can_write(&own) => ok(NAME, format!("{} can be written", dir.display())),
            None => fail(
                NAME,
                format!("{} cannot be written by this user", own.display()),
                "run the agent as the folder's owner, or set NIXFLEET_STATE_DIR to a folder of its own",
            ),
        },
    }
}

/// Checks that the folder belongs to the user of the agent's unit.
fn owner(own: &Path, folder: &Metadata, user: &str, uid: Option<u32>) -> Finding {
    const NAME: &str = "state folder";
    let path = own.display();
    match uid {
        None => fail(
            NAME,
            format!("the user {user} of the agent's unit does not exist"),
            "systemd-sysusers; on NixOS a switch makes it",
        ),
        Some(uid) if uid != folder.uid() => fail(
            NAME,
            format!("{path} belongs to user {}, not to {user}", folder.uid()),
            format!("chown -R {user} {path}"),
        ),
        Some(_) => ok(NAME, format!("{path} belongs to {user}")),
    }
}

fn not_made_yet(dir: &Path) -> Finding {
    const NAME: &str = "state folder";
    // The agent creates the folder in the nearest existing one.
    let there = dir.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    let text = format!("{} is not there yet", dir.join("agent").display());
    if can_write(there) {
        ok(NAME, format!("{text}; the agent makes it"))
    } else {
        warning(
            NAME,
            text,
            "started by its unit, the agent makes it; started by hand, set NIXFLEET_STATE_DIR to a folder of your own",
        )
    }
}

/// Whether this user can write to the folder. False on a read-only file system.
fn can_write(folder: &Path) -> bool {
    access(folder, Access::WRITE_OK).is_ok()
}

fn disk_space(host: &Host) -> Finding {
    let there = host.state_dir.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    match statvfs(there) {
        Ok(found) => space(there, &found, host.jobs.log_limit),
        Err(err) => skipped("disk space", format!("cannot look at {}: {err}", there.display())),
    }
}

fn space(folder: &Path, found: &StatVfs, log_limit: u64) -> Finding {
    const NAME: &str = "disk space";
    const FIX: &str =
        "free some: nix-collect-garbage --delete-older-than 30d; commands are refused on a full disk";
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    let text = format!("{} free at {}", size(free), folder.display());
    // File systems that create inodes as needed report a total of zero.
    if found.f_files > 0 && found.f_favail < FEW_INODES {
        fail(NAME, format!("{} inodes free at {}", found.f_favail, folder.display()), FIX)
    } else if free < log_limit.saturating_add(OTHER_FILES) {
        fail(NAME, format!("{text}, less than the log of one job may take"), FIX)
    } else if free < LOW_SPACE {
        warning(NAME, text, FIX)
    } else {
        ok(NAME, text)
    }
}

/// Findings about the token and, if it is unusual, about the form of its file.
fn token_file(source: &TokenSource) -> Vec<Finding> {
    const NAME: &str = "token file";
    let (shown, file) = match source {
        TokenSource::File(path) => (path.display().to_string(), fs::metadata(path).ok()),
        TokenSource::NotPassed { file, .. } => (file.display().to_string(), None),
        TokenSource::Environment(_) => (TOKEN_VARIABLE.to_owned(), None),
    };
    match source.read() {
        Err(TokenError::Unreadable { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => {
            vec![root_only(NAME, shown)]
        }
        Err(err) => vec![fail(NAME, chain(&err), err.fix())],
        Ok(token) => {
            let mut findings = vec![plausible(&shown, token.expose().len(), file.as_ref())];
            findings.extend(token.warning().map(|line| warning_of_line(NAME, line)));
            findings
        }
    }
}

fn plausible(origin: &str, length: usize, file: Option<&Metadata>) -> Finding {
    const NAME: &str = "token file";
    let is_open = file.is_some_and(|file| file.permissions().mode() & 0o004 != 0);
    if is_open {
        let text = format!("everybody on this host can read {origin}");
        warning(NAME, text, "chmod 0400, with the owner who starts the agent; and make a new token")
    } else if length < SHORT_TOKEN {
        let text = format!("the token from {origin} has only {length} letters");
        warning(NAME, text, "is it whole? if so, make a longer one: openssl rand -hex 32")
    } else {
        ok(NAME, format!("{origin} holds a token of {length} letters"))
    }
}

/// Findings about StaSysMo, GPUs and vitals.
pub(super) fn readings(subject: &Subject) -> Vec<Finding> {
    let host = &subject.host;
    let mut findings = vec![stasysmo_files(&host.paths.stasysmo, SystemTime::now())];
    if host.vitals.enabled {
        let settings = host.vitals_settings();
        let (seen, faults) = device::examine(&settings, &host.hostname);
        let vitals = wire::vitals::message(seen);
        findings.extend([gpus(&vitals.gpus), vitals_of(&vitals)]);
        findings.extend(odd_files(&faults));
        if vitals.network.is_none() {
            findings.extend(no_network(&settings.paths));
        }
    } else {
        findings.push(skipped("vitals", "switched off: vitals.enabled is false"));
    }
    findings
}

fn stasysmo_files(dir: &Path, now: SystemTime) -> Finding {
    const NAME: &str = "stasysmo";
    const FIX: &str = "is StaSysMo running? metrics are null meanwhile, and vitals are not";
    if !dir.exists() {
        return skipped(NAME, format!("no StaSysMo: {} is not there, so metrics are null", dir.display()));
    }
    if let Some(reading) = stasysmo::read(dir, now) {
        let age = now.duration_since(reading.measured_at).unwrap_or_default();
        return ok(NAME, format!("its readings are {} s old", age.as_secs()));
    }
    let files: Vec<PathBuf> = ["cpu", "ram", "swap", "load"].iter().map(|name| dir.join(name)).collect();
    match files.iter().find_map(|file| bounded_read::open_no_link(file).err().map(|err| (file, err))) {
        Some((file, err)) => warning(NAME, format!("cannot read {}: {err}", file.display()), FIX),
        None => {
            let limit = stasysmo::MAX_AGE.as_secs();
            warning(NAME, format!("its readings are older than {limit} s, or are no numbers"), FIX)
        }
    }
}

fn gpus(gpus: &[GpuVitals]) -> Finding {
    const NAME: &str = "gpu";
    if gpus.is_empty() {
        return skipped(NAME, "this host has none");
    }
    let shown: Vec<String> = gpus
        .iter()
        .map(|gpu| {
            format!("{}: {}", gpu.name.as_deref().unwrap_or(&gpu.vendor), gpu.status.replace('_', " "))
        })
        .collect();
    let text = shown.join(", ");
    match gpus.iter().find_map(|gpu| gpu_fix(&gpu.status)) {
        Some(fix) => warning(NAME, text, fix),
        None => ok(NAME, text),
    }
}

/// What to do about a GPU's status; none if it is good.
fn gpu_fix(status: &str) -> Option<&'static str> {
    match status {
        "ok" | "suspended" | "resting" => None,
        "driver_mismatch" => Some("the driver was updated under the running kernel: reboot"),
        "no_driver" => Some("no driver has taken it; nothing is measured"),
        "no_library" => Some("NVIDIA's library is not found: hardware.nvidia, or set NIXFLEET_PATHS__NVML"),
        "no_permission" => Some("the devices in /dev may not be opened by this user"),
        "lost" => Some("the card is gone from the bus: look at dmesg, and reboot"),
        _ => Some("the driver does not answer as it should: look at dmesg"),
    }
}

fn vitals_of(vitals: &DeviceVitals) -> Finding {
    const NAME: &str = "vitals";
    let percent = |share: Option<f64>| share.map(|share| format!("{:.0} %", share * 100.0));
    let named = [
        ("processor", percent(vitals.cpu_usage)),
        ("memory", percent(vitals.memory_usage)),
        ("disk", percent(vitals.disk_usage)),
    ];
    let known: Vec<String> =
        named.iter().filter_map(|(name, value)| Some(format!("{name} {}", value.as_ref()?))).collect();
    let failed = vitals.failed_units.as_ref().filter(|units| units.count > 0);
    if let Some(units) = failed {
        let names = units.names.join(", ");
        let (count, units) = (units.count, if units.count == 1 { "unit has" } else { "units have" });
        let text = format!("{}; {count} {units} failed: {names}", known.join(", "));
        return warning(NAME, text, "systemctl --failed");
    }
    let unknown: Vec<&str> =
        named.iter().filter(|(_, value)| value.is_none()).map(|(name, _)| *name).collect();
    if unknown.is_empty() {
        let reboot = if vitals.reboot_required == Some(true) { "; a reboot is due" } else { "" };
        ok(NAME, format!("{}{reboot}", known.join(", ")))
    } else {
        let text = format!("nothing is known of {}", unknown.join(", "));
        warning(NAME, text, "is /proc mounted, and does a disk hang?")
    }
}

/// A finding for each file that could not be read or understood.
fn odd_files(faults: &[Fault]) -> Vec<Finding> {
    const NAME: &str = "vitals";
    const FIX: &str = "its figure is unknown, and all others are not affected";
    let mut findings: Vec<Finding> =
        faults.iter().take(MAX_FAULTS).map(|fault| warning(NAME, fault.to_string(), FIX)).collect();
    if faults.len() > MAX_FAULTS {
        let more = faults.len() - MAX_FAULTS;
        findings.push(warning(NAME, format!("{more} further files could not be read or understood"), FIX));
    }
    findings
}

/// Why there is no figure of the network.
fn no_network(paths: &Paths) -> Option<Finding> {
    let why = nixfleet_vitals::network::why_none(&paths.proc, &paths.sys)?;
    Some(skipped("vitals", format!("no figure of the network: {why}")))
}

#[cfg(test)]
mod tests;
