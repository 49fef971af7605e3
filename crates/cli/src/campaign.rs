//! The same request to many hosts, in waves, and what becomes of each.

use std::cell::Cell;
use std::collections::HashMap;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use async_nats::Client;
use async_nats::connection::State;
use async_nats::jetstream;
use async_nats::jetstream::stream::Stream;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream, FuturesUnordered};
use nixfleet_fleet::names::{LOG, STATUS, beat};
use nixfleet_fleet::{AskError, BeatAt, Reply, Request, ask};
use nixfleet_protocol::AgentMessage;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};

use crate::chosen::Chosen;
use crate::exit::{Exit, Failure};
use crate::fleet_view::BUCKETS;
use crate::job::{Floor, LINES_LIMIT, Outcome, Step, Track};
use crate::log::{floor, message, newest, subjects};
use crate::order::{Order, What};
use crate::reader::{self, Entry, Made, Tail};
use crate::report::{Report, Tally};

/// Requests that are on their way at a time. A gateway waits for an agent for two seconds, and nobody for a gateway for
/// more than five: a command for 10,000 hosts takes some twenty seconds if no agent says anything.
const AT_A_TIME: usize = 1024;

/// How often a host is asked that is moving between gateways, which takes seconds.
const ATTEMPTS: usize = 4;

/// Pause between two of these attempts.
const PAUSE: Duration = Duration::from_secs(1);

/// How long a host whose gateway did not reply may take to show that it runs the command. Agents that lose their
/// connection are back within a minute, as a rule.
const UNCLEAR_LIMIT: Duration = Duration::from_secs(60);

/// Names of hosts that the progress shows: more than a wide terminal has room for.
const MOST_SHOWN: usize = 40;

/// How often progress is shown, and limits are looked at.
const TICK: Duration = Duration::from_millis(250);

/// Why a wave ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// All its hosts did.
    Complete,
    /// The person does not want to wait.
    Interrupted,
}

/// Does it, and returns the worst result.
pub(crate) async fn run(
    client: &Client,
    order: &Order,
    chosen: &Chosen,
    report: &mut Report<'_>,
) -> Result<Exit, Failure> {
    let jetstream = jetstream::new(client.clone());
    // Before anybody is asked: everything that the hosts answer is behind this entry.
    let log = reader::stream(&jetstream, LOG).await?;
    let (made, after) = (Made::of(LOG, &log), log.cached_info().state.last_sequence);
    // The ends before are known by the newest one, but for what a stop ends.
    let is_stop = !matches!(order.what, What::Run(_));
    let ends = if is_stop { Some(reader::unseen(&jetstream, STATUS).await?) } else { None };
    let beats = reader::unseen(&jetstream, BUCKETS[2].0).await?;
    let source = Source { client: client.clone(), log, ends, beats };
    let said = Tail::new(&jetstream, made, after, subjects(&chosen.hosts, order.kinds())).entries();
    // From here on, Ctrl-C does not end the program: nobody would say what was sent.
    let interrupt = signal(SignalKind::interrupt())
        .map_err(|err| Failure::new(Exit::Nats, format!("cannot handle Ctrl-C: {err}")))?;
    let mut campaign = Campaign { source, said, order, interrupt, is_away: false };
    let mut whole = Tally::default();
    let ended = campaign.waves(&chosen.hosts, &chosen.unknown, report, &mut whole).await;
    let (asked, mut exit) = match ended {
        Ok((asked, End::Complete)) => (asked, whole.exit),
        Ok((asked, End::Interrupted)) => (asked, Exit::Interrupted),
        // Nobody sees any more what happens, so no further host is asked.
        Err(failure) if failure.is_closed() => {
            report.screen.note("the reader of the output has gone; commands that were sent run on");
            return Ok(Exit::Interrupted);
        }
        Err(failure) => {
            report.screen.note("the output cannot be written; commands that were sent run on");
            return Err(failure);
        }
    };
    let open = (asked + chosen.unknown.len()).saturating_sub(whole.hosts());
    if exit == Exit::Interrupted {
        report.screen.note(&format!(
            "no longer waiting; {open} of the commands that were sent may run on: `nixfleet hosts --running` and \
             `nixfleet logs HOST -f` show them, `nixfleet stop HOST` ends one"
        ));
    }
    for pattern in &chosen.empty {
        report.screen.note(&format!("no host is called {pattern}"));
        exit = exit.worst(Exit::NotDone);
    }
    match report.summary(whole, open, chosen.hosts.get(asked..).unwrap_or_default(), exit) {
        // The reader may have seen enough; the result is what it is.
        Err(failure) if !failure.is_closed() => Err(failure),
        _ => Ok(exit),
    }
}

/// Where a host is asked, and what is known of it is read.
#[derive(Clone)]
struct Source {
    client: Client,
    log: Stream,
    /// The ends that are kept longer, where they are needed.
    ends: Option<Stream<()>>,
    beats: Stream<()>,
}

