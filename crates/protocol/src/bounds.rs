//! The bounds of what the agent sends. Texts come from files, programs and drivers, and may have any length. Each
//! field has a bound, and together they keep every message below [`MAX_SENT_BYTES`]. A longer message would end
//! the connection, and the next one, because it would be sent again.
//!
//! Bounds are in bytes of JSON, where one byte of text can become six. A text that is cut ends with [`MARK`].

use std::borrow::Cow;

use crate::{
    AgentMessage, BatchLine, CommandRejected, DeviceVitals, Heartbeat, HostSystem, LastError,
    LastGoodSettings, MAX_LINE_BYTES, MAX_SENT_BYTES, MAX_TEST_RESULTS, NextBoot, OfferedCommand,
    OperationProgress, Output, OutputBatch, Part, Register, Status, TestProgress, UpdateStatus, encode,
};

/// The end of a text that was cut.
pub const MARK: &str = "…";

/// A line of output, and the message of a status, which may quote one: the longest line in its longest form.
const LINE: usize = 6 * MAX_LINE_BYTES;

/// A sentence for people.
const SENTENCE: usize = 4 * 1024;

/// A name, a path, a version, a time or an id. The id of a request has 256 bytes at most, which is less.
const NAME: usize = 2 * 1024;

/// The path of a file system.
const MOUNT: usize = 1024;

/// The name of a sensor, a GPU or a unit.
const LABEL: usize = 256;

/// File systems, sensors, GPUs and failed units in one heartbeat, and capabilities in a registration: more than
/// real hosts have.
const DISKS: usize = 64;
const SENSORS: usize = 64;
const GPUS: usize = 16;
const UNITS: usize = 16;
const CAPABILITIES: usize = 32;

/// Commands that a host offers: all of the agent's own, and more than a page has room for.
const COMMANDS: usize = 128;

/// The description of one of them: more than settings may have, even where JSON needs two bytes for one.
const DESCRIPTION: usize = 1024;

/// Mistakes of a settings file: more than a person reads before mending the first ones.
const PROBLEMS: usize = 16;

/// What a line of a batch has beside its texts, in bytes of JSON: names of fields, numbers, punctuation.
const AROUND_LINE: usize = 128;

/// What a batch has beside its lines: the envelope, the name of the command, the id of the job.
const AROUND_BATCH: usize = 256 + 2 * NAME;

// The longest line fits into a batch of its own.
const _: () = assert!(LINE + NAME + AROUND_LINE + AROUND_BATCH <= MAX_SENT_BYTES);

impl AgentMessage {
    /// The text frame of this message, with each field within its bound. Lists of output lines are not cut:
    /// pass them through [`OutputBatch::split`] first.
    pub fn encode(mut self) -> String {
        match &mut self {
            Self::Register(register) => bound_register(register),
            Self::Heartbeat(heartbeat) => bound_heartbeat(heartbeat),
            Self::Output(output) => bound_output(output),
            Self::OutputBatch(batch) => bound_batch(batch),
            Self::Status(status) => bound_status(status),
            Self::CommandRejected(rejected) => bound_rejected(rejected),
            Self::TestProgress(TestProgress { result, .. }) => cut_some(result, SENTENCE),
            Self::OperationProgress(progress) => bound_progress(progress),
            Self::Prewarm(prewarm) => {
                cut_all([&mut prewarm.device_id, &mut prewarm.timestamp, &mut prewarm.phase], NAME);
                cut(&mut prewarm.reason, SENTENCE);
            }
        }
        encode(&self)
    }
}

impl OutputBatch {
    /// The same lines in as many batches as fit into a message each.
    pub fn split(mut self) -> Vec<Self> {
        bound_batch(&mut self);
        // Nearly always: then no line is moved.
        if self.lines.iter().map(size).sum::<usize>() <= MAX_SENT_BYTES - AROUND_BATCH {
            return if self.lines.is_empty() { Vec::new() } else { vec![self] };
        }
        let Self { command, job_id, lines } = self;
        let mut batches: Vec<Self> = Vec::new();
        let mut room = 0;
        for line in lines {
            let size = size(&line);
            match batches.last_mut().filter(|_| size <= room) {
                Some(batch) => batch.lines.push(line),
                None => {
                    room = MAX_SENT_BYTES - AROUND_BATCH;
                    batches.push(Self {
                        command: command.clone(),
                        job_id: job_id.clone(),
                        lines: vec![line],
                    });
                }
            }
            room = room.saturating_sub(size);
        }
        batches
    }
}

/// The most that a line of a batch takes, in bytes of JSON.
fn size(line: &BatchLine) -> usize {
    length(&line.line) + length(&line.at) + AROUND_LINE
}

fn bound_register(register: &mut Register) {
    cut_all(
        [
            &mut register.hostname,
            &mut register.host_type,
            &mut register.agent_version,
            &mut register.os_version,
            &mut register.nixpkgs_version,
            &mut register.generation,
            &mut register.theme_color,
            &mut register.location,
            &mut register.device_type,
            &mut register.repo_url,
            &mut register.repo_dir,
            &mut register.source_commit,
            &mut register.store_path,
            &mut register.binary_hash,
        ],
        NAME,
    );
    cut_some(&mut register.boot_id, NAME);
    register.capabilities.truncate(CAPABILITIES);
    for name in &mut register.capabilities {
        if length(name) > LABEL {
            let mut text = name.to_string();
            cut(&mut text, LABEL);
            *name = Cow::Owned(text);
        }
    }
    if let Some(job) = &mut register.running_job {
        cut_all([&mut job.id, &mut job.command, &mut job.started_at], NAME);
    }
    register.commands.truncate(COMMANDS);
    for OfferedCommand { name, description, own: _ } in &mut register.commands {
        cut(name, LABEL);
        cut(description, DESCRIPTION);
    }
}

