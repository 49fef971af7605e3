//! A connection that ends because what proves who this host is was replaced.

use tokio::time::Instant;

use super::{Leave, Session};
use crate::link::rotation::Verdict;

impl Session<'_> {
    /// There is another look at what proves who this is.
    pub(super) fn credentials_looked_at(&mut self, now: Instant) {
        if self.agent.rotation.verdict() == Verdict::Renew {
            self.leave(now, "renewed", Leave::Renew);
        }
    }
}