struct Campaign<'a> {
    source: Source,
    /// What hosts say.
    said: BoxStream<'static, Entry>,
    order: &'a Order,
    /// Ctrl-C.
    interrupt: Signal,
    /// The person knows that NATS is away.
    is_away: bool,
}

/// A host that was asked.
struct Live {
    track: Track,
    /// When its gateway replied.
    since: Option<Instant>,
    /// When its status came.
    ending: Option<Instant>,
}

/// The hosts that are asked together.
struct Wave {
    number: usize,
    of: usize,
    hosts: HashMap<String, Live>,
    /// How many of them were asked, in their order: more than [`AT_A_TIME`] wait for their turn.
    asked: Rc<Cell<usize>>,
    tally: Tally,
}

/// The reply to a request, and what was known of the host before.
struct Answer {
    host: String,
    floor: Floor,
    reply: Result<Reply, AskError>,
}

impl Campaign<'_> {
    /// All waves, or those up to the one that did not go well. Returns how many hosts were asked.
    async fn waves(
        &mut self,
        hosts: &[String],
        unknown: &[String],
        report: &mut Report<'_>,
        whole: &mut Tally,
    ) -> Result<(usize, End), Failure> {
        let waves = &self.order.waves;
        report.plan(self.order.name(), waves.iter().map(ExactSizeIterator::len).collect())?;
        for host in unknown {
            report.ended(host, &Outcome::Unknown)?;
            whole.add(&Outcome::Unknown);
        }
        let mut asked = 0;
        for (at, range) in waves.iter().enumerate() {
            if at > 0 && self.pause(at + 1, report).await == End::Interrupted {
                return Ok((asked, End::Interrupted));
            }
            let members = hosts.get(range.clone()).unwrap_or_default();
            let mut wave = Wave {
                number: at + 1,
                of: waves.len(),
                hosts: HashMap::new(),
                asked: Rc::default(),
                tally: Tally::default(),
            };
            report.wave(wave.number, wave.of, members)?;
            let end = self.wave(&mut wave, members, report, whole).await?;
            asked = range.start + wave.asked.get();
            if end == End::Interrupted {
                return Ok((asked, end));
            }
            report.wave_ended(wave.number, wave.of, wave.tally)?;
            if self.order.stop_on_failure && wave.tally.exit != Exit::Good {
                break;
            }
        }
        Ok((asked, End::Complete))
    }

    async fn pause(&mut self, number: usize, report: &mut Report<'_>) -> End {
        let until = Instant::now() + self.order.pause;
        if self.order.pause.is_zero() {
            return End::Complete;
        }
        loop {
            let now = Instant::now();
            if now >= until {
                report.screen.clear();
                return End::Complete;
            }
            report.screen.progress(&format!("wave {number} begins in {} s", (until - now).as_secs() + 1));
            tokio::select! {
                () = sleep_until(until.min(now + PAUSE)) => {}
                _ = self.interrupt.recv() => return End::Interrupted,
            }
        }
    }

    async fn wave(
        &mut self,
        wave: &mut Wave,
        members: &[String],
        report: &mut Report<'_>,
        whole: &mut Tally,
    ) -> Result<End, Failure> {
        let mut orders = Vec::new();
        for host in members {
            let (request, asked) = self.order.request();
            wave.hosts.insert(host.clone(), Live { track: Track::new(asked), since: None, ending: None });
            orders.push((host.clone(), request));
        }
        let source = self.source.clone();
        let begun = Rc::clone(&wave.asked);
        let one = |(host, request): (String, Request)| {
            begun.set(begun.get() + 1);
            ask_patiently(&source, host, request)
        };
        let mut answers = pin!(stream::iter(orders).map(one).buffer_unordered(AT_A_TIME));
        let mut checks = FuturesUnordered::new();
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        while wave.tally.hosts() < members.len() {
            tokio::select! {
                Some(answer) = answers.next() => {
                    let Some(live) = wave.hosts.get_mut(&answer.host) else { continue };
                    live.since = Some(Instant::now());
                    let mut steps = live.track.replied(answer.floor, answer.reply);
                    if !self.order.wait && !live.track.is_over() {
                        let outcome = live.track.not_waited();
                        steps.extend(live.track.give_up(outcome));
                    } else if live.track.unclear().is_some() {
                        let after = UNCLEAR_LIMIT.min(self.order.timeout / 2);
                        checks.push(look_later(&source.log, answer.host.clone(), after));
                    }
                    if live.track.dropped > 0 {
                        let (host, dropped) = (&answer.host, live.track.dropped);
                        report.screen.note(&format!(
                            "{host} said too much before its gateway replied: {dropped} messages were skipped; see \
                             `nixfleet logs {host}`"
                        ));
                    }
                    take(wave, &answer.host, steps, report, whole)?;
                }
                Some(entry) = self.said.next(), if self.order.wait => {
                    let Some(live) = wave.hosts.get_mut(&entry.host) else { continue };
                    let Some(message) = message(&entry) else { continue };
                    let steps = live.track.said(entry.sequence, message);
                    take(wave, &entry.host, steps, report, whole)?;
                }
                Some((host, line)) = checks.next() => {
                    let Some(live) = wave.hosts.get_mut(&host) else { continue };
                    // Where lines are wanted they are read, and this one would be out of turn.
                    let mut steps = match line.filter(|_| !self.order.lines) {
                        Some((sequence, message)) => live.track.said(sequence, message),
                        None => vec![],
                    };
                    if let Some(why) = live.track.unclear().map(str::to_owned) {
                        steps.extend(live.track.give_up(Outcome::Unclear(why)));
                    }
                    take(wave, &host, steps, report, whole)?;
                }
                _ = tick.tick() => {
                    for (host, steps) in overdue(wave, self.order.timeout) {
                        take(wave, &host, steps, report, whole)?;
                    }
                    self.look(report);
                    report.screen.progress(&progress(wave, members.len()));
                }
                _ = self.interrupt.recv() => return Ok(End::Interrupted),
            }
        }
        report.screen.clear();
        Ok(End::Complete)
    }

    /// Tells when NATS goes and comes: nothing is heard of the hosts meanwhile.
    fn look(&mut self, report: &mut Report<'_>) {
        let is_away = self.source.client.connection_state() != State::Connected;
        if is_away != self.is_away {
            self.is_away = is_away;
            report.screen.note(if is_away {
                "the connection to NATS is lost, and is tried again; commands that were sent run on"
            } else {
                "connected to NATS again"
            });
        }
    }
}

