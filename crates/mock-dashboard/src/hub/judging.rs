//! Where the hub asks the judge of the strict mode. Without one, all of this does nothing.

use crate::host::Outgoing;
use crate::strict::{Ruling, Verdict};

use super::{Hub, Moment};

impl Hub {
    /// What the strict mode makes of a text frame, before anything else is done with it.
    pub(crate) fn judge(&mut self, moment: Moment, session: u64, id: Option<&str>, text: &str) -> Ruling {
        let Some(judge) = &mut self.judge else { return Ruling::Take };
        let before = judge.count();
        let ruling = judge.heard(moment, session, id, text);
        if let Some(id) = id.filter(|_| judge.count() > before) {
            self.tell_host(id);
        }
        ruling
    }

    /// `registered` went out on this socket.
    pub(crate) fn answered(&mut self, id: &str, session: u64) {
        if let Some(judge) = &mut self.judge {
            judge.answered(id, session);
        }
    }

    /// A message was so long that the socket is closed.
    pub(crate) fn oversized(&mut self, moment: Moment, id: Option<&str>, why: &str) {
        if let Some(judge) = &mut self.judge {
            judge.oversized(moment, id, why);
        }
    }

    /// What the strict mode has found.
    pub(crate) fn findings(&mut self, moment: Moment) -> Verdict {
        self.judge.as_mut().map(|judge| judge.verdict(moment)).unwrap_or_default()
    }
}

/// The text frames among what goes out.
pub(super) fn texts(outgoing: &Outgoing) -> Vec<String> {
    let Outgoing::Frames(frames) = outgoing else { return Vec::new() };
    frames.iter().filter_map(|frame| frame.to_text().ok().map(str::to_owned)).collect()
}
