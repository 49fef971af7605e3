//! Questions to the reader and its answers: one line each, of fields between tabs. An unknown value is an empty field.
//!
//! ```text
//! 7 all                                                  which GPUs: all, or those with these addresses;
//! 7 only 1 0000:01:00.0 0000:02:00.0                     1 if there are others, which must not be woken
//! 7 failed no_library DETAIL                             no GPU could be read, or
//! 7 read 0000:01:00.0 ok NAME USAGE CELSIUS USED TOTAL WATTS 0000:02:00.0 lost DETAIL
//! ```
//!
//! The reader is the same program, but what NVIDIA's library does to it is unknown: a wrong line ends it, and no value
//! of a right one is believed that a GPU cannot have. JSON would make the agent 60 kB larger.

use std::fmt::{Display, Write};
use std::str::{FromStr, Split};

use nixfleet_os::text;

use super::{Answer, Failure, Found, Reading, Selection, Status};
use crate::gpu::card::is_address;

/// Most GPUs in an answer. No mainboard has room for so many.
const MAX_GPUS: usize = 128;

/// Longest name of a GPU, and longest error message, in characters. NVML's own buffers have 96 bytes; a library that
/// is not found has one error for each of three paths.
const MAX_NAME: usize = 96;
const MAX_DETAIL: usize = 600;

/// What a library may say is wrong.
const FAILURES: [Status; 6] = [
    Status::Lost,
    Status::Mismatch,
    Status::NoDriver,
    Status::NoLibrary,
    Status::NoPermission,
    Status::Failed,
];

/// A question.
#[derive(Debug, PartialEq)]
pub(super) struct Question {
    /// The answer repeats it, so that an answer to an earlier question is not taken for this one's.
    pub(super) number: u64,
    /// The GPUs to read.
    pub(super) selection: Selection,
}

impl Question {
    /// The line, without its end.
    pub(super) fn line(&self) -> String {
        match &self.selection {
            Selection::All => format!("{}\tall", self.number),
            Selection::Only { addresses, let_others_sleep } => {
                format!("{}\tonly\t{}\t{}", self.number, u8::from(*let_others_sleep), addresses.join("\t"))
            }
        }
    }

    /// The question in a line; None if there is none.
    pub(super) fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = fields(line)?;
        let number = fields.next()?.parse().ok()?;
        let selection = match fields.next()? {
            "all" => Selection::All,
            "only" => Selection::Only {
                let_others_sleep: fields.next()? == "1",
                addresses: fields.map(str::to_owned).collect(),
            },
            _ => return None,
        };
        Some(Self { number, selection })
    }

    /// The line of the answer, with its end.
    pub(super) fn answered(&self, answer: &Answer) -> String {
        let mut line = self.number.to_string();
        match answer {
            Err(failure) => {
                line += "\tfailed";
                write_failure(&mut line, failure);
            }
            Ok(found) => {
                line += "\tread";
                for Found { address, reading } in found {
                    add(&mut line, address);
                    match reading {
                        Ok(reading) => write_reading(&mut line, reading),
                        Err(failure) => write_failure(&mut line, failure),
                    }
                }
            }
        }
        line.push('\n');
        line
    }

    /// The answer in a line, without what cannot be true; None if the line is no answer to this question.
    pub(super) fn answer(&self, line: &[u8]) -> Option<Answer> {
        let mut fields = fields(line)?;
        if fields.next()?.parse() != Ok(self.number) {
            return None;
        }
        match fields.next()? {
            "failed" => Some(Err(read_failure(fields.next()?, &mut fields)?)),
            "read" => self.found(fields).map(Ok),
            _ => None,
        }
    }

    fn found(&self, mut fields: Fields<'_>) -> Option<Vec<Found>> {
        let mut found = Vec::new();
        while let Some(address) = fields.next() {
            let is_wanted = match &self.selection {
                Selection::All => is_address(address) && address.len() <= MAX_NAME,
                Selection::Only { addresses, .. } => addresses.iter().any(|wanted| wanted == address),
            };
            if !is_wanted || found.len() >= MAX_GPUS {
                return None;
            }
            let reading = match fields.next()? {
                "ok" => Ok(read_reading(&mut fields)?),
                status => Err(read_failure(status, &mut fields)?),
            };
            found.push(Found { address: address.to_owned(), reading });
        }
        Some(found)
    }
}

type Fields<'a> = Split<'a, char>;

fn fields(line: &[u8]) -> Option<Fields<'_>> {
    Some(std::str::from_utf8(line).ok()?.trim_end_matches('\n').split('\t'))
}

fn add(line: &mut String, field: impl Display) {
    // A String takes everything.
    write!(line, "\t{field}").ok();
}

fn write_failure(line: &mut String, failure: &Failure) {
    add(line, failure.status.as_str());
    add(line, text::one_line(&failure.detail, MAX_DETAIL));
}

fn read_failure(status: &str, fields: &mut Fields<'_>) -> Option<Failure> {
    let status = FAILURES.into_iter().find(|known| known.as_str() == status)?;
    Some(Failure { status, detail: text::one_line(fields.next()?, MAX_DETAIL) })
}

fn write_reading(line: &mut String, reading: &Reading) {
    add(line, "ok");
    add(line, text::one_line(reading.name.as_deref().unwrap_or_default(), MAX_NAME));
    write_value(line, reading.usage);
    write_value(line, reading.temperature_celsius);
    write_value(line, reading.vram_used_bytes);
    write_value(line, reading.vram_total_bytes);
    write_value(line, reading.power_watts);
}

fn read_reading(fields: &mut Fields<'_>) -> Option<Reading> {
    let name = text::one_line(fields.next()?, MAX_NAME);
    let reading = Reading {
        name: Some(name).filter(|name| !name.is_empty()),
        usage: read_value(fields)?,
        temperature_celsius: read_value(fields)?,
        vram_used_bytes: read_value(fields)?,
        vram_total_bytes: read_value(fields)?,
        power_watts: read_value(fields)?,
    };
    Some(reading.plausible())
}

fn write_value<T: Display>(line: &mut String, value: Option<T>) {
    match value {
        Some(value) => add(line, value),
        None => line.push('\t'),
    }
}

/// A value that may be unknown; None if it is neither.
fn read_value<T: FromStr>(fields: &mut Fields<'_>) -> Option<Option<T>> {
    match fields.next()? {
        "" => Some(None),
        value => value.parse().ok().map(Some),
    }
}

#[cfg(test)]
mod tests;
