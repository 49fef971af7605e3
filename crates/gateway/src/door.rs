//! Who may come in: what a request has shown, and whether there is room.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use nixfleet_os::error::chain;
use rustls::ServerConfig;
use tracing::{error, info, warn};

use crate::certificate;
use crate::directory::Directory;
use crate::gate::{Closed, Gate};
use crate::identity::Identity;
use crate::settings::{Settings, Tls};
use crate::tokens::TokensFile;

/// Seconds after which an agent may come again while NATS is away or the gateway ends. The balancer has another gateway
/// for it by then.
const RETRY_AFTER: u64 = 2;

/// Why a gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// Tokens.
    #[error(transparent)]
    Tokens(#[from] crate::tokens::TokensError),
    /// TLS.
    #[error(transparent)]
    Tls(#[from] crate::certificate::TlsError),
}

/// Reads the files of tokens and certificates that the settings name.
///
/// # Errors
/// [`DoorError`].
pub fn check_files(settings: &Settings) -> Result<(), DoorError> {
    Door::open(settings).map(drop)
}

/// What is compared with what agents show.
#[derive(Debug)]
pub(crate) struct Door {
    tokens: Option<TokensFile>,
    tls: Option<(Tls, RwLock<Arc<ServerConfig>>)>,
}

impl Door {
    /// Reads the files.
    ///
    /// # Errors
    /// [`DoorError`].
    pub(crate) fn open(settings: &Settings) -> Result<Self, DoorError> {
        let tokens = settings.tokens_file.clone().map(TokensFile::open).transpose()?;
        let tls = match &settings.tls {
            None => None,
            Some(tls) => {
                let config = certificate::server(tls, tokens.is_some())?;
                Some((tls.clone(), RwLock::new(config)))
            }
        };
        Ok(Self { tokens, tls })
    }

    /// What the log should say of the tokens at the start.
    pub(crate) fn note_tokens(&self) {
        if let Some(tokens) = self.tokens.as_ref().map(TokensFile::current) {
            info!(tokens = tokens.len(), "tokens read");
            if tokens.has_any() {
                warn!("a token is for any host: whoever has it can register every name");
            }
        }
    }

    /// How TLS is spoken, if it is.
    pub(crate) fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.tls
            .as_ref()
            .map(|(_, config)| Arc::clone(&config.read().unwrap_or_else(PoisonError::into_inner)))
    }

    /// The files that [`reload`](Self::reload) reads.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let tokens = self.tokens.iter().map(|tokens| tokens.path().to_owned());
        let tls = self.tls.iter().flat_map(|(tls, _)| {
            [Some(&tls.certificate_file), Some(&tls.key_file), tls.client_ca_file.as_ref()]
        });
        tokens.chain(tls.flatten().cloned()).collect()
    }

    /// Reads the files again. What cannot be read stays as it was.
    pub(crate) fn reload(&self) {
        if let Some((tls, config)) = &self.tls {
            match certificate::server(tls, self.tokens.is_some()) {
                Ok(new) => *config.write().unwrap_or_else(PoisonError::into_inner) = new,
                Err(err) => error!("the certificate stays as it was: {}", chain(&err)),
            }
        }
        let Some(file) = &self.tokens else { return };
        match file.reload() {
            Ok(false) => {}
            Ok(true) => info!(tokens = file.current().len(), "tokens read again"),
            Err(err) => error!("the tokens stay as they were: {}", chain(&err)),
        }
    }

    /// Ends connections whose token is gone. Not only after a change: a connection may register later than its token
    /// was looked up. At 50,000 hosts this takes some milliseconds.
    pub(crate) fn revoke(&self, directory: &Directory) {
        let Some(tokens) = self.tokens.as_ref().map(TokensFile::current) else { return };
        let closed = directory.close(|host, digest| {
            let revoked = digest.is_some_and(|digest| !tokens.allow(host, digest));
            revoked.then(|| "the token was revoked".to_owned())
        });
        if closed > 0 {
            info!(closed, "connections of revoked tokens are closed");
        }
    }

    /// Who sends this request. None if it shows nothing that is valid.
    fn identity(&self, headers: &HeaderMap, names: &[String]) -> Option<Identity> {
        let shown =
            headers.get(header::AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
        if let (Some(token), Some(tokens)) = (shown, &self.tokens) {
            return tokens.current().find(token);
        }
        (!names.is_empty()).then(|| Identity::Certificate(names.to_owned()))
    }

    /// Who sends this request, from a peer whose certificate has these names, or the answer that refuses it.
    pub(crate) fn admit(
        &self,
        gate: &Gate,
        headers: &HeaderMap,
        names: &[String],
        peer: SocketAddr,
    ) -> Result<Identity, Box<Response<Body>>> {
        if let Some(closed) = gate.closed() {
            gate.figures.turned_away.add();
            let why = match closed {
                Closed::Draining => "the gateway ends",
                Closed::Away => "the gateway cannot use NATS now",
            };
            return Err(Box::new(come_again(why)));
        }
        self.identity(headers, names).ok_or_else(|| {
            gate.figures.unauthorized.add();
            info!(%peer, "an agent came with a missing or wrong token");
            let challenge = [(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))];
            Box::new((StatusCode::UNAUTHORIZED, challenge, "missing or wrong token").into_response())
        })
    }
}

/// The answer to an agent that may come in later.
pub(crate) fn come_again(why: &'static str) -> Response<Body> {
    let retry_after = [(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER))];
    (StatusCode::SERVICE_UNAVAILABLE, retry_after, why).into_response()
}

#[cfg(test)]
mod tests;
