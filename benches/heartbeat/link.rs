//! A link between an agent and the dashboard: slow, or cut.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle, sleep};
use std::time::Duration;

use rustix::net::sockopt::set_socket_recv_buffer_size;

use crate::dashboard::POLL;

/// Bytes that pass at once: a twentieth of a second of the slowest link.
const PIECE: usize = 1024;

/// Receive buffer on the side of the agent, in bytes: the link itself holds little. The kernel doubles it.
const RECEIVE: usize = 4096;

/// Receive buffer of a connection without a limit of its speed.
const FAST: usize = 64 * 1024;

/// Passes bytes on until it is cut.
pub(crate) struct Link {
    pub(crate) address: SocketAddr,
    cut: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<TcpStream>>>,
    listener: Option<JoinHandle<()>>,
}

impl Link {
    /// A link to `to` that passes so many bytes a second from the agent; none is no limit.
    pub(crate) fn start(to: SocketAddr, rate: Option<u32>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        if rate.is_some() {
            // Its connections inherit it.
            set_socket_recv_buffer_size(&listener, RECEIVE).expect("a small buffer");
        }
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("an address");
        let cut: Arc<AtomicBool> = Arc::default();
        let open: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
        let (stopped, streams) = (Arc::clone(&cut), Arc::clone(&open));
        let thread = thread::spawn(move || {
            while !stopped.load(Relaxed) {
                match listener.accept() {
                    Ok((agent, _)) => connect(agent, to, rate, &streams),
                    Err(_) => sleep(POLL),
                }
            }
        });
        Self { address, cut, open, listener: Some(thread) }
    }

    /// Ends all connections, and refuses new ones.
    pub(crate) fn cut(&mut self) {
        self.cut.store(true, Relaxed);
        if let Some(listener) = self.listener.take() {
            listener.join().expect("no panic");
        }
        for stream in self.open.lock().expect("no panic").drain(..) {
            stream.shutdown(Shutdown::Both).ok();
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.cut();
    }
}

fn connect(agent: TcpStream, to: SocketAddr, rate: Option<u32>, open: &Mutex<Vec<TcpStream>>) {
    agent.set_nonblocking(false).expect("a socket");
    let Ok(dashboard) = TcpStream::connect(to) else { return };
    for stream in [&agent, &dashboard] {
        stream.set_nodelay(true).ok();
    }
    let copy = |stream: &TcpStream| stream.try_clone().expect("a descriptor");
    open.lock().expect("no panic").extend([copy(&agent), copy(&dashboard)]);
    let back = (copy(&dashboard), copy(&agent));
    thread::spawn(move || pass(agent, dashboard, rate));
    thread::spawn(move || pass(back.0, back.1, None));
}

/// Passes bytes on in one direction.
fn pass(mut from: TcpStream, mut to: TcpStream, rate: Option<u32>) {
    let mut buffer = vec![0; if rate.is_some() { PIECE } else { FAST }];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
        if let Some(rate) = rate {
            sleep(Duration::from_secs_f64(length as f64 / f64::from(rate)));
        }
    }
    from.shutdown(Shutdown::Both).ok();
    to.shutdown(Shutdown::Both).ok();
}
