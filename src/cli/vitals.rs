//! `nixfleet-agent vitals`: the vitals of this machine without a dashboard, once as a table or continuously as
//! lines.
//!
//! ```text
//! conf.rs     parses /etc/heartbeat.conf
//! format.rs   a line in each format, and the fields for the journal
//! table.rs    the table for people
//! pace.rs     when the next line is due
//! outlet.rs   writes lines to standard output, and entries to the journal's socket
//! ```

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::ValueHint;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use nixfleet_config::{Host, Source};
use nixfleet_vitals::device::{self, Meters};

use super::{Failure, listen_for_signals, usage};
use crate::cli::zone::Zone;
use crate::observe::{systemd, telemetry};
use crate::wire;
use conf::Conf;
use format::Format;
use outlet::{JOURNAL, Journal, Lines};
use pace::Pace;

mod conf;
mod format;
mod outlet;
mod pace;
mod table;

/// What is made of the text of a `heartbeat.conf`: the seconds between two lines, or one line for each problem. For
/// `crates/fuzz`.
///
/// # Errors
/// The text has lines that are not understood.
#[cfg(feature = "fuzzing")]
pub fn heartbeat_conf(text: &str) -> Result<Option<u64>, Vec<String>> {
    match conf::parse(text) {
        Ok(conf) => Ok(conf.interval.map(|interval| interval.as_secs())),
        Err(problems) => Err(problems.iter().map(ToString::to_string).collect()),
    }
}

/// Default time between two lines.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(30);

/// Options of `vitals`.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Print a line at a fixed pace until told to end; SIGHUP reads the file again
    #[arg(long, short)]
    follow: bool,
    /// Format of a line; without --follow a table is the default, with it json or the file's FORMAT
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// Short for --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// The time of the table in UTC instead of the host's time zone
    #[arg(long, conflicts_with = "follow")]
    utc: bool,
    /// Seconds between two lines, instead of the file's INTERVAL; 30 without either
    #[arg(long, value_name = "SECONDS", value_hint = ValueHint::Other, requires = "follow")]
    #[arg(value_parser = seconds())]
    interval: Option<u64>,
    /// File with INTERVAL= and FORMAT=; without it /etc/heartbeat.conf is read if it exists
    #[arg(long, value_name = "FILE", requires = "follow")]
    file: Option<PathBuf>,
}

fn seconds() -> clap::builder::RangedU64ValueParser {
    clap::builder::RangedU64ValueParser::new().range(conf::INTERVAL)
}

impl Options {
    fn format(&self) -> Option<Format> {
        self.format.or(self.json.then_some(Format::Json))
    }
}

/// Settings that SIGHUP reads again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Settings {
    interval: Duration,
    format: Format,
}

impl Settings {
    /// Reads the file. Options of the command line take precedence.
    ///
    /// # Errors
    /// One line for each problem.
    fn read(options: &Options) -> Result<Self, String> {
        let Conf { interval, format } = conf::read(options.file.as_deref())?;
        Ok(Self {
            interval: options.interval.map(Duration::from_secs).or(interval).unwrap_or(DEFAULT_INTERVAL),
            format: options.format().or(format).unwrap_or(Format::Json),
        })
    }
}

/// Runs `vitals`.
pub(super) fn run(source: &Source, options: &Options) -> Result<(), Failure> {
    let host = Host::for_meters(source).map_err(|err| usage(&err))?;
    if !options.follow {
        return once(&host, options);
    }
    let settings = Settings::read(options).map_err(|problems| usage(&problems))?;
    let log = telemetry::start(&host.log_level).map_err(|err| usage(&err))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|err| Failure::Start(format!("cannot start the runtime: {err}")))?;
    let result = runtime.block_on(follow(&host, options, settings));
    runtime.shutdown_background();
    drop(log);
    result
}

fn once(host: &Host, options: &Options) -> Result<(), Failure> {
    let vitals = wire::vitals::message(device::collect(&host.vitals_settings(), &host.hostname));
    let text = match options.format() {
        None => table::table(&vitals, &Zone::new(options.utc)),
        Some(Format::Journal) => {
            let sent = Journal::at(JOURNAL).send(&format::datagram(&vitals));
            return sent
                .map_err(|err| Failure::Start(format!("cannot send to the journal at {JOURNAL}: {err}")));
        }
        Some(format) => format::line(format, &vitals, SystemTime::now()) + "\n",
    };
    let mut out = io::stdout();
    outlet::quiet(out.write_all(text.as_bytes()).and_then(|()| out.flush())).map_err(|err| cannot_write(&err))
}

