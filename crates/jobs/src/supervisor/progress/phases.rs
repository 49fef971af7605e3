//! What a rebuild is at, read from what it writes: evaluate, build, activate.
//!
//! Pure: pieces of lines go in, pieces for people come out, and [`Phases::phase`] and
//! [`Phases::detail`] say what is known. Both the plain log of nix and its log for machines are read
//! ([`NixLog`]), line by line, as they come. A phase never goes back: what nix builds for the
//! evaluation itself, or for a newer `nixos-rebuild`, begins the build phase early. A line that says
//! nothing of phases costs a few comparisons of its beginning.

use std::borrow::Cow;

use super::nix_log::{Counts, MARK, NixLog, Said, What};
use crate::journal::Source;
use crate::lines::{Lines, Piece};

#[cfg(test)]
mod tests;

/// Bytes of one line of nix's log for machines that are put together from pieces: the longest trace
/// of an evaluation, and some room. A longer one is shown as it is.
const MAX_EVENT: usize = 1024 * 1024;

/// What a rebuild is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// Reads the configuration.
    Evaluate,
    /// Builds derivations and fetches paths.
    Build,
    /// Makes the new system the running one.
    Activate,
}

impl Phase {
    /// All of them, in order.
    pub(super) const ALL: [Self; 3] = [Self::Evaluate, Self::Build, Self::Activate];

    /// Its name on the wire.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Evaluate => "evaluate",
            Self::Build => "build",
            Self::Activate => "activate",
        }
    }

    /// How many phases come before it.
    pub(super) fn before(self) -> u32 {
        match self {
            Self::Evaluate => 0,
            Self::Build => 1,
            Self::Activate => 2,
        }
    }
}

/// How many of one kind.
#[derive(Debug, Default)]
struct Tally {
    /// Announced before the work began; 0 if it was not.
    announced: u64,
    /// In all, as far as that is known.
    total: u64,
    /// That are done; from a plain log, that were begun.
    done: u64,
    /// One of them has begun.
    begun: bool,
}

impl Tally {
    fn announce(&mut self, number: u64) {
        *self = Self { announced: number, total: number, done: 0, begun: false };
    }

    /// One line of a plain log.
    fn begin_one(&mut self) {
        self.begun = true;
        self.done = self.done.saturating_add(1);
    }

    /// nix's own figures. While it finds out what there is to do, it expects too little and then too
    /// much; an announcement is better.
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

/// One stream of the rebuild.
#[derive(Debug, Default)]
struct Stream {
    /// The next piece goes on with a line.
    inside: bool,
    /// A line of nix's log for machines of which the end is missing.
    held: Option<String>,
}

/// What is known of a rebuild.
pub(super) struct Phases {
    phase: Phase,
    derivations: Tally,
    paths: Tally,
    nix: NixLog,
    out: Stream,
    err: Stream,
    /// Something of it changed since it was last asked.
    changed: bool,
}

/// What a line says of phases.
#[derive(Debug, PartialEq, Eq)]
enum Sign {
    /// So many derivations will be built.
    Derivations(u64),
    /// So many paths will be fetched.
    Paths(u64),
    /// A derivation is built.
    Building,
    /// A path is fetched.
    Fetching,
    /// The activation has begun.
    Activating,
}

impl Phases {
    /// At the start of a rebuild. `live`: it shows build logs as they grow.
    pub(super) fn new(live: bool) -> Self {
        Self {
            phase: Phase::Evaluate,
            derivations: Tally::default(),
            paths: Tally::default(),
            nix: NixLog::new(live),
            out: Stream::default(),
            err: Stream::default(),
            changed: false,
        }
    }

    /// What it is at.
    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    /// How far it is with that, such as `3/41 derivations`; may be empty.
    pub(super) fn detail(&self) -> String {
        if self.phase != Phase::Build {
            return String::new();
        }
        // While nothing is built yet, what is fetched for it says more.
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

    /// The activation was seen otherwise.
    pub(super) fn activates(&mut self) {
        self.enter(Phase::Activate);
    }

    /// Takes a piece of a line and gives out what is to be shown of it.
    pub(super) fn read(&mut self, source: Source, piece: &Piece<'_>, emit: &mut impl FnMut(&Piece<'_>)) {
        let begins = !self.stream(source).inside;
        self.stream(source).inside = piece.cont;
        if self.stream(source).held.is_some() {
            self.go_on(source, piece, emit);
        } else if begins && piece.text.starts_with(MARK) {
            if piece.cont {
                self.stream(source).held = Some(piece.text.clone().into_owned());
            } else {
                self.event(piece, emit);
            }
        } else {
            if begins && self.phase < Phase::Activate {
                self.heed(&piece.text, true);
            }
            emit(piece);
        }
    }

    fn stream(&mut self, source: Source) -> &mut Stream {
        if source == Source::Stderr { &mut self.err } else { &mut self.out }
    }

    /// Adds to a line of nix's log for machines.
    fn go_on(&mut self, source: Source, piece: &Piece<'_>, emit: &mut impl FnMut(&Piece<'_>)) {
        let mut text = self.stream(source).held.take().unwrap_or_default();
        text += &piece.text;
        if piece.cont && text.len() <= MAX_EVENT {
            self.stream(source).held = Some(text);
        } else if piece.cont {
            cut(&text, true, emit);
        } else {
            self.event(&Piece { text: Cow::Owned(text), cont: false }, emit);
        }
    }

    /// A whole line of nix's log for machines.
    fn event(&mut self, line: &Piece<'_>, emit: &mut impl FnMut(&Piece<'_>)) {
        match self.nix.read(&line.text[MARK.len()..]) {
            Said::Malformed => cut(&line.text, false, emit),
            Said::Nothing => {}
            Said::Text(text) => {
                if self.phase < Phase::Activate {
                    self.heed(&text, false);
                }
                cut(&text, false, emit);
            }
            Said::Counted(what, counts) => {
                self.tally(what).set(counts);
                self.changed |= self.phase == Phase::Build;
            }
            Said::Over(what) => self.tally(what).announced = 0,
        }
    }

    fn tally(&mut self, what: What) -> &mut Tally {
        match what {
            What::Derivations => &mut self.derivations,
            What::Paths => &mut self.paths,
        }
    }

    /// Takes note of what a line says. `plain`: people's log, in which lines are what is counted.
    fn heed(&mut self, line: &str, plain: bool) {
        match sign(line) {
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
                if plain {
                    let what = if sign == Sign::Building { What::Derivations } else { What::Paths };
                    self.tally(what).begin_one();
                }
                self.enter(Phase::Build);
            }
            // Activations do not write nix's log; a build's output that looks like one might be in it.
            Some(Sign::Activating) if plain => self.enter(Phase::Activate),
            Some(Sign::Activating) | None => {}
        }
    }

    /// An announcement behind work that has begun is one of another run of nix.
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

/// Text of any length as lines that fit the log.
fn cut(text: &str, cont: bool, emit: &mut impl FnMut(&Piece<'_>)) {
    let mut lines = Lines::default();
    let mut last: Option<Piece<'static>> = None;
    // The last piece is held back: whether the line goes on is for the caller to say.
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

/// What a line says of phases. Most lines are done with after their first letter.
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
        // switch-to-configuration, and the boot loaders' installers that it runs first.
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
