//! Changes of this host's network: links, addresses and routes, as the kernel announces them on a netlink
//! socket (rtnetlink(7)).
//!
//! The socket is open only while the agent cannot reach the dashboard for a reason within this host, from the
//! first such failure to the first attempt that ends in another way. It is registered with the runtime only
//! while somebody waits for a change. So it costs nothing as long as nothing changes, and a change during an
//! attempt waits in the socket until the attempt is over.
//!
//! What an announcement says does not matter: the next attempt finds out whether the host has a network now.

use std::future::pending;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram as Socket;

use rustix::io::Errno;
use tokio::net::UnixDatagram;

/// Most announcements that are taken from the socket for one change. The kernel keeps some hundred of them. If
/// more are left, they count as another change.
const DRAIN: usize = 1024;

/// Listens for changes of this host's network.
#[derive(Debug, Default)]
pub struct Network {
    /// A netlink socket. tokio has no type for one, and its type for Unix sockets does nothing that depends on
    /// the address family: it polls, and calls recv(2).
    socket: Option<Socket>,
    /// Whether the reason why there is no socket has been logged.
    logged: bool,
}

impl Network {
    /// Starts listening, unless it listens already. Returns whether changes will be noticed. They are not noticed
    /// on systems without netlink, and in a sandbox that forbids it.
    pub fn listen(&mut self) -> bool {
        if self.socket.is_none() {
            match open() {
                Ok(socket) => self.socket = Some(socket.into()),
                Err(err) if !self.logged => {
                    self.logged = true;
                    tracing::debug!("Changes of this host's network are not noticed: {err}.");
                }
                Err(_) => {}
            }
        }
        self.socket.is_some()
    }

    /// Stops listening.
    pub fn ignore(&mut self) {
        self.socket = None;
    }

    /// Waits for a change since [`listen`](Self::listen), or since the last change for which this returned;
    /// for ever if nobody listens. Cancel-safe.
    pub async fn changed(&self) {
        if let Some(socket) = &self.socket {
            match announcement(socket).await {
                Ok(()) => return,
                Err(err) => {
                    tracing::debug!("Changes of this host's network are no longer noticed: {err}.");
                }
            }
        }
        pending().await
    }
}

#[cfg(target_os = "linux")]
fn open() -> Result<OwnedFd, Errno> {
    use rustix::net::netlink::SocketAddrNetlink;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with};

    /// RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV4_ROUTE, RTMGRP_IPV6_IFADDR and RTMGRP_IPV6_ROUTE of
    /// linux/rtnetlink.h.
    const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    // No protocol: NETLINK_ROUTE is 0.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
    // The kernel chooses the port.
    bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
    Ok(socket)
}

#[cfg(not(target_os = "linux"))]
fn open() -> Result<OwnedFd, Errno> {
    Err(Errno::AFNOSUPPORT)
}

async fn announcement(socket: &Socket) -> io::Result<()> {
    let socket = UnixDatagram::from_std(socket.try_clone()?)?;
    loop {
        socket.readable().await?;
        if drain(&socket)? {
            return Ok(());
        }
    }
}

/// Takes what waits in the socket and throws it away. Returns whether there was anything.
fn drain(socket: &UnixDatagram) -> io::Result<bool> {
    for taken in 0..DRAIN {
        // The kernel discards what does not fit.
        match socket.try_recv(&mut [0; 1]) {
            Ok(_) => {}
            // There were more announcements than the socket holds: something changed.
            Err(err) if Errno::from_io_error(&err) == Some(Errno::NOBUFS) => {}
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => return Ok(taken > 0),
            Err(err) => return Err(err),
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    /// A network whose announcements a test makes, and the socket to make them.
    fn network() -> (Network, Socket) {
        let (socket, kernel) = Socket::pair().unwrap();
        socket.set_nonblocking(true).unwrap();
        (Network { socket: Some(socket), logged: false }, kernel)
    }

    async fn is_changed(network: &Network) -> bool {
        timeout(Duration::from_millis(20), network.changed()).await.is_ok()
    }

    fn announce(kernel: &Socket) {
        kernel.send(b"RTM_NEWADDR and much more").unwrap();
    }

    #[tokio::test]
    async fn announcements_since_the_last_change_are_one_change() {
        let (mut network, kernel) = network();
        assert!(!is_changed(&network).await);
        for _ in 0..5 {
            announce(&kernel);
        }
        assert!(is_changed(&network).await, "nobody waited when they came");
        assert!(!is_changed(&network).await);
        let changed = tokio::spawn(async move {
            network.changed().await;
            network
        });
        tokio::task::yield_now().await;
        announce(&kernel);
        network = timeout(Duration::from_secs(10), changed).await.unwrap().unwrap();
        assert!(!is_changed(&network).await);
        drop(kernel);
    }

    #[tokio::test]
    async fn who_does_not_listen_notices_nothing() {
        let (mut network, kernel) = network();
        announce(&kernel);
        network.ignore();
        assert!(!is_changed(&network).await);
        assert!(!is_changed(&Network::default()).await);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_netlink_socket_can_be_read_like_a_unix_socket() {
        let mut network = Network::default();
        assert!(network.listen() && network.listen());
        let socket = network.socket.as_ref().unwrap().try_clone().unwrap();
        // Others may change the network of this machine during the test, so both answers are right.
        drain(&UnixDatagram::from_std(socket).unwrap()).unwrap();
    }
}