/// Says what happened, and counts who has ended.
fn take(
    wave: &mut Wave,
    host: &str,
    steps: Vec<Step>,
    report: &mut Report<'_>,
    whole: &mut Tally,
) -> Result<(), Failure> {
    // Its status may have come by any way: as an entry, with the reply that it waited for, or by a look.
    if let Some(live) = wave.hosts.get_mut(host).filter(|live| live.track.is_ending()) {
        live.ending.get_or_insert_with(Instant::now);
    }
    for step in steps {
        match step {
            Step::Accepted { evidence } => report.accepted(host, &evidence)?,
            Step::Line { job, line } => report.line(host, job.as_deref(), &line)?,
            Step::Ended(outcome) => {
                wave.tally.add(&outcome);
                whole.add(&outcome);
                report.ended(host, &outcome)?;
            }
        }
    }
    Ok(())
}

/// The hosts for which nobody waits any longer.
fn overdue(wave: &mut Wave, timeout: Duration) -> Vec<(String, Vec<Step>)> {
    let mut over = Vec::new();
    for (host, live) in wave.hosts.iter_mut().filter(|(_, live)| !live.track.is_over()) {
        let Some(since) = live.since else { continue };
        if since.elapsed() >= timeout || live.ending.is_some_and(|ending| ending.elapsed() >= LINES_LIMIT) {
            let late = live.track.late();
            over.push((host.clone(), live.track.give_up(late)));
        }
    }
    over.sort_by(|one, other| one.0.cmp(&other.0));
    over
}

fn progress(wave: &Wave, hosts: usize) -> String {
    let which = if wave.of < 2 { String::new() } else { format!("wave {} of {}: ", wave.number, wave.of) };
    let ended = wave.tally.hosts();
    let how = if ended == 0 { String::new() } else { format!(" ({})", wave.tally.text()) };
    let mut open: Vec<&str> =
        wave.hosts.iter().filter(|(_, live)| !live.track.is_over()).map(|(host, _)| host.as_str()).collect();
    open.sort_unstable();
    open.truncate(MOST_SHOWN);
    format!("{which}{ended} of {hosts} ended{how}, waiting for {}", open.join(", "))
}

/// Asks a host; one that moves between gateways more than once.
async fn ask_patiently(source: &Source, host: String, request: Request) -> Answer {
    let mut attempt = 1;
    loop {
        // Without an answer less is known, and jobs that ran before are told by their order in the stream.
        let floor = floor(&source.log, source.ends.as_ref(), &host).await.unwrap_or_default();
        let reply = ask(&source.client, &host, &request).await;
        let again = match &reply {
            Ok(Reply::Refused { .. }) | Err(AskError::Away(_)) => true,
            Err(AskError::Offline(_)) => is_alive(&source.beats, &host).await,
            _ => false,
        };
        if !again || attempt == ATTEMPTS {
            return Answer { host, floor, reply };
        }
        attempt += 1;
        sleep(PAUSE).await;
    }
}

/// Whether a host gives signs of life now: it may be on its way to another gateway.
async fn is_alive(beats: &Stream<()>, host: &str) -> bool {
    // The marker of a heartbeat that has expired is none.
    let newest = beats.direct_get_last_for_subject(beat(host)).await;
    newest.is_ok_and(|entry| BeatAt::read(Some(&entry.headers)).is_some())
}

/// What a host has written to the log after this time, for one whose gateway did not say whether it has the command.
async fn look_later(log: &Stream, host: String, after: Duration) -> (String, Option<(u64, AgentMessage)>) {
    sleep(after).await;
    let line = newest(log, &host, "output").await.ok().flatten();
    (host, line)
}
