//! Who opened a connection, by what it has shown.

/// What a connection has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Identity {
    /// A token.
    Token {
        /// The host that it is for. None for one that any host may use.
        host: Option<String>,
        /// Its SHA-256, by which it can be revoked.
        digest: [u8; 32],
    },
    /// A client certificate with these names.
    Certificate(Vec<String>),
}

impl Identity {
    /// Whether it may register this host.
    pub(crate) fn may_be(&self, host: &str) -> bool {
        match self {
            Self::Token { host: own, .. } => own.as_deref().is_none_or(|own| own == host),
            Self::Certificate(names) => names.iter().any(|name| name == host),
        }
    }

    /// The digest of the token.
    pub(crate) fn digest(&self) -> Option<[u8; 32]> {
        match self {
            Self::Token { digest, .. } => Some(*digest),
            Self::Certificate(_) => None,
        }
    }
}
