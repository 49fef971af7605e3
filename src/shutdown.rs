//! The wish that this process ends.

use tokio::sync::watch;

/// Resolves once the flag is up. A sender that is gone counts as a request.
pub async fn stop_requested(shutdown: &mut watch::Receiver<bool>) {
    drop(shutdown.wait_for(|stop| *stop).await);
}