fn bound_heartbeat(heartbeat: &mut Heartbeat) {
    cut_all(
        [
            &mut heartbeat.generation,
            &mut heartbeat.nixpkgs_version,
            &mut heartbeat.source_commit,
            &mut heartbeat.store_path,
            &mut heartbeat.binary_hash,
            &mut heartbeat.lock_hash,
        ],
        NAME,
    );
    cut_some(&mut heartbeat.pending_command, NAME);
    cut_some(&mut heartbeat.sent_at, NAME);
    if let Some(activity) = &mut heartbeat.command_activity {
        cut(&mut activity.phase, NAME);
    }
    if let Some(parts) = &mut heartbeat.update_status {
        let UpdateStatus { git, lock, system, tests } = &mut **parts;
        for verdict in [git, lock, system, tests] {
            cut(&mut verdict.message, SENTENCE);
            cut(&mut verdict.checked_at, NAME);
        }
    }
    if let Some(system) = &mut heartbeat.system {
        let HostSystem { current, booted, configuration_revision, repo_commit, reboot_required: _, boots } =
            &mut **system;
        for text in [current, booted, configuration_revision, repo_commit] {
            cut_some(text, NAME);
        }
        if let Some(NextBoot { system, source: _, seen_at }) = boots {
            cut(system, NAME);
            cut_some(seen_at, NAME);
        }
    }
    if let Some(LastError { text, cause, at, attempts: _ }) = heartbeat.last_error.as_deref_mut() {
        cut(text, SENTENCE);
        cut_all([cause, at], NAME);
    }
    if let Some(settings) = &mut heartbeat.last_good_settings {
        let LastGoodSettings { file, accepted_at, problems } = &mut **settings;
        cut_all([file, accepted_at], NAME);
        problems.truncate(PROBLEMS);
        problems.iter_mut().for_each(|problem| cut(problem, NAME));
    }
    if let Some(vitals) = &mut heartbeat.vitals {
        bound_vitals(vitals);
    }
}

fn bound_vitals(vitals: &mut DeviceVitals) {
    cut_all([&mut vitals.device_id, &mut vitals.timestamp], NAME);
    cut_some(&mut vitals.loaded_model, NAME);
    vitals.disks.truncate(DISKS);
    for disk in &mut vitals.disks {
        cut(&mut disk.path, MOUNT);
    }
    vitals.temperatures.truncate(SENSORS);
    for sensor in &mut vitals.temperatures {
        cut(&mut sensor.name, LABEL);
    }
    vitals.gpus.truncate(GPUS);
    for gpu in &mut vitals.gpus {
        cut_all([&mut gpu.vendor, &mut gpu.pci_address, &mut gpu.status], LABEL);
        cut_some(&mut gpu.name, LABEL);
    }
    if let Some(units) = &mut vitals.failed_units {
        units.names.truncate(UNITS);
        for name in &mut units.names {
            cut(name, LABEL);
        }
    }
}

fn bound_output(output: &mut Output) {
    cut(&mut output.line, LINE);
    cut(&mut output.command, NAME);
    cut_some(&mut output.job_id, NAME);
    cut_some(&mut output.at, NAME);
}

fn bound_batch(batch: &mut OutputBatch) {
    cut_all([&mut batch.command, &mut batch.job_id], NAME);
    for BatchLine { line, at, .. } in &mut batch.lines {
        cut(line, LINE);
        cut(at, NAME);
    }
}

fn bound_status(status: &mut Status) {
    cut(&mut status.message, LINE);
    cut_all([&mut status.command, &mut status.generation], NAME);
    cut_some(&mut status.job_id, NAME);
    cut_some(&mut status.outcome, NAME);
}

fn bound_rejected(rejected: &mut CommandRejected) {
    cut(&mut rejected.reason, SENTENCE);
    for text in [&mut rejected.current_command, &mut rejected.command, &mut rejected.command_id] {
        cut_some(text, NAME);
    }
}

fn bound_progress(OperationProgress { progress }: &mut OperationProgress) {
    let parts = [&mut progress.pull, &mut progress.lock, &mut progress.system];
    for Part { phase, detail, .. } in parts.into_iter().flatten() {
        cut(phase, NAME);
        cut(detail, SENTENCE);
    }
    if let Some(tests) = &mut progress.tests {
        tests.results.truncate(MAX_TEST_RESULTS);
    }
}

fn cut_all<const N: usize>(texts: [&mut String; N], limit: usize) {
    for text in texts {
        cut(text, limit);
    }
}

fn cut_some(text: &mut Option<String>, limit: usize) {
    if let Some(text) = text {
        cut(text, limit);
    }
}

/// Cuts a text to so many bytes of JSON.
fn cut(text: &mut String, limit: usize) {
    // Most texts are so short that counting is not needed.
    if text.len() * 6 <= limit || length(text) <= limit {
        return;
    }
    let mut left = limit - MARK.len();
    let fits = |(_, letter): &(usize, char)| {
        let size = escaped(*letter);
        left.checked_sub(size).map(|rest| left = rest).is_none()
    };
    let end = text.char_indices().find(fits).map_or(text.len(), |(at, _)| at);
    text.truncate(end);
    text.push_str(MARK);
}

/// The length of a text in JSON, without quotes.
fn length(text: &str) -> usize {
    // By bytes, which the compiler does many at a time: what is escaped is ASCII.
    text.len()
        + text.bytes().filter(|byte| byte.is_ascii()).map(|byte| escaped(char::from(byte)) - 1).sum::<usize>()
}

/// The length of a character as `serde_json` writes it.
fn escaped(letter: char) -> usize {
    match letter {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        '\0'..='\u{1f}' => 6,
        _ => letter.len_utf8(),
    }
}
