//! What the service manager has to do with this process.

use std::path::Path;
use std::time::Duration;

use crate::subprocess;

/// Longest wait for the service manager's answer. It takes milliseconds, and a command waits for it.
const ANSWER: Duration = Duration::from_secs(2);

/// Whether the machine is shutting down. The service manager stops a unit with the same signal
/// then as at any other time.
pub fn machine_is_stopping() -> bool {
    let ask = || subprocess::outcome(Path::new("systemctl"), &["is-system-running"], &[], ANSWER);
    is_supervised() && ask().is_ok_and(|(_, said)| said.trim() == "stopping")
}

/// Whether a service manager will start this process again when it ends.
pub fn is_supervised() -> bool {
    std::env::var_os("INVOCATION_ID").is_some() && std::env::var_os("NOTIFY_SOCKET").is_some()
}
