//! How far an attempt has come.

/// The step that an attempt is at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Step {
    /// It reads the token and the certificates.
    #[default]
    Reading,
    /// It looks up the name, and makes the TCP connection, through a proxy if there is one.
    Reaching,
    /// TLS.
    Handshake,
    /// It waits for the answer to the HTTP request.
    Answer,
}

impl Step {
    /// What it means that an attempt did not come further, and what to do.
    pub(super) fn hung(self) -> &'static str {
        match self {
            Self::Reading => {
                "the token and the certificates could not be read; look at the disk that they are on, and at the load of \
                 this host"
            }
            Self::Reaching => {
                "the dashboard was not reached; look at the network of this host, its name server and its proxy"
            }
            Self::Handshake => {
                "the dashboard took the connection and did not answer the TLS handshake; look at the log of the dashboard \
                 or its proxy, at the port in NIXFLEET_URL, and at firewalls in between"
            }
            Self::Answer => {
                "the dashboard took the connection and did not answer the HTTP request; look at the log of the dashboard or \
                 its proxy, and at firewalls in between"
            }
        }
    }
}
