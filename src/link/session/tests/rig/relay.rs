//! What is between agent and dashboard: a slow link, or a dashboard without pongs.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, duplex, split};
use tokio::time::sleep;

/// How often a slow link carries something.
const STEP: Duration = Duration::from_millis(100);

/// A pong, in the first byte of a frame.
const PONG: u8 = 0xA;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Relay {
    /// The agent gets the dashboard's pongs.
    pub(crate) pongs: bool,
    /// Bytes from the agent that are carried in a second.
    pub(crate) speed: usize,
}

impl Relay {
    /// Returns the dashboard's end and the agent's.
    pub(crate) fn start(self, socket: usize) -> (DuplexStream, DuplexStream) {
        let (ours, dashboard) = duplex(socket);
        let (theirs, agent) = duplex(socket);
        let (from_dashboard, to_dashboard) = split(dashboard);
        let (from_agent, to_agent) = split(agent);
        tokio::spawn(self.inbound(from_dashboard, to_agent));
        tokio::spawn(self.outbound(from_agent, to_dashboard));
        (ours, theirs)
    }

    async fn outbound(self, mut from: ReadHalf<DuplexStream>, mut to: WriteHalf<DuplexStream>) {
        let mut buffer = vec![0; self.speed / 10];
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            if to.write_all(&buffer[..read]).await.is_err() {
                return;
            }
            sleep(STEP).await;
        }
        to.shutdown().await.ok();
    }

    /// Frames of a server have no mask.
    async fn inbound(self, mut from: ReadHalf<DuplexStream>, mut to: WriteHalf<DuplexStream>) {
        let mut head = [0; 2];
        while from.read_exact(&mut head).await.is_ok() {
            let (mut frame, mut length) = (head.to_vec(), u64::from(head[1]));
            let more = match length {
                126 => 2,
                127 => 8,
                _ => 0,
            };
            if more > 0 {
                let mut bytes = [0; 8];
                from.read_exact(&mut bytes[8 - more..]).await.unwrap();
                frame.extend(&bytes[8 - more..]);
                length = u64::from_be_bytes(bytes);
            }
            let begin = frame.len();
            frame.resize(begin + usize::try_from(length).unwrap(), 0);
            from.read_exact(&mut frame[begin..]).await.unwrap();
            if (self.pongs || head[0] & 0xF != PONG) && to.write_all(&frame).await.is_err() {
                return;
            }
        }
        to.shutdown().await.ok();
    }
}
