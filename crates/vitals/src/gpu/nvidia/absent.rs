//! Replaces NVML in builds without it.

use std::path::PathBuf;

use super::{Answer, Failure, Selection, Status};

pub(super) struct Library;

impl Library {
    pub(super) fn new(_paths: Vec<PathBuf>) -> Self {
        Self
    }

    #[expect(clippy::unused_self)]
    pub(super) fn read(&mut self, _selection: &Selection) -> Answer {
        let detail = "this agent was built without it".to_owned();
        Err(Failure { status: Status::NoLibrary, detail })
    }

    pub(super) fn close(&mut self) {}
}
