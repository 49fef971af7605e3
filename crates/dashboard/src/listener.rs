//! The listener of the dashboard, and the peers of its connections.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::{extract::connect_info::Connected, serve::IncomingStream};
use nixfleet_sessions::{Stream, Wire};
use tokio::net::TcpListener;
use tokio::time::sleep;
use tracing::{debug, warn};

/// Pause after a failed `accept`. Its usual cause, a lack of file descriptors, does not disappear at once.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Passes accepted connections to axum.
pub(super) struct Listener {
    listener: TcpListener,
}

impl Listener {
    pub(super) fn new(listener: TcpListener) -> Self {
        Self { listener }
    }
}

impl axum::serve::Listener for Listener {
    type Io = Wire;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Wire, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((tcp, peer)) => {
                    if let Err(error) = tcp.set_nodelay(true) {
                        debug!(%peer, %error, "cannot send small frames at once on this connection");
                    }
                    return (Wire::new(Stream::Tcp(tcp)), peer);
                }
                Err(error) => {
                    warn!(%error, "cannot accept a connection");
                    sleep(ACCEPT_RETRY).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// The peer of a connection, for handlers.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    /// The address of this machine that the connection was made to, if the kernel still knows it.
    pub(super) local: Option<SocketAddr>,
}

impl Connected<IncomingStream<'_, Listener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Listener>) -> Self {
        Self { address: *stream.remote_addr(), local: stream.io().local_address() }
    }
}
