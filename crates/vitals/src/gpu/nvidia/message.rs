//! Questions to the reader and its answers, one line of JSON each.
//!
//! The reader is the same program, but what NVIDIA's library does to it is unknown: a wrong line ends it, and no value
//! of a right one is believed that a GPU cannot have.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use nixfleet_os::text;

use super::{Answer, Failure, Found, Selection, Status};
use crate::gpu::card::is_address;

/// Most GPUs in an answer. No mainboard has room for so many.
const MAX_GPUS: usize = 128;

/// Longest name of a GPU, and longest error message, in characters. NVML's own buffers have 96 bytes; a library that
/// is not found has one error for each of three paths.
const MAX_NAME: usize = 96;
const MAX_DETAIL: usize = 400;

/// A question.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Question {
    /// The answer repeats it, so that an answer to an earlier question is not taken for this one's.
    pub(super) number: u64,
    /// The GPUs to read.
    pub(super) selection: Selection,
}

/// An answer as it is written.
#[derive(Serialize)]
struct Written<'a> {
    number: u64,
    answer: &'a Answer,
}

/// An answer as it is read.
#[derive(Deserialize)]
struct Read {
    number: u64,
    answer: Answer,
}

/// The line of an answer.
pub(super) fn written(number: u64, answer: &Answer) -> serde_json::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(&Written { number, answer })?;
    line.push(b'\n');
    Ok(line)
}

/// The answer in a line, without what cannot be true; None if the line is no answer to this question.
pub(super) fn read(line: &[u8], question: &Question) -> Option<Answer> {
    let Read { number, answer } = serde_json::from_slice(line).ok()?;
    if number != question.number {
        return None;
    }
    let found = match answer {
        Ok(found) => found,
        Err(failure) => return Some(Err(believed(failure))),
    };
    let asked: Option<BTreeSet<&str>> = match &question.selection {
        Selection::All => None,
        Selection::Only { addresses, .. } => Some(addresses.iter().map(String::as_str).collect()),
    };
    let is_wanted = |found: &Found| match &asked {
        Some(asked) => asked.contains(found.address.as_str()),
        None => is_address(&found.address) && found.address.len() <= MAX_NAME,
    };
    if found.len() > MAX_GPUS || !found.iter().all(is_wanted) {
        return None;
    }
    let believe = |Found { address, reading }| {
        let reading = reading.map_err(believed).map(|mut reading: crate::gpu::Reading| {
            reading.name = reading.name.map(|name| text::one_line(&name, MAX_NAME));
            reading.plausible()
        });
        Found { address, reading }
    };
    Some(Ok(found.into_iter().map(believe).collect()))
}

/// A failure that a library can have.
fn believed(failure: Failure) -> Failure {
    let status = match failure.status {
        status @ (Status::Lost
        | Status::Mismatch
        | Status::NoDriver
        | Status::NoLibrary
        | Status::NoPermission) => status,
        _ => Status::Failed,
    };
    Failure { status, detail: text::one_line(&failure.detail, MAX_DETAIL) }
}
