//! What the dashboard requests from its agents, and its own state.

use serde::{Deserialize, Serialize};

use nixfleet_protocol::{CAPABILITY_OUTPUT_BATCH, Registered, ServerStatus};

/// Sent in `registered` and in each acknowledgement. A change is sent to all agents at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Acknowledge every heartbeat.
    pub ack: bool,
    /// Seconds between heartbeats; null means that agents use their own setting.
    pub heartbeat_interval: Option<u64>,
    /// Seconds over which agents spread their return; null means that the dashboard names no window.
    pub reconnect_window_s: Option<u64>,
    /// State of the dashboard.
    pub server_status: ServerStatus,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            ack: true,
            heartbeat_interval: None,
            reconnect_window_s: None,
            server_status: ServerStatus::default(),
        }
    }
}

impl Policy {
    /// The answer to a registration. A legacy dashboard sends nothing but the host's name.
    pub(super) fn registered(&self, id: &str, legacy: bool) -> Registered {
        let host_id = id.to_owned();
        if legacy {
            return Registered { host_id, ..Registered::default() };
        }
        Registered {
            host_id,
            capabilities: vec![CAPABILITY_OUTPUT_BATCH.to_owned()],
            heartbeat_interval: self.heartbeat_interval,
            ack: self.ack,
            reconnect_window_s: self.reconnect_window_s,
            server_time: Some(nixfleet_os::timestamp()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registration_is_told_interval_and_window_and_a_legacy_dashboard_names_none() {
        let policy =
            Policy { heartbeat_interval: Some(30), reconnect_window_s: Some(60), ..Policy::default() };
        let told = policy.registered("h", false);
        assert_eq!((told.heartbeat_interval, told.reconnect_window_s, told.ack), (Some(30), Some(60), true));
        let legacy = policy.registered("h", true);
        assert_eq!(legacy, Registered { host_id: "h".to_owned(), ..Registered::default() });
        assert_eq!(Policy::default().registered("h", false).reconnect_window_s, None);
    }
}
