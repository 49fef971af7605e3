//! One line for each host: what a list of many hosts shows.

use serde::Serialize;

use nixfleet_os::text::shorten;
use nixfleet_protocol::{AgentMessage, Heartbeat, Register, UpdateState};

use crate::figures::{Figures, rounded};
use crate::log::word;
use crate::record::read;
use crate::running::Progress;
use crate::view::{HostStatus, LastStatus};

/// Digits behind the point of shares and of degrees.
const DIGITS: i32 = 3;

/// Most characters of each text, because every browser gets the lines of all hosts: commits, versions and names of
/// commands have some dozens. Whoever watches the host gets all of them.
const TEXT: usize = 256;

/// The beginning of a text.
fn cut(text: &str) -> &str {
    text.char_indices().nth(TEXT).and_then(|(end, _)| text.get(..end)).unwrap_or(text)
}

/// The part of a heartbeat that a list shows, so that it is read once, and not for each list.
#[derive(Debug, Clone)]
pub(super) struct BeatGlance {
    generation: String,
    pub(super) pending: Option<String>,
    pid: Option<u32>,
    silent_s: Option<u64>,
    lights: Option<Lights>,
    /// Commit of the checkout.
    checkout: Option<String>,
    reboot: Option<bool>,
    figures: Figures,
}

/// The part of a registration that a list shows.
#[derive(Debug, Clone)]
pub(super) struct FactsGlance {
    generation: String,
    host_type: String,
    location: String,
    device_type: String,
    color: String,
    version: String,
}

impl BeatGlance {
    pub(super) fn of(beat: &Heartbeat) -> Self {
        let of_system = beat.system.as_ref().and_then(|system| system.reboot_required);
        Self {
            generation: beat.generation.clone(),
            pending: beat.pending_command.clone(),
            pid: beat.command_pid,
            silent_s: beat.command_activity.as_ref().and_then(|activity| activity.silent_s),
            lights: beat.update_status.as_ref().map(|parts| Lights {
                git: parts.git.status,
                lock: parts.lock.status,
                system: parts.system.status,
                tests: parts.tests.status,
            }),
            checkout: beat.system.as_ref().and_then(|system| system.repo_commit.clone()),
            reboot: of_system.or(beat.vitals.as_ref().and_then(|vitals| vitals.reboot_required)),
            figures: Figures::of(beat),
        }
    }

    pub(super) fn checkout(&self) -> Option<&str> {
        self.checkout.as_deref()
    }

    /// That of a heartbeat that was kept as text.
    pub(super) fn read(text: &str) -> Option<Self> {
        match read(text) {
            AgentMessage::Heartbeat(beat) => Some(Self::of(&beat)),
            _ => None,
        }
    }
}

impl FactsGlance {
    pub(super) const NOTHING: Self = Self {
        generation: String::new(),
        host_type: String::new(),
        location: String::new(),
        device_type: String::new(),
        color: String::new(),
        version: String::new(),
    };

    pub(super) fn of(facts: &Register) -> Self {
        Self {
            generation: facts.generation.clone(),
            host_type: facts.host_type.clone(),
            location: facts.location.clone(),
            device_type: facts.device_type.clone(),
            color: facts.theme_color.clone(),
            version: facts.agent_version.clone(),
        }
    }

    /// That of a registration that was kept as text.
    pub(super) fn read(text: &str) -> Option<Self> {
        match read(text) {
            AgentMessage::Register(facts) => Some(Self::of(&facts)),
            _ => None,
        }
    }
}

/// The words of the four lights.
#[derive(Debug, Clone, Copy, Serialize)]
struct Lights {
    git: UpdateState,
    lock: UpdateState,
    system: UpdateState,
    tests: UpdateState,
}

/// What a list shows of a host besides.
#[derive(Debug)]
pub(super) struct Known<'a> {
    pub(super) id: &'a str,
    pub(super) status: HostStatus,
    pub(super) connected: bool,
    pub(super) last_seen: Option<String>,
    pub(super) interval: u64,
    /// The newest message of the two kinds is a registration.
    pub(super) facts_are_newer: bool,
    pub(super) started_at: Option<String>,
    pub(super) progress: Option<Progress>,
    pub(super) last: Option<&'a LastStatus>,
    pub(super) violations: u64,
    /// What the dashboard itself says of the checkout, if it knows the newest commit.
    pub(super) git: Option<UpdateState>,
    pub(super) prewarm: bool,
}

/// One line. Absent means null, which is most of some lists.
#[derive(Debug, Serialize)]
pub(super) struct Summary<'a> {
    id: &'a str,
    status: HostStatus,
    connected: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_seen: Option<String>,
    interval: u64,
    generation: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pending: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    silent_s: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<Progress>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lights: Option<Lights>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reboot: Option<bool>,
    /// How the newest command ended, its name, and when the dashboard heard of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_command: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<&'a str>,
    host_type: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    location: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    device_type: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    color: &'a str,
    version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disk: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gpu: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temp: Option<f64>,
    #[serde(skip_serializing_if = "is_zero")]
    violations: u64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    prewarm: bool,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl<'a> Summary<'a> {
    pub(super) fn new(facts: &'a FactsGlance, beat: Option<&'a BeatGlance>, known: Known<'a>) -> Self {
        let figures = beat.map(|beat| beat.figures).unwrap_or_default();
        let short = |value: Option<f64>| value.map(|value| rounded(value, DIGITS));
        let newer = beat.filter(|_| !known.facts_are_newer);
        let last = known.last;
        Self {
            id: known.id,
            status: known.status,
            connected: known.connected,
            last_seen: known.last_seen,
            interval: known.interval,
            generation: cut(newer.map_or(&facts.generation, |beat| &beat.generation)),
            pending: beat.and_then(|beat| beat.pending.as_deref()).map(cut),
            pid: beat.and_then(|beat| beat.pid),
            started_at: known.started_at,
            silent_s: beat.and_then(|beat| beat.silent_s),
            progress: known.progress.map(|mut progress| {
                shorten(&mut progress.phase, TEXT);
                shorten(&mut progress.detail, TEXT);
                progress
            }),
            lights: beat
                .and_then(|beat| beat.lights)
                .map(|lights| Lights { git: known.git.unwrap_or(lights.git), ..lights }),
            reboot: beat.and_then(|beat| beat.reboot),
            outcome: last.map(|last| cut(&word(&last.status)).to_owned()),
            exit_code: last.map(|last| last.status.exit_code),
            ended_command: last.map(|last| cut(&last.status.command)),
            ended_at: last.map(|last| last.received_at.as_str()),
            host_type: cut(&facts.host_type),
            location: cut(&facts.location),
            device_type: cut(&facts.device_type),
            color: cut(&facts.color),
            version: cut(&facts.version),
            cpu: short(figures.cpu),
            memory: short(figures.memory),
            disk: short(figures.disk),
            gpu: short(figures.gpu),
            temp: short(figures.gpu_temp),
            violations: known.violations,
            prewarm: known.prewarm,
        }
    }
}
