//! A TCP proxy between the agent and the dashboard, which breaks connections in every way that a network does.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;

use crate::act::{Cut, Network};
use crate::evidence::now_ms;

/// Bytes of one read, when data is not passed on byte by byte.
const PIECE: usize = 16 * 1024;

/// Cuts that a connection may be behind with. It handles each one at once.
const CUTS: usize = 16;

/// One connection of the agent, in Unix milliseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Connection {
    pub(crate) opened: i64,
    pub(crate) ended: Option<i64>,
}

/// The faults that are switched on.
#[derive(Debug, Clone, Copy, Default)]
struct Mode {
    delay: Duration,
    trickle: bool,
    blackhole: bool,
    refuse: bool,
}

/// A running proxy.
#[derive(Debug)]
pub(crate) struct Proxy {
    address: SocketAddr,
    mode: watch::Sender<Mode>,
    cuts: broadcast::Sender<Cut>,
    /// True when half-open connections are reset.
    healed: watch::Sender<bool>,
    connections: Arc<Mutex<Vec<Connection>>>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Listens, and passes connections on to `target`.
    pub(crate) async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (mode, healed) = (watch::Sender::new(Mode::default()), watch::Sender::new(false));
        let cuts = broadcast::Sender::new(CUTS);
        let connections = Arc::new(Mutex::new(Vec::new()));
        let serve = {
            let (mode, cuts, healed) = (mode.clone(), cuts.clone(), healed.clone());
            let connections = Arc::clone(&connections);
            async move {
                loop {
                    // Without descriptors the next attempt may go well.
                    let Ok((client, _)) = listener.accept().await else { continue };
                    if mode.borrow().refuse {
                        drop(client.set_zero_linger());
                        continue;
                    }
                    let (mode, cut, healed) = (mode.subscribe(), cuts.subscribe(), healed.subscribe());
                    let connections = Arc::clone(&connections);
                    tokio::spawn(async move {
                        let Ok(server) = TcpStream::connect(target).await else { return };
                        let number = {
                            let mut all = connections.lock().unwrap();
                            all.push(Connection { opened: now_ms(), ended: None });
                            all.len() - 1
                        };
                        carry(client, server, mode, cut, healed).await;
                        connections.lock().unwrap()[number].ended = Some(now_ms());
                    });
                }
            }
        };
        Self { address, mode, cuts, healed, connections, accepting: tokio::spawn(serve) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Switches a fault on or off.
    pub(crate) fn set(&self, fault: Network, on: bool) {
        self.mode.send_modify(|mode| match fault {
            Network::Delay(by) => mode.delay = if on { by } else { Duration::ZERO },
            Network::Trickle => mode.trickle = on,
            Network::Blackhole => mode.blackhole = on,
            Network::Refuse => mode.refuse = on,
        });
    }

    /// Cuts every connection that exists.
    pub(crate) fn cut(&self, how: Cut) {
        // An error means that there is no connection.
        drop(self.cuts.send(how));
    }

    /// Resets half-open connections, now and in future.
    pub(crate) fn heal(&self) {
        self.mode.send_replace(Mode::default());
        self.healed.send_replace(true);
    }

    pub(crate) fn connections(&self) -> Vec<Connection> {
        self.connections.lock().unwrap().clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Carries one connection to its end.
async fn carry(
    client: TcpStream,
    server: TcpStream,
    mode: watch::Receiver<Mode>,
    mut cut: broadcast::Receiver<Cut>,
    mut healed: watch::Receiver<bool>,
) {
    for socket in [&client, &server] {
        // Without it the kernel would put single bytes together.
        socket.set_nodelay(true).unwrap();
    }
    let (mut client_read, mut client_write) = client.into_split();
    let (mut server_read, mut server_write) = server.into_split();
    let up = pump(&mut client_read, &mut server_write, mode.clone());
    let down = pump(&mut server_read, &mut client_write, mode);
    let cut = tokio::select! {
        () = up => Some(Cut::Close),
        () = down => Some(Cut::Close),
        cut = cut.recv() => cut.ok(),
    };
    if cut == Some(Cut::HalfOpen) {
        // An error means that the schedule is over.
        drop(healed.wait_for(|healed| *healed).await);
    }
    if cut != Some(Cut::Close) {
        drop(client_read.as_ref().set_zero_linger());
        drop(server_read.as_ref().set_zero_linger());
    }
}

/// Carries one direction until it ends.
async fn pump(from: &mut OwnedReadHalf, to: &mut OwnedWriteHalf, mut mode: watch::Receiver<Mode>) {
    let mut buffer = vec![0; PIECE];
    loop {
        let Ok(count @ 1..) = from.read(&mut buffer).await else { return };
        let delay = mode.borrow().delay;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let mut rest = &buffer[..count];
        while !rest.is_empty() {
            let Ok(now) = mode.wait_for(|mode| !mode.blackhole).await.map(|mode| *mode) else { return };
            let piece = if now.trickle { 1 } else { rest.len() };
            if to.write_all(&rest[..piece]).await.is_err() {
                return;
            }
            rest = &rest[piece..];
            if now.trickle {
                // Other tasks, and the switch of the mode, get their turn.
                tokio::task::yield_now().await;
            }
        }
    }
}
