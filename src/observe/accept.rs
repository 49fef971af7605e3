//! Accepts connections for the status socket and the Prometheus port: a few at once, each with a deadline.
//!
//! The tasks run in the agent's own runtime. They wait for their clients; the agent's loop never does.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

/// Connections of one listener that are served at once. Further clients wait in the kernel's queue.
pub(super) const CONNECTIONS: usize = 4;

/// Longest time for one connection, from start to end. The answer fits into the socket's buffer, so only
/// clients that do not send or do not read take this long.
pub(super) const DEADLINE: Duration = Duration::from_secs(1);

/// Pause before the next attempt when accepting fails, for example without free file descriptors.
const PAUSE: Duration = Duration::from_secs(1);

/// A socket that accepts connections.
pub(super) trait Listen: Send + 'static {
    type Stream: Send + 'static;

    fn next(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Listen for UnixListener {
    type Stream = UnixStream;

    async fn next(&self) -> io::Result<UnixStream> {
        Ok(self.accept().await?.0)
    }
}

impl Listen for TcpListener {
    type Stream = TcpStream;

    async fn next(&self) -> io::Result<TcpStream> {
        Ok(self.accept().await?.0)
    }
}

/// Serves connections with `handle` until the runtime ends.
pub(super) async fn serve<L, F>(listener: L, handle: impl Fn(L::Stream) -> F + Send + 'static)
where
    L: Listen,
    F: Future<Output = ()> + Send + 'static,
{
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    while let Ok(permit) = Arc::clone(&permits).acquire_owned().await {
        match listener.next().await {
            Ok(stream) => {
                let work = timeout(DEADLINE, handle(stream));
                tokio::spawn(async move {
                    if work.await.is_err() {
                        tracing::debug!("Gave up somebody who asked for the status and was too slow.");
                    }
                    drop(permit);
                });
            }
            Err(err) => {
                tracing::debug!("Could not take a connection: {err}.");
                sleep(PAUSE).await;
            }
        }
    }
}
