//! The rules about the generation of one host, which `register`, `heartbeat` and `status` tell.
//!
//! Existing dashboards keep the newest one, whatever message it came in, and compare it with the newest commit
//! of the repository. So all messages have to mean the same commit by it.

use serde_json::Value;

use super::Rule;
use super::shape::text;
use super::violations::Breach;

/// The generations that a host has told.
#[derive(Debug, Default)]
pub(super) struct Generations {
    /// The newest one that is not empty, and how many messages in a row told it.
    newest: Option<(String, u32)>,
    /// The one before it.
    previous: Option<String>,
    /// That of the newest status, until a heartbeat follows.
    of_status: Option<String>,
}

impl Generations {
    /// A message that may tell the generation.
    pub(super) fn told(&mut self, kind: &str, payload: &Value) -> Option<Breach> {
        let Some(told) = text(payload, "generation") else {
            return if kind == "status" { None } else { self.forgotten(payload) };
        };
        let of_status = self.of_status.take_if(|_| kind == "heartbeat");
        if kind == "status" {
            self.of_status = Some(told.to_owned());
        }
        let taken_back = self.count(told);
        let contradicted = of_status
            .filter(|status| status != told)
            .map(|status| format!("the status told {status}, and the heartbeat that belongs to it {told}"));
        contradicted.or(taken_back).map(|why| (Rule::Generation, why))
    }

    /// Returns what is wrong if one message alone told another value in between.
    fn count(&mut self, told: &str) -> Option<String> {
        match &mut self.newest {
            Some((newest, times)) if newest == told => {
                *times += 1;
                None
            }
            newest => {
                let (before, times) = newest.replace((told.to_owned(), 1)).unzip();
                let back = times == Some(1) && self.previous.as_deref() == Some(told);
                self.previous = before;
                let between = self.previous.as_deref().filter(|_| back)?;
                Some(format!("`generation` was {told}, then {between} in one message, and is {told} again"))
            }
        }
    }

    fn forgotten(&mut self, payload: &Value) -> Option<Breach> {
        // A missing field violates another rule.
        payload.get("generation")?;
        let (known, _) = self.newest.take()?;
        Some((Rule::Forgotten, format!("`generation` was {known}")))
    }
}
