//! What is shown of the output of a rebuild, without a process. For `crates/fuzz`.

use super::super::failure_reason::FailureReason;
use super::git::GitWords;
use super::phases::Phases;
use crate::journal::Source;
use crate::lines::{Lines, Piece};

/// What was made of an output.
#[derive(Debug, Default)]
pub struct Shown {
    /// The pieces of lines that go into the log, and whether each is continued.
    pub pieces: Vec<(String, bool)>,
    /// The longest detail of a phase that was reported, in bytes.
    pub longest_detail: usize,
    /// The line that explains a failure.
    pub reason: String,
}

/// Reads chunks as a rebuild wrote them to standard output (false) or standard error (true). `live`: it has `-L`.
pub fn rebuild<'a>(live: bool, chunks: impl IntoIterator<Item = (bool, &'a [u8])>) -> Shown {
    let mut shown = Shown::default();
    let mut phases = Phases::new(live);
    let mut lines = [Lines::default(), Lines::default()];
    let mut reasons = [FailureReason::default(), FailureReason::default()];
    let mut take = |errors: bool, piece: Piece<'_>| {
        let source = if errors { Source::Stderr } else { Source::Stdout };
        phases.read(source, &piece, &mut |piece| {
            reasons[usize::from(errors)].add_line(&piece.text);
            shown.pieces.push((piece.text.clone().into_owned(), piece.cont));
        });
        shown.longest_detail = shown.longest_detail.max(phases.detail().len());
    };
    for (errors, chunk) in chunks {
        lines[usize::from(errors)].push(chunk, &mut |piece| take(errors, piece));
    }
    for (errors, mut rest) in [false, true].into_iter().zip(lines) {
        rest.finish(&mut |piece| take(errors, piece));
    }
    let [output, errors] = reasons;
    shown.reason = FailureReason::best(errors, output);
    shown
}

/// What was made of the output of a git.
#[derive(Debug, Default)]
pub struct GitShown {
    /// The lines that go into the log.
    pub lines: Vec<String>,
    /// Each detail of the part.
    pub details: Vec<String>,
    /// The name that cannot be resolved.
    pub unresolved: Option<String>,
    /// The first words about damage.
    pub damage: Option<String>,
}

/// Reads chunks as git wrote them to standard error.
pub fn git<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> GitShown {
    let mut shown = GitShown::default();
    let (mut words, mut lines) = (GitWords::default(), Lines::default());
    let mut take = |piece: Piece<'_>, words: &mut GitWords| {
        if piece.cont || !words.read(&piece.text) {
            shown.lines.push(piece.text.into_owned());
        }
        shown.details.push(words.detail.clone());
    };
    for chunk in chunks {
        lines.push(chunk, &mut |piece| take(piece, &mut words));
        if let Some(state) = lines.rewritten() {
            words.read(&state);
        }
    }
    lines.finish(&mut |piece| take(piece, &mut words));
    shown.details.push(words.detail);
    GitShown { unresolved: words.unresolved, damage: words.damage, ..shown }
}
