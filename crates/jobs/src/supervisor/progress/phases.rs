//! The phase of a rebuild (evaluate, build, activate), derived from its output.
//!
//! Pure code: it takes pieces of lines and gives out pieces for people; [`Phases::phase`] and
//! [`Phases::detail`] return what is known. Both the plain log of nix and its machine-readable log
//! ([`NixLog`]) are read line by line. The phase never goes back. So if nix builds something for the
//! evaluation itself, or a newer `nixos-rebuild`, the build phase begins early. A line without information
//! costs a few comparisons of its beginning.

use std::borrow::Cow;

use super::delays::Delays;
use super::nix_log::{Counts, MARK, NixLog, Parsed, Unit};
use crate::journal::Source;
use crate::lines::{Lines, Piece};

#[cfg(test)]
mod tests;

/// Longest line of the machine-readable log that is assembled from pieces, in bytes: the longest trace of an
/// evaluation, with a margin. A longer line is shown unchanged.
const MAX_EVENT: usize = 1024 * 1024;

/// A phase of a rebuild.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// The configuration is evaluated.
    Evaluate,
    /// Derivations are built and paths are fetched.
    Build,
    /// The new system is activated.
    Activate,
}

impl Phase {
    /// All phases, in order.
    pub(super) const ALL: [Self; 3] = [Self::Evaluate, Self::Build, Self::Activate];

    /// The name that is reported.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Evaluate => "evaluate",
            Self::Build => "build",
            Self::Activate => "activate",
        }
    }

    /// Number of phases before this one.
    pub(super) fn before(self) -> u32 {
        match self {
            Self::Evaluate => 0,
            Self::Build => 1,
            Self::Activate => 2,
        }
    }
}

/// Counts of one unit.
#[derive(Debug, Default)]
struct Tally {
    /// Number that was announced before the work began; 0 without an announcement.
    announced: u64,
    /// Total number, as far as it is known.
    total: u64,
    /// Number completed; in a plain log, number started.
    done: u64,
    /// At least one has started.
    begun: bool,
}

impl Tally {
    fn announce(&mut self, number: u64) {
        *self = Self { announced: number, total: number, done: 0, begun: false };
    }

    /// Counts one line of a plain log.
    fn begin_one(&mut self) {
        self.begun = true;
        self.done = self.done.saturating_add(1);
    }

    /// Takes the counts of nix. While nix determines what to do, it expects too few and then too many, so an
    /// announced total takes precedence.
    fn set(&mut self, counts: Counts) {
        if counts.expected > 0 {
            self.total = if self.announced > 0 { self.announced } else { counts.expected };
            self.done = counts.done;
            self.begun = counts.done > 0 || counts.running > 0;
        }
    }

    fn text(&self, unit: &str) -> String {
        format!("{}/{} {unit}", self.done, self.total.max(self.done))
    }
}

/// One output stream of the rebuild.
#[derive(Debug, Default)]
struct Stream {
    /// The next piece continues a line.
    inside: bool,
    /// The beginning of a line of the machine-readable log.
    held: Option<String>,
}

/// The state of a rebuild.
pub(super) struct Phases {
    phase: Phase,
    derivations: Tally,
    paths: Tally,
    nix: NixLog,
    delays: Delays,
    out: Stream,
    err: Stream,
    /// Something changed since the last call of [`Self::changed`].
    changed: bool,
}

/// The meaning of a line for the phases.
#[derive(Debug, PartialEq, Eq)]
enum Sign {
    /// This number of derivations will be built.
    Derivations(u64),
    /// This number of paths will be fetched.
    Paths(u64),
    /// The build of a derivation begins.
    Building,
    /// The fetch of a path begins.
    Fetching,
    /// The activation begins.
    Activating,
}

impl Phases {
    /// The state at the start of a rebuild. `live`: build logs are shown while the builds run.
    pub(super) fn new(live: bool) -> Self {
        Self {
            phase: Phase::Evaluate,
            derivations: Tally::default(),
            paths: Tally::default(),
            nix: NixLog::new(live),
            delays: Delays::default(),
            out: Stream::default(),
            err: Stream::default(),
            changed: false,
        }
    }

    /// The current phase.
    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    /// Progress within the phase, such as `3/41 derivations`, and what it waits for; may be empty.
    pub(super) fn detail(&self) -> String {
        match self.phase {
            Phase::Evaluate | Phase::Build => self.delays.describe(self.counts()),
            Phase::Activate => String::new(),
        }
    }

    fn counts(&self) -> String {
        if self.phase != Phase::Build {
            return String::new();
        }
        // Until a build starts, the fetched paths are the better measure.
        let fetches = self.paths.announced > 0 || self.paths.done > 0;
        if self.derivations.total > 0 && (self.derivations.begun || !fetches) {
            self.derivations.text("derivations")
        } else if fetches && self.paths.total > 0 {
            self.paths.text("paths")
        } else {
            String::new()
        }
    }

    /// Whether anything changed since the last call.
    pub(super) fn changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// An activation was detected by other means.
    pub(super) fn activates(&mut self) {
        self.enter(Phase::Activate);
    }

