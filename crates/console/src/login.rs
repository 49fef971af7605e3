//! Who may see and command the fleet.
//!
//! Either people log in by password (`desk` decides, with `people`, `password`, `attempts` and `session`; `form` is the page,
//! `gate` what every request passes), or a proxy in front names them (`trusted`).

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::HeaderName;
use axum::middleware::from_fn_with_state;
use data_encoding::HEXLOWER;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use crate::config::Config;
use desk::Desk;
use key::{Key, Purpose};
use people::PeopleFile;
use session::Cookie;
use trusted::Trusted;

pub use key::KeyError;
pub use password::PasswordError;
pub use people::PeopleError;

mod attempts;
mod checks;
mod desk;
mod form;
mod gate;
mod key;
mod next;
mod password;
mod people;
mod session;
mod trusted;

/// How often is looked whether the login file has changed. Who was removed does not stay longer.
const LOOK: Duration = Duration::from_secs(2);

/// Bytes of the token that pages send with each command.
const CSRF_BYTES: usize = 16;

/// Why there is no login.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// The login file cannot be used.
    #[error(transparent)]
    People(#[from] PeopleError),
    /// The key of sessions cannot be used.
    #[error("the key of sessions in {}: {source}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: KeyError,
    },
    /// There is no random key.
    #[error("cannot read /dev/urandom")]
    Random(#[source] io::Error),
}

/// The way in.
#[derive(Debug, Clone)]
pub struct Login {
    way: Way,
    /// The token that pages send with each command. None means that the dashboard makes one.
    csrf_token: Option<String>,
    /// Names under which the dashboard answers, besides those of this machine.
    names: Vec<String>,
}

#[derive(Debug, Clone)]
enum Way {
    /// Everybody comes in who reaches it.
    Open,
    /// People have passwords.
    Password(Arc<Desk>),
    /// A proxy names people.
    Proxy(Arc<Trusted>),
}

impl Login {
    /// None: everybody comes in who reaches the dashboard.
    #[must_use]
    pub fn none() -> Self {
        Self { way: Way::Open, csrf_token: None, names: Vec::new() }
    }

    /// Reads the files that the settings name.
    ///
    /// # Errors
    /// [`LoginError`].
    pub fn open(config: &Config) -> Result<Self, LoginError> {
        let key = config
            .session_key_file
            .as_ref()
            .map(|path| Key::read(path).map_err(|source| LoginError::Key { path: path.clone(), source }));
        let key = key.transpose()?;
        let csrf_token = key.as_ref().map(csrf_token);
        let public = config.public();
        let is_secure = public.as_ref().is_some_and(|url| url.is_secure);
        let way = if let Some(path) = &config.login_file {
            let people = PeopleFile::open(path.clone())?;
            if !is_secure && public.is_some() {
                warn!("public_url is of http, so passwords and sessions cross the network in clear");
            }
            let key = match key {
                Some(key) => key,
                None => {
                    info!(
                        "sessions end with this process, and are of this replica only: set session_key_file, for which \
                         `nixfleet-dashboard session-key` makes a key"
                    );
                    Key::random().map_err(LoginError::Random)?
                }
            };
            Way::Password(Arc::new(Desk::new(key, Cookie { is_secure }, people, config.proxies())))
        } else if let Some(header) =
            config.trusted_header.as_ref().and_then(|name| name.parse::<HeaderName>().ok())
        {
            Way::Proxy(Arc::new(Trusted { header, proxies: config.proxies(), is_secure }))
        } else {
            Way::Open
        };
        Ok(Self { way, csrf_token, names: config.names() })
    }

    /// The token that pages send with each command: the same one for all replicas that have the key.
    pub(crate) fn csrf_token(&self) -> Option<String> {
        self.csrf_token.clone()
    }

    /// Names under which the dashboard answers, besides those of this machine.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// Reads the login file again.
    pub fn reload(&self) {
        if let Way::Password(desk) = &self.way {
            desk.people.look();
        }
    }

    /// Reads the login file again and again, so that a change is seen without a signal.
    pub(crate) async fn watch(&self) {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            self.reload();
        }
    }

    /// Puts itself in front of the routes.
    pub(crate) fn before(&self, routes: Router) -> Router {
        match &self.way {
            Way::Open => routes,
            Way::Password(desk) => routes
                .merge(form::routes(Arc::clone(desk)))
                .layer(from_fn_with_state(Arc::clone(desk), gate::pass)),
            Way::Proxy(trusted) => routes.layer(from_fn_with_state(Arc::clone(trusted), trusted::pass)),
        }
    }
}

/// Whether somebody can have this name in the login file.
///
/// # Errors
/// What is wrong with it, and how it must be.
pub fn check_name(name: &str) -> Result<(), String> {
    if people::is_name(name) {
        Ok(())
    } else {
        Err(format!(
            "{name:?} cannot be a name: it must be 1 to {} of A-Z a-z 0-9 . _ @ + -",
            people::MAX_NAME
        ))
    }
}

/// The line of the login file for somebody with this password.
///
/// # Errors
/// [`PasswordError`].
pub fn login_line(name: &str, password: &str) -> Result<String, PasswordError> {
    Ok(format!("{name} {}", password::kept(password)?))
}

/// The content of a new file with a key of sessions.
///
/// # Errors
/// The kernel has no random bytes.
pub fn new_session_key() -> io::Result<String> {
    Ok(Key::random()?.line())
}

fn csrf_token(key: &Key) -> String {
    let tag = key.sign(Purpose::Csrf, b"");
    HEXLOWER.encode(tag.get(..CSRF_BYTES).unwrap_or(&tag))
}
