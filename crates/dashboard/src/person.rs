//! What a login in front of the routes tells the handlers: who asks, and for how long.
//!
//! It puts these into the extensions of a request. Without a login there are none.

use tokio::sync::watch;

/// Who sends a request. The name is one line of printable characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person(pub String);

/// This person can end the session with a POST request to `/logout`, so the page shows a button for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CanLogOut;

/// How long a socket may live that a request opens.
#[derive(Debug, Clone)]
pub struct Stay(watch::Receiver<()>);

/// The other end of a [`Stay`]. When it is dropped, the socket is closed.
#[derive(Debug)]
pub struct Leave(watch::Sender<()>);

impl Stay {
    /// A stay, and its end.
    #[must_use]
    pub fn new() -> (Self, Leave) {
        let (leave, stay) = watch::channel(());
        (Self(stay), Leave(leave))
    }

    /// Resolves when it is over.
    pub(crate) async fn over(&mut self) {
        // Nothing is ever sent. An error means that the other end has been dropped.
        drop(self.0.changed().await);
    }
}

impl Leave {
    /// Resolves when the socket has ended by itself.
    pub async fn is_not_needed(&self) {
        self.0.closed().await;
    }
}
