//! `nixfleet run`

use async_nats::{Client, jetstream};

use crate::args::Run;
use crate::campaign;
use crate::chosen::{choose, confirm, names, patterns};
use crate::exit::{Exit, Failure};
use crate::fleet_view::Fleet;
use crate::order::{Order, What};
use crate::plan::waves;
use crate::report::Report;
use crate::terminal::{Screen, said};

/// Commands that change nothing on a host.
const HARMLESS: [&str; 5] = ["check-version", "refresh-git", "refresh-lock", "refresh-system", "refresh-all"];

/// Longest name of a command.
const LONGEST: usize = 32;

pub(crate) async fn run(client: &Client, options: &Run, screen: &mut Screen) -> Result<Exit, Failure> {
    let command = &options.command;
    check(command)?;
    let patterns = patterns(&options.which)?;
    let fleet = Fleet::read(&jetstream::new(client.clone()), names(&patterns).as_deref()).await?;
    let online = options.which.online;
    let chosen = choose(&patterns, &fleet, |host| !online || host.standing().online);
    if !HARMLESS.contains(&command.as_str()) {
        confirm(&format!("run {command}"), &chosen, &options.which)?;
    }
    let order = Order {
        what: What::Run(command.clone()),
        lines: options.follow,
        wait: !options.no_wait,
        timeout: options.timeout,
        waves: waves(chosen.hosts.len(), options.waves.canary, &options.waves.then),
        stop_on_failure: options.waves.stop_on_failure,
        pause: options.waves.pause,
    };
    let mut report = Report::new(screen, options.json, order.wait, &chosen.hosts);
    campaign::run(client, &order, &chosen, &mut report).await
}

/// Whether this can be the name of a command, as docs/protocol.md has them.
fn check(command: &str) -> Result<(), Failure> {
    if ["stop", "kill"].contains(&command) {
        let option = if command == "kill" { " --kill" } else { "" };
        return Err(Failure::usage(format!("to end what runs, use `nixfleet stop{option} HOST`")));
    }
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if (1..=LONGEST).contains(&command.len()) && !command.starts_with('-') && command.bytes().all(plain) {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "`{}` is no command: those have 1 to {LONGEST} lower-case letters, digits and hyphens; name the command first, \
         then the hosts",
        said(command)
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_commands_are_checked() {
        for command in ["switch", "check-version", "backup2"] {
            check(command).unwrap();
        }
        for command in ["", "-x", "web_1", "Switch", "web-*", &"x".repeat(33)] {
            assert_eq!(check(command).unwrap_err().exit, Exit::Usage, "{command}");
        }
        assert!(check("kill").unwrap_err().message.unwrap().contains("nixfleet stop --kill"));
    }
}
