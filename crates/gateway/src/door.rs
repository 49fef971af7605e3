//! Who may come in: what a request has shown, and whether there is room.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use nixfleet_os::error::chain;
use tokio::task::yield_now;
use tracing::{error, info, warn};

use crate::certificate::{self, Speech};
use crate::clients::{Clients, Shown};
use crate::directory::Directory;
use crate::gate::{Closed, Gate};
use crate::identity::Identity;
use crate::settings::{Settings, Tls};
use crate::tokens::TokensFile;

/// Seconds after which an agent may come again while NATS is away or the gateway ends. The balancer has another gateway
/// for it by then.
const RETRY_AFTER: u64 = 2;

/// Certificates that are judged one after the other, before others have their turn: a millisecond or two.
const AT_ONCE: usize = 16;

/// Why a gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// Tokens.
    #[error(transparent)]
    Tokens(#[from] crate::tokens::TokensError),
    /// TLS.
    #[error(transparent)]
    Tls(#[from] crate::pem::TlsError),
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
    tls: Option<(Tls, RwLock<Speech>)>,
    tokens_trouble: Trouble,
    tls_trouble: Trouble,
}

/// Why files could not be read when they were looked at last.
#[derive(Debug, Default)]
struct Trouble(Mutex<Option<String>>);

impl Trouble {
    fn lock(&self) -> MutexGuard<'_, Option<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_due(&self, all: bool) -> bool {
        all || self.lock().is_some()
    }

    /// Remembers how it went. The same trouble is logged again only if everything was to be read.
    fn note(&self, read: Result<(), String>, so: &str, all: bool) {
        let now = read.err();
        let before = std::mem::replace(&mut *self.lock(), now.clone());
        if let Some(why) = now
            && (all || before.as_ref() != Some(&why))
        {
            error!("{so}: {why}");
        }
    }
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
                let speech = certificate::speech(tls, tokens.is_some())?;
                Some((tls.clone(), RwLock::new(speech)))
            }
        };
        Ok(Self { tokens, tls, tokens_trouble: Trouble::default(), tls_trouble: Trouble::default() })
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
    pub(crate) fn tls(&self) -> Option<Speech> {
        self.tls.as_ref().map(|(_, speech)| speech.read().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// The files that [`reload`](Self::reload) reads.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let tokens = self.tokens.iter().map(|tokens| tokens.path().to_owned());
        let tls = self.tls.iter().flat_map(|(tls, _)| {
            let of_clients = [tls.client_ca_file.as_ref(), tls.client_crl_file.as_ref()];
            [Some(&tls.certificate_file), Some(&tls.key_file)].into_iter().chain(of_clients)
        });
        tokens.chain(tls.flatten().cloned()).collect()
    }

    /// Reads the files again: all of them, or those that could not be read before, because the cause may pass without a
    /// trace in the file. What cannot be read stays as it was.
    pub(crate) fn reload(&self, all: bool) {
        if let Some((tls, speech)) = &self.tls
            && self.tls_trouble.is_due(all)
        {
            let new = certificate::speech(tls, self.tokens.is_some());
            let new = new.map(|new| *speech.write().unwrap_or_else(PoisonError::into_inner) = new);
            self.tls_trouble.note(new.map_err(|err| chain(&err)), "the certificates stay as they were", all);
        }
        if let Some(file) = &self.tokens
            && self.tokens_trouble.is_due(all)
        {
            let read = file.reload();
            if matches!(read, Ok(true)) {
                info!(tokens = file.current().len(), "tokens read again");
            }
            let read = read.map(drop).map_err(|err| chain(&err));
            self.tokens_trouble.note(read, "the tokens stay as they were", all);
        }
    }

    /// Ends connections whose token is gone, or whose certificate is not valid any more. Not only after a change: a
    /// connection may register later than what it has shown was looked up. At 50,000 hosts this takes some
    /// milliseconds.
    pub(crate) async fn revoke(&self, directory: &Directory) {
        if let Some(clients) = self.tls().and_then(|speech| speech.clients) {
            judge(&clients, directory).await;
        }
        let (tokens, now) = (self.tokens.as_ref().map(TokensFile::current), Timestamp::now());
        let closed = directory.close(|host, identity| match identity {
            Identity::Token { digest, .. } => {
                let is_known = tokens.as_ref().is_none_or(|tokens| tokens.allow(host, digest));
                (!is_known).then(|| "the token was revoked".to_owned())
            }
            Identity::Certificate(shown) => shown.refusal(now),
        });
        if closed > 0 {
            info!(closed, "connections are closed whose token or certificate is not valid any more");
        }
    }

    /// Who sends this request. None if it shows nothing that is valid.
    fn identity(&self, headers: &HeaderMap, shown: Option<&Arc<Shown>>) -> Option<Identity> {
        let bearer =
            headers.get(header::AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
        if let (Some(token), Some(tokens)) = (bearer, &self.tokens) {
            return tokens.current().find(token);
        }
        // TLS does not judge a certificate again when it resumes a session.
        let valid = shown.filter(|shown| shown.refusal(Timestamp::now()).is_none());
        valid.map(|shown| Identity::Certificate(Arc::clone(shown)))
    }

    /// Who sends this request, from a peer that has shown this certificate, or the answer that refuses it.
    pub(crate) fn admit(
        &self,
        gate: &Gate,
        headers: &HeaderMap,
        shown: Option<&Arc<Shown>>,
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
        self.identity(headers, shown).ok_or_else(|| {
            gate.figures.unauthorized.add();
            info!(%peer, "an agent came with a missing or wrong token");
            let challenge = [(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))];
            Box::new((StatusCode::UNAUTHORIZED, challenge, "missing or wrong token").into_response())
        })
    }
}

/// Judges the certificates that this rule has not judged: all, after a change of files. At 10,000 hosts it takes a second.
async fn judge(clients: &Clients, directory: &Directory) {
    let shown = directory.certificates(|shown| clients.is_new_to(shown));
    for some in shown.chunks(AT_ONCE) {
        some.iter().for_each(|shown| clients.judge(shown));
        yield_now().await;
    }
}

/// The answer to an agent that may come in later.
pub(crate) fn come_again(why: &'static str) -> Response<Body> {
    let retry_after = [(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER))];
    (StatusCode::SERVICE_UNAVAILABLE, retry_after, why).into_response()
}

#[cfg(test)]
mod tests;
