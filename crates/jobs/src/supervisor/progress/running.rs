//! `state.json` while a program runs: the program, its step, and since when it is in its phase.

use crate::journal::Writer;
use crate::spec::State;
use crate::supervisor::folder::store_state;

/// The content of `state.json`. A new program and a new phase write it.
#[derive(Debug, Default)]
pub(super) struct Running(Option<State>);

impl Running {
    /// A program runs for a step; or none, while a step waits for its next attempt.
    pub(super) fn begins(
        &mut self,
        child_pid: Option<u32>,
        step: usize,
        step_name: &str,
        phase: Option<&str>,
        log: &mut Writer,
    ) {
        let same = |state: &&State| state.step == step && state.step_name == step_name;
        // Another attempt at the same step does not begin it anew.
        let since = self.0.as_ref().filter(same).and_then(|state| state.phase_since.clone());
        self.0 = Some(State {
            supervisor_pid: log.processes().own_pid(),
            child_pid,
            step,
            step_name: step_name.to_owned(),
            phase: phase.map(str::to_owned),
            phase_since: Some(since.unwrap_or_else(|| log.clock().timestamp())),
        });
        self.store(log);
    }

    /// The program is in this phase.
    pub(super) fn phase(&mut self, phase: &str, log: &mut Writer) {
        let Some(state) = &mut self.0 else { return };
        if state.phase.as_deref() != Some(phase) {
            state.phase = Some(phase.to_owned());
            state.phase_since = Some(log.clock().timestamp());
            self.store(log);
        }
    }

    fn store(&self, log: &mut Writer) {
        let Some(state) = &self.0 else { return };
        if let Err(err) = store_state(log.dir(), state) {
            let path = log.dir().state();
            log.remark(&format!("cannot write {}: {err}", path.display()));
        }
    }
}
