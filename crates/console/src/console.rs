//! The dashboard as a whole: the hub, what feeds it, and the answers for balancers.

use std::net::SocketAddr;

use async_nats::Client;
use axum::http::StatusCode;
use axum::routing::get;
use nixfleet_dashboard::{Asked, BadName, BindError, Dashboard, Feed, Handle, Outage};
use nixfleet_fleet::{ConnectError, Options};
use tokio::sync::{mpsc, watch};

use crate::login::Login;
use crate::source::State;
use crate::{asks, source};

/// What a dashboard needs.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where browsers reach it.
    pub listen: SocketAddr,
    /// How to reach NATS.
    pub nats: Options,
}

/// Why it cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// NATS cannot be reached.
    #[error("there is no fleet to show")]
    Nats(#[from] ConnectError),
    /// It cannot listen.
    #[error("browsers cannot reach it")]
    Listen(#[from] BindError),
    /// It cannot be called so.
    #[error("`public_url` or `allow_hosts` cannot be used")]
    Name(#[from] BadName),
}

/// A dashboard that listens. It does not answer before [`serve`](Self::serve).
#[derive(Debug)]
pub struct Console {
    dashboard: Dashboard,
    feed: Feed,
    asked: mpsc::Receiver<Asked>,
    client: Client,
    login: Login,
}

impl Console {
    /// Connects to NATS, and listens. Everybody comes in who reaches it.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(settings: Settings) -> Result<Self, StartError> {
        Self::behind(Login::none(), settings).await
    }

    /// Connects to NATS, and listens. People come in by this login.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn behind(login: Login, settings: Settings) -> Result<Self, StartError> {
        let client = nixfleet_fleet::connect(&settings.nats).await?;
        let (mut dashboard, feed, asked) = Dashboard::fed(settings.listen, login.csrf_token()).await?;
        for name in login.names() {
            dashboard = dashboard.allow_host(name)?;
        }
        Ok(Self { dashboard, feed, asked, client, login })
    }

    /// The address that it listens on, with the real port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.dashboard.address()
    }

    /// A look at its hosts, from the same process.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.dashboard.handle()
    }

    /// Serves until `shutdown` resolves.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) {
        let (told, state) = watch::channel(State::Reading);
        let ready = move || {
            let now = *state.borrow();
            async move { readiness(now) }
        };
        let serving = self.dashboard.serve_behind(
            // Balancers ask these two without a login.
            |routes| {
                let routes = self.login.before(routes);
                routes.route("/healthz", get(async || "ok\n")).route("/readyz", get(ready))
            },
            shutdown,
        );
        tokio::select! {
            () = serving => {}
            () = source::run(self.client.clone(), self.feed, told) => {}
            () = asks::run(self.client, self.asked) => {}
            () = self.login.watch() => {}
        }
    }
}

/// Whether a balancer should send people here.
fn readiness(state: State) -> (StatusCode, String) {
    match state {
        State::Live => (StatusCode::OK, "ready\n".to_owned()),
        State::Reading => (StatusCode::SERVICE_UNAVAILABLE, "the fleet is being read\n".to_owned()),
        State::Out(Outage { since_ms, what, hint }) => {
            let since = jiff::Timestamp::from_millisecond(since_ms).unwrap_or_default();
            (StatusCode::SERVICE_UNAVAILABLE, format!("{what} since {since:.0}. {hint}\n"))
        }
    }
}
