//! A proxy in front knows who asks, and says so in a header.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use nixfleet_dashboard::{Peer, Person, Stay};
use nixfleet_os::text::one_line;
use tokio::time::sleep;
use tracing::info;

use super::gate::{IN_CLEAR, is_of_page_in_clear, keep_private, refusal};
use crate::networks::Networks;

/// Longest name, in characters. Some proxies give addresses of mail, or names of certificates.
const MAX_NAME: usize = 256;

/// Longest life of a socket. The browser opens it again, which the proxy may refuse to somebody who has left.
const SOCKET_LIFE: Duration = Duration::from_secs(15 * 60);

/// Who is believed, and where it is said.
#[derive(Debug)]
pub(super) struct Trusted {
    pub(super) header: HeaderName,
    pub(super) proxies: Networks,
    /// Whether people use HTTPS.
    pub(super) is_secure: bool,
}

/// Why somebody is not let in.
#[derive(Debug, PartialEq, Eq)]
enum Refusal {
    /// The header is not there.
    Nobody,
    /// It is there twice, or has no name that can be used.
    Odd,
}

impl Trusted {
    /// Who asks, as the proxy says.
    fn person(&self, headers: &HeaderMap) -> Result<Person, Refusal> {
        let mut values = headers.get_all(&self.header).iter();
        let value = values.next().ok_or(Refusal::Nobody)?;
        if values.next().is_some() {
            return Err(Refusal::Odd);
        }
        let text = str::from_utf8(value.as_bytes()).map_err(|_| Refusal::Odd)?.trim();
        if text.is_empty() {
            return Err(Refusal::Nobody);
        }
        // A name that is cut could be that of two people.
        let name = one_line(text, MAX_NAME + 1);
        let fits = !name.is_empty() && text.chars().count() <= MAX_NAME;
        if fits { Ok(Person(name)) } else { Err(Refusal::Odd) }
    }
}

/// Lets those in whom a proxy names.
pub(super) async fn pass(
    State(trusted): State<Arc<Trusted>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    mut request: Request,
    next: Next,
) -> Response {
    if !trusted.proxies.have(peer.address.ip()) {
        info!(peer = %peer.address, "refused a request that came by no proxy; trusted_proxies names them");
        return refusal(StatusCode::FORBIDDEN, "this dashboard is reached by way of its proxy only");
    }
    if trusted.is_secure && is_of_page_in_clear(request.headers()) {
        return refusal(StatusCode::FORBIDDEN, IN_CLEAR);
    }
    let header = trusted.header.as_str();
    let person = match trusted.person(request.headers()) {
        Ok(person) => person,
        Err(Refusal::Nobody) => {
            let why = format!("the proxy does not say who asks: there is no {header}");
            return refusal(StatusCode::UNAUTHORIZED, &why);
        }
        Err(Refusal::Odd) => {
            let why = format!("{header} must be there once, with a name of at most {MAX_NAME} characters");
            return refusal(StatusCode::FORBIDDEN, &why);
        }
    };
    request.extensions_mut().insert(person);
    if request.headers().contains_key(header::UPGRADE) {
        let (stay, leave) = Stay::new();
        request.extensions_mut().insert(stay);
        tokio::spawn(async move {
            tokio::select! {
                () = leave.is_not_needed() => {}
                () = sleep(SOCKET_LIFE) => {}
            }
        });
    }
    let mut response = next.run(request).await;
    keep_private(response.headers_mut());
    response
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_name_is_one_clean_line_and_there_is_one() {
        let header = HeaderName::from_static("x-remote-user");
        let trusted = Trusted { header: header.clone(), proxies: Networks::default(), is_secure: true };
        let person = |values: &[&[u8]]| {
            let value = |bytes: &&[u8]| (header.clone(), HeaderValue::from_bytes(bytes).unwrap());
            trusted.person(&values.iter().map(value).collect()).map(|Person(name)| name)
        };
        let long = "x".repeat(MAX_NAME);
        let too_long = "x".repeat(MAX_NAME + 1);
        for (values, name) in [
            (vec![b"anna".as_slice()], Ok("anna")),
            (vec![b" anna@example.org "], Ok("anna@example.org")),
            (vec!["CN=Änne,O=Fleet".as_bytes()], Ok("CN=Änne,O=Fleet")),
            (vec!["an\u{202e}na".as_bytes()], Ok("anna")),
            (vec![long.as_bytes()], Ok(long.as_str())),
            (vec![], Err(Refusal::Nobody)),
            (vec![b""], Err(Refusal::Nobody)),
            (vec![b" "], Err(Refusal::Nobody)),
            (vec![b"anna", b"ben"], Err(Refusal::Odd)),
            (vec![b"\xff"], Err(Refusal::Odd)),
            (vec![too_long.as_bytes()], Err(Refusal::Odd)),
            (vec!["\u{202e}".as_bytes()], Err(Refusal::Odd)),
        ] {
            assert_eq!(person(&values), name.map(str::to_owned), "{values:?}");
        }
    }
}