fn cannot_write(err: &io::Error) -> Failure {
    Failure::Start(format!("cannot write to standard output: {err}"))
}

async fn follow(host: &Host, options: &Options, mut settings: Settings) -> Result<(), Failure> {
    let no_signals = |err| Failure::Start(format!("cannot listen for signals: {err}"));
    let mut shutdown = listen_for_signals()?;
    let mut hangup = signal(SignalKind::hangup()).map_err(no_signals)?;
    let no_thread = |err| Failure::Start(format!("cannot start a thread: {err}"));
    let mut lines = Lines::start(io::stdout()).map_err(no_thread)?;
    let mut journal = Journal::at(JOURNAL);
    let mut gauge = Gauge::start(host, settings.interval);
    tokio::select! {
        () = gauge.warm_up() => {}
        _ = shutdown.wait_for(|asked| *asked) => return Ok(()),
    }
    systemd::ready();
    let mut pace = Pace::new(Instant::now(), settings.interval);
    loop {
        tokio::select! {
            _ = shutdown.wait_for(|asked| *asked) => break,
            ended = lines.ended() => return ended.map_err(|err| cannot_write(&err)),
            Some(()) = hangup.recv() => {
                // On a terminal, SIGHUP means that the terminal was closed.
                if io::stdout().is_terminal() {
                    break;
                }
                let old = settings;
                settings = reload(options, old);
                if settings.interval != old.interval {
                    pace.change(settings.interval);
                    gauge.change(host, settings.interval);
                }
            }
            () = tokio::time::sleep_until(pace.next()) => {
                let now = SystemTime::now();
                let vitals = wire::vitals::message(gauge.meters().read(&host.hostname, now));
                match settings.format {
                    Format::Journal => journal.put(&format::datagram(&vitals)),
                    format => lines.put(format::line(format, &vitals, now)),
                }
                pace.printed(Instant::now());
                gauge.meters().expect(pace.next().into());
            }
        }
    }
    systemd::stopping();
    lines.finish().await;
    Ok(())
}

/// Reads the settings again; keeps the old ones if the new ones are wrong.
fn reload(options: &Options, old: Settings) -> Settings {
    systemd::reloading();
    let settings = match Settings::read(options) {
        Ok(settings) => {
            let (interval, format) = (settings.interval.as_secs(), settings.format);
            tracing::info!(interval, format = format.name(), "Read the settings again.");
            settings
        }
        Err(problems) => {
            for problem in problems.lines() {
                tracing::error!("{problem}. The settings stay as they were.");
            }
            old
        }
    };
    systemd::ready();
    settings
}

/// The meters in use, and those that replace them once they have first values.
struct Gauge {
    meters: Meters,
    next: Option<(Meters, Instant)>,
}

impl Gauge {
    fn start(host: &Host, interval: Duration) -> Self {
        Self { meters: Meters::start(&host.vitals_settings(), interval), next: None }
    }

    /// Waits until the first values are there, at most [`device::MAX_WAIT`]: a disk may hang for ever.
    async fn warm_up(&self) {
        let until = Instant::now() + device::MAX_WAIT;
        while !self.meters.are_warm(SystemTime::now()) && Instant::now() < until {
            tokio::time::sleep(device::POLL_INTERVAL).await;
        }
    }

    /// Starts meters for another interval. The old ones stay in use until the new ones are warm: processor load
    /// is the difference of two samples, and the line after a reload should have a value for it.
    fn change(&mut self, host: &Host, interval: Duration) {
        self.next = Some((Meters::start(&host.vitals_settings(), interval), Instant::now()));
    }

    fn meters(&mut self) -> &Meters {
        let warm = |(meters, since): &mut (Meters, Instant)| {
            meters.are_warm(SystemTime::now()) || since.elapsed() >= device::MAX_WAIT
        };
        if let Some((meters, _)) = self.next.take_if(warm) {
            self.meters = meters;
        }
        &self.meters
    }
}
