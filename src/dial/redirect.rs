//! Answers that name another address: which of them are followed.
//!
//! One redirect is followed, to the same host and never from TLS to plain text: the token goes nowhere else. Any port
//! of the host will do. With TLS the certificate proves the name whatever the port is; without it, whoever could write
//! the redirect has read the token already. The new address is not remembered, so each attempt begins at the one in
//! the settings, and follows what the dashboard says then.

use std::sync::Once;

use nixfleet_os::address::public;
use tokio_tungstenite::tungstenite::http::StatusCode;

use super::quote::quote;
use super::target::{SHOWN, Target};

/// An answer with 301, 302, 307 or 308.
#[derive(Debug, thiserror::Error)]
#[error("the dashboard answered {status} {way}")]
pub struct Redirect {
    status: StatusCode,
    way: Way,
}

/// Where a redirect leads. Addresses are shown without login and query.
#[derive(Debug, thiserror::Error)]
enum Way {
    /// It can be followed.
    #[error("and names {}; write that in NIXFLEET_URL", .0.shown())]
    On(Target),
    /// A second one in a row, which could be followed.
    #[error("again behind another redirect, and names {0}; only one is followed: write that in NIXFLEET_URL")]
    Again(String),
    /// There is no `Location`, or it is no text.
    #[error("without saying where to; check the path of NIXFLEET_URL, usually /ws")]
    Nowhere,
    /// It is no address of a WebSocket.
    #[error("and names {0:?}, which is no address of a WebSocket; check host and path of NIXFLEET_URL")]
    Elsewhere(String),
    /// The address that it answers for.
    #[error(
        "and names the same address, {0}; let the proxy in front of the dashboard say that it ends TLS \
         (X-Forwarded-Proto), or check the path of NIXFLEET_URL"
    )]
    Same(String),
    /// It leads from TLS to plain text.
    #[error(
        "and names an address without TLS, {0}, where no token is sent; write its path in NIXFLEET_URL, with wss://"
    )]
    Unprotected(String),
    /// It leads to another host.
    #[error(
        "and names another host, {0}, where no token is sent; if the dashboard has moved, write its new address in \
         NIXFLEET_URL, else sign in to the network or pass by the proxy that asks for it"
    )]
    OtherHost(String),
}

impl Redirect {
    /// Whether an answer with this status is one. 303 is none: it names a page about the request.
    pub(super) fn is_one(status: StatusCode) -> bool {
        matches!(
            status,
            StatusCode::MOVED_PERMANENTLY
                | StatusCode::FOUND
                | StatusCode::TEMPORARY_REDIRECT
                | StatusCode::PERMANENT_REDIRECT
        )
    }

    /// Judges the answer of a host.
    pub(super) fn new(status: StatusCode, location: Option<&str>, from: &Target) -> Self {
        Self { status, way: location.map_or(Way::Nowhere, |location| way(location, from)) }
    }

    /// The address to go on with; none if this redirect is not followed.
    pub(super) fn follow(&self) -> Option<&Target> {
        match &self.way {
            Way::On(target) => Some(target),
            _ => None,
        }
    }

    /// The same behind another redirect: it is not followed.
    pub(super) fn behind_another(self) -> Self {
        let way = match self.way {
            Way::On(target) => Way::Again(target.shown()),
            other => other,
        };
        Self { way, ..self }
    }
}

/// Tells people about a redirect that is followed, once: it is the same at each attempt.
pub(super) fn announce(from: &Target, to: &Target) {
    static TOLD: Once = Once::new();
    TOLD.call_once(|| {
        tracing::warn!(
            "The dashboard redirects from {} to {}. Write the second address in NIXFLEET_URL.",
            from.shown(),
            to.shown(),
        );
    });
}

