//! A second handle of a connection's socket, and what the kernel is told about it.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use tokio::net::TcpStream;

/// TCP_USER_TIMEOUT: how long sent data may stay unacknowledged before the kernel ends the connection. Shorter than the
/// silence after which a session would end it anyway.
pub const UNCONFIRMED: Duration = Duration::from_secs(40);

/// A second handle of a connection's socket, to discard its send buffer at the end.
pub struct HardClose(Box<dyn FnOnce() + Send>);

impl fmt::Debug for HardClose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HardClose")
    }
}

impl HardClose {
    /// Makes the kernel discard unsent data when the socket is closed. Otherwise it would go on trying to
    /// deliver it, and heartbeats of a dead connection would arrive when the network is back.
    pub fn break_off(self) {
        (self.0)();
    }

    /// Does so by `discard`.
    pub fn by(discard: impl FnOnce() + Send + 'static) -> Self {
        Self(Box::new(discard))
    }

    /// Sets the options of a new connection, and returns its second handle.
    pub(super) fn of(tcp: &TcpStream) -> io::Result<Self> {
        // A heartbeat is one small packet, which Nagle's algorithm would delay.
        tcp.set_nodelay(true)?;
        #[cfg(target_os = "linux")]
        set_user_timeout(tcp);
        let socket: OwnedFd = tcp.as_fd().try_clone_to_owned()?;
        Ok(Self::by(move || {
            // An error means that the connection is already gone.
            rustix::net::sockopt::set_socket_linger(&socket, Some(Duration::ZERO)).ok();
        }))
    }
}

#[cfg(target_os = "linux")]
fn set_user_timeout(tcp: &TcpStream) {
    let limit = u32::try_from(UNCONFIRMED.as_millis()).unwrap_or(u32::MAX);
    if let Err(err) = rustix::net::sockopt::set_tcp_user_timeout(tcp, limit) {
        tracing::debug!("No time limit for unconfirmed data: {err}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn the_kernel_gives_up_before_the_session_would() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        set_user_timeout(&tcp);
        let limit = rustix::net::sockopt::tcp_user_timeout(&tcp).unwrap();
        assert_eq!(u128::from(limit), UNCONFIRMED.as_millis());
    }
}
