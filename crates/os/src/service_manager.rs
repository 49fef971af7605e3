//! The relation of this process to the service manager.

use std::path::Path;
use std::time::Duration;

use crate::subprocess;

/// Timeout of a query to the service manager. An answer takes milliseconds, and a command waits for it.
const ANSWER: Duration = Duration::from_secs(2);

/// Whether the machine is shutting down. The signal to a unit is the same as for any other stop, so the
/// service manager has to be queried. False without a service manager.
pub fn machine_is_stopping() -> bool {
    let query = || subprocess::outcome(Path::new("systemctl"), &["is-system-running"], &[], ANSWER);
    is_supervised() && query().is_ok_and(|(_, state)| state.trim() == "stopping")
}

/// Whether a service manager runs this process, and so restarts it when it ends.
pub fn is_supervised() -> bool {
    std::env::var_os("INVOCATION_ID").is_some() && std::env::var_os("NOTIFY_SOCKET").is_some()
}
