use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use nixfleet_os::unit_states::UnitState;

use super::*;
use crate::journal::Source;
use crate::lines::Piece;
use crate::supervisor::child::End;
use crate::supervisor::failure_reason::FailureReason;
use crate::supervisor::plan::tests::host;
use crate::supervisor::stop::Reason;
use crate::supervisor::switch_lines::SwitchLines;
use crate::system_state::{SystemChange, SystemState};

mod page;
mod second_look;
mod table;
mod words;

/// Two systems of one host.
const OLD: &str = "/nix/store/0rjzdwp4s8l3c1n9yv7k2m5q6g8h1a2b-nixos-system-web-1-26.05.20260710.7beb50e";
const NEW: &str = "/nix/store/k3m8v1x5c2d6n9q4w7z0a8s3f6h1j5l2-nixos-system-web-1-26.05.20260714.1c2d3e4";

/// What a command met on a host.
struct Scene {
    /// The situation, for people.
    what: &'static str,
    command: &'static str,
    /// All that the rebuild wrote.
    text: String,
    code: Result<i32, i32>,
    stopped: Option<Reason>,
    /// The running system and the profile, before and after.
    before: (Option<&'static str>, Option<&'static str>),
    after: (Option<&'static str>, Option<&'static str>),
    /// What the boot loader starts next, afterwards.
    boots: Option<&'static str>,
    /// Failed units before and after; none if systemd did not say.
    failed: (Option<Vec<&'static str>>, Option<Vec<&'static str>>),
    states: Vec<(&'static str, &'static str, &'static str)>,
    unknown: Option<&'static str>,
    in_rebuild: bool,
    outcome: Outcome,
}

impl Scene {
    /// A switch that set the profile and activated nothing.
    fn new(what: &'static str, text: &str) -> Self {
        Self {
            what,
            command: "switch",
            text: text.to_owned(),
            code: Ok(1),
            stopped: None,
            before: (Some(OLD), Some(OLD)),
            after: (Some(OLD), Some(NEW)),
            boots: None,
            failed: (Some(vec![]), Some(vec![])),
            states: vec![],
            unknown: None,
            in_rebuild: true,
            outcome: Outcome::Failed,
        }
    }

    fn activated(self) -> Self {
        Self { after: (Some(NEW), Some(NEW)), ..self }
    }

    /// With the profile left alone.
    fn untouched(self) -> Self {
        Self { after: (Some(OLD), Some(OLD)), ..self }
    }

    fn exit(self, code: i32) -> Self {
        Self { code: Ok(code), ..self }
    }

    fn failed(self, before: &[&'static str], after: &[&'static str]) -> Self {
        Self { failed: (Some(before.to_vec()), Some(after.to_vec())), ..self }
    }

    /// A state of a unit: `ActiveState`, `Result`.
    fn state(mut self, unit: &'static str, active: &'static str, result: &'static str) -> Self {
        self.states.push((unit, active, result));
        self
    }

    fn is(self, outcome: Outcome) -> Self {
        Self { outcome, ..self }
    }

    /// Judges it.
    fn judged(&self) -> JobResult {
        let settings = host(&[|settings| settings.repo.dir = Some("/srv/fleet".into())]);
        let (mut lines, mut reason) = (SwitchLines::default(), FailureReason::default());
        for line in self.text.lines() {
            lines.read(Source::Stderr, &Piece { text: Cow::Borrowed(line), cont: false });
            reason.add_line(line);
        }
        let why = FailureReason::best(reason, FailureReason::default());
        let name = if self.in_rebuild { "switch" } else { "fetch" };
        let step = serde_json::from_str(&format!(r#"{{"name": "{name}", "argv": ["a"]}}"#)).unwrap();
        let end = End { code: self.code, stopped: self.stopped, stopped_after: None, why };
        let done = match self.code {
            Ok(0) if self.stopped.is_none() => crate::supervisor::done::Done::default(),
            _ => end.into_done(self.command, &step, Duration::from_secs(10)),
        };
        let state =
            |(running, profile): (Option<&str>, Option<&str>), failed: &Option<Vec<&str>>| SystemState {
                running: running.map(PathBuf::from),
                profile: profile.map(PathBuf::from),
                boots: None,
                failed_units: failed
                    .as_ref()
                    .map(|units| units.iter().map(|&unit| unit.to_owned()).collect()),
            };
        let before = state(self.before, &self.failed.0);
        let after = SystemState { boots: self.boots.map(PathBuf::from), ..state(self.after, &self.failed.1) };
        let states: BTreeMap<String, UnitState> = self
            .states
            .iter()
            .map(|&(unit, active, result)| {
                let (active, result) = (active.to_owned(), result.to_owned());
                (unit.to_owned(), UnitState { load: "loaded".to_owned(), active, result })
            })
            .collect();
        let units =
            units::sort(&lines, before.failed_units.as_deref(), after.failed_units.as_deref(), &states, true);
        let change = rebuilds(self.command)
            .then(|| Box::new(SystemChange { before, after, ..SystemChange::default() }));
        let watch = Watch {
            change,
            units,
            unknown: self.unknown.map(str::to_owned),
            lines,
            why: done.why,
            in_rebuild: self.in_rebuild,
            ..Watch::default()
        };
        let mut result = JobResult {
            exit_code: done.exit_code,
            signal: done.signal,
            commit: Some("1c2d3e4f5a6b7c8d9e0f1a2b3c4d5e6f7a8b9c0d".to_owned()),
            ..JobResult::without_supervisor(done.outcome, done.message, 0)
        };
        judge(&settings, self.command, &mut result, watch, None);
        result
    }
}

#[test]
fn each_scene_has_its_outcome_and_a_message_that_says_what_to_do() {
    for scene in table::scenes() {
        let result = scene.judged();
        assert_eq!(result.outcome, scene.outcome, "{}: {}", scene.what, result.message);
        assert!(result.message.chars().count() < 900, "{}: {}", scene.what, result.message);
        // The exit code stays that of the program, and no failure has that of a success.
        if let (Ok(code), None) = (scene.code, scene.stopped) {
            let expected = if code == 0 && result.outcome != Outcome::Ok { 1 } else { code };
            assert_eq!(result.exit_code, expected, "{}", scene.what);
        }
    }
}
