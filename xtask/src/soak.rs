//! The long form of the tests that look for growth and drift.

use std::ffi::OsString;

use super::{cargo, run as run_program};

/// How long to run. The tests read and check the numbers.
#[derive(Debug)]
pub(crate) struct Options {
    /// Heartbeats in virtual time.
    beats: String,
    /// Connections in virtual time.
    connections: String,
    /// Seconds for built agents.
    seconds: String,
}

impl Options {
    pub(crate) fn read(arguments: &[OsString]) -> Result<Self, String> {
        let mut options =
            Self { beats: "1000000".to_owned(), connections: "1000".to_owned(), seconds: "300".to_owned() };
        let mut words = arguments.iter().map(|word| word.to_string_lossy());
        while let Some(word) = words.next() {
            let option = match &*word {
                "--beats" => &mut options.beats,
                "--connections" => &mut options.connections,
                "--seconds" => &mut options.seconds,
                other => return Err(format!("soak has no option {other}")),
            };
            let value = words.next().filter(|value| value.parse::<u64>().is_ok_and(|number| number > 0));
            *option = value.ok_or_else(|| format!("{word} takes a number"))?.into_owned();
        }
        Ok(options)
    }
}

/// The dev profile takes longer, and the release profile has no checks for overflow.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    let Options { beats, connections, seconds } = options;
    eprintln!("{beats} heartbeats and {connections} connections in virtual time, and a day of timers ..");
    let mut test = cargo();
    test.args(["test", "--profile", "soak", "--locked", "-p", "nixfleet-agent", "--test", "soak"]);
    test.args(["--", "--nocapture"]).env("SOAK_BEATS", beats).env("SOAK_CONNECTIONS", connections);
    run_program(&mut test)?;
    eprintln!("Built agents for {seconds} s ..");
    let mut test = cargo();
    test.args(["test", "--locked", "-p", "nixfleet-agent", "--test", "it", "--", "--nocapture", "soak::"]);
    run_program(test.env("SOAK_SECONDS", seconds))
}
