//! Pre-warm signals.

use nixfleet_protocol::{AgentMessage, Prewarm};
use nixfleet_vitals::prewarm::Notice;

use super::Session;
use crate::wire;

impl Session<'_> {
    /// Sends the newest pre-warm signal, if there ever was one. Also sent after each registration, because
    /// the previous connection may have broken before the dashboard read it. A repeat has the same
    /// timestamp.
    pub(super) fn send_prewarm(&mut self) {
        let notice = self.agent.snapshots.prewarm.borrow_and_update().clone();
        if let Some(Notice { signal, at }) = notice {
            self.send(AgentMessage::Prewarm(Prewarm {
                device_id: self.agent.host.hostname.clone(),
                timestamp: at,
                gpu_usage: wire::vitals::share(signal.load.usage),
                gpu_temp: wire::vitals::figure(signal.load.temperature),
                reason: signal.reason,
                phase: signal.phase.as_str().to_owned(),
            }));
        }
    }
}
