//! A schedule: everything that a seed decides. It needs no machine, so the same seed is the same schedule everywhere.

use std::time::Duration;

use fastrand::Rng;

use crate::act::{Act, Cut, Dashboard, Hit, Network, When, Who};
use crate::commands::{FLOOD, Kind};
use crate::damage::{How, Target};

/// The agent is left alone for so long, so that the first command runs when the first fault comes.
const CALM: u64 = 1200;

/// One family of faults, besides those of network and processes, which are in every schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    Disk,
    Clock,
    Limits,
    Damage,
    Processes,
}

/// Everything that a seed decides.
#[derive(Debug)]
pub(crate) struct Schedule {
    pub(crate) seed: u64,
    pub(crate) family: Family,
    /// The dashboard is one of the existing ones: no batches, no acknowledgements, judged by the strict rules.
    pub(crate) strict: bool,
    /// The commands that the dashboard asks for, by their number.
    pub(crate) commands: Vec<Kind>,
    /// What happens when, in milliseconds from the start, in order.
    pub(crate) steps: Vec<(u64, Act)>,
    /// When the faults end, in milliseconds from the start.
    pub(crate) ends: u64,
}

impl Schedule {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let family = match seed % 5 {
            0 => Family::Disk,
            1 => Family::Clock,
            2 => Family::Limits,
            3 => Family::Damage,
            _ => Family::Processes,
        };
        let strict = (seed / 5).is_multiple_of(2);
        let ends = rng.u64(11_000..17_000);
        let mut steps = Vec::new();
        let mut commands = Vec::new();
        let mut at = rng.u64(200..600);
        while at < ends {
            steps.push((at, Act::Ask(commands.len())));
            commands.push(Kind::any(&mut rng));
            at += rng.u64(1_200..2_800);
        }
        if family == Family::Disk {
            floods(&mut rng, ends, &mut steps, &mut commands);
        }
        // Longer than three intervals, so that heartbeats are missed, and a dashboard would call the host offline.
        steps.push((
            rng.u64(CALM..ends),
            Act::Agent(Hit::Pause(millis(&mut rng, 3_200..4_200)), Duration::ZERO),
        ));
        let stall = millis(&mut rng, 2_500..5_000);
        steps.push((
            rng.u64(CALM..ends),
            if rng.bool() { Act::Stall(stall) } else { Act::Flap(rng.u32(2..5)) },
        ));
        for _ in 0..rng.usize(0..4) {
            steps.push((rng.u64(CALM..ends), Act::AskAgain(rng.usize(0..commands.len()))));
        }
        // Commands at the same time: one of them runs.
        steps.push((rng.u64(CALM..ends), Act::Ask(commands.len())));
        commands.push(Kind::any(&mut rng));
        for _ in 0..rng.usize(6..14) {
            steps.push((rng.u64(CALM..ends), general(&mut rng)));
        }
        for _ in 0..rng.usize(3..8) {
            steps.push((rng.u64(CALM..ends), family.act(&mut rng)));
        }
        steps.sort_by_key(|(at, _)| *at);
        Self { seed, family, strict, commands, steps, ends }
    }
}

/// Commands that write for 3 s, and a disk that is full while they do: at the first line, in the middle with room again
/// before the end, and at the very end. Each begins when the others have ended.
fn floods(rng: &mut Rng, ends: u64, steps: &mut Vec<(u64, Act)>, commands: &mut Vec<Kind>) {
    let first = (0, millis(rng, 300..2_000));
    let middle = (rng.u64(300..FLOOD / 2), millis(rng, 300..900));
    let end = (rng.u64(FLOOD * 3 / 4..FLOOD * 9 / 10), millis(rng, 2_000..3_000));
    let mut kinds = [first, middle, end];
    rng.shuffle(&mut kinds);
    // Nothing else is asked for meanwhile, so that each of them runs.
    let free = ends - FLOODS * FLOOD_MS;
    steps.retain(|(at, _)| *at < free);
    for (number, (line, length)) in kinds.into_iter().enumerate() {
        let at = free + number as u64 * FLOOD_MS;
        steps.push((at, Act::Ask(commands.len())));
        steps.push((at + 1, Act::FullDisk(When::Line(line), length)));
        commands.push(Kind::Flood);
    }
}

/// Commands of [`floods`].
const FLOODS: u64 = 3;

/// Milliseconds from one of them to the next one: each takes a little more than 3 s, if nothing disturbs it.
const FLOOD_MS: u64 = 3_500;

fn millis(rng: &mut Rng, range: std::ops::Range<u64>) -> Duration {
    Duration::from_millis(rng.u64(range))
}

/// A fault of the network, of the dashboard or of a process.
fn general(rng: &mut Rng) -> Act {
    let short = millis(rng, 200..3_000);
    match rng.u32(0..23) {
        0 => Act::Network(Network::Delay(millis(rng, 20..400)), short),
        1 => Act::Network(Network::Trickle, short),
        2 => Act::Network(Network::Blackhole, short),
        3 => Act::Network(Network::Refuse, short),
        4..=6 => Act::Cut(Cut::Reset),
        7 => Act::Cut(Cut::Close),
        8 => Act::Cut(Cut::HalfOpen),
        9 => Act::Dashboard(Dashboard::NeverPong, short),
        10 => Act::Dashboard(Dashboard::StopReading, short),
        11 => Act::Dashboard(Dashboard::NoRegistered, short),
        12 => Act::Dashboard(Dashboard::Refuse(*pick(rng, &[401, 429, 503])), short),
        13 => Act::Close(*pick(rng, &[1000, 1001, 1008, 1011])),
        14 => Act::Nonsense,
        15 => {
            if rng.bool() {
                Act::Stop
            } else {
                Act::Kill
            }
        }
        16 | 17 => Act::Agent(Hit::Kill, millis(rng, 0..1_500)),
        18 => Act::Agent(Hit::Term, millis(rng, 0..1_500)),
        19 => Act::Agent(Hit::Pause(short), Duration::ZERO),
        _ => Family::Processes.act(rng),
    }
}

fn pick<'a, T>(rng: &mut Rng, from: &'a [T]) -> &'a T {
    &from[rng.usize(0..from.len())]
}

impl Family {
    fn act(self, rng: &mut Rng) -> Act {
        let short = millis(rng, 500..3_000);
        match self {
            Self::Disk => Act::FullDisk(When::Now, short),
            // A minute, an hour, a year; forward or back.
            Self::Clock => {
                let size = *pick(rng, &[2, 60, 3_600, 86_400, 31_536_000]);
                Act::Clock(if rng.bool() { size } else { -size })
            }
            Self::Limits if rng.bool() => Act::FewFiles(rng.u64(0..4), short),
            Self::Limits => Act::FewThreads(rng.u64(0..3), short),
            Self::Damage => Act::Damage {
                target: *pick(rng, Target::ALL),
                how: *pick(rng, How::ALL),
                down: rng.u32(0..3) > 0,
            },
            Self::Processes => {
                let who = if rng.bool() { Who::Supervisor } else { Who::Command };
                let hit = match rng.u32(0..4) {
                    0 | 1 => Hit::Kill,
                    2 => Hit::Term,
                    _ => Hit::Pause(short),
                };
                Act::Signal(who, hit)
            }
        }
    }
}