fn way(location: &str, from: &Target) -> Way {
    let elsewhere = || Way::Elsewhere(quote(&public(location), SHOWN));
    let Ok(mut url) = from.url().join(location.trim()) else { return elsewhere() };
    let scheme = match url.scheme() {
        "http" | "ws" => "ws",
        "https" | "wss" => "wss",
        _ => return elsewhere(),
    };
    // A login in a redirect is none of the agent's, and a fragment is never sent.
    url.set_fragment(None);
    let is_set = url.set_scheme(scheme).and(url.set_username("")).and(url.set_password(None));
    if is_set.is_err() || url.host_str().is_none_or(str::is_empty) {
        return elsewhere();
    }
    let target = Target::new(url);
    let shown = target.shown();
    if target.host().trim_end_matches('.') != from.host().trim_end_matches('.') {
        Way::OtherHost(shown)
    } else if from.is_secure() && !target.is_secure() {
        Way::Unprotected(shown)
    } else if (target.is_secure(), target.port(), target.request_target())
        == (from.is_secure(), from.port(), from.request_target())
    {
        Way::Same(shown)
    } else {
        Way::On(target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redirect(from: &str, location: Option<&str>) -> Redirect {
        Redirect::new(StatusCode::FOUND, location, &Target::new(from.parse().unwrap()))
    }

    #[test]
    fn one_redirect_is_followed_on_the_same_host_and_never_to_plain_text() {
        const WS: &str = "ws://dash.example/ws";
        const WSS: &str = "wss://dash.example/ws";
        for (from, location, wanted) in [
            (WS, "https://dash.example/ws", Ok("wss://dash.example/ws")),
            (WS, "https://DASH.example:443/ws", Ok("wss://dash.example/ws")),
            (WS, "https://dash.example.:8443/ws?a=b#c", Ok("wss://dash.example.:8443/ws?a=b")),
            (WS, "wss://dash.example/ws", Ok("wss://dash.example/ws")),
            (WS, "http://dash.example/ws/", Ok("ws://dash.example/ws/")),
            (WS, "http://dash.example:443/ws", Ok("ws://dash.example:443/ws")),
            (WSS, "/fleet/ws", Ok("wss://dash.example/fleet/ws")),
            (WSS, " ws/ ", Ok("wss://dash.example/ws/")),
            (WSS, "//dash.example:444/ws", Ok("wss://dash.example:444/ws")),
            (WSS, "?a=b", Ok("wss://dash.example/ws?a=b")),
            (WSS, "https://me:secret@dash.example/x", Ok("wss://dash.example/x")),
            ("ws://[2001:db8::1]/ws", "https://[2001:DB8:0::1]/ws", Ok("wss://[2001:db8::1]/ws")),
            // What follows is not followed.
            (WSS, "https://dash.example.org/ws", Err("another host, wss://dash.example.org/ws,")),
            (WSS, "https://example/ws", Err("another host")),
            (
                WSS,
                "https://dash.example@evil.example/ws?dash.example",
                Err("another host, wss://evil.example/ws,"),
            ),
            (WSS, "//evil.example", Err("another host, wss://evil.example/,")),
            (WSS, "\\\\evil.example\\x", Err("another host, wss://evil.example/x,")),
            (WS, "http://10.0.0.1/login?token=secret", Err("another host, ws://10.0.0.1/login,")),
            (WSS, "http://dash.example/ws/", Err("without TLS, ws://dash.example/ws/,")),
            (WSS, "ws://dash.example/ws", Err("without TLS")),
            (WSS, "https://dash.example/ws", Err("the same address, wss://dash.example/ws;")),
            (WSS, "", Err("the same address")),
            (WSS, "ftp://dash.example/ws", Err("no address of a WebSocket")),
            (WSS, "https://", Err("no address of a WebSocket")),
            (WSS, "https://a b/", Err("no address of a WebSocket")),
            (WSS, "mailto:me@dash.example", Err("no address of a WebSocket")),
            (WSS, "data:x", Err("no address of a WebSocket")),
        ] {
            let found = redirect(from, Some(location));
            let text = found.to_string();
            match wanted {
                Ok(wanted) => {
                    let to = found.follow().unwrap_or_else(|| panic!("{location}: {text}"));
                    assert_eq!(to.url().as_str(), wanted, "{location}");
                    let again = found.behind_another();
                    assert!(again.follow().is_none() && again.to_string().contains("only one is followed"));
                }
                Err(words) => {
                    assert!(found.follow().is_none(), "{location}");
                    assert!(text.contains(words), "{location}: {text}");
                    assert_eq!(found.behind_another().to_string(), text);
                }
            }
            assert!(!text.contains("secret"), "{text}");
            assert!(text.starts_with("the dashboard answered 302 Found ") && text.contains("; "), "{text}");
        }
        let nowhere = redirect(WSS, None);
        assert!(nowhere.follow().is_none() && nowhere.to_string().contains("without saying where to"));
        let long = redirect(WSS, Some(&format!("https://evil.example/{}", "x".repeat(5000)))).to_string();
        assert!(long.chars().count() < 2 * SHOWN + 100, "{long}");
    }

    #[test]
    fn a_page_about_the_request_is_no_redirect() {
        for status in 300..400 {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(Redirect::is_one(status), [301, 302, 307, 308].contains(&status.as_u16()), "{status}");
        }
    }
}
