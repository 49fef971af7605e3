//! Who opened a connection, by what it has shown.

use std::sync::Arc;

use crate::clients::Shown;

/// What a connection has shown.
#[derive(Debug, Clone)]
pub(crate) enum Identity {
    /// A token.
    Token {
        /// The host that it is for. None for one that any host may use.
        host: Option<String>,
        /// Its SHA-256, by which it can be revoked.
        digest: [u8; 32],
    },
    /// A client certificate.
    Certificate(Arc<Shown>),
}

impl Identity {
    /// Whether it may register this host.
    pub(crate) fn may_be(&self, host: &str) -> bool {
        match self {
            Self::Token { host: own, .. } => own.as_deref().is_none_or(|own| own == host),
            Self::Certificate(shown) => shown.is_for(host),
        }
    }
}
