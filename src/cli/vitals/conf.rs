//! The file of `vitals --follow`, `/etc/heartbeat.conf`: `INTERVAL=10  # every 10 seconds`.
//!
//! The file looks like shell, and older scripts source it as root. Here it is data: nothing in it is executed or
//! expanded, and lines that are not understood are errors.

use std::fmt;
use std::io;
use std::path::Path;
use std::time::Duration;

use clap::ValueEnum;

use nixfleet_os::bounded_read;
use nixfleet_os::text::is_utf_16;

use super::format::Format;

/// The file that is read when none is named. It may be absent.
pub(super) const DEFAULT_FILE: &str = "/etc/heartbeat.conf";

/// Longest file read, in bytes. There are only two settings.
const MAX_FILE: u64 = 64 * 1024;

/// Longest part of a value that an error message shows, in characters.
const MAX_SHOWN: usize = 60;

/// Allowed seconds between two lines. A value above one day is most likely in milliseconds.
pub(super) const INTERVAL: std::ops::RangeInclusive<u64> = 1..=24 * 3600;

/// Quotes around a value: those of shells, and those that text editors replace them with.
const QUOTES: [(char, char); 4] =
    [('"', '"'), ('\'', '\''), ('\u{201c}', '\u{201d}'), ('\u{2018}', '\u{2019}')];

/// The settings of the file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Conf {
    pub(super) interval: Option<Duration>,
    pub(super) format: Option<Format>,
}

/// One line that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    line: usize,
    what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.line, self.what)
    }
}

/// Reads the file `named`; without it, [`DEFAULT_FILE`] if that exists.
///
/// # Errors
/// One line for each problem, with file name and line number.
pub(super) fn read(named: Option<&Path>) -> Result<Conf, String> {
    let path = named.unwrap_or(Path::new(DEFAULT_FILE));
    let bytes = match bounded_read::read(path, MAX_FILE) {
        Ok(bytes) => bytes,
        Err(err) if named.is_none() && err.kind() == io::ErrorKind::NotFound => return Ok(Conf::default()),
        Err(err) => return Err(format!("cannot read {}: {err}", path.display())),
    };
    let text = String::from_utf8(bytes).map_err(|err| {
        let shown = path.display();
        let bytes = err.as_bytes();
        if is_utf_16(bytes) {
            return format!("{shown} is UTF-16; save it as UTF-8");
        }
        let line = 1 + bytes[..err.utf8_error().valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
        format!("{shown}:{line}: the line is not UTF-8; save the file as UTF-8")
    })?;
    parse(&text).map_err(|problems| {
        let lines: Vec<String> =
            problems.iter().map(|problem| format!("{}:{problem}", path.display())).collect();
        lines.join("\n")
    })
}

/// Parses the text of the file.
///
/// # Errors
/// All wrong lines.
pub(super) fn parse(text: &str) -> Result<Conf, Vec<Problem>> {
    let mut conf = Conf::default();
    let mut set_in: [Option<usize>; 2] = [None; 2];
    let mut problems = Vec::new();
    // Some editors put a byte order mark at the beginning, and old ones a mark at the end.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let text = text.strip_suffix('\u{1a}').unwrap_or(text);
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        if let Err(what) = take(&mut conf, &mut set_in, number, line) {
            problems.push(Problem { line: number, what });
        }
    }
    if problems.is_empty() { Ok(conf) } else { Err(problems) }
}

fn take(conf: &mut Conf, set_in: &mut [Option<usize>; 2], number: usize, line: &str) -> Result<(), String> {
    let Some((key, value)) = assignment(line)? else { return Ok(()) };
    let slot = match key {
        "INTERVAL" => 0,
        "FORMAT" => 1,
        _ => return Err(format!("{key} is unknown; the keys are INTERVAL and FORMAT")),
    };
    if let Some(first) = set_in[slot].replace(number) {
        return Err(format!("{key} is set in line {first} already; keep one of them"));
    }
    // As in all settings, an empty value counts as unset.
    if value.is_empty() {
        return Ok(());
    }
    match slot {
        0 => conf.interval = Some(interval(value).map_err(|what| format!("INTERVAL: {what}"))?),
        _ => conf.format = Some(format_named(value).map_err(|what| format!("FORMAT: {what}"))?),
    }
    Ok(())
}

/// Key and value of a line; none for an empty line or a comment.
fn assignment(line: &str) -> Result<Option<(&str, &str)>, String> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let exported = line.strip_prefix("export").filter(|rest| rest.starts_with([' ', '\t']));
    let line = exported.map_or(line, str::trim_start);
    let is_name = |name: &str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    match line.split_once('=') {
        Some((key, rest)) if is_name(key.trim_end()) => Ok(Some((key.trim_end(), value(rest)?))),
        _ => Err(format!("{} is not a setting; write KEY=value, such as INTERVAL=30", quoted(line))),
    }
}

/// A quoted value or a single word; only a comment may follow.
fn value(rest: &str) -> Result<&str, String> {
    let (word, behind) = match rest.trim_start() {
        word if rest.len() > word.len() && word.starts_with('#') => ("", word),
        word => match QUOTES.iter().find_map(|(open, close)| Some((word.strip_prefix(*open)?, *close))) {
            Some((word, close)) => word.split_once(close).ok_or("a quote is opened and not closed")?,
            None => word.split_at(word.find(char::is_whitespace).unwrap_or(word.len())),
        },
    };
    let comment = behind.trim_start();
    let apart = word.is_empty() || comment.len() < behind.len();
    if comment.is_empty() || (apart && comment.starts_with('#')) {
        return Ok(word);
    }
    Err(format!("{} is behind the value; keep the value alone, or put # before a comment", quoted(comment)))
}

fn interval(value: &str) -> Result<Duration, String> {
    let fix = "set it to a number of seconds such as 30";
    let digits = value.strip_prefix('-').unwrap_or(value);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        let shell =
            if value.contains(['$', '`']) { "; this file is data, and no shell reads it" } else { "" };
        return Err(format!("{} is not a whole number of seconds{shell}; {fix}", quoted(value)));
    }
    // A number too large to parse is out of bounds as well.
    let seconds = value.parse().ok().filter(|seconds| INTERVAL.contains(seconds));
    seconds.map(Duration::from_secs).ok_or_else(|| {
        let (least, most) = (INTERVAL.start(), INTERVAL.end());
        format!("{} is not between {least} and {most} seconds; {fix}", quoted(value))
    })
}

fn format_named(value: &str) -> Result<Format, String> {
    Format::from_str(value, false).map_err(|_| {
        let possible = Format::value_variants().iter().filter_map(ValueEnum::to_possible_value);
        let names: Vec<String> = possible.map(|value| value.get_name().to_owned()).collect();
        format!("{} is not a format; set it to one of {}", quoted(value), names.join(", "))
    })
}

/// A value as part of one line: control characters escaped, and shortened.
fn quoted(value: &str) -> String {
    let shown: String = value.chars().take(MAX_SHOWN).collect();
    let dots = if shown.len() < value.len() { ".." } else { "" };
    format!("{:?}{dots}", shown)
}

#[cfg(test)]
mod tests;
