//! The request that this process stops.

use tokio::sync::watch;

/// Resolves once the flag is true. A dropped sender counts as a request too.
pub async fn stop_requested(shutdown: &mut watch::Receiver<bool>) {
    drop(shutdown.wait_for(|stop| *stop).await);
}
