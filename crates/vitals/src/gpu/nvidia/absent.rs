//! Stands for NVML in builds without it.

use std::path::PathBuf;

use super::{Answer, Status, Trouble, Whom};

pub(super) struct Library;

impl Library {
    pub(super) fn new(_paths: Vec<PathBuf>) -> Self {
        Self
    }

    #[expect(clippy::unused_self)]
    pub(super) fn look(&mut self, _whom: &Whom) -> Answer {
        let detail = "this agent was built without it".to_owned();
        Err(Trouble { status: Status::NoLibrary, detail })
    }

    pub(super) fn close(&mut self) {}
}
