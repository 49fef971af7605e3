//! Files of lines, of which each stands alone: a line that is not understood costs its own figure and no
//! other.

use crate::fault::Odd;

/// What was made of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed<T> {
    /// The value; None if nothing of the file is understood.
    pub value: Option<T>,
    /// The first part of the file that is not understood.
    pub odd: Option<Odd>,
}

impl<T> Parsed<T> {
    /// A file of which everything is understood.
    pub(super) fn all(value: T) -> Self {
        Self { value: Some(value), odd: None }
    }

    /// A file of which nothing is understood.
    pub(super) fn nothing(reason: &str) -> Self {
        Self { value: None, odd: Some(Odd::whole(reason)) }
    }
}

/// Why a line is not understood.
#[derive(Debug, Clone, Copy)]
pub(super) struct Problem<'a> {
    /// Name of the line; may be empty.
    pub(super) label: &'a str,
    pub(super) reason: &'static str,
}

/// Hands each line that is not empty to `take`, and returns the first one that is not understood.
pub(super) fn each<'a>(
    bytes: &'a [u8],
    mut take: impl FnMut(&'a str) -> Result<(), Problem<'a>>,
) -> Option<Odd> {
    let mut odd = None;
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty()) {
        let text = std::str::from_utf8(line).map_err(|_| Problem { label: "", reason: "is not UTF-8" });
        if let Err(Problem { label, reason }) = text.and_then(&mut take) {
            odd.get_or_insert_with(|| Odd::in_line(index + 1, label, reason));
        }
    }
    odd
}
