//! Passes events to the judge of the strict mode. Without the strict mode, nothing is done.

use nixfleet_sessions::Outgoing;

use super::Hub;
use crate::moment::Moment;
use crate::strict::{Ruling, Verdict};

impl Hub {
    /// Checks a text frame, before it is handled.
    pub(crate) fn judge(&mut self, moment: Moment, session: u64, id: Option<&str>, text: &str) -> Ruling {
        let Some(judge) = &mut self.judge else { return Ruling::Take };
        let before = judge.count();
        let ruling = judge.received(moment, session, id, text);
        if let Some(id) = id.filter(|_| judge.count() > before) {
            self.publish_host(id);
        }
        ruling
    }

    /// `registered` was sent on this socket.
    pub(crate) fn answered(&mut self, id: &str, session: u64) {
        if let Some(judge) = &mut self.judge {
            judge.answered(id, session);
        }
    }

    /// A message was too long, so the socket is closed.
    pub(crate) fn oversized(&mut self, moment: Moment, id: Option<&str>, why: &str) {
        if let Some(judge) = &mut self.judge {
            judge.oversized(moment, id, why);
        }
    }

    /// The violations found so far.
    pub(crate) fn findings(&mut self, moment: Moment) -> Verdict {
        self.judge.as_mut().map(|judge| judge.verdict(moment)).unwrap_or_default()
    }
}

/// The text frames among the frames to send.
pub(super) fn texts(outgoing: &Outgoing) -> Vec<String> {
    let frames = match outgoing {
        Outgoing::Frame(frame) => std::slice::from_ref(frame),
        Outgoing::Frames(frames) => frames,
        Outgoing::Close { .. } | Outgoing::EmptyClose | Outgoing::Pong(_) => return Vec::new(),
    };
    frames.iter().filter_map(|frame| frame.to_text().ok().map(str::to_owned)).collect()
}
