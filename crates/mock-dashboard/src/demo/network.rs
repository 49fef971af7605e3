//! The network of a host of the demo: its agent reaches the dashboard through here, and a system of the host can cut it.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::sleep;

/// How often to look at the system that runs. The activation of a system takes seconds.
const LOOK: Duration = Duration::from_millis(250);

/// How long to wait before another connection is accepted after one could not be, such as without a free descriptor.
const PAUSE: Duration = Duration::from_millis(250);

/// The way of one host to the dashboard.
#[derive(Debug)]
pub(super) struct Network {
    listener: TcpListener,
    dashboard: SocketAddr,
    /// A file of the system that runs, if that has cut the network.
    down: PathBuf,
}

impl Network {
    /// A way to the dashboard that is cut while there is the file `network-down` in the system that runs.
    pub(super) async fn to(dashboard: SocketAddr, current_system: &Path) -> io::Result<Self> {
        let listener = TcpListener::bind(SocketAddr::new(dashboard.ip(), 0)).await?;
        Ok(Self { listener, dashboard, down: current_system.join("network-down") })
    }

    /// Where the dashboard is, for the host.
    pub(super) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Carries connections until it is aborted.
    pub(super) async fn carry(self) {
        let (cut, is_cut) = watch::channel(self.down.exists());
        let look = async {
            loop {
                sleep(LOOK).await;
                let down = self.down.exists();
                cut.send_if_modified(|known| std::mem::replace(known, down) != down);
            }
        };
        let accept = async {
            loop {
                match self.listener.accept().await {
                    // Not by the last look: an agent would be registered in between.
                    Ok((host, _)) if !self.down.exists() => {
                        drop(tokio::spawn(carry(host, self.dashboard, is_cut.clone())));
                    }
                    // Closed at once.
                    Ok(_) => {}
                    Err(_) => sleep(PAUSE).await,
                }
            }
        };
        tokio::select! {
            () = look => {}
            () = accept => {}
        }
    }
}

/// Carries one connection until one side ends it, or until the network is cut.
async fn carry(mut host: TcpStream, dashboard: SocketAddr, mut is_cut: watch::Receiver<bool>) {
    let Ok(mut dashboard) = TcpStream::connect(dashboard).await else { return };
    // An error of one side is the end of both.
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut host, &mut dashboard) => {}
        // An error means that the demo ends.
        _ = is_cut.wait_for(|cut| *cut) => {}
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_system_that_cuts_the_network_ends_connections_and_the_one_before_brings_them_back() {
        let folder = tempfile::tempdir().unwrap();
        let dashboard = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let network = Network::to(dashboard.local_addr().unwrap(), folder.path()).await.unwrap();
        let address = network.address().unwrap();
        let carrying = tokio::spawn(network.carry());
        let answer = tokio::spawn(async move {
            while let Ok((mut socket, _)) = dashboard.accept().await {
                drop(socket.write_all(b"hello").await);
                // Until the other side ends it.
                drop(socket.read(&mut [0]).await);
            }
        });
        let hello = async || {
            let mut socket = TcpStream::connect(address).await.unwrap();
            let mut text = [0; 5];
            socket.read_exact(&mut text).await.ok().map(|_| socket)
        };
        let mut open = hello().await.unwrap();
        std::fs::write(folder.path().join("network-down"), "").unwrap();
        let end = tokio::time::timeout(Duration::from_secs(10), open.read(&mut [0])).await.unwrap();
        assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
        assert!(hello().await.is_none(), "no new one");
        std::fs::remove_file(folder.path().join("network-down")).unwrap();
        let again = async {
            while hello().await.is_none() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), again).await.unwrap();
        carrying.abort();
        answer.abort();
    }
}
