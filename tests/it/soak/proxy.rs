//! A TCP proxy that cuts connections, each other one with a reset.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

pub(crate) struct Proxy {
    address: SocketAddr,
    cut: Arc<Notify>,
    serving: JoinHandle<()>,
}

impl Proxy {
    /// Listens, and passes one connection after the other on to `target`.
    pub(crate) async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let cut = Arc::new(Notify::new());
        let cuts = Arc::clone(&cut);
        let serving = tokio::spawn(async move {
            for number in 0_u64.. {
                let (mut client, _) = listener.accept().await.unwrap();
                let mut server = TcpStream::connect(target).await.unwrap();
                tokio::select! {
                    ended = copy_bidirectional(&mut client, &mut server) => drop(ended),
                    () = cuts.notified() => {}
                }
                if number.is_multiple_of(2) {
                    client.set_zero_linger().unwrap();
                }
            }
        });
        Self { address, cut, serving }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn cut(&self) {
        self.cut.notify_one();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