    /// Reads a piece of a line and gives out the text to show.
    pub(super) fn read(&mut self, source: Source, piece: &Piece<'_>, emit: &mut impl FnMut(&Piece<'_>)) {
        let begins = !self.stream(source).inside;
        self.stream(source).inside = piece.cont;
        if self.stream(source).held.is_some() {
            self.continue_event(source, piece, emit);
        } else if begins && piece.text.starts_with(MARK) {
            if piece.cont {
                self.stream(source).held = Some(piece.text.clone().into_owned());
            } else {
                self.event(piece, emit);
            }
        } else {
            if begins && self.phase < Phase::Activate {
                self.apply_line(&piece.text, true);
            }
            emit(piece);
        }
    }

    fn stream(&mut self, source: Source) -> &mut Stream {
        if source == Source::Stderr { &mut self.err } else { &mut self.out }
    }

    /// Continues a line of the machine-readable log.
    fn continue_event(&mut self, source: Source, piece: &Piece<'_>, emit: &mut impl FnMut(&Piece<'_>)) {
        let mut text = self.stream(source).held.take().unwrap_or_default();
        text += &piece.text;
        if piece.cont && text.len() <= MAX_EVENT {
            self.stream(source).held = Some(text);
        } else if piece.cont {
            emit_lines(&text, true, emit);
        } else {
            self.event(&Piece { text: Cow::Owned(text), cont: false }, emit);
        }
    }

    /// Handles a complete line of the machine-readable log.
    fn event(&mut self, line: &Piece<'_>, emit: &mut impl FnMut(&Piece<'_>)) {
        match self.nix.read(line.text.strip_prefix(MARK).unwrap_or_default()) {
            Parsed::Malformed => emit_lines(&line.text, false, emit),
            Parsed::Nothing => {}
            Parsed::Text(text) => {
                if self.phase < Phase::Activate {
                    self.apply_line(&text, false);
                }
                emit_lines(&text, false, emit);
            }
            Parsed::Counted(unit, counts) => {
                let before = self.tally(unit).done;
                self.tally(unit).set(counts);
                if self.tally(unit).done > before {
                    self.delays.end();
                }
                self.changed |= self.phase == Phase::Build;
            }
            Parsed::Ended(unit) => self.tally(unit).announced = 0,
        }
    }

    fn tally(&mut self, unit: Unit) -> &mut Tally {
        match unit {
            Unit::Derivations => &mut self.derivations,
            Unit::Paths => &mut self.paths,
        }
    }

    /// Applies a line to the state. `plain`: the line is of the plain log, in which lines are counted.
    fn apply_line(&mut self, line: &str, plain: bool) {
        let sign = sign(line);
        if sign.is_some() {
            self.delays.end();
        } else {
            self.changed |= self.delays.read(line);
        }
        match sign {
            Some(Sign::Derivations(number)) => {
                self.forget_begun();
                self.derivations.announce(number);
                self.enter(Phase::Build);
            }
            Some(Sign::Paths(number)) => {
                self.forget_begun();
                self.paths.announce(number);
                self.enter(Phase::Build);
            }
            Some(sign @ (Sign::Building | Sign::Fetching)) => {
                if sign == Sign::Building {
                    self.delays.building(line);
                }
                if plain {
                    let unit = if sign == Sign::Building { Unit::Derivations } else { Unit::Paths };
                    self.tally(unit).begin_one();
                }
                self.enter(Phase::Build);
            }
            // An activation does not write to the machine-readable log, but output of a build may look like
            // one.
            Some(Sign::Activating) if plain => self.enter(Phase::Activate),
            Some(Sign::Activating) | None => {}
        }
    }

    /// An announcement after work has begun belongs to another run of nix.
    fn forget_begun(&mut self) {
        if self.derivations.begun || self.paths.begun {
            self.derivations = Tally::default();
            self.paths = Tally::default();
        }
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = self.phase.max(phase);
        self.changed = true;
    }
}

/// Gives out text of any length as lines that fit the log.
fn emit_lines(text: &str, cont: bool, emit: &mut impl FnMut(&Piece<'_>)) {
    let mut lines = Lines::default();
    let mut last: Option<Piece<'static>> = None;
    // The last piece is held back, because `cont` of the caller applies to it.
    let mut hold = |piece: Piece<'_>| {
        let piece = Piece { text: Cow::Owned(piece.text.into_owned()), cont: piece.cont };
        if let Some(before) = last.replace(piece) {
            emit(&before);
        }
    };
    lines.push(text.as_bytes(), &mut hold);
    lines.finish(&mut hold);
    emit(&Piece { cont, ..last.unwrap_or(Piece { text: Cow::Borrowed(""), cont }) });
}

/// The meaning of a line. Most lines are ruled out by their first letter.
fn sign(line: &str) -> Option<Sign> {
    match line.as_bytes().first()? {
        b't' => announcement(line),
        b'b' => {
            let path = line.strip_prefix("building '")?;
            path.contains(".drv'").then_some(Sign::Building)
        }
        b'c' => {
            let path = line.strip_prefix("copying path '")?;
            path.contains("' from '").then_some(Sign::Fetching)
        }
        // switch-to-configuration, and the boot loader installers that it runs first.
        b'a' => begins(line, &["activating the configuration..."]),
        b's' => begins(line, &["stopping the following units: ", "stopping swap device: "]),
        b'u' => begins(line, &["updating GRUB "]),
        b'C' => begins(line, &["Copied \""]),
        // home-manager.
        b'S' => begins(line, &["Starting Home Manager activation"]),
        _ => None,
    }
}

fn begins(line: &str, with: &[&str]) -> Option<Sign> {
    with.iter().any(|text| line.starts_with(text)).then_some(Sign::Activating)
}

/// `these 3 derivations will be built:`, `this path will be fetched (..):` and so on.
fn announcement(line: &str) -> Option<Sign> {
    let (number, rest) = match line.strip_prefix("these ") {
        Some(rest) => rest.split_once(' ').and_then(|(number, rest)| Some((number.parse().ok()?, rest)))?,
        None => (1, line.strip_prefix("this ")?),
    };
    let says = |one: &str, many: &str| rest.starts_with(one) || rest.starts_with(many);
    if says("derivation will be built", "derivations will be built") {
        Some(Sign::Derivations(number))
    } else if says("path will be fetched", "paths will be fetched") {
        Some(Sign::Paths(number))
    } else {
        None
    }
}
